"""Every statistic that Gopher's, C4's and FineWeb's quality rules ask for, measured for every page; none decides.

Sources: Rae et al. 2021 (arXiv 2112.11446) section A.1.1, Raffel et al. 2019 (arXiv 1910.10683) section 2.2, Penedo et
al. 2024 (arXiv 2406.17557) section 3.6; exact meanings are those of datatrove 0.10.1's GopherRepetitionFilter,
GopherQualityFilter, C4QualityFilter and FineWebQualityFilter for English. There a filter stops at the first rule that
hits; here all is measured once, and `FINEWEB_RULES` says which thresholds on these statistics give FineWeb's decisions.
"""

from dataclasses import dataclass
from typing import Literal

from datatrove.utils.text import TERMINAL_PUNCTUATION

from kernels.text import c4
from kernels.text.lexicon import Tokenization, tokenize
from kernels.text.repetition import duplicates, repetition_statistics
from kernels.text.statistics import DUPLICATE_NGRAMS, SHORT_LINE, STOP_WORDS, TOP_NGRAMS
from kernels.text.stop_words import UNSPACED, stop_words
from kernels.text.words import without_surrogates

LINE_ENDS = frozenset(TERMINAL_PUNCTUATION)  # single characters all of them
LINE_ENDS_V1 = frozenset(".'\"!?")  # FineWeb's in April 2024


@dataclass(frozen=True)
class Rule:
    """Drop a page, giving `reason`, when `statistic` compares so with `threshold`."""

    reason: str  # as datatrove 0.10.1 spells it
    statistic: str
    comparison: Literal["<", ">", "="]
    threshold: float | str

    def hits(self, statistics: dict) -> bool:
        """Whether a page with these statistics falls under the rule."""
        value = statistics[self.statistic]
        if self.comparison == "<":
            return value < self.threshold
        return value > self.threshold if self.comparison == ">" else value == self.threshold


FINEWEB_RULES: tuple[Rule, ...] = (  # in FineWeb's order: the first that hits names the reason
    Rule("empty", "n_chars", "<", 1),
    Rule("dup_para_frac", "dup_para_frac", ">", 0.3),
    Rule("dup_para_char_frac", "dup_para_char_frac", ">", 0.2),
    Rule("dup_line_frac", "dup_line_frac", ">", 0.3),
    Rule("dup_line_char_frac", "dup_line_char_frac", ">", 0.2),
    *(Rule(f"top_{n}_gram", f"top_{n}_gram_char_frac", ">", t) for n, t in zip(TOP_NGRAMS, (0.2, 0.18, 0.16))),
    *(
        Rule(f"duplicated_{n}_n_grams", f"dup_{n}_gram_char_frac", ">", t)
        for n, t in zip(DUPLICATE_NGRAMS, (0.15, 0.14, 0.13, 0.12, 0.11, 0.10))
    ),
    Rule("gopher_short_doc", "n_words", "<", 50),
    Rule("gopher_long_doc", "n_words", ">", 100_000),
    Rule("gopher_below_avg_threshold", "mean_word_length", "<", 3),
    Rule("gopher_above_avg_threshold", "mean_word_length", ">", 10),
    Rule("gopher_too_many_hashes", "hash_to_word_ratio", ">", 0.1),
    Rule("gopher_too_many_ellipsis", "ellipsis_to_word_ratio", ">", 0.1),
    Rule("gopher_too_many_bullets", "bullet_line_frac", ">", 0.9),
    Rule("gopher_too_many_end_ellipsis", "ellipsis_line_frac", ">", 0.3),
    Rule("gopher_below_alpha_threshold", "alpha_word_frac", "<", 0.8),
    Rule("gopher_enough_stop_words", "n_stop_words", "<", 2),
    Rule("lorem_ipsum", "c4_reason", "=", "lorem_ipsum"),
    Rule("curly_bracket", "c4_reason", "=", "curly_bracket"),
    Rule("too_few_sentences", "c4_reason", "=", "too_few_sentences"),
    Rule("empty", "cleaned_lines", "<", 1),
    Rule("line_punct_ratio", "line_punct_frac", "<", 0.12),
    Rule("short_line_ratio", "short_line_frac", ">", 0.67),
    Rule("char_dup_ratio", "char_dup_frac", ">", 0.01),
    Rule("list_ratio", "newline_to_word_ratio", ">", 0.3),
)


def first_hit(statistics: dict, rules: tuple[Rule, ...] = FINEWEB_RULES) -> Rule | None:
    """The rule that drops a page with these statistics, or None if it is kept."""
    return next((rule for rule in rules if rule.hits(statistics)), None)


