"""The resumable state of a run, `checkpoints/step-N`: in safetensors and JSON, never pickle; whole or not at all.

Sealed like every artifact (models/artifacts.py): half-written states are never seen, damaged ones are passed over for
the one before. One process writes whole tensors, model.safetensors and optimizer.safetensors. Of several each writes
its rows of every weight and moment, keyed by the parameter's name, with the first row of each in the file's header; any
number of processes can go on from either, each reading the rows that it needs.
"""

import json
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from models.artifacts import (
    MANIFEST,
    CorruptArtifact,
    building,
    publish,
    read_manifest,
    seal,
    sha256_file,
    verify,
    write_json,
)
from models.config import InputError, as_dict
from models.nets.transformer import Transformer
from models.training.pieces import Pieces
from models.training.ranks import ALONE, World, like, own_part, told


class StateUnwritable(RuntimeError):
    """A state could not be written; the run stops, the states before it are whole."""


@dataclass(frozen=True)
class State:
    """What a resumed run knows beside its weights, optimizer moments and random state."""

    step: int  # optimizer steps taken
    extra: dict[str, Any]  # small JSON values of the stage
    tensors: dict[str, Tensor]  # further tensors of the stage


@dataclass(frozen=True)
class Snapshot:
    """A state in memory, on the CPU: nothing that training does later changes it."""

    files: dict[str, dict[str, Tensor]]  # this rank's
    first_rows: dict[str, int]  # of sharded tensors, where they begin in the whole one
    identity: dict[str, Any]  # fields of the manifest


def snapshot(
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    extra: dict[str, Any] | None = None,
    tensors: dict[str, Tensor] | None = None,
    world: World = ALONE,
) -> Snapshot:
    """Weights, optimizer moments and torch's random state, copied.

    Learning rates are not stored: they are a function of the step.
    """
    weights, moments = {}, {}
    for name, parameter in model.named_parameters():
        weights[name] = (parameter.detach(), parameter)
        for key, value in optimizer.state.get(parameter, {}).items():
            moments[f"{name}|{key}"] = (torch.as_tensor(value), parameter)
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    stage = {name: _copied(value) for name, value in (tensors or {}).items()}
    identity = {"step": step, "extra": extra or {}, "config": as_dict(model.config)}
    if world.size == 1:
        files = {
            "model.safetensors": {name: _copied(value, torch.float32) for name, (value, _) in weights.items()},
            "optimizer.safetensors": {name: _copied(value) for name, (value, _) in moments.items()},
            "random.safetensors": random,
            "stage.safetensors": stage,
        }
        return Snapshot(files, {}, identity)
    own: dict[str, Tensor] = {}
    first_rows: dict[str, int] = {}
    for name, (value, parameter) in {**weights, **moments}.items():
        if value.ndim == 0:
            own |= {name: _copied(value)} if world.leads else {}
            continue
        rows = world.rows(len(parameter))
        piece = own_part(value) if isinstance(parameter, DTensor) else value[rows]
        if len(piece):
            own[name], first_rows[name] = _copied(piece), rows.start
    files = {f"rank-{world.rank:05}.safetensors": own, f"random-{world.rank:05}.safetensors": random}
    files |= {"stage.safetensors": stage} if world.leads else {}
    return Snapshot(files, first_rows, {**identity, "ranks": world.size})


def write_state(directory: Path, shot: Snapshot, world: World = ALONE, group: dist.ProcessGroup | None = None) -> None:
    """Publish a state at `directory` in one rename, after every rank's files are on disk.

    All ranks must call it. Raises StateUnwritable on every rank when one of them cannot write.
    """
    try:
        if world.size == 1:
            with building(directory) as temporary:
                _write_files(temporary, shot)
                seal(temporary, "state", shot.identity)
                publish(temporary, directory)
            return
        _write_together(directory, shot, world, group)
    except OSError as error:
        raise StateUnwritable(f"{directory} could not be written: {error}; free the disk and start again") from error


def save_state(
    directory: Path,
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    extra: dict[str, Any] | None = None,
    tensors: dict[str, Tensor] | None = None,
    world: World = ALONE,
) -> None:
    """`snapshot` and `write_state`, one after the other."""
    shot = snapshot(model, optimizer, step=step, extra=extra, tensors=tensors, world=world)
    write_state(directory, shot, world)


def load_state(directory: Path, model: Transformer, optimizer: torch.optim.Optimizer, world: World = ALONE) -> State:
    """Restore a state into the model, the optimizer and torch's generators; verified first.

    Written by any number of processes; each of these reads its own rows, or all where it holds all. Raises InputError
    and CorruptArtifact.
    """
    if not verified(directory, world):
        verify(directory)  # says which file; where this rank sees none, another does
        raise CorruptArtifact(f"{directory} is damaged: another rank cannot read it; remove it")
    manifest = read_manifest(directory)
    if manifest["config"] != as_dict(model.config):
        raise InputError(f"{directory} holds another architecture than this run's; choose a fresh work directory")
    parameters = dict(model.named_parameters())
    with Pieces(directory) as pieces:
        pieces.expect(set(parameters))
        with torch.no_grad():
            for name, parameter in parameters.items():
                own_part(parameter).copy_(pieces.read(name, _rows(parameter, world), len(parameter)))
        for key in pieces.moments():
            name, field = key.split("|")
            parameter = parameters[name]
            optimizer.state[parameter][field] = _moment(pieces, key, parameter, world)
    random = load_file(_random_file(directory, manifest, world))
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    return State(manifest["step"], manifest["extra"], load_file(directory / "stage.safetensors"))


