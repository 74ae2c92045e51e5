"""The nights of a home: a numbered folder each, whole or not there.

`<home>/nights/00000007/report.json` says what the seventh night found, without a date or a measurement: the same crawl,
requests and settings give the same bytes. `cost.json` beside it holds what was measured, `README.md` and `nights.png`
show both.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from assets.parts import sync
from assets.temporary import owned_folder

FOLDER, REPORT, COST, PAGE, PLOT = "nights", "report.json", "cost.json", "README.md", "nights.png"


class NightUnreadable(RuntimeError):
    """The last night's report is damaged, so nobody can say what came since."""


def newest(home: Path) -> Path | None:
    """The folder of the last night; None before the first."""
    found = sorted((home / FOLDER).glob("[0-9]*"))
    return found[-1] if found else None


def read(night: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """(report, cost) of a night, empty for None. Raises NightUnreadable."""
    if night is None:
        return {}, {}
    try:
        return json.loads((night / REPORT).read_bytes()), json.loads((night / COST).read_bytes())
    except (OSError, ValueError) as error:
        todo = "restore it, or remove the folder, and the next report starts before it"
        raise NightUnreadable(f"{night} cannot be read ({error}): {todo}") from error


def write(home: Path, report: dict[str, Any], cost: dict[str, Any], page: str, plot: bytes) -> Path:
    """Publishes a night under the number that its report says; returns its folder. Raises FileExistsError."""
    parent = home / FOLDER
    final = parent / f"{report['night']:08d}"
    with owned_folder(parent, "night") as hidden:
        for name, value in ((REPORT, report), (COST, cost)):
            (hidden / name).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
        (hidden / PAGE).write_text(page)
        (hidden / PLOT).write_bytes(plot)
        for path in [*hidden.iterdir(), hidden]:
            sync(path)
        if final.exists():
            raise FileExistsError(f"{final} is there already: another night was reported meanwhile")
        os.rename(hidden, final)
    sync(parent)
    return final
