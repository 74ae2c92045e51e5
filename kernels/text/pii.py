"""Personal data and secrets in a text that have a checkable form: where they are, and the text without them.

Found: e-mail addresses, public IPv4 and IPv6 addresses, phone numbers, payment card numbers (Luhn), US social security
numbers, IBANs (ISO 13616, mod 97), API keys of well-known issuers, PEM private keys. Not found: names, postal
addresses, obfuscated ("at", "dot") e-mail addresses, document ids, national phone numbers outside North America unless
a word such as "tel" stands before them.

Every pattern takes time linear in the text: each repetition is bounded or cannot give back what it took. What
`placeholders.py` puts in is recognised by the same functions and is no finding, so a scrubbed text has none.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from kernels.text.placeholders import TYPES, is_placeholder, placeholder

ROUNDS = 3  # replacements are format-preserving so often; what a neighbour turns into a finding again becomes "<TYPE>"


@dataclass(frozen=True, order=True)
class Span:
    """One finding: `text[start:end]`, offsets in code points; `type` is one of `placeholders.TYPES`."""

    start: int
    end: int
    type: str


Found = Iterator[tuple[int, int]]

_PEM_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"[A-Za-z0-9+/=]{32}")


def _private_keys(text: str) -> Found:
    behind = 0
    for begin in _PEM_BEGIN.finditer(text):
        if begin.start() < behind:
            continue
        closing = begin.group().replace("BEGIN", "END")
        end = text.find(closing, begin.end())
        if end < 0:
            return
        if _PEM_BODY.search(text, begin.end(), end):
            behind = end + len(closing)
            yield begin.start(), behind


_API_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"  # Amazon Web Services
    r"|AIza[0-9A-Za-z_-]{35}"  # Google
    r"|gh[opsur]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{40,255}|glpat-[0-9A-Za-z_-]{20,64}"
    r"|xox[abeprs]-[0-9A-Za-z-]{10,255}"  # Slack
    r"|[rs]k_live_[0-9A-Za-z]{16,255}"  # Stripe
    r"|sk-(?=[a-z_-]{0,64}[A-Z0-9])[0-9A-Za-z_-]{20,255}"  # OpenAI, Anthropic
    r"|hf_[A-Za-z]{34}|npm_[0-9A-Za-z]{36}"
    r"|SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}"  # SendGrid
    r"|eyJ[0-9A-Za-z_-]{8,4000}+\.eyJ[0-9A-Za-z_-]{8,8000}+\.[0-9A-Za-z_-]{16,2000}+"  # JSON web token
    r")(?![A-Za-z0-9_-])"
)


_KEY_SIGNS = ("AKIA", "ASIA", "AIza", "ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "xox", "k_live_")
_KEY_SIGNS += ("sk-", "hf_", "npm_", "SG.", "eyJ")


def _api_keys(text: str) -> Found:
    if not any(sign in text for sign in _KEY_SIGNS):
        return
    for match in _API_KEY.finditer(text):
        key = match.group()
        mixed = any(map(str.isdigit, key)) and any(map(str.isupper, key)) and any(map(str.islower, key))
        if mixed or key.startswith(("AKIA", "ASIA", "hf_", "gh", "xox")):
            yield match.span()


_LOCAL_MARKS = frozenset(".!#$%&'*+/=?^_`{|}~-")  # RFC 5322 atoms, beside letters and digits of any script
_DOMAIN = re.compile(r"(?:(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}|\[\d{1,3}(?:\.\d{1,3}){3}\])(?![\w@-])")
_FILE_ENDINGS = ("png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ico", "mp3", "mp4", "pdf", "html", "php")


def _emails(text: str) -> Found:
    at = text.find("@")
    while at >= 0:
        start, bound = at, max(0, at - 64)
        while start > bound and (text[start - 1].isalnum() or text[start - 1] in _LOCAL_MARKS):
            start -= 1
        while start < at and not (text[start].isalnum() or text[start] in "_+"):
            start += 1  # quotes and slashes before an address are not its own
        domain = _DOMAIN.match(text, at + 1)
        sound = domain and start < at and text[at - 1] != "." and ".." not in text[start:at]
        if domain and sound and domain.group().rpartition(".")[2].lower() not in _FILE_ENDINGS:
            yield start, domain.end()
        at = text.find("@", at + 1)


# Length of an IBAN by country, SWIFT's IBAN registry.
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
# This and the patterns below begin with a digit and then look behind it: a search that starts at digits is fast.
_IBAN = re.compile(r"[0-9]{2}(?<=[A-Za-z]{2}..)(?<![^\W_]....)(?: ?[A-Za-z0-9]){11,29}", re.DOTALL)


def _ibans(text: str) -> Found:
    for match in _IBAN.finditer(text):
        start = match.start() - 2
        length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
        if length is None or not 2 <= int(match.group()[:2]) <= 98:
            continue
        end, taken = start, 0
        while taken < length and end < match.end():
            taken += text[end] != " "
            end += 1
        compact = text[start:end].replace(" ", "").upper()
        if taken < length or text[end : end + 1].isalnum():
            continue
        if int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1:
            yield start, end


_CARD = re.compile(r"[0-9](?<![\w.+-].)(?<![0-9][ .].)(?:[ -]?[0-9]){12,18}(?![\w-]|[.,][0-9])", re.DOTALL)
_CARD_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|(?:2131|1800)\d{11}|3(?:0[0-5]|[68]\d)\d{11}"
)


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def _cards(text: str) -> Found:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        groups = re.split(r"\D", match.group())
        evenly = len(groups) == 1 or [len(group) for group in groups] in ([4, 4, 4, 4], [4, 6, 5], [4, 6, 4])
        if evenly and len(set(digits)) > 2 and _CARD_ISSUERS.fullmatch(digits) and passes_luhn(digits):
            yield match.span()


_SSN = re.compile(
    r"[0-8](?<![\w.-].)\d\d(?<!000)(?<!666)(?P<gap>[ -])(?!00)\d{2}(?P=gap)(?!0000)\d{4}(?![\w-]|[.,]\d)",
    re.ASCII | re.DOTALL,
)
_SSN_WORDS = re.compile(r"\b(?:ssn|social security)\b", re.IGNORECASE)


def _social_security_numbers(text: str) -> Found:
    for match in _SSN.finditer(text):
        if match["gap"] == "-" or _SSN_WORDS.search(text, max(0, match.start() - 40), match.start()):
            yield match.span()


_IPV6_INSIDE = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|\.\d)")


def _ipv6(text: str) -> Found:
    if not _IPV6_INSIDE.search(text):
        return
    for match in _IPV6.finditer(text):
        groups = match.group().split(":")
        try:
            address = IPv6Address(match.group())
        except AddressValueError:
            continue
        written_out = len(groups) == 8 and "" not in groups and max(map(len, groups)) > 2  # eight bytes are a MAC
        if address.is_global and not address.is_multicast and (written_out or int(address) >> 125 == 1):
            yield match.span()


_IPV4 = re.compile(r"[0-9](?<![\w.+-].)(?<![A-Za-z]/.)\d{0,2}(?:\.\d{1,3}){3}(?!\w|[.,+-]\d)", re.ASCII | re.DOTALL)
_NUMBERED_THING = re.compile(
    r"(?:\bv|\bver|version|release|build|section|sec|§|chapter|figure|fig|table|article|clause|rule|revision|rev|firmware"
    r"|update|patch|level|software|driver|kernel|step|item|part)[.:#s]{0,2}\s{0,2}$",
    re.IGNORECASE,
)
_HEADING = re.compile(r"[ \t]{1,4}[A-Z]")


def _ipv4(text: str) -> Found:
    for match in _IPV4.finditer(text):
        try:
            address = IPv4Address(match.group())
        except AddressValueError:
            continue
        if not address.is_global or address.is_multicast:
            continue
        start, end = match.span()
        if _NUMBERED_THING.search(text, max(0, start - 14), start):
            continue
        line_start = start == 0 or text[text.rfind("\n", 0, start) + 1 : start].isspace() or text[start - 1] == "\n"
        if line_start and max(address.packed) < 32 and _HEADING.match(text, end):
            continue
        yield start, end


_NANP = re.compile(
    r"[(2-9](?:(?<=\()[2-9]\d{2}\) ?-?|(?<!\()\d{2}[.-])[2-9]\d{2}[ .-]\d{4}"
    r"(?: {0,2}(?:x|ext\.?) {0,2}\d{1,5})?(?!\w|[.,-]\d)",
    re.ASCII,
)
_NANP_BEFORE = re.compile(r"(?<![\w+./=-])(?:(?:\+|00)?1[ .-]?)?$", re.ASCII)
_INTERNATIONAL = re.compile(
    r"(?<![\w+])(?P<number>\+[1-9](?:[ .()-]{0,3}\d){7,14})(?: {0,2}(?:x|ext\.?) {0,2}\d{1,5})?(?!\w|[.,-]\d)", re.ASCII
)
_ANY_NUMBER = re.compile(r"[0-9](?<![\w.+/=-].)(?:[ .()-]{0,2}\d){6,14}(?!\w|[.,-]\d)", re.ASCII | re.DOTALL)
_PHONE_WORDS = re.compile(
    r"\b(?:tel|telephone|phone|fax|mobile|mob|cell|call|whatsapp)\b"
    r"(?:[ .:#]{1,3}(?:us|me|him|her|them|now|today|number|no|is|at|on)\b){0,3}[ \t.:#(-]{0,4}$",
    re.IGNORECASE,
)
_ROUND_NUMBER = re.compile(r"\+?\d{1,3}(?:[ .]000)+")
_DATE = re.compile(r"(?:19|20)\d\d[-. ]\d\d[-. ]\d\d")


def _phones(text: str) -> Found:
    for match in _NANP.finditer(text):
        before = _NANP_BEFORE.search(text, max(0, match.start() - 4), match.start())
        if before:
            yield before.start(), match.end()
    if "+" in text:
        for match in _INTERNATIONAL.finditer(text):
            digits = re.sub(r"\D", "", match["number"])
            right_length = len(digits) == 11 if digits[0] == "1" else len(digits) >= 9
            if right_length and not _ROUND_NUMBER.fullmatch(match["number"]):
                yield match.span()
    for match in _ANY_NUMBER.finditer(text):
        if _PHONE_WORDS.search(text, max(0, match.start() - 40), match.start()) and not _DATE.match(match.group()):
            yield match.span()


_DETECTORS: dict[str, Callable[[str], Found]] = {  # where two overlap, the earlier one has it
    "private_key": _private_keys,
    "api_key": _api_keys,
    "email": _emails,
    "iban": _ibans,
    "credit_card": _cards,
    "us_ssn": _social_security_numbers,
    "ipv6": _ipv6,
    "ipv4": _ipv4,
    "phone": _phones,
}
assert tuple(_DETECTORS) == TYPES


_LONG_NUMBER = re.compile(r"[0-9](?:[ .()-]{0,3}[0-9]){6}")
_NEED_LONG_NUMBER = {"credit_card", "us_ssn", "phone"}


def find(text: str) -> list[Span]:
    """All findings in a text, in order, none overlapping another; placeholders that `scrub` puts in are no findings."""
    spans: list[Span] = []
    taken = bytearray(len(text))
    long_number = _LONG_NUMBER.search(text) is not None
    for kind, detector in _DETECTORS.items():
        if kind in _NEED_LONG_NUMBER and not long_number:
            continue
        for start, end in detector(text):
            if not any(taken[start:end]):
                taken[start:end] = b"\x01" * (end - start)  # a placeholder, too, keeps its place from later detectors
                if not is_placeholder(kind, text[start:end]):
                    spans.append(Span(start, end, kind))
    return sorted(spans)


def scrub(text: str, doc_id: str) -> str:
    """The text with every finding replaced: `find` finds nothing in it, and scrubbing it again changes nothing.

    A replacement depends on the type, the value and the document's id alone: one address is one placeholder throughout
    a document, and another one in the next document.
    """
    for turn in range(len(text) + ROUNDS):
        spans = find(text)
        if not spans:
            break
        parts, end = [], 0
        for span in spans:
            value = text[span.start : span.end]
            parts.append(text[end : span.start])
            parts.append(placeholder(span.type, value, doc_id) if turn < ROUNDS else f"<{span.type.upper()}>")
            end = span.end
        text = "".join(parts) + text[end:]
    return text