def state_dirs(checkpoints: Path) -> list[Path]:
    """All published states under `checkpoints`, newest first."""
    return sorted(checkpoints.glob("step-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)


def latest_state(checkpoints: Path, world: World = ALONE) -> Path | None:
    """The newest state whose files verify, or None; a damaged one is passed over for the one before it.

    The same on all ranks: those that rank 0 sees are looked at.
    """
    seen = told(world, [directory.name for directory in state_dirs(checkpoints)])[0]
    return next((checkpoints / name for name in seen if verified(checkpoints / name, world)), None)


def verified(directory: Path, world: World = ALONE) -> bool:
    """Whether every file of a state is the one that was sealed; each rank looks at its share of them."""
    try:
        if world.size == 1:
            verify(directory)
        else:
            for name, sealed in sorted(read_manifest(directory)["files"].items())[world.rank :: world.size]:
                path = directory / name
                if path.stat().st_size != sealed["bytes"] or sha256_file(path) != sealed["sha256"]:
                    raise CorruptArtifact(f"{path} is not the file that was sealed")
        sound = True
    except (CorruptArtifact, InputError, json.JSONDecodeError, OSError):
        sound = False
    return all(told(world, sound))


def prune_states(checkpoints: Path, keep: int = 2) -> None:
    """Remove all but the newest `keep` states."""
    for directory in state_dirs(checkpoints)[keep:]:
        shutil.rmtree(directory)


def drop_states_after(checkpoints: Path, step: int) -> None:
    """Remove states newer than `step` (damaged ones), so that the run can write them again."""
    for directory in state_dirs(checkpoints):
        if int(directory.name.split("-")[1]) > step:
            shutil.rmtree(directory)


class StateWriter:
    """Writes states beside training: one at a time, in a thread that holds copies; the last two are kept.

    A save, and the end of the `with` block, wait for the one before. StateUnwritable comes out of that wait, on all
    ranks at the same step.
    """

    def __init__(self, checkpoints: Path, world: World = ALONE, keep: int = 2) -> None:
        self.checkpoints, self.world, self.keep = checkpoints, world, keep
        self._group: Any = None
        if world.size > 1:
            self._group = dist.new_group(backend="gloo")  # the thread's own: no turn is mixed up
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def save(self, shot: Snapshot) -> None:
        """Begin to write a state as step-N."""
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(shot,), name="states", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until what was begun is on disk."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._error

    def __enter__(self) -> "StateWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join()  # the run failed by itself: its last state shall be whole, and its error is the news

    def _write(self, shot: Snapshot) -> None:
        try:
            write_state(self.checkpoints / f"step-{shot.identity['step']}", shot, self.world, self._group)
            if self.world.leads:
                prune_states(self.checkpoints, self.keep)
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error


def _write_files(directory: Path, shot: Snapshot) -> None:
    for name, tensors in shot.files.items():
        header = {key: str(shot.first_rows[key]) for key in tensors if key in shot.first_rows}
        save_file(tensors, directory / name, {"first_rows": json.dumps(header)} if header else None)


def _write_together(directory: Path, shot: Snapshot, world: World, group: dist.ProcessGroup | None) -> None:
    """As `write_state`: each rank its files; rank 0 seals them when all are there, and publishes."""
    temporary = directory.with_name(f".{directory.name}.building")

    def agreed(action: Any) -> list[Any]:
        """What the action gave on every rank; StateUnwritable on all when it failed on one."""
        try:
            done = {"made": action()}
        except OSError as error:
            done = {"error": str(error)}
        found = told(world, done, group)
        if bad := [f"rank {rank}: {one['error']}" for rank, one in enumerate(found) if "error" in one]:
            raise StateUnwritable(f"{directory} could not be written ({'; '.join(bad)}); free the disk and start again")
        return [one["made"] for one in found]

    def fresh() -> None:
        if world.leads:
            shutil.rmtree(temporary, ignore_errors=True)  # of an attempt that was killed
            temporary.mkdir(parents=True)

    def files() -> dict[str, dict[str, Any]]:
        _write_files(temporary, shot)
        sealed = {}
        for name in shot.files:
            with (temporary / name).open("rb") as handle:
                os.fsync(handle.fileno())
            sealed[name] = {"sha256": sha256_file(temporary / name), "bytes": (temporary / name).stat().st_size}
        return sealed

    def finish() -> None:
        if world.leads:
            together = {name: sealed for one in parts for name, sealed in one.items()}
            write_json(temporary / MANIFEST, {**shot.identity, "kind": "state", "files": together})
            publish(temporary, directory)

    try:
        agreed(fresh)
        parts = agreed(files)
        agreed(finish)
    finally:
        if world.leads:
            shutil.rmtree(temporary, ignore_errors=True)


def _copied(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return tensor.detach().to("cpu", dtype or tensor.dtype, copy=True).contiguous()


def _rows(parameter: Tensor, world: World) -> slice:
    return world.rows(len(parameter)) if isinstance(parameter, DTensor) else slice(0, len(parameter))


def _moment(pieces: Pieces, key: str, parameter: Tensor, world: World) -> Tensor:
    """A moment as the optimizer keeps it: sharded like its weight, counts on the CPU."""
    if key.endswith("|step"):
        return pieces.scalar(key)
    return like(parameter, pieces.read(key, _rows(parameter, world), len(parameter)).to(parameter.device))


def _random_file(directory: Path, manifest: dict[str, Any], world: World) -> Path:
    if "ranks" not in manifest:
        return directory / "random.safetensors"
    return directory / f"random-{world.rank % manifest['ranks']:05}.safetensors"
