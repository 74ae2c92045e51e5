"""The checkpoints and tokenizers that pages can ask: every version that the home still has, by name or digest."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.artifacts import ArtifactMissing
from assets.descent import manifest_of, versions
from assets.lake import Lake
from assets.safe_text import shown
from orchestration.pages.shelf import NothingYet

MODELS = ("rl_model", "sft_model", "base_model")  # the most taught first
CHATTING = ("rl_model", "sft_model")
TOKENIZER, RELEASE, CHAMPION = "tokenizer", "released_model", "champion"
DIGEST = re.compile(r"[0-9a-f]{6,64}")


class UnknownVoice(LookupError):
    """No checkpoint or tokenizer of this home has that name."""


@dataclass(frozen=True)
class Voice:
    """A checkpoint, or a tokenizer. `current`: the version in use of its asset; `tokens`: digest of its tokenizer."""

    asset: str
    digest: str
    directory: Path
    current: bool
    tokens: str = ""

    @property
    def name(self) -> str:
        """What it is called in an address: its asset while it is the version in use, else its digest."""
        return self.asset if self.current else self.digest[:12]

    @property
    def title(self) -> str:
        """What it is called on a page."""
        return f"{self.asset.removesuffix('_model')} {self.digest[:8]}" + ("" if self.current else ", earlier")

    @property
    def chats(self) -> bool:
        """Whether it was taught to converse."""
        return self.asset in CHATTING


def voices(lake: Lake) -> list[Voice]:
    """All checkpoints: those in use first, the most taught first. Raises NothingYet where there is none."""
    found = [voice for asset in MODELS for voice in _versions(lake, asset)]
    if not found:
        raise NothingYet("no model was trained yet")
    return sorted(found, key=lambda voice: not voice.current)


def tokenizers(lake: Lake) -> list[Voice]:
    """All versions of the tokenizer, the one in use first."""
    return sorted(_versions(lake, TOKENIZER), key=lambda voice: not voice.current)


def find(known: Sequence[Voice], name: str, lake: Lake | None = None) -> Voice:
    """The one of that name, or whose digest begins with it; `champion`: what the release in `lake` was made of.

    Raises UnknownVoice.
    """
    if name == CHAMPION and lake is not None:
        name = _released(lake)
    for voice in known:
        if name in (voice.name, voice.asset) and voice.current:
            return voice
    found = [voice for voice in known if DIGEST.fullmatch(name) and voice.digest.startswith(name)]
    if not found:
        names = ", ".join(voice.name for voice in known) or "none"
        raise UnknownVoice(f"there is no {shown(name, 60) or 'nameless model'} in this home: choose one of {names}")
    return found[0]


def _versions(lake: Lake, asset: str) -> list[Voice]:
    root = lake.artifacts.root
    if not (root / asset).is_dir():
        return []
    try:
        current = lake.artifacts.version_of(asset)
    except ArtifactMissing:
        current = ""
    return [
        Voice(asset, path.name, path, path.name == current, _tokens(path)) for path in reversed(versions(root, asset))
    ]


def _tokens(directory: Path) -> str:
    """sha256 of the tokenizer.json in a directory, as its manifest says."""
    return manifest_of(directory).get("files", {}).get("tokenizer.json", {}).get("sha256", "")


def _released(lake: Lake) -> str:
    try:
        return str(manifest_of(lake.artifacts.root / RELEASE / lake.artifacts.version_of(RELEASE))["parent"])
    except ArtifactMissing as error:
        raise UnknownVoice("nothing was released yet: `stemma demo` makes a release") from error
