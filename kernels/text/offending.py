"""Where a statistic comes from: the pieces of a text that it counts, as spans, so that a reader sees what a rule saw.

Each is measured as kernels.text.quality measures it, and the statistic's value follows from the spans (`Pieces` says
how, the tests hold it). Statistics that come from no piece of a text (lengths, scores, averages) name none.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from kernels.text.c4 import judged_lines
from kernels.text.quality import LINE_ENDS, LINE_ENDS_V1
from kernels.text.repetition import lines_of, paragraphs_of
from kernels.text.statistics import DUPLICATE_NGRAMS, SHORT_LINE, STOP_WORDS, TOP_NGRAMS
from kernels.text.stop_words import UNSPACED, stop_words
from kernels.text.words import without_surrogates, words

Span = tuple[int, int]  # code points, from (included) to (excluded)


@dataclass(frozen=True)
class Pieces:
    """What a statistic counts in a text. `note`: what each piece is, in a few words; `wanted`: the more of them the
    better, so a rule asks for at least so many (stop words)."""

    note: str
    spans: tuple[Span, ...]
    wanted: bool = False


def pieces(statistic: str, text: str, language: str = "und") -> Pieces | None:
    """The pieces that the statistic counts in the text, in order; None where it counts none that can be named.

    language: the text's tag (kernels.text.language), for its own stop words.
    """
    text = without_surrogates(text)
    if statistic == "n_own_stop_words":
        own = stop_words(language)
        found = _letters_of(text, own) if language in UNSPACED else _tokens_in(text, own)
        return Pieces("stop word of the language", tuple(found), wanted=True)
    if statistic not in _NAMED:
        return None
    note, find, wanted = _NAMED[statistic]
    return Pieces(note, tuple(find(text)), wanted)


def named() -> list[str]:
    """The statistics that `pieces` can answer for."""
    return [*_NAMED, "n_own_stop_words"]


def _placed(items: Iterable[str], text: str) -> Iterator[tuple[str, Span]]:
    """Each item, which follow each other in the text, and where it is."""
    at = 0
    for item in items:
        start = text.index(item, at)
        at = start + len(item)
        yield item, (start, at)


def _seen_before(items: Iterable[str], text: str) -> Iterator[Span]:
    seen: set[str] = set()
    for item, span in _placed(items, text):
        if item in seen:
            yield span
        seen.add(item)


def _lines(text: str) -> Iterator[tuple[str, Span]]:
    """Stripped lines as Gopher's rules see them."""
    at = 0
    for whole in text.splitlines(keepends=True):
        line = whole.strip()
        start = at + (whole.find(line) if line else 0)
        yield line, (start, start + len(line))
        at += len(whole)


def _top_ngrams(text: str, n: int) -> list[Span]:
    """All places of the commonest n-gram, the first among equals; they may overlap."""
    placed = list(_placed(words(text), text))
    found: dict[str, list[Span]] = {}
    for i in range(len(placed) - n + 1):
        ngram = " ".join(word for word, _ in placed[i : i + n])
        found.setdefault(ngram, []).append((placed[i][1][0], placed[i + n - 1][1][1]))
    return max(found.values(), key=len, default=[])


def _repeated_ngrams(text: str, n: int) -> Iterator[Span]:
    """n-grams seen before; the scan goes on behind one."""
    placed = list(_placed(words(text), text))
    seen: set[str] = set()
    at = 0
    while at + n <= len(placed):
        ngram = "".join(word for word, _ in placed[at : at + n])
        if ngram in seen:
            yield placed[at][1][0], placed[at + n - 1][1][1]
            at += n
        else:
            seen.add(ngram)
            at += 1


def _all_of(text: str, *signs: str) -> list[Span]:
    found = []
    for sign in signs:
        at = text.find(sign)
        while at >= 0:
            found.append((at, at + len(sign)))
            at = text.find(sign, at + len(sign))
    return sorted(found)


def _tokens_in(text: str, wanted: frozenset[str]) -> Iterator[Span]:
    return (span for word, span in _placed(words(text), text) if word in wanted)


def _first_tokens_in(text: str, wanted: frozenset[str]) -> Iterator[Span]:
    seen: set[str] = set()
    for word, span in _placed(words(text), text):
        if word in wanted and word not in seen:
            seen.add(word)
            yield span


def _letters_of(text: str, wanted: frozenset[str]) -> list[Span]:
    return [(i, i + 1) for i, letter in enumerate(text) if letter in wanted]


def _without_letters(text: str) -> Iterator[Span]:
    return (span for word, span in _placed(words(text), text) if not any(map(str.isalpha, word)))


def _c4(text: str) -> Iterator[tuple[str, Span, str, tuple[str, ...]]]:
    """Each line as C4's rules leave it, where it is, what becomes of it, and the rules for pages that it hits."""
    return ((line, span, fate, marks) for (_, span), (line, fate, marks, _) in zip(_lines(text), judged_lines(text)))


def _fate(text: str, wanted: str) -> Iterator[Span]:
    return (span for _, span, fate, _ in _c4(text) if fate == wanted)