def gopher_statistics(text: str, language: str = "und", cut: Tokenization | None = None) -> dict[str, float | int]:
    """Gopher's repetition and quality statistics of a text, "n_chars" to "raw_newline_to_word_ratio" of STATISTICS.

    language: the text's tag (kernels.text.language), for its own stop words. cut: the text's tokenization, where it is
    at hand.
    """
    text = without_surrogates(text)
    cut = cut or tokenize(text)
    own = frozenset[str]() if language in UNSPACED else stop_words(language)
    n_words, word_chars, n_alpha, n_stop_words, n_occurrences, n_own = cut.totals(STOP_WORDS, own)
    if language in UNSPACED:
        n_own = len(stop_words(language).intersection(text))
    lines = text.splitlines()
    bullets = ellipses = 0
    for line in map(str.strip, lines):
        bullets += line.startswith(("•", "-"))
        ellipses += line.endswith(("...", "…"))
    n_tokens, n_lines = len(cut.tokens) or 1, len(lines) or 1
    return {
        "n_chars": len(text),
        **repetition_statistics(text, cut),
        "n_tokens": len(cut.tokens),
        "n_words": n_words,
        "mean_word_length": word_chars / (n_words or 1),
        "hash_to_word_ratio": text.count("#") / n_tokens,
        "ellipsis_to_word_ratio": (text.count("...") + text.count("…")) / n_tokens,
        "bullet_line_frac": bullets / n_lines,
        "ellipsis_line_frac": ellipses / n_lines,
        "alpha_word_frac": n_alpha / n_tokens,
        "n_stop_words": n_stop_words,
        "n_stop_word_occurrences": n_occurrences,
        "n_own_stop_words": n_own,
        "n_bytes": len(text) if text.isascii() else len(text.encode()),
        **_raw_statistics(text, n_tokens),
    }


def _raw_statistics(text: str, n_tokens: int) -> dict[str, float]:
    """FineWeb's own statistics of a text that C4 has not rewritten, which FineWeb-2 decides by."""
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    newlines = text.count("\n")
    return {
        "raw_line_punct_frac": sum(line[-1] in LINE_ENDS for line in lines) / (len(lines) or 1),
        "raw_char_dup_frac": duplicates(lines)[1] / ((len(text) - newlines) or 1),
        "raw_newline_to_word_ratio": newlines / n_tokens,
    }


def fineweb_statistics(text: str, n_tokens: int) -> dict[str, float | int]:
    """FineWeb's own statistics of a text with so many tokens, "cleaned_chars" to "newline_to_word_ratio" of STATISTICS.

    FineWeb measures them after C4 has rewritten the text: give the text and `counts.tokens` of `c4.clean`.
    """
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    n_lines, newlines = len(lines) or 1, text.count("\n")
    return {
        "cleaned_chars": len(text),
        "cleaned_lines": len(lines),
        "cleaned_tokens": n_tokens,
        "line_punct_frac": sum(line[-1] in LINE_ENDS for line in lines) / n_lines,
        "line_stop_frac": sum(line[-1] in LINE_ENDS_V1 for line in lines) / n_lines,
        "short_line_frac": sum(len(line) <= SHORT_LINE for line in lines) / n_lines,
        "char_dup_frac": duplicates(lines)[1] / ((len(text) - newlines) or 1),
        "newline_to_word_ratio": newlines / (n_tokens or 1),
    }


def statistics(text: str) -> dict[str, float | int]:
    """Gopher's and FineWeb's statistics of one and the same text (no C4 in between)."""
    gopher = gopher_statistics(text)
    return gopher | fineweb_statistics(without_surrogates(text), int(gopher["n_tokens"]))


def document_statistics(text: str, language: str = "und") -> dict[str, float | int | str | None]:
    """All STATISTICS of a page where FineWeb's order measures them: Gopher's and C4's on the text, FineWeb's after C4.

    Never stops early: a page that one rule drops still gets every number. "c4_reason" is a string or None. language:
    the text's tag (kernels.text.language), for its own stop words.
    """
    text = without_surrogates(text)
    cut = tokenize(text)
    cleaned = c4.clean(text, cut)
    counts = cleaned.counts
    return {
        **gopher_statistics(text, language, cut),
        "c4_reason": cleaned.reason,
        "c4_sentences": counts.sentences,
        "c4_lines": counts.lines,
        "c4_lines_kept": counts.kept,
        "c4_lines_long_word": counts.long_word,
        "c4_lines_few_words": counts.few_words,
        "c4_lines_javascript": counts.javascript,
        "c4_lines_policy": counts.policy,
        "c4_lines_lorem_ipsum": counts.lorem_ipsum,
        "c4_lines_curly_bracket": counts.curly_bracket,
        **fineweb_statistics(cleaned.text, counts.tokens),
    }
