"""Which pages of keys and values belong to whom: page tables, shared prefixes, what is kept for later and what goes.

A page holds the keys and values of PAGE positions. It is free, or held by one or more sequences, or kept: held by
nobody, but its content is that of a known prefix, and it goes when its room is needed, the longest unused first.

A full page is known by a chain of hashes, its tokens after those of all pages before it. A sequence whose prompt begins
with known full pages holds the very pages; nobody writes into a full one. Of a page that agrees only in its first
tokens, a reader gets a copy, for it writes behind them at once. No tensor is touched here: the caller copies pages.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from kernels.decode.step import PAGE
from models.config import InputError

ROOT = b""  # the hash of nothing
SIBLINGS = 64  # of the known pages after one prefix, how many are looked at, the newest first


class PoolTooSmall(InputError):
    """A sequence can never fit into the pool; the message gives the arithmetic."""


class PoolExhausted(RuntimeError):
    """A page was asked for that no reservation covers; nothing was changed."""


def chained(parent: bytes, tokens: Sequence[int]) -> bytes:
    """The hash of a page: of its tokens and of all before them."""
    return hashlib.sha256(parent + b"".join(int(token).to_bytes(8, "little") for token in tokens)).digest()


def pages_of(tokens: int) -> int:
    """Pages that so many positions take."""
    return -(-tokens // PAGE)


@dataclass
class Table:
    """The pages of one sequence, and what of its tokens they hold."""

    pages: list[int] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)  # of its full pages that are known
    reserved: int = 0  # pages that it may still ask for


@dataclass(frozen=True)
class Found:
    """What is known of a prompt: `tokens` of it are in the table's pages already; `copy`: from which page to which."""

    table: Table
    tokens: int
    copy: tuple[int, int] | None


@dataclass
class _Known:
    """What a page is known to hold: these tokens after the pages of this hash."""

    parent: bytes
    tokens: tuple[int, ...]


