"""`python -m models sft`: an instruct model from a base model, on rendered conversations, with its answers measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from kernels.device.logprobs import Settings, linear_loss
from kernels.device.logprobs_reference import TokenStats
from models.artifacts import digest, sha256_file
from models.config import InputError, as_dict
from models.data.order import consumed_examples, step_rows
from models.data.provenance import PROVENANCE
from models.data.sft import EXAMPLES, read_columns
from models.data.tokenizer import PAD_ID, load_tokenizer, tokenizer_sha256
from models.evaluation.accuracy import measure, subset, summarise
from models.nets.transformer import Transformer
from models.recipes import resolve
from models.tasks.families import Problem
from models.training.checkpoint import load_model, save_final
from models.training.loop import LoopSettings, autocast, choose_device, deterministic, train
from models.training.losses import Loss
from models.training.optim import Schedule, adamw
from models.training.recorder import Recorder

SAMPLES_SHOWN = 3
PIECES = 2


@dataclass(frozen=True)
class ExampleBatch:
    """Right-padded conversations: ids_BT int64; targets_BT bool, True where that id is a target."""

    ids_BT: Tensor
    targets_BT: Tensor


def collate(examples: Sequence[dict[str, Any]], device: torch.device | str = "cpu") -> ExampleBatch:
    """Examples (input_ids, loss_mask) as one padded batch; padding is never a target."""
    longest = max(len(example["input_ids"]) for example in examples)
    ids = np.full((len(examples), longest), PAD_ID, dtype=np.int64)
    targets = np.zeros((len(examples), longest), dtype=bool)
    for row, example in enumerate(examples):
        ids[row, : len(example["input_ids"])] = example["input_ids"]
        targets[row, : len(example["loss_mask"])] = example["loss_mask"]
    return ExampleBatch(torch.from_numpy(ids).to(device), torch.from_numpy(targets).to(device))


def pieces(examples: Sequence[dict[str, Any]], device: torch.device | str = "cpu") -> list[ExampleBatch]:
    """One step's examples, by length in PIECES padded batches: half the padding of one batch, the same loss."""
    by_length = sorted(examples, key=lambda example: len(example["input_ids"]))
    size = -(-len(by_length) // PIECES)
    return [collate(by_length[first : first + size], device) for first in range(0, len(by_length), size)]


def masked_loss(model: Transformer, batches: Sequence[ExampleBatch]) -> Loss:
    """Cross-entropy in nats, summed over the targets of all batches and divided by their number.

    Only the positions before a target are projected to the vocabulary; no other position has a gradient.
    """
    total = torch.zeros((), device=batches[0].ids_BT.device)
    count = 0
    for batch in batches:
        targets_BT = batch.targets_BT[:, 1:]
        hidden_ND = model.hidden(batch.ids_BT[:, :-1])[targets_BT]
        answers_N = batch.ids_BT[:, 1:][targets_BT]
        total = total + torch.nn.functional.cross_entropy(model.logits(hidden_ND), answers_N, reduction="sum")
        count += len(answers_N)
    tokens = sum(batch.ids_BT.numel() for batch in batches)
    return Loss(total / max(count, 1), {"loss_tokens": float(count)}, tokens=tokens)


def chunked_loss(model: Transformer, batches: Sequence[ExampleBatch]) -> Loss:
    """`masked_loss` without the logits of all targets: a chunk of them at a time."""
    count = sum(int(batch.targets_BT[:, 1:].sum()) for batch in batches)
    total = torch.zeros((), device=batches[0].ids_BT.device)
    settings = Settings(entropy=False, softcap=model.config.softcap)
    for batch in batches:
        targets_BT = batch.targets_BT[:, 1:]
        hidden_ND = model.hidden(batch.ids_BT[:, :-1])[targets_BT]
        answers_N = batch.ids_BT[:, 1:][targets_BT]
        total = total + linear_loss(hidden_ND, model.head.weight, answers_N, _negative, settings)[0]
    tokens = sum(batch.ids_BT.numel() for batch in batches)
    return Loss(total / max(count, 1), {"loss_tokens": float(count)}, tokens=tokens)


def _negative(stats: TokenStats, _rows: slice) -> Tensor:
    return -stats.selected.sum()


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `sft` command. Config: recipe, seed, overrides, model_dir, sft_files.

    Publishes out/final: the model with its tokenizer, consumed.parquet (EXAMPLES_CONSUMED), and a manifest with the
    parent's digest and the accuracy on held-out problems, overall and per family.
    """
    recipe = resolve(config)
    sft, device = recipe.sft, choose_device(recipe.sft.device)
    if not config.get("model_dir") or not config.get("sft_files"):
        raise InputError("sft needs model_dir and sft_files")
    model_dir, files = Path(config["model_dir"]), [Path(file) for file in config["sft_files"]]
    needed = [name for name in EXAMPLES.names if name not in PROVENANCE.names]
    rows = [row for file in files for row in read_columns(file, needed, PROVENANCE.names)]
    training = [row for row in rows if row["split"] == "train"]
    heldout = heldout_problems(rows)
    if not training or not heldout:
        raise InputError(f"the sft files hold {len(training)} training and {len(heldout)} held-out examples")

    deterministic(recipe.threads, recipe.seed)
    model, architecture = load_model(model_dir, device)
    tokenizer = load_tokenizer(model_dir)
    _check_ids(rows, architecture.vocab_size, architecture.max_seq_len)
    identity = {
        "parent": digest(model_dir),
        "recipe": recipe.name,
        "seed": recipe.seed,
        "threads": recipe.threads,
        "sft": as_dict(sft),
        "data": [sha256_file(file) for file in files],
        "tokenizer_sha256": tokenizer_sha256(model_dir),
    }
    watched = subset(heldout, sft.eval_problems)
    report(f"sft: {len(training)} examples, {len(heldout)} held-out problems, {sft.steps} steps")

    def accuracies(problems: Sequence[Problem], recorder: Recorder, step: int) -> dict[str, float]:
        with autocast(device):
            results = measure(
                model,
                tokenizer,
                problems,
                max_new_tokens=sft.max_new_tokens,
                samples=sft.eval_samples,
                seed=recipe.seed,
            )
        for result in results[:SAMPLES_SHOWN]:
            recorder.sample(step, result.problem.question, f"{result.text} [the answer is {result.problem.answer}]")
        return {name: estimate.value for name, estimate in summarise(results).items()}

    def after_step(step: int, recorder: Recorder) -> dict[str, float]:
        if step % sft.eval_every or step == sft.steps:
            return {}
        figures = accuracies(watched, recorder, step)
        greedy, sampled = figures["accuracy_greedy"], figures["accuracy_sampled"]
        report(f"sft: step {step}, held-out accuracy {greedy:.1%} greedy, {sampled:.1%} sampled")
        return figures

    recorder = train(
        model,
        adamw(model, weight_decay=sft.weight_decay, beta1=sft.beta1, beta2=sft.beta2, eps=sft.adam_eps),
        lambda step: pieces([training[i] for i in step_rows(len(training), sft.batch_size, recipe.seed, step)], device),
        masked_loss if sft.head == "materialised" else chunked_loss,
        schedule=Schedule(
            peak=sft.learning_rate,
            steps=sft.steps,
            warmup_steps=sft.warmup_steps,
            kind=sft.schedule,
            cooldown_fraction=sft.cooldown_fraction,
            final_fraction=sft.final_lr_fraction,
        ),
        settings=LoopSettings(sft.checkpoint_every, sft.log_every, sft.grad_clip, "sft"),
        workdir=out,
        identity=identity,
        after_step=after_step,
    )
    accuracy = accuracies(heldout, recorder, sft.steps)
    recorder.log(sft.steps, **accuracy)
    figures = {"steps": sft.steps, "examples": len(training), "problems_heldout": len(heldout), **accuracy}
    consumed = out / "consumed.parquet"
    pq.write_table(consumed_examples(training, sft.steps, sft.batch_size, recipe.seed), consumed)
    save_final(
        out / "final", model, model_dir, {**identity, **figures}, kind="sft_model", files={consumed.name: consumed}
    )
    report(
        f"sft: held-out accuracy {accuracy['accuracy_greedy']:.1%} greedy, {accuracy['accuracy_sampled']:.1%} sampled"
    )
    return figures


def heldout_problems(rows: Sequence[dict[str, Any]]) -> list[Problem]:
    """The held-out problems of rows of EXAMPLES, each once, in file order."""
    found: dict[str, Problem] = {}
    for row in rows:
        if row["split"] == "heldout":
            problem = Problem(row["problem_id"], row["family"], row["level"], row["question"], row["answer"])
            found.setdefault(problem.problem_id, problem)
    return list(found.values())


def _check_ids(rows: Sequence[dict[str, Any]], vocab_size: int, max_seq_len: int) -> None:
    if (longest := max(len(row["input_ids"]) for row in rows)) > max_seq_len:
        raise InputError(f"an example has {longest} ids, the model's context holds {max_seq_len}")
    if (largest := max(max(row["input_ids"]) for row in rows)) >= vocab_size:
        raise InputError(f"id {largest} of the sft files is not in the model's vocabulary of {vocab_size}")
