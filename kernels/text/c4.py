"""The C4 rules as FineWeb runs them: a text with its bad lines taken out, and whether the page is to be dropped.

Source: datatrove 0.10.1, `C4QualityFilter(filter_no_terminal_punct=False)`; C4 itself is arXiv 1910.10683, section 2.2.
Every rule is measured on every page: where the reference stops at the first page-level hit, the scan here goes on, so
that a policy without that rule finds the cleaned text that it would have got.
"""

import re
from dataclasses import dataclass

from kernels.text.words import count, without_surrogates

LONGEST_WORD = 1000  # code points; a line with a longer word goes
FEWEST_WORDS = 3  # a line with fewer whitespace-separated words goes
FEWEST_SENTENCES = 5  # a page with fewer in its kept lines goes
POLICY_PHRASES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")

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


def clean(text: str) -> CleanResult:
    """Apply the line rules, in the reference's order, and report the page-level rule that hits first.

    `reason` is one of "lorem_ipsum", "curly_bracket", "too_few_sentences", None. The text is the kept lines, stripped
    and free of citation marks, joined by newlines; it is there for dropped pages too.
    """
    kept: list[str] = []
    reason = None
    lines = without_surrogates(text).splitlines()
    long_word = few_words = javascript = policy = lorem_ipsum = curly_bracket = sentences = tokens = 0
    for line in lines:
        line = line.strip()
        words = line.split()
        if len(line) > LONGEST_WORD and any(len(word) > LONGEST_WORD for word in words):
            long_word += 1
            continue
        if "[" in line:
            line = _CITATION.sub("", line)
        if len(words) < FEWEST_WORDS:
            few_words += 1
            continue
        lowered = line.lower()
        if "lorem ipsum" in lowered:
            lorem_ipsum += 1
            reason = reason or "lorem_ipsum"
        if "javascript" in lowered:
            javascript += 1
            continue
        if "{" in line:
            curly_bracket += 1
            reason = reason or "curly_bracket"
        if any(phrase in lowered for phrase in POLICY_PHRASES):
            policy += 1
            continue
        line_tokens, line_sentences = count(line)
        tokens += line_tokens
        sentences += line_sentences
        kept.append(line)
    if sentences < FEWEST_SENTENCES:
        reason = reason or "too_few_sentences"
    counts = Counts(
        lines=len(lines),
        long_word=long_word,
        few_words=few_words,
        javascript=javascript,
        policy=policy,
        kept=len(kept),
        lorem_ipsum=lorem_ipsum,
        curly_bracket=curly_bracket,
        sentences=sentences,
        tokens=tokens,
    )
    return CleanResult("\n".join(kept).strip(), reason, counts)