def _mark(text: str, wanted: str) -> Iterator[Span]:
    return (span for _, span, _, marks in _c4(text) if wanted in marks)


def _cleaned(text: str) -> list[tuple[str, Span]]:
    """The lines of the text after C4 that hold more than whitespace, each with the line that it was."""
    kept = [(line, span) for line, span, fate, _ in _c4(text) if fate == "kept"]
    whole = "\n".join(line for line, _ in kept)
    start = len(whole) - len(whole.lstrip())
    end = len(whole.rstrip())
    found, at = [], 0
    for line, span in kept:
        left = line[max(start - at, 0) : max(end - at, 0)]
        at += len(line) + 1
        if left and not left.isspace():
            found.append((left, span))
    return found


def _raw(text: str) -> list[tuple[str, Span]]:
    """The lines that hold more than whitespace, as they are."""
    lines, at = [], 0
    for line in text.split("\n"):
        if line and not line.isspace():
            lines.append((line, (at, at + len(line))))
        at += len(line) + 1
    return lines


def _not_ending(lines: Iterable[tuple[str, Span]], ends: frozenset[str]) -> list[Span]:
    return [span for line, span in lines if line[-1] not in ends]


def _again(lines: Iterable[tuple[str, Span]]) -> Iterator[Span]:
    seen: set[str] = set()
    for line, span in lines:
        if line in seen:
            yield span
        seen.add(line)


_AGAIN, _UNENDED = "line seen before", "line without a final punctuation mark"
_NAMED: dict[str, tuple[str, Callable[[str], Iterable[Span]], bool]] = {
    "dup_line_frac": (_AGAIN, lambda text: _seen_before(lines_of(text), text), False),
    "dup_line_char_frac": (_AGAIN, lambda text: _seen_before(lines_of(text), text), False),
    "dup_para_frac": ("paragraph seen before", lambda text: _seen_before(paragraphs_of(text), text), False),
    "dup_para_char_frac": ("paragraph seen before", lambda text: _seen_before(paragraphs_of(text), text), False),
    **{
        f"top_{n}_gram_char_frac": (f"the commonest {n} words in a row", lambda text, n=n: _top_ngrams(text, n), False)
        for n in TOP_NGRAMS
    },
    **{
        f"dup_{n}_gram_char_frac": (
            f"{n} words in a row seen before",
            lambda text, n=n: _repeated_ngrams(text, n),
            False,
        )
        for n in DUPLICATE_NGRAMS
    },
    "hash_to_word_ratio": ("number sign", lambda text: _all_of(text, "#"), False),
    "ellipsis_to_word_ratio": ("ellipsis", lambda text: _all_of(text, "...", "…"), False),
    "bullet_line_frac": (
        "line that starts with a bullet",
        lambda text: (span for line, span in _lines(text) if line.startswith(("•", "-"))),
        False,
    ),
    "ellipsis_line_frac": (
        "line that ends with an ellipsis",
        lambda text: (span for line, span in _lines(text) if line.endswith(("...", "…"))),
        False,
    ),
    "alpha_word_frac": ("token without a letter", _without_letters, False),
    "n_stop_words": ("stop word, where it first stands", lambda text: _first_tokens_in(text, STOP_WORDS), True),
    "n_stop_word_occurrences": ("stop word", lambda text: _tokens_in(text, STOP_WORDS), True),
    "c4_lines_lorem_ipsum": ('line with "lorem ipsum"', lambda text: _mark(text, "lorem_ipsum"), False),
    "c4_lines_curly_bracket": ('line with "{"', lambda text: _mark(text, "curly_bracket"), False),
    "c4_lines_long_word": ("line with a word too long", lambda text: _fate(text, "long_word"), False),
    "c4_lines_few_words": ("line of too few words", lambda text: _fate(text, "few_words"), False),
    "c4_lines_javascript": ("line that names JavaScript", lambda text: _fate(text, "javascript"), False),
    "c4_lines_policy": ("line of a cookie or privacy notice", lambda text: _fate(text, "policy"), False),
    "c4_lines_kept": ("line that C4 keeps", lambda text: _fate(text, "kept"), True),
    "c4_sentences": ("line that C4 keeps", lambda text: _fate(text, "kept"), True),
    "line_punct_frac": (_UNENDED, lambda text: _not_ending(_cleaned(text), LINE_ENDS), False),
    "line_stop_frac": (_UNENDED, lambda text: _not_ending(_cleaned(text), LINE_ENDS_V1), False),
    "short_line_frac": (
        f"line of at most {SHORT_LINE} characters",
        lambda text: [span for line, span in _cleaned(text) if len(line) <= SHORT_LINE],
        False,
    ),
    "char_dup_frac": (_AGAIN, lambda text: _again(_cleaned(text)), False),
    "raw_line_punct_frac": (_UNENDED, lambda text: _not_ending(_raw(text), LINE_ENDS), False),
    "raw_char_dup_frac": (_AGAIN, lambda text: _again(_raw(text)), False),
}
