"""Crawled text as it may be shown: nothing in it can move a cursor, turn a line around, or mean markup.

A URL or host comes from strangers. Control characters, line and paragraph separators, bidirectional overrides, and
characters without a shape are shown by their code point, as \\u202e.
"""

from __future__ import annotations

import unicodedata

LONGEST = 200  # characters shown of a text
UNSAFE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # Unicode categories that are not shown as they are


def shown(text: str, longest: int = LONGEST) -> str:
    """The text in one line of visible characters, at most so many of it."""
    cut = text[:longest] + ("…" if len(text) > longest else "")
    return "".join(_escape(c) if unicodedata.category(c) in UNSAFE else c for c in cut)


def markdown(text: str, longest: int = LONGEST) -> str:
    """The text for a cell of a markdown table: as code, in which nothing is markup, a link or HTML."""
    return "`" + shown(text, longest).replace("`", "\\x60").replace("|", "\\|") + "`"


def plot(text: str) -> str:
    """The text as a label of a picture, where a dollar sign would begin a formula."""
    return shown(text).replace("$", r"\$")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
