"""spaCy's English tokenizer and sentencizer, taken apart into what a memo can hold: how a unit of text is cut.

A unit is a run of characters without whitespace. spaCy cuts a text at whitespace and then works on each run alone; only
its special cases (":)", "he's", "Co.") are matched over tokens, so a match may reach over a single space. Where the two
characters around a space could be a seam inside such a special case, the runs on both sides are one unit.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from types import SimpleNamespace

_OTHER, _PUNCTUATION, _TERMINAL = 0, 1, 2
_OPENING, _CLOSING = '"“(', ',;:?!)"”'
Effect = tuple[int, int, int, int]


class English:
    """The tokenizer, its special cases, and the seams: (last character before, first character behind) a space."""

    def __init__(self) -> None:
        with _unused_left_out():
            from spacy.lang.en import English as Language
            from spacy.pipeline.sentencizer import Sentencizer
            from spacy.tokenizer import Tokenizer
            from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex
            from spacy.vocab import Vocab

        defaults = Language.Defaults
        prefix = compile_prefix_regex(list(defaults.prefixes or ())).match  # every alternative is anchored at the start
        suffix = _search_tail(compile_suffix_regex(list(defaults.suffixes or ())))
        infix = compile_infix_regex(list(defaults.infixes or ())).finditer
        # No lexical attributes: cutting needs none, and computing them for each new word is most of spaCy's time.
        self.vocab = Vocab(lex_attr_getters={})

        def tokenizer(rules: dict) -> Tokenizer:
            return Tokenizer(
                self.vocab,
                rules=rules,
                prefix_search=prefix,
                suffix_search=suffix,
                infix_finditer=infix,
                token_match=defaults.token_match,
                url_match=defaults.url_match,
            )

        self.tokenizer = tokenizer(defaults.tokenizer_exceptions)
        self.terminals = frozenset(Sentencizer.default_punct_chars)
        self.cases = frozenset(defaults.tokenizer_exceptions)
        signs = {*_OPENING, *_CLOSING, "-"}
        pairs = {left + right for case in self.cases for left, right in pairwise(case)}
        self._pairs = frozenset(pair for pair in pairs if not signs.isdisjoint(pair))
        without_rules = tokenizer({})
        seams: set[tuple[str, str]] = set()
        for special in self.cases:
            tokens = [token.text for token in without_rules(special)]
            seams.update((left[-1], right[0]) for left, right in pairwise(tokens))
        self.seams = frozenset(seams)

    def cut(self, units: list[str]) -> list[list[str]]:
        """The tokens of each unit, as `cut_by_spacy` finds them; those that need no search are cut here."""
        found = [self._plainly(unit) for unit in units]
        others = [place for place, tokens in enumerate(found) if tokens is None]
        for place, tokens in zip(others, self.cut_by_spacy([units[place] for place in others])):
            found[place] = tokens
        return [tokens for tokens in found if tokens is not None]

    def _plainly(self, unit: str) -> list[str] | None:
        """The tokens of a word with plain signs around it or hyphens inside; None for any other unit.

        _OPENING and _CLOSING signs are affixes wherever they stand, a full stop is one behind a lower-case letter, and
        a hyphen parts ASCII letters. Letters, and digits with commas, are cut no further but in special cases; a pair
        of neighbouring characters that occurs in one with a sign leaves the unit to spaCy.
        """
        if unit.isalpha():
            return None if unit in self.cases else [unit]
        behind = unit.lstrip(_OPENING)
        core = behind.rstrip(_CLOSING)
        signs = len(behind) - len(core)
        stop = core[-1:] == "." and "a" <= core[-2:-1] <= "z"
        word = core[:-1] if stop else core
        parts = self._parts(word)
        if not parts or not self.cases.isdisjoint((word, *parts)):
            return None
        if stop and parts[-1] + "." in self.cases:
            return None
        if not self._pairs.isdisjoint(map(str.__add__, unit, unit[1:])):
            return None
        return [*unit[: len(unit) - len(behind)], *parts, *("." if stop else ""), *unit[len(unit) - signs :]]

    def _parts(self, word: str) -> list[str] | None:
        """The tokens of a word without signs around it: itself, or what its hyphens part; None where others know."""
        if word.isalpha() or (word.isascii() and word.replace(",", "0").isdigit() and word[0] != "," != word[-1]):
            return [word]
        parts = word.split("-")
        if len(parts) == 1 or not word.isascii() or not all(map(str.isalpha, parts)):
            return None
        return [token for part in parts for token in (part, "-")][:-1]

    def cut_by_spacy(self, units: list[str]) -> list[list[str]]:
        """The tokens of each unit. All are tokenized as one page, a unit a line: no special case holds a newline."""
        if not units:
            return []
        # spaCy's lexicon keeps a dangling entry for this one string when a memory zone closes; a word of the same
        # shape stands in for it, and the offsets give the true characters back.
        page = "\n".join(units).replace("IS_ALPHA", "IS_ALPHX")
        found: list[list[str]] = [[] for _ in units]
        at, which = 0, 0  # where the current unit starts in the page, and which it is
        with self.vocab.memory_zone():
            for token in self.tokenizer(page):
                start = token.idx
                while start >= at + len(units[which]) and which + 1 < len(units):
                    at, which = at + len(units[which]) + 1, which + 1
                    if start < at:
                        break
                if at <= start < at + len(units[which]):
                    found[which].append(units[which][start - at : start - at + len(token)])
        return found

    def kind(self, token: str) -> int:
        """What a token is to the end of a sentence: a terminal, other punctuation, or neither."""
        if token in self.terminals:
            return _TERMINAL
        if token[0].isalnum():  # no letter or digit is punctuation: most tokens need no more
            return _OTHER
        return _PUNCTUATION if all(unicodedata.category(char)[0] == "P" for char in token) else _OTHER

    def effect(self, tokens: list[str]) -> Effect:
        """What a unit does to the count of sentences: (sentences begun, whether it leaves a terminal behind) after a
        sentence that is open, and the same after one that had its terminal."""
        if len(tokens) == 1 and self.kind(tokens[0]) == _OTHER:
            return 0, 0, 1, 0
        kinds = [self.kind(token) for token in tokens]
        outcomes: list[int] = []
        for seen_terminal in (False, True):
            begun = 0
            for kind in kinds:
                if seen_terminal and kind == _OTHER:
                    begun += 1
                    seen_terminal = False
                elif kind == _TERMINAL:
                    seen_terminal = True
            outcomes += [begun, int(seen_terminal)]
        return outcomes[0], outcomes[1], outcomes[2], outcomes[3]


@contextmanager
def _unused_left_out() -> Iterator[None]:
    """What spaCy takes along and nothing here uses: its learning library imports torch wherever it is installed (180 MB
    and a second), its front page the command line (a sixth of a second in every worker). In the block torch counts as
    absent and the command line as loaded, unless they are loaded already."""
    stand_ins = {"torch": None, "spacy.cli.info": SimpleNamespace(info=None)}
    placed = {name: one for name, one in stand_ins.items() if name not in sys.modules}
    sys.modules.update(placed)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in placed:
            del sys.modules[name]


def _search_tail(pattern: re.Pattern):
    """`pattern.search` for patterns that all end at the end of the string, without trying every start.

    spaCy's longest English suffix, lookbehind included, has fewer than 16 characters, but for a run of full stops.
    """
    search = pattern.search

    def find(string: str):
        if len(string) <= 64:
            return search(string)
        return search(string, max(0, len(string.rstrip(".")) - 32))

    return find


@lru_cache(maxsize=1)
def english() -> English:
    """The one tokenizer of this process."""
    return English()
