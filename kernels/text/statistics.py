"""The statistics that every page gets: type, unit, meaning and range of each, and the constants that these name.

What measures them is `kernels.text.quality`; whoever asks only what they are called loads no compiled kernel.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
SHORT_LINE = 30  # code points; a line of at most so many is short
LONGEST_WORD = 1000  # code points; a line with a longer word goes
FEWEST_WORDS = 3  # a line with fewer whitespace-separated words goes
TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)


@dataclass(frozen=True)
class Statistic:
    """What a column holds: its type, unit, meaning, and the values it can take (both ends included)."""

    dtype: Literal["float64", "int64", "string"]
    unit: str
    meaning: str
    low: float = 0.0
    high: float = inf


def _fraction(meaning: str, high: float = 1.0) -> Statistic:
    return Statistic("float64", "fraction", meaning, 0.0, high)


def _count(unit: str, meaning: str, high: float = inf) -> Statistic:
    return Statistic("int64", unit, meaning, 0, high)


STATISTICS: dict[str, Statistic] = {
    "n_chars": _count("code points", "length of the text"),
    "dup_line_frac": _fraction("lines seen before, of all lines (runs of newlines part lines)"),
    "dup_para_frac": _fraction("paragraphs seen before, of all paragraphs (two or more newlines part paragraphs)"),
    "dup_line_char_frac": _fraction("code points in lines seen before, of the text's"),
    "dup_para_char_frac": _fraction("code points in paragraphs seen before, of the text's"),
    # occurrences may overlap, and joined words carry n - 1 spaces: hence more than 1 is possible
    **{
        f"top_{n}_gram_char_frac": _fraction(
            f"code points in all places of the commonest {n}-gram, of the text's", 2 * n - 1
        )
        for n in TOP_NGRAMS
    },
    **{
        f"dup_{n}_gram_char_frac": _fraction(f"code points in {n}-grams seen before, of the text's")
        for n in DUPLICATE_NGRAMS
    },
    "n_tokens": _count("words", "tokens of the text, punctuation included"),
    "n_words": _count("words", "tokens with a character that is not punctuation"),
    "mean_word_length": Statistic("float64", "code points", "mean length of those words; 0 without any"),
    "hash_to_word_ratio": Statistic("float64", "per token", "number signs, per token"),
    "ellipsis_to_word_ratio": Statistic("float64", "per token", 'ellipses ("..." and "…"), per token'),
    "bullet_line_frac": _fraction('lines that start with "•" or "-", of all lines'),
    "ellipsis_line_frac": _fraction("lines that end with an ellipsis, of all lines"),
    "alpha_word_frac": _fraction("tokens with an alphabetic character, of all tokens"),
    "n_stop_words": _count("words", f"how many of {', '.join(sorted(STOP_WORDS))} occur", len(STOP_WORDS)),
    "n_stop_word_occurrences": _count("words", "how often they occur (FineWeb in April 2024 asked that)"),
    "n_own_stop_words": _count("words", "how many stop words of the text's own language occur; 0 without a list of it"),
    "n_bytes": _count("bytes", "length of the text in UTF-8"),
    "raw_line_punct_frac": _fraction("lines that end with a terminal punctuation mark, of the lines before C4"),
    "raw_char_dup_frac": _fraction("code points in lines seen before, of those before C4 without newlines"),
    "raw_newline_to_word_ratio": Statistic("float64", "per token", "newlines per token, before C4"),
    "c4_reason": Statistic(
        "string", "", "C4 rule that drops the page (lorem_ipsum, curly_bracket, too_few_sentences), or null"
    ),
    "c4_sentences": _count("sentences", "sentences in the lines that C4 keeps"),
    "c4_lines": _count("lines", "lines of the text"),
    "c4_lines_kept": _count("lines", "lines that C4 keeps"),
    "c4_lines_long_word": _count("lines", f"lines dropped for a word of more than {LONGEST_WORD} code points"),
    "c4_lines_few_words": _count("lines", f"lines dropped for fewer than {FEWEST_WORDS} words"),
    "c4_lines_javascript": _count("lines", "lines dropped for naming JavaScript"),
    "c4_lines_policy": _count("lines", "lines dropped for a phrase of cookie or privacy notices"),
    "c4_lines_lorem_ipsum": _count("lines", 'lines with "lorem ipsum"'),
    "c4_lines_curly_bracket": _count("lines", 'lines with "{"'),
    "cleaned_chars": _count("code points", "length of the text after C4"),
    "cleaned_lines": _count("lines", "lines after C4 that hold more than whitespace"),
    "cleaned_tokens": _count("words", "tokens after C4"),
    "line_punct_frac": _fraction("lines that end with a terminal punctuation mark, of the lines after C4"),
    "line_stop_frac": _fraction("lines that end with one of . ' \" ! ?, of the lines after C4 (FineWeb in April 2024)"),
    "short_line_frac": _fraction(f"lines of at most {SHORT_LINE} code points, of the lines after C4"),
    "char_dup_frac": _fraction("code points in lines seen before, of those after C4 without newlines"),
    "newline_to_word_ratio": Statistic("float64", "per token", "newlines per token, after C4"),
}
