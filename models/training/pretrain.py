"""`python -m models pretrain`: a base model from token shards, with the documents that it read."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.device.logprobs import Settings
from kernels.device.logprobs_reference import IGNORED
from kernels.device.losses import cross_entropy
from kernels.tokens.shards import CorruptShard, SplitReader
from models import memory
from models.artifacts import digest, verify
from models.config import InputError, PretrainRecipe, Recipe, as_dict
from models.data.ahead import Ahead
from models.data.loader import write_consumed
from models.data.packing import PackedBatch, PackedLoader, loader_of
from models.data.tokenizer import END_OF_TEXT_ID, load_tokenizer, tokenizer_sha256
from models.evaluation.bits import BitsPerByte, model_bits, token_bytes, uniform_bits, unigram_bits
from models.inference.sampler import generate
from models.nets.mixed import build
from models.nets.transformer import Transformer
from models.recipes import resolve
from models.seeds import derive
from models.training.accumulating import in_pieces
from models.training.checkpoint import save_final
from models.training.loop import LoopSettings, autocast, choose_device, deterministic, train
from models.training.losses import Loss, token_loss
from models.training.muon import muon_adamw, named
from models.training.optim import Schedule, adamw
from models.training.ranks import World, joined
from models.training.recorder import Recorder
from models.training.spikes import SpikeRule
from models.training.spread import prepare, spread, whole

SAMPLE_TEMPERATURE = 0.8


def schedule_of(recipe: PretrainRecipe) -> Schedule:
    """The learning-rate schedule that a recipe describes."""
    return Schedule(
        peak=recipe.learning_rate,
        steps=recipe.steps,
        warmup_steps=recipe.warmup_steps,
        kind=recipe.schedule,
        cooldown_fraction=recipe.cooldown_fraction,
        final_fraction=recipe.final_lr_fraction,
    )


def optimizer_of(model: Transformer, recipe: PretrainRecipe) -> torch.optim.Optimizer:
    """The optimizer that a recipe describes."""
    betas = {"beta1": recipe.beta1, "beta2": recipe.beta2, "eps": recipe.adam_eps}
    if recipe.optimizer == "adamw":
        return adamw(model, weight_decay=recipe.weight_decay, **betas)
    return muon_adamw(
        model,
        learning_rate=recipe.learning_rate,
        muon_learning_rate=recipe.muon_learning_rate,
        weight_decay=recipe.weight_decay,
        **betas,
    )


@dataclass(frozen=True)
class Batch:
    """Rows of seq_len + 1 tokens; without targets every next token is one, without segments rows are one document."""

    ids_BT: Tensor
    targets_BT: Tensor | None = None  # bool, of the next tokens
    segments_BT: Tensor | None = None


def cut(batch: Batch, rows: int) -> list[tuple[Batch, int]]:
    """A batch in pieces of so many rows, with the targets of each."""
    tensors = (batch.ids_BT, batch.targets_BT, batch.segments_BT)
    pieces = []
    for first in range(0, len(batch.ids_BT), rows):
        piece = Batch(*(None if one is None else one[first : first + rows] for one in tensors))  # type: ignore[arg-type]
        targets = piece.ids_BT[:, 1:].numel() if piece.targets_BT is None else int(piece.targets_BT.sum())
        pieces.append((piece, targets))
    return pieces


def loss_of(recipe: PretrainRecipe) -> Callable[[Transformer, Batch], Loss]:
    """Next-token cross-entropy with z-loss, as a recipe describes it."""

    def loss(model: Transformer, batch: Batch) -> Loss:
        inputs_BT, next_BT = batch.ids_BT[:, :-1], batch.ids_BT[:, 1:]
        masked = recipe.document_masking and batch.segments_BT is not None
        segments_BT = batch.segments_BT[:, :-1] if masked and batch.segments_BT is not None else None
        if recipe.head == "materialised":
            logits_BTV = model(inputs_BT, segment_ids_BT=segments_BT)
            return token_loss(logits_BTV, next_BT, batch.targets_BT, z_loss=recipe.z_loss)
        hidden_ND = model.hidden(inputs_BT, segment_ids_BT=segments_BT).flatten(0, 1)
        real_BT = torch.ones_like(next_BT, dtype=torch.bool) if batch.targets_BT is None else batch.targets_BT
        targets_N = next_BT.where(real_BT, IGNORED).flatten()
        settings = Settings(entropy=False, softcap=model.config.softcap)
        value, stats = cross_entropy(hidden_ND, model.head.weight, targets_N, z_loss=recipe.z_loss, settings=settings)
        nats = -stats.selected.sum() / real_BT.sum().clamp(min=1)
        targets = None if batch.targets_BT is None else real_BT.sum()
        return Loss(value, {"nats_per_token": nats}, tokens=next_BT.numel(), targets=targets)

    return loss


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `pretrain` command. Config: recipe, seed, overrides, shards_dir, tokenizer_dir.

    Publishes out/final: model.safetensors, config.json, the tokenizer, consumed.parquet, and a manifest with the bits
    per byte of the model and of both baselines on all held-out documents. Started by torchrun, several ranks train the
    one model: they read the same global batches, whatever their number, and rank 0 writes.
    """
    recipe, world = resolve(config), World.from_environment(os.environ)
    device = world.device(choose_device(recipe.pretrain.device))
    if recipe.pretrain.batch_size % world.size:
        raise InputError(f"pretrain.batch_size {recipe.pretrain.batch_size} cannot be shared by {world.size} ranks")
    with joined(world, device):
        return _run(config, recipe, device, world, out, report)


