"""The training loop, for any stage: batches and loss come in as functions, resumable states and curves go out.

    batch_at(step) -> batch            a pure function of the step
    loss(model, batch) -> Loss         the scalar to minimise, and figures for the curve
    after_step(step) -> dict           optional; figures of the model after `step` steps (evaluation, samples)

A run that was killed goes on from its last state and ends with the very weights of an uninterrupted one.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from models.config import InputError
from models.nets.transformer import Transformer
from models.progress import progress
from models.training.culprits import culprits
from models.training.losses import Loss
from models.training.machine import Machine
from models.training.optim import NonFiniteTraining, Schedule
from models.training.ranks import ALONE, World, averaged, gathered, summed
from models.training.recorder import Recorder
from models.training.spikes import SpikeRule, SpikeWatch
from models.training.spread import clip, gradient_norm
from models.training.states import StateWriter, drop_states_after, latest_state, load_state, snapshot

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class LoopSettings:
    """The numbers of the loop itself; the learning rate is the schedule's."""

    checkpoint_every: int  # steps between resumable states
    log_every: int = 10  # steps between lines of the curve
    grad_clip: float = 1.0  # global L2 norm; 0 switches it off
    label: str = "train"  # beside the progress bar
    spikes: SpikeRule | None = None  # None: every finite step is taken


def train(
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    batch_at: Callable[[int], Batch],
    loss: Callable[[Transformer, Batch], Loss],
    *,
    schedule: Schedule,
    settings: LoopSettings,
    workdir: Path,
    identity: dict[str, Any],
    after_step: Callable[[int, Recorder], dict[str, float]] | None = None,
    describe: Callable[[int], str] | None = None,
    world: World = ALONE,
) -> Recorder:
    """Train in place up to `schedule.steps` and return the recorder; resumes from WORKDIR/checkpoints.

    `identity` (recipe and input digests, JSON) is stored with every state: a state of another run raises InputError.
    NonFiniteTraining is raised before the weights are touched; it names the weights whose gradient is bad, the first
    module whose output is, and the batch as `describe(step)` does.
    """
    checkpoints = workdir / "checkpoints"
    done, tensors = _resume(checkpoints, model, optimizer, identity, world)
    watch = SpikeWatch(settings.spikes, tensors.get("spikes")) if settings.spikes else None
    recorder = Recorder(workdir, done, writes=world.leads)
    model.train()
    machine = Machine(model.embedding.weight.device, model.config)
    with (
        progress(settings.label, schedule.steps, done) as advance,
        StateWriter(checkpoints, world, keep=2) as writer,
    ):
        seen, since = 0, time.perf_counter()
        for step in range(done, schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step) * group.get("scale", 1.0)
            batch = batch_at(step)
            with autocast(model.embedding.weight.device):
                result = loss(model, batch)
            try:
                value, norm = step_once(optimizer, result.value, settings.grad_clip, step, watch, world)
            except NonFiniteTraining as error:
                said = describe(step) if describe else f"that of step {step}"
                raise NonFiniteTraining(f"{error}; {culprits(model, loss, batch, said, world)}") from error
            seen += result.tokens
            figures: dict[str, float] = {}
            if (step + 1) % settings.log_every == 0 or step + 1 == schedule.steps:
                figures = {"loss": value, "grad_norm": norm, "learning_rate": schedule.rate(step)}
                figures |= averaged(result.metrics, world) | summed({**result.totals, "tokens": seen}, world)
                seen = figures.pop("tokens")
                if watch is not None:
                    figures["steps_skipped"] = watch.skipped
                figures["tokens_per_s"] = seen / max(time.perf_counter() - since, 1e-9)
                figures |= machine.figures(figures["tokens_per_s"] / world.size)
                seen, since = 0, time.perf_counter()
            if after_step is not None:
                model.eval()
                figures |= after_step(step + 1, recorder)
                model.train()
            if figures:
                recorder.log(step + 1, **figures)
            advance(f"loss {figures['loss']:.3f}" if "loss" in figures else "")
            if (step + 1) % settings.checkpoint_every == 0 and step + 1 < schedule.steps:
                tensors = {"spikes": watch.tensor} if watch is not None else {}
                writer.save(snapshot(model, optimizer, step=step + 1, extra=identity, tensors=tensors, world=world))
    model.eval()
    return recorder


def step_once(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    grad_clip: float,
    step: int,
    watch: SpikeWatch | None = None,
    world: World = ALONE,
) -> tuple[float, float]:
    """One guarded update: backward, clip, check, step; returns the loss and the gradient's norm before clipping.

    On several ranks both are those of the global batch, and all ranks do the same: a loss or gradient that is not
    finite on one of them stops all before any weight changes. What `watch` calls a spike is not taken: weights and
    moments stay.
    """
    loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    length = gradient_norm([weight.grad for weight in parameters if weight.grad is not None])
    seen = gathered(world, [float(loss.detach()), float(length)])
    value, norm = sum(one[0] for one in seen) / world.size, seen[0][1]
    if not all(math.isfinite(number) for one in seen for number in one):
        where = "" if world.size == 1 else f" ({_by_rank(seen)})"
        raise NonFiniteTraining(f"step {step}: loss {value}, gradient norm {norm}{where}; weights are untouched")
    clip(parameters, grad_clip or math.inf, length)
    if watch is None or not watch.is_spike(value, norm):
        try:
            optimizer.step()
        except NonFiniteTraining as error:
            raise NonFiniteTraining(f"step {step}: {error}") from error
    optimizer.zero_grad(set_to_none=True)
    return value, norm


def autocast(device: torch.device) -> AbstractContextManager:
    """bfloat16 autocast on CUDA, nothing on the CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def choose_device(name: str) -> torch.device:
    """The device of a recipe: "cpu", "cuda" (InputError when there is none), or "auto"."""
    if name not in ("cpu", "cuda", "auto"):
        raise InputError(f"device must be cpu, cuda or auto, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("the recipe asks for device cuda, and torch sees none")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def deterministic(threads: int, seed: int) -> None:
    """Make torch's bytes reproducible in this process: fixed threads, deterministic kernels, seeded generators."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def _by_rank(seen: list[list[float]]) -> str:
    """Which ranks' losses are not finite."""
    bad = [f"rank {rank} {value}" for rank, (value, _) in enumerate(seen) if not math.isfinite(value)]
    return "of which " + ", ".join(bad) if bad else "every rank's loss is finite"


def _resume(
    checkpoints: Path, model: Transformer, optimizer: torch.optim.Optimizer, identity: dict[str, Any], world: World
) -> tuple[int, dict[str, Tensor]]:
    """Steps done, and the loop's own tensors."""
    newest, done, tensors = latest_state(checkpoints, world), 0, {}
    if newest is not None:
        state = load_state(newest, model, optimizer, world)
        if state.extra != identity:
            raise InputError(f"{checkpoints} belongs to a run with another recipe or other data; choose a fresh --out")
        done, tensors = state.step, state.tensors
    if world.leads:
        drop_states_after(checkpoints, done)
    return done, tensors
