"""Rows of the tensors of a state, whoever wrote it: one process whole tensors, several each a piece of every one."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from models.artifacts import CorruptArtifact
from models.config import InputError

WHOLE = ("model.safetensors", "optimizer.safetensors")


class Pieces:
    """An open state directory. Nothing is read of a tensor but the rows that are asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._opened = ExitStack()
        self._held: dict[str, list[tuple[int, Any]]] = {}  # by key: first row and file of each piece
        files = sorted(directory.glob("rank-*.safetensors")) or [directory / name for name in WHOLE]
        for path in files:
            file = self._opened.enter_context(safe_open(path, "pt"))
            first_rows = json.loads((file.metadata() or {}).get("first_rows", "{}"))
            for key in file.keys():  # noqa: SIM118 - no mapping
                self._held.setdefault(key, []).append((int(first_rows.get(key, 0)), file))

    def __enter__(self) -> "Pieces":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def expect(self, names: set[str]) -> None:
        """InputError unless the weights of the state are those."""
        weights = {key for key in self._held if "|" not in key}
        if differing := sorted(names ^ weights):
            raise InputError(f"checkpoint and architecture name different weights: {', '.join(differing[:4])}")

    def moments(self) -> list[str]:
        """Keys of the optimizer's tensors, `name|field`."""
        return sorted(key for key in self._held if "|" in key)

    def scalar(self, key: str) -> Tensor:
        """A tensor without dimensions."""
        return self._held[key][0][1].get_tensor(key)

    def read(self, key: str, rows: slice, total: int) -> Tensor:
        """Those rows of a tensor that has `total`; CorruptArtifact when the pieces do not make up that tensor."""
        found, end, shape = [], 0, []
        for first, file in sorted(self._held[key], key=lambda piece: piece[0]):
            piece = file.get_slice(key)
            shape = piece.get_shape()
            if first != end:
                break
            end += shape[0]
            low, high = max(rows.start, first), min(rows.stop, end)
            if low < high:
                found.append(piece[low - first : high - first])
        if end != total:
            raise CorruptArtifact(f"{self.directory}: the pieces of {key} are not its {total} rows; remove this state")
        return torch.cat(found) if found else self._held[key][0][1].get_slice(key)[0:1][:0]
