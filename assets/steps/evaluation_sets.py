"""Evaluation sets that pages are compared with: a folder of jsonl files, and a sets.yaml that says what is in them.

The folder is STEMMA_EVALUATION_SETS, or the samples that come with Stemma. Without a sets.yaml, files that Stemma knows
by name (assets/evaluation_sets/known.yaml) are taken wherever they lie in it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assets.temporary import Owned

if TYPE_CHECKING:
    from kernels.text.contamination import Index, Item

BUNDLED = Path(__file__).parents[1] / "evaluation_sets"
SETS, KNOWN = "sets.yaml", "known.yaml"


class EvaluationSetError(ValueError):
    """Evaluation sets that cannot be read; the message names the file and what is wrong."""


class EvaluationSet(BaseModel):
    """One set: a jsonl file (gzip or plain) with an item a line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_-]+$")
    file: str
    questions: list[str] = Field(default_factory=list, description="fields whose text is what is asked")
    answers: list[str] = Field(default_factory=list, description="fields whose text is what is answered")
    id: str | None = Field(default=None, description="field that names the item; else its line, from 0")
    licence: str = ""
    source: str = ""


@dataclass(frozen=True)
class EvaluationSets:
    """The sets of one folder. `digest` names what is looked for: fields and files' bytes, never places."""

    sets: tuple[tuple[EvaluationSet, Path], ...]
    digest: str

    def items(self) -> Iterator[Item]:
        """Questions and answers of every item. Raises EvaluationSetError."""
        from kernels.text.contamination import Item

        for one, path in self.sets:
            for number, row in enumerate(_rows(path)):
                name = str(row.get(one.id, number)) if one.id else str(number)
                for part, fields in (("question", one.questions), ("answer", one.answers)):
                    missing = [field for field in fields if not isinstance(row.get(field), str)]
                    if missing:
                        raise EvaluationSetError(f"{path.name}, line {number + 1}: no text in the field {missing[0]}")
                    if fields:
                        yield Item(one.name, name, part, "\n".join(row[field] for field in fields))


def load(folder: str | os.PathLike[str] | None = None) -> EvaluationSets:
    """The sets of a folder; of STEMMA_EVALUATION_SETS or the bundled samples by default. Raises EvaluationSetError."""
    root = Path(folder or os.environ.get("STEMMA_EVALUATION_SETS") or BUNDLED)
    if not root.is_dir():
        raise EvaluationSetError(f"{root} is no folder of evaluation sets")
    written = root / SETS
    listed = _listed(written if written.is_file() else BUNDLED / KNOWN)
    found: list[tuple[EvaluationSet, Path]] = []
    for one in listed:
        places = [root / one.file] if written.is_file() else sorted(root.rglob(one.file))
        if written.is_file() and not places[0].is_file():
            raise EvaluationSetError(f"{written}: the file {one.file} of the set {one.name} is not there")
        found += [(one, place) for place in places[:1]]
    if not found:
        known = ", ".join(one.file for one in listed)
        raise EvaluationSetError(f"{root} has no {SETS} and none of the files that are known by name: {known}")
    decisive = [
        [one.name, one.questions, one.answers, one.id, hashlib.sha256(path.read_bytes()).hexdigest()]
        for one, path in found
    ]
    return EvaluationSets(tuple(found), hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:32])


def index_file(sets: EvaluationSets, folder: Path, version: str) -> Path:
    """The sets' index as a file that workers read, built if it is not in the folder. version: of the code that builds.

    Raises EvaluationSetError.
    """
    from kernels.text.contamination import build

    path = folder / f"evaluation-sets-{sets.digest[:16]}-{version[:16]}.npz"
    if not path.is_file():
        items = list(sets.items())
        names = json.dumps([[item.set, item.item, item.part] for item in items]).encode()
        temporary = Owned(folder, path.name)
        try:
            with open(temporary.path, "wb") as file:
                np.savez(file, allow_pickle=False, names=np.frombuffer(names, np.uint8), **build(items).arrays())
            os.replace(temporary.path, path)
        finally:
            temporary.drop()
    return path


def read_index(path: str | os.PathLike[str]) -> tuple[Index, list[tuple[str, str, str]]]:
    """The index of such a file, and (set, item, part) of each of its items."""
    from kernels.text.contamination import Index

    with np.load(path, allow_pickle=False) as arrays:
        content = dict(arrays)
    names = json.loads(content.pop("names").tobytes())
    return Index(**content), [(name, item, part) for name, item, part in names]


def _listed(path: Path) -> list[EvaluationSet]:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = content["sets"]
        listed = [EvaluationSet.model_validate(entry) for entry in entries]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise EvaluationSetError(f"{path}: not a mapping with a list `sets`: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ": ".join(str(piece) for piece in first["loc"])
        raise EvaluationSetError(f"{path}: {place}: {first['msg']}") from error
    names = [one.name for one in listed]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise EvaluationSetError(f"{path}: several sets are called {', '.join(doubled)}")
    return listed


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        content = path.read_bytes()
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()
        rows = [json.loads(line) for line in lines]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise EvaluationSetError(f"{path.name}: not readable as jsonl: {error}") from error
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise EvaluationSetError(f"{path.name}, line {number + 1}: not an object")
        yield row
