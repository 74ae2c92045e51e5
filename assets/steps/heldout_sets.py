"""Held-out sets from elsewhere: texts that no crawl of ours holds, on which corpora are compared.

The folder is STEMMA_HELDOUT_SETS; without it there are none. Files that Stemma knows by name are taken wherever they
lie in it (assets/heldout_sets/known.yaml), or those that its own sets.yaml lists.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

KNOWN = Path(__file__).parents[1] / "heldout_sets" / "known.yaml"
SETS = "sets.yaml"


class HeldoutSetError(ValueError):
    """Held-out sets that cannot be read; the message names the file and what is wrong."""


class HeldoutSet(BaseModel):
    """One set: a jsonl file (gzip or plain) with a text a line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    file: str
    text: str = Field("text", description="field that holds the text")
    where: dict[str, Any] = Field(default_factory=dict, description="values that a line's fields must have to count")
    licence: str = ""
    source: str = ""


@dataclass(frozen=True)
class Held:
    """The texts of one set, and what is recorded of it."""

    declared: HeldoutSet
    texts: list[str]
    sha256: str  # of the file

    @property
    def described(self) -> dict[str, Any]:
        """What a result says of it: never a text."""
        return {**self.declared.model_dump(exclude={"text"}), "sha256": self.sha256, "texts": len(self.texts)}


def load(folder: str | Path | None) -> list[Held]:
    """The sets of a folder, in the order listed; none where there is no folder. Raises HeldoutSetError."""
    if folder is None:
        return []
    root = Path(folder)
    if not root.is_dir():
        raise HeldoutSetError(f"{root} is no folder of held-out sets: correct STEMMA_HELDOUT_SETS or unset it")
    own = root / SETS
    listed = _listed(own if own.is_file() else KNOWN)
    found = []
    for one in listed:
        places = [root / one.file] if own.is_file() else sorted(root.rglob(one.file))
        if own.is_file() and not places[0].is_file():
            raise HeldoutSetError(f"{own}: the file {one.file} of the set {one.name} is not there")
        found += [_read(one, place) for place in places[:1]]
    if not found:
        known = ", ".join(dict.fromkeys(one.file for one in listed))
        raise HeldoutSetError(f"{root} has no {SETS} and none of the files that are known by name: {known}")
    return found


def digest(folder: str | Path | None) -> str:
    """32 hex digits that name the sets: their declarations and their files' bytes, never places."""
    return hashlib.sha256(json.dumps([held.described for held in load(folder)]).encode()).hexdigest()[:32]


def _listed(path: Path) -> list[HeldoutSet]:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content["sets"], list):
            raise TypeError("its sets are no list")
        listed = [HeldoutSet.model_validate(entry) for entry in content["sets"]]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise HeldoutSetError(f"{path}: not a mapping with a list `sets`: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise HeldoutSetError(f"{path}: {': '.join(map(str, first['loc']))}: {first['msg']}") from error
    names = [one.name for one in listed]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise HeldoutSetError(f"{path}: several sets are called {', '.join(doubled)}")
    return listed


def _read(one: HeldoutSet, path: Path) -> Held:
    try:
        content = path.read_bytes()
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()
        rows = [json.loads(line) for line in lines]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise HeldoutSetError(f"{path.name}: not readable as jsonl: {error}") from error
    texts = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get(one.text), str):
            raise HeldoutSetError(f"{path.name}, line {number}: no text in the field {one.text}")
        if row[one.text] and all(row.get(name) == value for name, value in one.where.items()):
            texts.append(row[one.text])
    if not texts:
        raise HeldoutSetError(f"{path.name}: no line is of the set {one.name} ({one.where})")
    return Held(one, texts, hashlib.sha256(content).hexdigest())
