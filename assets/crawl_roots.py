"""What lies under a crawl root: its snapshots and their WARC files, by name and size; no file is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assets.parts import filesystem

SUFFIXES = (".warc", ".warc.gz", ".warc.wet", ".warc.wet.gz", ".wet.gz", ".wet")


class CrawlMissing(LookupError):
    """The crawl root, or a snapshot of it, is not there or holds no WARC file."""


class CrawlAway(CrawlMissing):
    """The crawl root does not answer; what was read of it stays as it is."""


def snapshots(root: str) -> list[str]:
    """Names of the snapshots under a crawl root: its folders that hold WARC files, sorted. Raises CrawlMissing."""
    fs, base = filesystem(root)
    with _answering(root):
        if not fs.isdir(base):
            raise CrawlMissing(f"the crawl root {root} is not a folder")
        found = {path.removeprefix(base.rstrip("/") + "/").split("/")[0] for path in _warc_files(fs, base)}
    if not found:
        raise CrawlMissing(f"the crawl root {root} holds no WARC file: expected {root}/<snapshot>/*.warc.gz")
    return sorted(found)


def snapshot_folders(root: str) -> list[str]:
    """Names of the folders under a crawl root, sorted, whatever they hold. Raises CrawlMissing."""
    fs, base = filesystem(root)
    with _answering(root):
        if not fs.isdir(base):
            raise CrawlMissing(f"the crawl root {root} is not a folder")
        entries = fs.ls(base, detail=True)
    return sorted(one["name"].rstrip("/").split("/")[-1] for one in entries if one["type"] == "directory")


def listing(root: str, snapshot: str) -> list[tuple[str, int]]:
    """(path below the root, bytes) of every WARC file of a snapshot, sorted. Raises CrawlMissing."""
    fs, base = filesystem(root)
    with _answering(root):
        files = _warc_files(fs, f"{base.rstrip('/')}/{snapshot}") if fs.isdir(base) else []
        if not files:
            raise CrawlMissing(f"{root} holds no WARC file of the snapshot {snapshot}")
        start = base.rstrip("/") + "/"
        return [(path.removeprefix(start), int(fs.info(path)["size"])) for path in files]


@contextmanager
def _answering(root: str) -> Iterator[None]:
    """What a crawl root that does not answer raises becomes CrawlAway."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in ("botocore", "aiobotocore"):
            raise
        raise CrawlAway(f"the crawl root {root} does not answer: {' '.join(str(error).split())[:200]}") from error


def _warc_files(fs, folder: str) -> list[str]:
    fs.invalidate_cache()
    found = fs.find(folder)
    return sorted(path for path in found if path.endswith(SUFFIXES) and path.count("/") > folder.count("/"))


def followed(home: Path, snapshot: str) -> list[dict[str, Any]]:
    """What the home's subscriptions ask of a snapshot; nothing is looked up. Raises SubscriptionsUnusable."""
    from assets.crawl_index.subscriptions import find, load

    return [one.asks(snapshot) for one in load(find(home)) if one.concerns(snapshot)]