def _run(
    config: dict[str, Any], recipe: Recipe, device: torch.device, world: World, out: Path, report: Callable[[str], None]
) -> dict[str, Any]:
    """`run` on one rank, which has joined the others."""
    if not config.get("shards_dir") or not config.get("tokenizer_dir"):
        raise InputError("pretrain needs shards_dir and tokenizer_dir")
    shards_dir, tokenizer_dir = Path(config["shards_dir"]), Path(config["tokenizer_dir"])
    shards = verify(shards_dir)
    if shards.get("tokenizer_sha256") != tokenizer_sha256(tokenizer_dir):
        raise InputError(f"the shards in {shards_dir} were made with another tokenizer than {tokenizer_dir}")
    pretrain = recipe.pretrain
    if pretrain.seq_len > recipe.model.max_seq_len:
        raise InputError(f"pretrain.seq_len {pretrain.seq_len} exceeds model.max_seq_len {recipe.model.max_seq_len}")
    tokenizer = load_tokenizer(tokenizer_dir)
    try:
        training, heldout = SplitReader(shards_dir, "train"), SplitReader(shards_dir, "heldout")
    except CorruptShard as error:
        raise InputError(str(error)) from error
    sizes, vocab_size = token_bytes(tokenizer), tokenizer.get_vocab_size()

    network = dataclasses.replace(recipe.model, vocab_size=vocab_size)
    there = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory.host_bytes(world.size)
    if there is not None:
        memory.check(network, pretrain, ranks=world.size, device=device.type, bytes_there=there)
    deterministic(recipe.threads, recipe.seed)
    model = build(network, derive(recipe.seed, "init")).to(device)
    prepare(model, activation_checkpointing=pretrain.activation_checkpointing, compiled=pretrain.compiled)
    loss = spread(model, loss_of(pretrain), world, pretrain.parallel)
    if 0 < pretrain.micro_batch_size < pretrain.batch_size // world.size:
        loss = in_pieces(loss, lambda batch: cut(batch, pretrain.micro_batch_size), world)
    optimizer = optimizer_of(model, pretrain)
    settings = as_dict(pretrain)
    loader = loader_of(training, settings, recipe.seed)
    identity = {
        "parent": None,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "threads": recipe.threads,
        "pretrain": settings,
        "shards": digest(shards_dir),
        "tokenizer_sha256": shards["tokenizer_sha256"],
    }
    report(f"pretrain: {model.config.n_params:,} parameters, {training.tokens:,} tokens, {pretrain.steps} steps")

    def batch_at(step: int) -> Batch:
        read = loader.batch(step, world.rank, world.size)
        if not isinstance(read, PackedBatch):
            return Batch(torch.from_numpy(read).to(device))
        return Batch(*(torch.from_numpy(one).to(device) for one in (read.ids, read.targets, read.segments)))

    def documents(step: int) -> str:
        rows = zip(*(loader.documents(step)[name].to_pylist() for name in ("row", "doc_id")), strict=True)
        return "documents " + named(sorted({doc_id for row, doc_id in rows if row % world.size == world.rank}), 8)

    def after_step(step: int, recorder: Recorder) -> dict[str, float]:
        samples, evaluates = (
            step % pretrain.sample_every == 0,
            step % pretrain.eval_every == 0 and step < pretrain.steps,
        )
        if not samples and not evaluates:
            return {}
        here = whole(model, world)
        if not world.leads:
            return {}
        if samples:
            seed = derive(recipe.seed, "sample", step)
            recorder.sample(step, "", sample_text(here, tokenizer, pretrain.sample_tokens, seed))
        if evaluates:
            with autocast(device):
                bits = model_bits(here, heldout, sizes, max_tokens=pretrain.eval_max_tokens)
            report(f"pretrain: step {step}, {bits.value:.3f} bits per held-out byte ({bits.documents} documents)")
            return {"bpb_heldout": bits.value}
        return {}

    ahead = Ahead(batch_at)
    recorder = train(
        model,
        optimizer,
        ahead,
        loss,
        schedule=schedule_of(pretrain),
        settings=LoopSettings(
            pretrain.checkpoint_every,
            pretrain.log_every,
            pretrain.grad_clip,
            "pretrain",
            SpikeRule() if pretrain.skip_spikes else None,
        ),
        workdir=out,
        identity=identity,
        after_step=after_step,
        describe=documents,
        world=world,
    )
    model = whole(model, world)
    if not world.leads:
        return {}
    with autocast(device):
        bits = model_bits(model, heldout, sizes)
    consumed, table = out / "consumed.parquet", loader.consumed(pretrain.steps)
    packed = isinstance(loader, PackedLoader)
    figures = {
        **_bits_figures(
            bits, uniform_bits(heldout, sizes, vocab_size), unigram_bits(heldout, training, sizes, vocab_size)
        ),
        "steps": pretrain.steps,
        "tokens_trained": sum(table["reads"].to_pylist())
        if packed
        else pretrain.steps * pretrain.batch_size * pretrain.seq_len,
        "tokens_available": training.tokens,
    }
    recorder.log(pretrain.steps, **{name: value for name, value in figures.items() if name.startswith("bpb_")})
    if packed:
        figures["packing_waste"] = loader.waste
    write_consumed(table, consumed)
    manifest = save_final(
        out / "final", model, tokenizer_dir, {**identity, **figures}, kind="base_model", files={consumed.name: consumed}
    )
    report(
        f"pretrain: {figures['bpb_heldout']:.3f} bits per held-out byte"
        f" (unigram {figures['bpb_unigram']:.3f}, uniform {figures['bpb_uniform']:.3f})"
    )
    return {**figures, "params": manifest["params"]}


def sample_text(model: Transformer, tokenizer: Any, tokens: int, seed: int) -> str:
    """A text that the model writes from the beginning of a document."""
    (completion,) = generate(
        model,
        [[END_OF_TEXT_ID]],
        max_new_tokens=tokens,
        temperature=SAMPLE_TEMPERATURE,
        seeds=[seed],
        stop_ids={END_OF_TEXT_ID},
    )
    return tokenizer.decode(completion.ids)


def _bits_figures(model: BitsPerByte, uniform: BitsPerByte, unigram: BitsPerByte) -> dict[str, float | int]:
    return {
        "bpb_heldout": model.value,
        "bpb_uniform": uniform.value,
        "bpb_unigram": unigram.value,
        "heldout_documents": model.documents,
        "heldout_bytes": model.text_bytes,
    }
