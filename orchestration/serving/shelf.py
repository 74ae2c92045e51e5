"""The models that can be asked: those of the home, or the one that was named; none that read what was taken down."""

import threading
from dataclasses import dataclass
from pathlib import Path

from assets.artifacts import ArtifactMissing
from assets.safe_text import shown
from models.artifacts import MANIFEST, digest
from models.config import InputError
from orchestration.home import Home, lake_of
from orchestration.pages.shelf import NothingYet
from orchestration.pages.voices import CHAMPION, UnknownVoice, Voice, find, voices
from orchestration.serving.errors import ApiError


class NotServed(ValueError):
    """The model that was named cannot be served; the message says why."""


@dataclass(frozen=True)
class Served:
    """A model under the name that answers give it."""

    name: str
    directory: Path
    digest: str
    chats: bool  # whether it was taught to converse


class ModelShelf:
    """Finds models for requests; safe to use from several threads."""

    def __init__(self, home: Path, model: str | None = None) -> None:
        """Raises NotServed where `model` is named and cannot be served."""
        self.home, self.model = Home(home), model
        self._readers: dict[str, list[int]] = {}  # digests of models that read what is to be taken down
        self._stamped: str | None = None  # when they were looked for
        self._lock = threading.Lock()
        if model is not None:
            try:
                self.find(model)
            except ApiError as error:
                raise NotServed(str(error)) from error

    def all(self) -> list[Served]:
        """What a client may ask for."""
        return [one for one in self._known() if not self._objections(one)]

    def find(self, name: str) -> Served:
        """The model of that name. Raises ApiError: 404 where there is none, 403 where it read what was taken down."""
        known = self._known()
        served = next((one for one in known if one.name == name or one.digest == name), None)
        if served is None and self.model is None:
            served = self._of_home(name)
        if served is None:
            names = ", ".join(one.name for one in known) or "none"
            raise ApiError(
                404, f"there is no model {shown(name, 60)!r} here: ask for one of {names}", param="model",
                code="model_not_found",
            )  # fmt: skip
        if refused := self._objections(served):
            raise ApiError(
                403,
                f"{served.name} is not served: {'; '.join(refused)}: make it again without them (`stemma demo`)",
                param="model",
                code="taken_down",
            )
        return served

    def _known(self) -> list[Served]:
        if self.model is None:
            return [_served(voice, voice.name) for voice in self._voices()]
        directory = Path(self.model)
        if (directory / MANIFEST).is_file():
            try:
                return [Served(directory.name, directory.absolute(), digest(directory), True)]
            except InputError as error:
                raise ApiError(404, str(error), param="model", code="model_not_found") from error
        served = self._of_home(self.model)
        return [served] if served else []

    def _of_home(self, name: str) -> Served | None:
        """A model of the home by its asset, digest, beginning of one, or `champion`."""
        if not self._is_home():
            return None
        try:
            voice = find(self._voices(), name, lake_of(self.home))
        except UnknownVoice:
            return None
        return _served(voice, CHAMPION if name == CHAMPION else voice.name)

    def _voices(self) -> list[Voice]:
        try:
            return voices(lake_of(self.home)) if self._is_home() else []
        except (NothingYet, ArtifactMissing):
            return []

    def _is_home(self) -> bool:
        return (self.home.root / "home.json").is_file()

    def _objections(self, served: Served) -> list[str]:
        """Why a model may not be used: as for a release, what the ledger asks for counts, applied or not."""
        if not self._is_home():
            return []
        with self._lock:
            stamp = self._stamp()
            if stamp != self._stamped:
                from assets.takedowns import readers

                self._readers, self._stamped = readers(lake_of(self.home)), stamp
            return [f"it has read pages of takedown {number}" for number in self._readers.get(served.digest, [])]

    def _stamp(self) -> str:
        """Changes when a takedown is asked for or applied, or a checkpoint is committed."""
        root = self.home.root
        files = [root / "takedowns", *root.glob("takedowns/*/*.json"), *root.glob("artifacts/*/versions/*")]
        return "|".join(f"{path.name} {path.stat().st_mtime_ns}" for path in sorted(files) if path.exists())


def _served(voice: Voice, name: str) -> Served:
    return Served(name, voice.directory, voice.digest, voice.chats)
