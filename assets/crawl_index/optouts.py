"""Who does not want to be read: domain ledgers, and what a page's headers and meta elements say.

Honoured are `noai` in X-Robots-Tag and in <meta name=robots>, and the TDM Reservation Protocol (W3C community group
report, 2024): the header `tdm-reservation: 1` and its meta element. `noindex` is about search results, not about text
mining, and is not taken for an opt-out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

HEAD_BYTES = 1 << 16  # a meta element behind this is not looked for
META = re.compile(rb"<meta\s([^>]{1,1024})>", re.IGNORECASE)
ATTRIBUTE = re.compile(rb"""(name|content)\s{0,8}=\s{0,8}(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
NOAI = r"(?:^|[\s,:;])noai(?:$|[\s,;])"


class LedgerUnusable(ValueError):
    """A line of a ledger names no host, or the file cannot be read."""


@dataclass(frozen=True)
class Ledger:
    """Domains that opted out, lower case, each with its reason ("" where none is given); subdomains are meant too, but
    not those of a name that stands with `=` before it."""

    domains: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """A text file: a domain a line, or =host for one host without its subdomains, then a space and the reason, if
        any; # starts a comment. Raises LedgerUnusable."""
        domains = {}
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise LedgerUnusable(f"the ledger {path} cannot be read: {error}") from error
        for number, line in enumerate(lines, 1):
            name, _, reason = line.partition("#")[0].strip().partition(" ")
            if not name:
                continue
            alone, bare = ("=", name[1:]) if name.startswith("=") else ("", name.removeprefix("*."))
            domain = bare.lower().strip(".")
            if not HOST.fullmatch(domain):
                raise LedgerUnusable(f"{path}, line {number}: {name[:80]!r} is no domain")
            domains[alone + domain] = reason.strip()
        return cls(domains)

    def covers(self, host: str) -> str | None:
        """The domain of the ledger that a host belongs to; None if none."""
        bare = host.lower().rstrip(".")
        if f"={bare}" in self.domains:
            return bare
        labels = bare.split(".")
        return next((name for i in range(len(labels)) if (name := ".".join(labels[i:])) in self.domains), None)

    def covered(self, hosts: pl.Series) -> pl.Series:
        """`covers` of each, each distinct host looked up once."""
        distinct = hosts.unique().drop_nulls()
        found = [self.covers(host) for host in distinct]
        return hosts.replace_strict(distinct, pl.Series(found, dtype=pl.String), default=None, return_dtype=pl.String)


def recorded() -> pl.Expr:
    """The opt-out that an index row records: opt_out:noai or opt_out:tdm_reservation; null for none."""
    noai = [pl.col(name).str.to_lowercase().str.contains(NOAI) for name in ("x_robots_tag", "meta_robots")]
    return (
        pl.when(pl.any_horizontal(noai))
        .then(pl.lit("opt_out:noai"))
        .when(pl.col("tdm_reservation").str.strip_chars() == "1")
        .then(pl.lit("opt_out:tdm_reservation"))
    )


def declared(headers: Mapping[str, str], body: bytes) -> str | None:
    """The opt-out that a page itself states, by HTTP headers (lower-case names) or meta elements; None for none."""
    if re.search(NOAI, headers.get("x-robots-tag", "").lower()):
        return "opt_out:noai"
    if headers.get("tdm-reservation", "").strip() == "1":
        return "opt_out:tdm_reservation"
    for match in META.finditer(body[:HEAD_BYTES]):
        values = {name.lower(): (a or b or c) for name, a, b, c in ATTRIBUTE.findall(match[1])}
        name, content = values.get(b"name", b"").lower(), values.get(b"content", b"").decode("latin-1").lower()
        if name == b"robots" and re.search(NOAI, content):
            return "opt_out:noai"
        if name == b"tdm-reservation" and content.strip() == "1":
            return "opt_out:tdm_reservation"
    return None
