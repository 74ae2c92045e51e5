"""What a source has published: the names of its CC-MAIN snapshots, and the days and files of its news crawl."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from datetime import date
from itertools import groupby
from pathlib import Path

from assets.crawl_index.files import TABLE, IndexMissing, IndexUnreadable, web_file
from assets.crawl_index.subscription import COMMON_CRAWL, MAIN, Subscription
from assets.crawl_index.whole import DAY_OF_NEWS, listed_files
from assets.parts import filesystem

COLLECTIONS = "collinfo.json"
COMMON_CRAWL_COLLECTIONS = f"https://index.commoncrawl.org/{COLLECTIONS}"
MOST_MONTHS = 1200


def main_snapshots(index: str, published: str | None, options: dict[str, str] | None = None) -> list[str]:
    """Names of the CC-MAIN snapshots that have an index, oldest first.

    published: URL or file of a collinfo.json, a list of objects with an `id`; else of a web server its own, of folders
    and buckets the folders `crawl=…` of the index. Raises IndexMissing, IndexUnreadable.
    """
    if published or index.startswith(("http://", "https://")):
        usual = COMMON_CRAWL_COLLECTIONS if index.rstrip("/") == COMMON_CRAWL else posixpath.join(index, COLLECTIONS)
        names = _collections(published or usual)
    else:
        fs, base = filesystem(index, options)
        folder = f"{base.rstrip('/')}/{TABLE}"
        paths = fs.ls(folder, detail=False, refresh=True) if fs.isdir(folder) else []
        names = [posixpath.basename(path.rstrip("/")).removeprefix("crawl=") for path in paths]
    found = sorted(name for name in names if MAIN.fullmatch(name))
    if not found:
        raise IndexMissing(f"{published or index} names no CC-MAIN snapshot")
    return found


def _collections(place: str) -> list[str]:
    if place.startswith(("http://", "https://")):
        content = web_file(place)
    else:
        content = Path(place).read_bytes() if Path(place).is_file() else None
    if content is None:
        raise IndexMissing(f"there is no {place}: say with `published` where the snapshots are listed")
    try:
        return [str(one["id"]) for one in json.loads(content)]
    except (ValueError, TypeError, KeyError) as error:
        raise IndexUnreadable(f"{place} is no list of snapshots: {error}") from error


def news_days(one: Subscription, options: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """(CC-NEWS-YYYY-MM-DD, its files) of every day since the subscription's first, earliest first.

    Months are asked for one after the other until one has no list, so no clock is looked at. Raises IndexMissing where
    already the first has none, IndexUnreadable, FetchIncomplete.
    """
    assert one.since
    for number in range(MOST_MONTHS):
        years, month = divmod(one.since.month - 1 + number, 12)
        name = f"CC-NEWS-{one.since.year + years:04}-{month + 1:02}"
        try:
            files = listed_files(one.source_root, name, one.kind, storage_options=options)
        except IndexMissing:
            if number == 0:
                raise
            return
        for day, inside in groupby(sorted(files, key=lambda path: (_day(path) or "", path)), key=_day):
            if day and date.fromisoformat(day) >= one.since:
                yield f"CC-NEWS-{day}", list(inside)


def _day(path: str) -> str | None:
    found = DAY_OF_NEWS.search(path)
    return f"{found[1]}-{found[2]}-{found[3]}" if found else None
