"""A document's tokens as they lie in the shards: the stored ids, from the spans, and what each of them spells."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from assets.artifacts import ArtifactMissing
from assets.descent import manifest_of, versions
from assets.lake import Lake
from kernels.tokens.shards import DTYPES
from orchestration.pages.hostile import visible

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENS_SHOWN = 800
MOST_DECODED = 200_000  # tokens of a document that are put together and compared with its corpus text


@dataclass(frozen=True)
class Place:
    """One span of a document: where its tokens lie. `start` counts from the start of the file, `position` from the
    start of the split."""

    split: str
    file: str
    start: int
    length: int
    position: int


@dataclass(frozen=True)
class Token:
    """One token: its id, its place in the document (its begin token is 0), and what it spells: text, or its bytes where
    they are no whole character."""

    id: int
    index: int
    text: str
    special: bool


class Tokens:
    """The tokens of the home's present shards. Files are not hashed here: training hashes them before it reads."""

    def __init__(self, lake: Lake) -> None:
        """Raises ArtifactMissing where nothing was tokenized yet."""
        self.lake = lake
        self.digest = lake.artifacts.version_of("token_shards")
        self.directory = lake.artifacts.root / "token_shards" / self.digest
        self.manifest = manifest_of(self.directory)

    def places(self, doc_id: str) -> list[Place]:
        """Every span of the document, in the order of splits and files."""
        found = []
        before: dict[str, int] = {}
        for name in sorted(name for name in self.manifest["files"] if name.endswith(".bin")):
            split = name.rpartition("-")[0]
            spans = pl.scan_parquet(self.directory / name.replace(".bin", ".spans.parquet"))
            for start, length in spans.filter(pl.col("doc_id") == doc_id).select("start", "length").collect().rows():
                found.append(Place(split, name, start, length, before.get(split, 0) + start))
            width = DTYPES[self.manifest["dtype"]].itemsize
            before[split] = before.get(split, 0) + self.manifest["files"][name]["bytes"] // width
        return found

    def ids(self, place: Place, first: int = 0, most: int = MOST_DECODED) -> np.ndarray:
        """The stored ids of a span, from its token `first` on."""
        dtype = DTYPES[self.manifest["dtype"]]
        first = min(max(first, 0), place.length)
        count = min(most, place.length - first)
        with (self.directory / place.file).open("rb") as file:
            file.seek((place.start + first) * dtype.itemsize)
            return np.frombuffer(file.read(count * dtype.itemsize), dtype).astype(np.int64)

    def tokenizer(self) -> "Tokenizer":
        """The tokenizer that made these shards. Raises ArtifactMissing."""
        wanted = self.manifest["tokenizer_sha256"]
        for directory in versions(self.lake.artifacts.root, "tokenizer"):
            if manifest_of(directory)["files"].get("tokenizer.json", {}).get("sha256") == wanted:
                return _loaded(directory)
        raise ArtifactMissing(f"the tokenizer of the shards {self.digest[:12]} is gone: materialize token_shards again")


def spelled(tokenizer: "Tokenizer", ids: np.ndarray, first: int = 0) -> Iterator[Token]:
    """The tokens of ids, in order."""
    from models.data.tokenizer import SPECIAL_TOKENS

    for index, number in enumerate(ids.tolist(), first):
        yield Token(number, index, _shown(bytes_of(tokenizer, number)), number < len(SPECIAL_TOKENS))


def text_of(tokenizer: "Tokenizer", ids: np.ndarray) -> str:
    """What the ids of a whole document spell, without its begin token."""
    from models.data.tokenizer import SPECIAL_TOKENS

    return b"".join(bytes_of(tokenizer, one) for one in ids.tolist() if one >= len(SPECIAL_TOKENS)).decode(
        "utf-8", "replace"
    )


def bytes_of(tokenizer: "Tokenizer", number: int) -> bytes:
    """The bytes that a token stands for; of a special one its name."""
    return _bytes(tokenizer.id_to_token(number) or f"<unknown {number}>")


@lru_cache(maxsize=1 << 16)
def _bytes(name: str) -> bytes:
    values = _byte_values()
    return bytes(values[c] for c in name) if all(c in values for c in name) else name.encode()


@lru_cache
def _byte_values() -> dict[str, int]:
    from models.data.encoder import byte_characters

    return {character: value for value, character in enumerate(byte_characters())}


@lru_cache(maxsize=4)
def _loaded(directory: Path) -> "Tokenizer":
    from models.data.tokenizer import load_tokenizer

    return load_tokenizer(directory)


def _shown(raw: bytes) -> str:
    """Every byte visible: line breaks and tabs by a sign as well, bytes that are no whole character by their number."""
    try:
        return visible(raw.decode()).replace("\n", "↵\n").replace("\t", "⇥\t")
    except UnicodeDecodeError:
        return "".join(f"\\x{value:02x}" for value in raw)
