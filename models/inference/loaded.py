"""Models and tokenizers in memory: loaded and verified when first asked for, the least recently used leave first.

A directory is known by its path and its manifest's digest. When it is withdrawn or another one takes its place, what
was loaded of it is not used any more.
"""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from models.artifacts import digest, read_manifest
from models.config import InputError
from models.data.tokenizer import load_tokenizer
from models.inference.pieces import token_spellings
from models.nets.transformer import Transformer
from models.training.checkpoint import load_model

TOKENIZERS_KEPT = 16


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer and the bytes of each of its ids."""

    tokenizer: Tokenizer
    spellings: list[bytes]
    longest: int  # bytes of the longest token


@dataclass(frozen=True)
class LoadedModel:
    """A model with its own tokenizer."""

    model: Transformer
    text: LoadedTokenizer
    digest: str  # of its manifest
    bytes: int  # that its weights take


class TooLarge(InputError):
    """The model does not fit into the memory that models may take."""


class Models:
    """At most `max_bytes` of weights, and a few tokenizers."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._models: OrderedDict[Path, LoadedModel] = OrderedDict()
        self._tokenizers: OrderedDict[tuple[Path, int], LoadedTokenizer] = OrderedDict()

    def get(self, directory: Path | str) -> LoadedModel:
        """The model of a directory. Raises InputError, TooLarge, CorruptArtifact."""
        path = Path(directory)
        try:
            current = digest(path)
        except InputError:
            self._models.pop(path, None)
            raise
        loaded = self._models.get(path)
        if loaded is None or loaded.digest != current:
            self._models.pop(path, None)
            loaded = self._models[path] = self._load(path, current)
        self._models.move_to_end(path)
        return loaded

    def tokenizer(self, directory: Path | str) -> LoadedTokenizer:
        """The tokenizer of a tokenizer or model directory. Raises InputError."""
        path = Path(directory)
        file = path / "tokenizer.json"
        key = (path, file.stat().st_mtime_ns if file.is_file() else 0)
        loaded = self._tokenizers.get(key)
        if loaded is None:
            tokenizer = load_tokenizer(path)
            spellings = token_spellings(tokenizer, path)
            loaded = self._tokenizers[key] = LoadedTokenizer(tokenizer, spellings, max(map(len, spellings)))
        self._tokenizers.move_to_end(key)
        while len(self._tokenizers) > TOKENIZERS_KEPT:
            self._tokenizers.popitem(last=False)
        return loaded

    def unload(self, directory: Path | str) -> bool:
        """Lets a model go; whether it was there. Streams that speak with it end undisturbed."""
        return self._models.pop(Path(directory), None) is not None

    def held(self) -> list[tuple[Path, LoadedModel]]:
        """What is in memory, the least recently used first."""
        return list(self._models.items())

    def _load(self, path: Path, current: str) -> LoadedModel:
        wanted = sum(entry["bytes"] for name, entry in _weights(path))
        if wanted > self.max_bytes:
            raise TooLarge(f"{path}: its weights take {wanted:,} B, models may take {self.max_bytes:,} B")
        while self._models and wanted + sum(one.bytes for one in self._models.values()) > self.max_bytes:
            self._models.popitem(last=False)
        model, _ = load_model(path)
        taken = sum(parameter.nbytes for parameter in model.parameters())
        return LoadedModel(model, self.tokenizer(path), current, taken)


def _weights(path: Path) -> list[tuple[str, dict[str, int]]]:
    files = read_manifest(path)["files"]
    return [(name, entry) for name, entry in files.items() if name.endswith(".safetensors")]
