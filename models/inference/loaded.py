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
from models.inference.engine import Capacity, Engine, can_run
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
    """At most `max_bytes` of weights, and a few tokenizers. `capacity`: what the engine of each model may take."""

    def __init__(self, max_bytes: int, capacity: Capacity | None = None) -> None:
        self.max_bytes, self.capacity = max_bytes, capacity or Capacity()
        self._engines: dict[str, Engine] = {}  # by the digest of models in memory
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

    def engine(self, loaded: LoadedModel) -> Engine | None:
        """What draws many texts of a model at once; None for nets that it does not know, and where its copy of the
        weights has no room."""
        engine = self._engines.get(loaded.digest)
        if engine is None and can_run(loaded.model):
            if not self._make_room(2 * loaded.bytes, loaded):
                return None
            engine = self._engines[loaded.digest] = Engine(loaded.model, self.capacity)
        return engine

    def drop(self, engine: Engine) -> None:
        """Forgets an engine; the next text of its model gets another one."""
        self._engines = {digest: one for digest, one in self._engines.items() if one is not engine}

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
        gone = self._models.pop(Path(directory), None)
        self._tidy()
        return gone is not None

    def held(self) -> list[tuple[Path, LoadedModel]]:
        """What is in memory, the least recently used first."""
        return list(self._models.items())

    def _load(self, path: Path, current: str) -> LoadedModel:
        wanted = sum(entry["bytes"] for name, entry in _weights(path))
        if wanted > self.max_bytes:
            raise TooLarge(f"{path}: its weights take {wanted:,} B, models may take {self.max_bytes:,} B")
        self._make_room(wanted, None)
        model, _ = load_model(path)
        taken = sum(parameter.nbytes for parameter in model.parameters())
        return LoadedModel(model, self.tokenizer(path), current, taken)

    def _make_room(self, wanted: int, kept: LoadedModel | None) -> bool:
        """Lets models go, the least recently used first, until so many bytes have room beside what stays."""
        self._tidy()
        for path, one in list(self._models.items()):
            if wanted + self._taken(kept) <= self.max_bytes:
                break
            if one is not kept:
                del self._models[path]
                self._tidy()
        return wanted + self._taken(kept) <= self.max_bytes

    def _taken(self, without: LoadedModel | None) -> int:
        """Bytes of the weights in memory, those of one model left out."""
        others = [one for one in self._models.values() if one is not without]
        return sum(one.bytes * (2 if one.digest in self._engines else 1) for one in others)

    def _tidy(self) -> None:
        """Forgets the engines of models that are gone; texts that are under way keep theirs."""
        held = {one.digest for one in self._models.values()}
        self._engines = {digest: engine for digest, engine in self._engines.items() if digest in held}


def _weights(path: Path) -> list[tuple[str, dict[str, int]]]:
    files = read_manifest(path)["files"]
    return [(name, entry) for name, entry in files.items() if name.endswith(".safetensors")]
