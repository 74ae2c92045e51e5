"""The C4 rules as FineWeb runs them: a text with its bad lines taken out, and whether the page is to be dropped.

Source: datatrove 0.10.1, `C4QualityFilter(filter_no_terminal_punct=False)`; C4 itself is arXiv 1910.10683, section 2.2.
Every rule is measured on every page: where the reference stops at the first page-level hit, the scan here goes on, so
that a policy without that rule finds the cleaned text that it would have got.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kernels.text.lexicon import Tokenization, tokenize
from kernels.text.statistics import FEWEST_WORDS, LONGEST_WORD
from kernels.text.words import count, without_surrogates

FEWEST_SENTENCES = 5  # a page with fewer in its kept lines goes
POLICY_PHRASES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")

_FATES = ("long_word", "few_words", "javascript", "policy", "kept")  # of a line
_MARKS = ("lorem_ipsum", "curly_bracket")  # what a line says of its page
_PHRASES = ("lorem ipsum", "javascript", *POLICY_PHRASES)
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")


@dataclass(frozen=True)
class Counts:
    """Lines of a page by what became of them. Each dropped line counts once, under the first rule that hits it."""

    lines: int  # all lines
    long_word: int  # dropped: a word of more than LONGEST_WORD code points
    few_words: int  # dropped: fewer than FEWEST_WORDS words
    javascript: int  # dropped: names JavaScript
    policy: int  # dropped: one of POLICY_PHRASES
    kept: int  # left in the cleaned text
    lorem_ipsum: int  # lines with "lorem ipsum" that reached this rule; any one drops the page
    curly_bracket: int  # lines with "{" that reached this rule; any one drops the page
    sentences: int  # sentences in kept lines
    tokens: int  # tokens in kept lines, `len(words.words(text))` of the cleaned text


@dataclass(frozen=True)
class CleanResult:
    """A cleaned page: `text` is what FineWeb's next filter reads, `reason` the rule that drops the page, or None."""

    text: str
    reason: str | None
    counts: Counts


def clean(text: str, cut: Tokenization | None = None) -> CleanResult:
    """Apply the line rules, in the reference's order, and report the page-level rule that hits first.

    `reason` is one of "lorem_ipsum", "curly_bracket", "too_few_sentences", None. The text is the kept lines, stripped
    and free of citation marks, joined by newlines; it is there for dropped pages too. cut: the text's tokenization,
    where it is at hand.
    """
    text = without_surrogates(text)
    cut = cut or tokenize(text)
    fates: dict[str, int] = dict.fromkeys((*_FATES, *_MARKS), 0)
    kept: list[str] = []
    reason = None
    sentences = tokens = 0
    ends = np.cumsum(np.fromiter(map(len, text.splitlines(keepends=True)), np.int64))
    measured = cut.per_line(ends).tolist()
    for (line, fate, marks, cited), (line_tokens, line_sentences) in zip(judged_lines(text), measured, strict=True):
        for mark in marks:
            fates[mark] += 1
            reason = reason or mark
        fates[fate] += 1
        if fate == "kept":
            kept.append(line)
            if cited:
                line_tokens, line_sentences = count(line)
            tokens += line_tokens
            sentences += line_sentences
    if sentences < FEWEST_SENTENCES:
        reason = reason or "too_few_sentences"
    counts = Counts(lines=len(measured), sentences=sentences, tokens=tokens, **fates)
    return CleanResult("\n".join(kept).strip(), reason, counts)


def cleaned_text(text: str) -> str:
    """`clean(text).text`, without counting words and sentences."""
    return "\n".join(line for line, fate, _, _ in judged_lines(without_surrogates(text)) if fate == "kept").strip()


def judged_lines(text: str) -> Iterator[tuple[str, str, tuple[str, ...], bool]]:
    """Each line as the rules leave it, what becomes of it, the page-level rules that it hits, and whether citation
    marks were taken out of it."""
    lowered = text.lower()
    suspect = any(phrase in lowered for phrase in _PHRASES)
    bracket, curly = "[" in text, "{" in text
    for line in text.splitlines():
        line = line.strip()
        if len(line) > LONGEST_WORD and max(map(len, line.split())) > LONGEST_WORD:
            yield line, "long_word", (), False
            continue
        if len(line.split(None, FEWEST_WORDS - 1)) < FEWEST_WORDS:
            yield line, "few_words", (), False
            continue
        cited = False
        if bracket and "[" in line:
            without = _CITATION.sub("", line)
            cited, line = without != line, without
        fate, marks = "kept", ()
        if suspect or cited:
            lowered = line.lower()
            if "lorem ipsum" in lowered:
                marks = ("lorem_ipsum",)
            if "javascript" in lowered:
                fate = "javascript"
            elif any(phrase in lowered for phrase in POLICY_PHRASES):
                fate = "policy"
        if curly and fate != "javascript" and "{" in line:
            marks += ("curly_bracket",)
        yield line, fate, marks, cited
