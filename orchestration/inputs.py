"""The files that a person names for `stemma corpus`: WARC and WET files, WACZ files, and folders of them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assets.crawl_roots import SUFFIXES
from assets.steps.pipeline import InputMissing

WACZ = ".wacz"

__all__ = ["InputMissing", "expand", "gathered"]


def expand(paths: list[Path]) -> list[Path]:
    """Files as they are; of folders every WARC, WET and WACZ file below them, sorted."""
    return [
        file
        for path in paths
        for file in (
            sorted(p for p in path.rglob("*") if p.name.endswith((*SUFFIXES, WACZ))) if path.is_dir() else [path]
        )
    ]


@contextmanager
def gathered(paths: list[Path], out: Path) -> Iterator[list[Path]]:
    """The WARC and WET files of the paths. Where a WACZ is among them, all stand in a hidden folder beside `out`, laid
    out as under their common folder: the WARC files of a WACZ in a folder of its name, the others as links.

    Raises InputMissing, BadWacz.
    """
    from assets.crawl_index.wacz import unpack

    files = sorted({Path(os.path.abspath(path)) for path in expand(paths)})
    if not any(path.name.endswith(WACZ) for path in files):
        yield files
        return
    for path in files:
        if not path.is_file():
            raise InputMissing(f"{path}: no such file")
    common = Path(os.path.commonpath([path.parent for path in files]))
    target = Path(os.path.abspath(out))
    folder, found = target.parent / f".{target.name}.inputs", []
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for path in files:
            place = folder / path.relative_to(common)
            if path.name.endswith(WACZ):
                found += [place / name for name, _, _ in unpack(path, place)]
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path)
                found.append(place)
        yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)
