"""One subscription: which source is followed, what is taken of it, how much a night, and what it may cost.

`subscriptions.example.yaml` beside this file is a whole file of them with every field.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from assets.crawl_index.selection import PAGES, BadSelection, Selection, named

COMMON_CRAWL = "https://data.commoncrawl.org"
MAIN = re.compile(r"CC-MAIN-\d{4}-\d\d")
NEWS_DAY = re.compile(r"CC-NEWS-\d{4}-\d\d-\d\d")

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Wanted(_Strict):
    """Fields of a Selection, as `stemma crawl plan` takes them; lists may name a file of values as @FILE."""

    languages: list[str] = Field(default=[], description="ISO 639-3")
    hosts: list[str] = []
    domains: list[str] = Field(default=[], description="registered domains")
    mimes: list[str] = Field(default=list(PAGES), description="detected types; [any] takes all")
    statuses: list[int] = [200]
    digests: list[str] = Field(default=[], description="base32 sha1")
    min_bytes: int | None = Field(default=None, ge=0, description="of the compressed record")
    max_bytes: int | None = Field(default=None, ge=1, description="of the compressed record")
    whole_only: bool = Field(default=False, description="leave out what the crawler cut off")
    limit: int | None = Field(default=None, ge=1, description="records of a snapshot in all")


class PerNight(_Strict):
    """The size of a slice, by one of three measures."""

    records: int | None = Field(default=None, ge=1)
    bytes: int | None = Field(default=None, ge=1, description="of the compressed records; at least one record comes")
    files: int | None = Field(default=None, ge=1, description="whole WARC or WET files, by the published list of paths")

    @model_validator(mode="after")
    def _one(self) -> PerNight:
        if sum(value is not None for value in (self.records, self.bytes, self.files)) != 1:
            raise ValueError("say exactly one of records, bytes and files")
        return self


class Budget(_Strict):
    """US dollars that are never passed; what was spent on retries counts."""

    slice_usd: float | None = Field(default=None, ge=0, description="of one slice")
    snapshot_usd: float | None = Field(default=None, ge=0, description="of all slices of a snapshot")


class Subscription(_Strict):
    """What is followed. Paths in it are relative to the folder of the file that it stands in (`base`)."""

    name: Name
    follow: Literal["newest", "news"] | list[str] = Field(
        description="newest: the newest CC-MAIN snapshot that is published; news: the days of CC-NEWS; or names"
    )
    source: str = Field(
        default=COMMON_CRAWL, min_length=1, description="s3://, https:// or a folder, laid out as Common Crawl"
    )
    index: str | None = Field(default=None, description="where the columnar index lies (default: the source)")
    published: str | None = Field(default=None, description="URL or file of collinfo.json (default: that of the index)")
    since: date | None = Field(default=None, description="first day of news")
    kind: Literal["warc", "wet"] = Field(default="warc", description="of whole files")
    select: Wanted = Wanted()
    per_night: PerNight
    snapshots_per_night: int = Field(
        default=1, ge=1, description="snapshots (days of news) that one night goes on with"
    )
    budget: Budget = Budget()
    price: str | None = Field(default=None, description="line of the price table (default: by the source)")
    prices: Path | None = Field(default=None, description="another price table")
    opt_out: list[Path] = Field(default=[], description="ledgers of domains that opted out")
    held: list[str] = Field(
        default=[], description="homes of lakes, Parquet files or lists: digests not to fetch again"
    )
    base: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _agrees(self) -> Subscription:
        if self.by_files and self.select != Wanted():
            raise ValueError("whole files cannot be selected from: leave select out, or take records")
        if self.follow == "news" and not (self.by_files and self.since):
            raise ValueError("the news crawl has no index: give since and per_night.files")
        if self.follow != "news" and self.since:
            raise ValueError("since is for news alone")
        if not self.follow:
            raise ValueError("name at least one snapshot")
        if not self.by_files:
            self.selection("CC-MAIN-2024-22")
        return self

    @property
    def by_files(self) -> bool:
        """Whether whole files are taken, and no index is read."""
        return self.per_night.files is not None

    @property
    def index_root(self) -> str:
        return self.place(self.index or self.source)

    @property
    def source_root(self) -> str:
        return self.place(self.source)

    def place(self, root: str) -> str:
        """A URL as it is, a path from the file's folder."""
        return root if "://" in root else str((self.base / root).absolute())

    def place_of(self, path: Path) -> Path:
        """A path from the file's folder."""
        return self.base / path

    def selection(self, snapshot: str, limit: int | None = None) -> Selection:
        """What is wanted of a snapshot. Raises BadSelection."""
        one = self.select
        lists = {name: named(getattr(one, name), self.base) for name in ("languages", "hosts", "domains", "digests")}
        return Selection(
            snapshot,
            mimes=() if "any" in one.mimes else tuple(one.mimes),
            statuses=tuple(one.statuses),
            min_bytes=one.min_bytes,
            max_bytes=one.max_bytes,
            truncated=not one.whole_only,
            limit=limit,
            **lists,
        )

    def asks(self, snapshot: str) -> dict[str, Any]:
        """What decides which records come of a snapshot, whatever a night's share of them is."""
        what = {"kind": self.kind} if self.by_files else self.selection(snapshot, self.select.limit).to_json()
        return {"subscription": self.name, "source": self.source, "index": self.index or self.source, "select": what}

    def concerns(self, snapshot: str) -> bool:
        """Whether the snapshot could be one that is followed; nothing is looked up."""
        if isinstance(self.follow, list):
            return snapshot in self.follow
        form = MAIN if self.follow == "newest" else NEWS_DAY
        since = f"CC-NEWS-{self.since}"
        return bool(form.fullmatch(snapshot)) and (self.follow == "newest" or snapshot >= since)


__all__ = ["COMMON_CRAWL", "MAIN", "NEWS_DAY", "BadSelection", "Budget", "PerNight", "Subscription", "Wanted"]
