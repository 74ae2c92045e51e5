"""Exports of models that had read a page: they are marked where they lie, as checkpoints are, and never deleted.

An export is a copy of weights in a folder of somebody's choice. Where the recorded folder still holds what was written
there, a note is laid into it that says which takedown makes it outdated; where it does not, only its name is reported.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from assets.temporary import write_whole

NOTE = "OUTDATED.md"


def mark(held: dict[str, Any], number: int) -> dict[str, Any]:
    """One export among what a takedown found, marked if it is there; the same with `marked`, whether it was."""
    directory = Path(held["place"])
    if not _is_ours(directory, held["version"]):
        return {**held, "marked": False}
    line = (
        f"Outdated because of takedown {number}: the model {held['version']} had read pages that were removed since."
        " Do not pass it on; export it again once it was made without them.\n"
    )
    note = directory / NOTE
    said = note.read_text() if note.is_file() else ""
    if line not in said:
        write_whole(note, (said + line).encode())
    return {**held, "marked": True}


def _is_ours(directory: Path, digest: str) -> bool:
    """Whether the folder is an export of that model, by its manifest, and may be written to."""
    try:
        manifest = json.loads((directory / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("parent") == digest and os.access(directory, os.W_OK)
