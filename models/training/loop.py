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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from models.config import InputError
from models.nets.transformer import Transformer
from models.progress import progress
from models.training.checkpoint import drop_states_after, latest_state, load_state, prune_states, save_state
from models.training.muon import named
from models.training.optim import NonFiniteTraining, Schedule
from models.training.recorder import Recorder
from models.training.spikes import SpikeRule, SpikeWatch

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Loss:
    """What a loss function returns."""

    value: Tensor  # scalar with gradient
    metrics: dict[str, Tensor | float] = field(default_factory=dict)  # scalars for the curve, detached
    tokens: int = 0  # tokens that the step computed, for the throughput figure


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
) -> Recorder:
    """Train in place up to `schedule.steps` and return the recorder; resumes from WORKDIR/checkpoints.

    `identity` (recipe and input digests, JSON) is stored with every state: a state of another run raises InputError.
    NonFiniteTraining is raised before the weights are touched; it names the weights whose gradient is bad, the first
    module whose output is, and the batch as `describe(step)` does.
    """
    checkpoints = workdir / "checkpoints"
    done, tensors = _resume(checkpoints, model, optimizer, identity)
    watch = SpikeWatch(settings.spikes, tensors.get("spikes")) if settings.spikes else None
    recorder = Recorder(workdir, done)
    model.train()
    with progress(settings.label, schedule.steps, done) as advance:
        seen, since = 0, time.perf_counter()
        for step in range(done, schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step) * group.get("scale", 1.0)
            batch = batch_at(step)
            with autocast(model.embedding.weight.device):
                result = loss(model, batch)
            try:
                norm = step_once(optimizer, result.value, settings.grad_clip, step, watch)
            except NonFiniteTraining as error:
                raise NonFiniteTraining(
                    f"{error}; {_culprits(model, lambda batch=batch: loss(model, batch))}; "
                    f"the batch: {describe(step) if describe else f'that of step {step}'}"
                ) from error
            seen += result.tokens
            figures: dict[str, float] = {}
            if (step + 1) % settings.log_every == 0 or step + 1 == schedule.steps:
                figures = {
                    "loss": float(result.value.detach()),
                    "grad_norm": norm,
                    "learning_rate": schedule.rate(step),
                }
                figures |= {name: float(value) for name, value in result.metrics.items()}
                if watch is not None:
                    figures["steps_skipped"] = watch.skipped
                figures["tokens_per_s"] = seen / max(time.perf_counter() - since, 1e-9)
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
                place = checkpoints / f"step-{step + 1}"
                save_state(place, model, optimizer, step=step + 1, extra=identity, tensors=tensors)
                prune_states(checkpoints, keep=2)
    model.eval()
    return recorder


def step_once(
    optimizer: torch.optim.Optimizer, loss: Tensor, grad_clip: float, step: int, watch: SpikeWatch | None = None
) -> float:
    """One guarded update: backward, clip, check, step; returns the gradient's norm before clipping.

    What `watch` calls a spike is not taken: weights and moments stay.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    length = torch.nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None])
    value, norm = float(loss.detach()), float(length)
    if not math.isfinite(value) or not math.isfinite(norm):
        raise NonFiniteTraining(f"step {step}: loss {value}, gradient norm {norm}; weights are untouched")
    torch.nn.utils.clip_grads_with_norm_(parameters, grad_clip or math.inf, length)
    if watch is None or not watch.is_spike(value, norm):
        try:
            optimizer.step()
        except NonFiniteTraining as error:
            raise NonFiniteTraining(f"step {step}: {error}") from error
    return norm


def token_loss(logits: Tensor, targets: Tensor, mask: Tensor | None = None, z_loss: float = 0.0) -> Loss:
    """Mean cross-entropy (nats) of targets (B, T) under logits (B, T, V), over the positions where mask is True.

    z_loss adds that multiple of the mean squared log partition function (PaLM, arXiv 2204.02311, section 5).
    """
    partition = logits.logsumexp(-1)
    nll = partition - logits.gather(-1, targets[..., None])[..., 0]
    weight = torch.ones_like(nll) if mask is None else mask.to(nll.dtype)
    total = weight.sum().clamp(min=1)
    cross_entropy = (nll * weight).sum() / total
    value = cross_entropy + z_loss * (partition.square() * weight).sum() / total if z_loss else cross_entropy
    return Loss(value, {"nats_per_token": cross_entropy.detach()}, tokens=targets.numel())


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


def _culprits(model: Transformer, again: Callable[[], object]) -> str:
    """Where a bad number can be seen: gradients, and the first module that gives one when the loss is taken again."""
    bad = [n for n, weight in model.named_parameters() if weight.grad is not None and not weight.grad.isfinite().all()]
    first: list[str] = []

    def look(name: str, output: Any) -> None:
        if not first and isinstance(output, Tensor) and not output.isfinite().all():
            first.append(name)

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.no_grad(), autocast(model.embedding.weight.device):
            again()
    finally:
        for hook in hooks:
            hook.remove()
    gradients = f"gradient not finite in {named(bad)}" if bad else "all gradients finite"
    return f"{gradients}, output of {first[0]} not finite" if first else f"{gradients}, outputs of all modules finite"


def _resume(
    checkpoints: Path, model: Transformer, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> tuple[int, dict[str, Tensor]]:
    """Steps done, and the loop's own tensors."""
    newest = latest_state(checkpoints)
    if newest is None:
        drop_states_after(checkpoints, 0)
        return 0, {}
    state = load_state(newest, model, optimizer)
    if state.extra != identity:
        raise InputError(f"{checkpoints} belongs to a run with another recipe or other data; choose a fresh --out")
    drop_states_after(checkpoints, state.step)
    return state.step, state.tensors
