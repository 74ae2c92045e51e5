"""Which captures are wanted, as one expression that polars pushes down into the index's Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

PAGES = ("text/html", "application/xhtml+xml")


class BadSelection(ValueError):
    """The selection contradicts itself or can hold for no row."""


@dataclass(frozen=True)
class Selection:
    """Captures of a snapshot; an empty tuple does not restrict.

    languages: ISO 639-3, any of those that the index notes for a page. mimes: detected types, lower case. hosts: exact
    host names; domains: registered domains. digests: base32 sha1. min_bytes, max_bytes: compressed record. limit: so
    many records, the first in the index's own order (by host, reversed), so that a small plan reads a small part of
    the index; None takes all.
    """

    snapshot: str
    languages: tuple[str, ...] = ()
    mimes: tuple[str, ...] = PAGES
    statuses: tuple[int, ...] = (200,)
    hosts: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    min_bytes: int | None = None
    max_bytes: int | None = None
    truncated: bool = True
    limit: int | None = None

    def __post_init__(self) -> None:
        for code in self.languages:
            if not (len(code) == 3 and code.isascii() and code.isalpha() and code.islower()):
                raise BadSelection(f"{code!r} is no ISO 639-3 code: the index notes eng, deu, fra …")
        if self.limit is not None and self.limit < 1:
            raise BadSelection(f"a limit of {self.limit} selects nothing")
        if self.min_bytes is not None and self.max_bytes is not None and self.min_bytes > self.max_bytes:
            raise BadSelection(f"no record has at least {self.min_bytes} and at most {self.max_bytes} bytes")
        if not self.snapshot or not all(c.isalnum() or c in "._-" for c in self.snapshot) or self.snapshot[0] == ".":
            raise BadSelection(f"{self.snapshot!r} names no snapshot, as CC-MAIN-2024-22 does")

    def to_json(self) -> dict[str, Any]:
        """The fields, for the plan's record of what was asked."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def needs(self) -> set[str]:
        """Optional columns of the index that the selection asks about."""
        asked = {
            "content_languages": self.languages,
            "url_host_registered_domain": self.domains,
            "content_truncated": not self.truncated,
        }
        return {name for name, wanted in asked.items() if wanted}

    def wanted(self) -> pl.Expr:
        """Whether a row is selected. Comparisons with columns come plain, so that row groups are skipped by their
        statistics."""
        length = pl.col("warc_record_length")
        parts = [
            pl.col(column).is_in(list(values))
            for column, values in (
                ("fetch_status", self.statuses),
                ("content_mime_detected", self.mimes),
                ("url_host_name", self.hosts),
                ("url_host_registered_domain", self.domains),
                ("content_digest", self.digests),
            )
            if values
        ]
        if self.languages:
            parts.append(pl.col("content_languages").str.contains(rf"(?:^|,)(?:{'|'.join(self.languages)})(?:,|$)"))
        if self.min_bytes is not None:
            parts.append(length >= self.min_bytes)
        if self.max_bytes is not None:
            parts.append(length <= self.max_bytes)
        if not self.truncated:
            parts.append(pl.col("content_truncated").is_null())
        return pl.all_horizontal(parts) if parts else pl.lit(True)


def named(values: Sequence[str] | None, base: Path | None = None) -> tuple[str, ...]:
    """Distinct values, sorted; of @FILE (relative to `base`) those that stand in it. Raises BadSelection."""
    found: set[str] = set()
    for value in values or []:
        if not value.startswith("@"):
            found.add(value)
            continue
        try:
            found.update(Path(base or "", value[1:]).read_text("utf-8").split())
        except (OSError, UnicodeDecodeError) as error:
            raise BadSelection(f"{value[1:]} cannot be read: {error}") from error
    return tuple(sorted(found))