class Pages:
    """`total` pages. Sequences reserve what they may need before they begin, so that none is ever left without."""

    def __init__(self, total: int, *, share: bool = True) -> None:
        """share: whether prefixes are looked for; without it every sequence reads its whole prompt."""
        self.total, self.share = total, share
        self._holders = [0] * total
        self._free = list(range(total - 1, -1, -1))
        self._kept: OrderedDict[int, None] = OrderedDict()  # known pages that nobody holds, the longest unused first
        self._known: dict[int, _Known] = {}
        self._by_hash: dict[bytes, int] = {}
        self._children: dict[bytes, dict[int, None]] = {}  # known pages after the pages of this hash
        self._reserved = 0
        self.evicted = 0  # known pages that had to go, so far

    @property
    def held(self) -> int:
        """Pages that sequences hold."""
        return self.total - len(self._free) - len(self._kept)

    @property
    def available(self) -> int:
        """Pages that may be reserved: free or kept, and promised to nobody."""
        return len(self._free) + len(self._kept) - self._reserved

    def check(self, tokens: int, bytes_per_page: int) -> None:
        """Raises PoolTooSmall where a sequence of so many tokens could not fit into an empty pool."""
        if (needed := pages_of(tokens)) > self.total:
            raise PoolTooSmall(
                f"{tokens:,} tokens take {needed:,} pages of {PAGE} tokens, {needed * bytes_per_page:,} B of keys and"
                f" values; the pool has {self.total:,} pages, {self.total * bytes_per_page:,} B: ask for fewer tokens"
                " or give the pool more memory"
            )

    def begin(self, prompt: Sequence[int], tokens: int) -> Found | None:
        """A table for a sequence of up to `tokens` tokens that begins with `prompt`; None while there is no room.

        At least one token of the prompt is left to be read, for its logits are wanted.
        """
        full, hashes = self._full(prompt)
        kept = sum(self._holders[page] == 0 for page in full)
        needed = pages_of(tokens) - len(full)
        if needed + kept > self.available:
            return None
        for page in full:
            self._hold(page)
        table = Table(list(full), hashes, needed)
        self._reserved += needed
        done, copy = len(full) * PAGE, None
        source, agreeing = self._partial(hashes[-1] if hashes else ROOT, prompt[done : len(prompt) - 1])
        if agreeing and (self._holders[source] or len(self._free) + len(self._kept) > 1):  # room beside the source
            self._hold(source)
            copy = (source, self.grow(table))
            self._let_go(source)
            done += agreeing
        return Found(table, done, copy)

    def grow(self, table: Table) -> int:
        """One more page at the table's end, from its reservation; a kept page goes when none is free."""
        if table.reserved == 0:
            raise PoolExhausted("a sequence asks for more pages than it reserved")
        if not self._free:
            page, _ = self._kept.popitem(last=False)
            self._forget(page)
            self.evicted += 1
            self._free.append(page)
        page = self._free.pop()
        self._holders[page] = 1
        table.reserved -= 1
        self._reserved -= 1
        table.pages.append(page)
        return page

    def learn(self, table: Table, tokens: Sequence[int]) -> None:
        """Makes known what the table's pages hold: `tokens` are all tokens whose keys and values are written."""
        if not self.share:
            return
        for place in range(len(table.hashes), pages_of(len(tokens))):
            part = tuple(tokens[place * PAGE : (place + 1) * PAGE])
            parent = table.hashes[-1] if table.hashes else ROOT
            self._remember(table.pages[place], parent, part)
            if len(part) == PAGE:
                table.hashes.append(chained(parent, part))

    def end(self, table: Table) -> None:
        """Gives back the pages and what was reserved. Known pages are kept, the last ones the first to go."""
        self._reserved -= table.reserved
        for page in reversed(table.pages):
            self._let_go(page)
        table.pages, table.reserved = [], 0

    def _full(self, prompt: Sequence[int]) -> tuple[list[int], list[bytes]]:
        """The known full pages at the beginning of a prompt, all but its last token, and their hashes."""
        pages: list[int] = []
        hashes: list[bytes] = []
        if self.share:
            for place in range((len(prompt) - 1) // PAGE):
                parent = hashes[-1] if hashes else ROOT
                name = chained(parent, prompt[place * PAGE : (place + 1) * PAGE])
                if name not in self._by_hash:
                    break
                pages.append(self._by_hash[name])
                hashes.append(name)
        return pages, hashes

    def _partial(self, parent: bytes, rest: Sequence[int]) -> tuple[int, int]:
        """The known page after `parent` that agrees with most of the first of `rest`, and in how many tokens."""
        best, most = -1, 0
        siblings = self._children.get(parent, {}) if self.share else {}
        for page in islice(reversed(siblings), SIBLINGS):
            agreeing = agreement(self._known[page].tokens, rest)
            if agreeing > most:
                best, most = page, agreeing
        return best, most

    def _remember(self, page: int, parent: bytes, tokens: tuple[int, ...]) -> None:
        self._forget(page)
        name = chained(parent, tokens) if len(tokens) == PAGE else None
        if name in self._by_hash:  # somebody else wrote the same at the same time: one of them is enough
            return
        if name is not None:
            self._by_hash[name] = page
        self._known[page] = _Known(parent, tokens)
        self._children.setdefault(parent, {})[page] = None

    def _forget(self, page: int) -> None:
        known = self._known.pop(page, None)
        if known is None:
            return
        siblings = self._children[known.parent]
        del siblings[page]
        if not siblings:
            del self._children[known.parent]
        if len(known.tokens) == PAGE:
            del self._by_hash[chained(known.parent, known.tokens)]

    def _hold(self, page: int) -> None:
        self._kept.pop(page, None)
        self._holders[page] += 1

    def _let_go(self, page: int) -> None:
        self._holders[page] -= 1
        if self._holders[page]:
            return
        if page in self._known:
            self._kept[page] = None
        else:
            self._free.append(page)


def agreement(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens two sequences share."""
    for place, (first, second) in enumerate(zip(one, other)):
        if first != second:
            return place
    return min(len(one), len(other))
