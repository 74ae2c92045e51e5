"""Main text of an HTML page: decoded as FineWeb decodes it, extracted by trafilatura, as a pure function of the bytes.

FineWeb extracts with `deduplicate=True` and a wall-clock limit, so that its text depends on the pages seen before and
on how busy the machine is. Here neither is used: the limits are on size, elements and depth, and are typed errors.
Source of the settings: datatrove 0.10.1, pipeline/readers/warc.py and pipeline/extractors/trafilatura.py.
"""

from __future__ import annotations

import logging
from functools import cache

import cchardet
import trafilatura
from lxml.etree import XPath
from trafilatura.utils import load_html

MAX_HTML_BYTES = 8 << 20  # Common Crawl itself cuts payloads at 5 MiB (1 MiB before 2025)
MAX_ELEMENTS = 40_000  # time can grow with their square: 250,000 empty paragraphs in 1 MB take three minutes
MAX_DEPTH = 250  # elements inside each other; libxml2 drops what lies deeper than 255, real pages stay under 100
COUNT_ELEMENTS = XPath("count(//*)")
TOO_DEEP = XPath("boolean(" + "/*" * (MAX_DEPTH + 1) + ")")
CANARY_TEXT = "The ferry leaves the harbour at six and comes back after dark, whatever the weather may be like."
CANARY_PAGE = f"<html><body><nav><a href='/'>Home</a></nav><article><p>{CANARY_TEXT}</p></article></body></html>"

logging.getLogger("trafilatura").addHandler(logging.NullHandler())  # it warns of every page without text


class UndecodablePage(ValueError):
    """The bytes are neither UTF-8 nor strictly decodable in the charset that they look like."""


class ExtractionLimit(ValueError):
    """The page is over a limit of the extractor; it has no text, by rule and not by chance."""


class PageTooLarge(ExtractionLimit):
    """More than MAX_HTML_BYTES bytes."""


class PageTooDeep(ExtractionLimit):
    """More than MAX_DEPTH elements inside each other."""


class TooManyElements(ExtractionLimit):
    """More than MAX_ELEMENTS elements."""


class ExtractionFailed(ExtractionLimit):
    """The extractor raised on this page; the cause is chained."""


class BrokenExtractor(RuntimeError):
    """trafilatura does not find the text of a page that plainly has one: its installation is broken."""


def decode(html: bytes) -> tuple[str, str]:
    """(text, charset in lower case): strict UTF-8, else strictly in the charset that cchardet detects.

    HTTP and meta charsets are not looked at, as in FineWeb. Raises UndecodablePage.
    """
    try:
        return html.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        charset = cchardet.detect(html)["encoding"]
    if not charset:
        raise UndecodablePage("not UTF-8, and no charset detected")
    try:
        return html.decode(charset), charset.lower()
    except (UnicodeDecodeError, LookupError) as error:
        raise UndecodablePage(f"not UTF-8, and not {charset} either: {error}") from error


def extract(html: bytes, url: str) -> str:
    """Main text of a page, "" where it has none.

    The url only names the page in errors. Raises UndecodablePage, ExtractionLimit (PageTooLarge, PageTooDeep,
    TooManyElements, ExtractionFailed), and BrokenExtractor if no page could be trusted.
    """
    if len(html) > MAX_HTML_BYTES:
        raise PageTooLarge(f"{url}: {len(html)} bytes, the limit is {MAX_HTML_BYTES}")
    return extract_decoded(decode(html)[0], url)


def extract_decoded(page: str, url: str) -> str:
    """As extract, for a page that is decoded already; its size is measured in code points."""
    _check_extractor()
    if len(page) > MAX_HTML_BYTES:
        raise PageTooLarge(f"{url}: {len(page)} characters, the limit is {MAX_HTML_BYTES}")
    return _extract(page, url)


def _extract(page: str, url: str) -> str:
    try:
        tree = load_html(page)
        if tree is None:
            return ""
        if TOO_DEEP(tree.getroottree()):
            raise PageTooDeep(f"{url}: more than {MAX_DEPTH} elements inside each other")
        if (elements := int(COUNT_ELEMENTS(tree))) > MAX_ELEMENTS:
            raise TooManyElements(f"{url}: {elements} elements, the limit is {MAX_ELEMENTS}")
        return trafilatura.extract(tree, favor_precision=True, include_comments=False, deduplicate=False) or ""
    except ExtractionLimit:
        raise
    except Exception as error:
        raise ExtractionFailed(f"{url}: {type(error).__name__}: {error}") from error


@cache
def _check_extractor() -> None:
    """Raises BrokenExtractor unless a plain page gives its text: trafilatura takes its own failures for "no text"."""
    if (found := _extract(CANARY_PAGE, "canary")) != CANARY_TEXT:
        raise BrokenExtractor(f"trafilatura {trafilatura.__version__} extracts {found!r} from a plain page")
