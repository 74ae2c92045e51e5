"""What a word is for search, the same for every language, in the index and in a query.

Runs of letters, marks and digits, after NFKC and case folding, so `ﬁ`, `Ｆ` and `É` written as two code points are
found however they are typed. Scripts that part no words, and Hangul, whose words carry their particles, are cut into
characters with their marks; a query of several characters is then a phrase, so any piece of such a text can be found.
No stemming, no stop words: they would need the language, and crawled pages mix them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import regex

ALONE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Yi}"
# written so that the engines of Rust, which cuts pages, and of `regex`, which cuts queries, read it alike
PATTERN = rf"[{ALONE}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}\xad]--[{ALONE}]]+"
LONGEST_BYTES = 100  # a longer word is no word but encoded data; it is not indexed
SOFT_HYPHEN = "\xad"  # where a line may break inside a word
_WORD = regex.compile(PATTERN, regex.V1)


def fold(text: str) -> str:
    """The text as it is compared: compatibility forms, case and soft hyphens make no difference."""
    return unicodedata.normalize("NFKC", text).casefold().replace(SOFT_HYPHEN, "")


def words(text: str) -> list[str]:
    """The words of a text, folded, in order, without those that are too long for the index."""
    return [word for word in _WORD.findall(fold(text)) if len(word.encode("utf-8", "replace")) < LONGEST_BYTES]


def places(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, folded word) of each word where it stands in the text as it is, in code points.

    A word whose folded form is several words (`½` is `1⁄2`) is given whole; it is then found, but not marked.
    """
    for found in _WORD.finditer(text):
        yield found.start(), found.end(), fold(found.group())
