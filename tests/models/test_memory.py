"""What a run will hold in memory is counted before it begins, and a run that cannot fit is refused with the sum."""

import dataclasses
import math
from typing import Any

import pytest
import torch

from models import memory
from models.architecture import TransformerConfig
from models.config import InputError
from models.nets.mixed import build
from models.nets.transformer import Transformer
from models.recipes import RECIPES
from models.training import pretrain
from models.training.losses import token_loss
from models.training.pretrain import optimizer_of
from models.training.states import snapshot

SHAPES: list[tuple[dict[str, Any], int, int]] = [
    ({"d_model": 96, "n_layers": 4, "n_heads": 4, "n_kv_heads": 4, "head_dim": 24, "d_ff": 256}, 2, 128),
    ({"d_model": 128, "n_layers": 3, "n_heads": 8, "n_kv_heads": 2, "head_dim": 32, "d_ff": 512}, 1, 192),
]


OTHERS: list[tuple[dict[str, Any], int, int]] = [
    (SHAPES[0][0] | {"net": net} | more, 2, 64)
    for net, more in (
        ("mamba", {"d_ff": 0}),
        ("mamba", {"d_ff": 0, "d_state": 8, "expand": 3}),
        ("lstm", {}),
        ("mlp", {"window": 8}),
        ("hybrid", {"layers": "MLR"}),
        ("transformer", {"activation": "relu2", "layers": "SL", "window": 16, "value_tables": 1}),
    )
]


def network(shape: dict[str, Any], tokens: int) -> TransformerConfig:
    return TransformerConfig(vocab_size=512, max_seq_len=tokens, **shape)


@pytest.mark.parametrize(("shape", "rows", "tokens"), SHAPES + OTHERS)
def test_activations_are_what_autograd_keeps(shape, rows, tokens):
    config = network(shape, tokens)
    recipe = dataclasses.replace(RECIPES["smoke"]().pretrain, batch_size=rows, seq_len=tokens)
    model, kept = build(config, 0), {}
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.hidden(torch.zeros(rows, tokens, dtype=torch.int64))
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert 0.85 <= found / memory.parts(config, recipe)["activations"] <= 1.1


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_gradients_moments_and_their_copy_are_exact(optimizer):
    config = network(SHAPES[0][0], SHAPES[0][2])
    recipe = dataclasses.replace(RECIPES["smoke"]().pretrain, optimizer=optimizer)
    model = Transformer(config)
    trained = optimizer_of(model, recipe)
    token_loss(model(torch.zeros(1, 8, dtype=torch.int64)), torch.zeros(1, 8, dtype=torch.int64)).value.backward()
    trained.step()
    said = memory.parts(config, recipe)
    moments = [one for state in trained.state.values() for one in state.values() if one.ndim]
    files = snapshot(model, trained, step=1).files
    copied = [one for name in ("model", "optimizer") for one in files[f"{name}.safetensors"].values() if one.ndim]
    for part, tensors in (
        ("weights", list(model.parameters())),
        ("gradients", [weight.grad for weight in model.parameters() if weight.grad is not None]),
        ("moments", moments),
        ("the copy for states", copied),
    ):
        assert said[part] == sum(tensor.nbytes for tensor in tensors), part


def test_shards_checkpointing_and_chunks_are_counted():
    recipe = RECIPES["plain-350M"]()
    recipe = dataclasses.replace(recipe, pretrain=dataclasses.replace(recipe.pretrain, micro_batch_size=0))
    one, many = (memory.parts(recipe.model, recipe.pretrain, ranks=n, device="cuda") for n in (1, 8))
    assert many["weights"] == one["weights"] and many["activations"] * 8 == one["activations"]
    sharded = dataclasses.replace(recipe.pretrain, optimizer="adamw", parallel="fsdp")
    assert memory.parts(recipe.model, sharded, ranks=8, device="cuda")["weights"] == one["weights"] // 8
    pieces = dataclasses.replace(recipe.pretrain, micro_batch_size=1)
    assert memory.parts(recipe.model, pieces)["activations"] == (
        memory.parts(recipe.model, recipe.pretrain)["activations"] // recipe.pretrain.batch_size
    )
    again = dataclasses.replace(recipe.pretrain, activation_checkpointing=True)
    assert memory.parts(recipe.model, again, device="cuda")["activations"] < one["activations"] / 10
    whole = dataclasses.replace(recipe.pretrain, head="materialised")
    assert memory.parts(recipe.model, whole, device="cuda")["logits"] > 100 * one["logits"]


@pytest.mark.parametrize("name", ["smoke", "demo", "plain-1M"])
def test_small_recipes_fit_into_a_laptop(name):
    recipe = RECIPES[name]()
    memory.check(recipe.model, recipe.pretrain, bytes_there=8 * memory.GIB)


def test_a_billion_parameters_do_not_fit_into_a_laptop():
    recipe = RECIPES["plain-1B"]()
    with pytest.raises(InputError, match=r"weights 3\.\d\d \+ gradients 3\.\d\d .*16\.00 GiB are there for each of 1"):
        memory.check(recipe.model, recipe.pretrain, bytes_there=16 * memory.GIB)


def test_what_cannot_fit_is_refused_before_anything_is_made(trained, pretrain_config, tmp_path, silent, monkeypatch):
    monkeypatch.setattr(memory, "host_bytes", lambda ranks: 2**20 // ranks)
    with pytest.raises(InputError, match=r"does not fit: weights \d.* = .* GiB, and 0\.00 GiB are there for each of 1"):
        pretrain.run(pretrain_config, tmp_path / "out", silent)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"head": "materialised", "activation_checkpointing": True}, "head to chunked"),
        ({"head": "chunked", "batch_size": 512}, "activation_checkpointing, or lower"),
        ({"head": "chunked", "batch_size": 1, "seq_len": 64}, "smaller recipe, or shard"),
    ],
)
def test_the_refusal_says_what_to_change(changes, advice):
    recipe = RECIPES["plain-1M"]()
    with pytest.raises(InputError, match=advice):
        memory.check(recipe.model, dataclasses.replace(recipe.pretrain, **changes), bytes_there=2**20)


def test_the_least_of_all_limits_counts():
    said = {"/proc/meminfo": "MemTotal: 90 kB\nMemAvailable: 64 kB\n", memory.LIMITS[0]: "max\n", memory.LIMITS[1]: ""}
    assert memory.host_bytes(2, said) == 32 * 1024
    assert memory.host_bytes(1, said | {memory.LIMITS[0]: "4096\n"}) == 4096
    assert memory.host_bytes(1, {}) is None
    assert math.isfinite(memory.host_bytes() or 0)
