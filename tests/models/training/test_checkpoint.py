"""Checkpoints restore everything, bit by bit, and damaged ones are never used."""

import dataclasses

import pytest
import torch

from models.artifacts import CorruptArtifact, digest
from models.config import InputError
from models.nets.transformer import Transformer
from models.training.checkpoint import load_model, save_final
from models.training.optim import adamw
from models.training.states import latest_state, load_state, prune_states, save_state


def stepped(config, steps, seed=0):
    """A model and optimizer after a few updates on random gradients."""
    model = Transformer(config, seed=seed)
    optimizer = adamw(model, weight_decay=0.1)
    for _ in range(steps):
        update(model, optimizer)
    return model, optimizer


def update(model, optimizer):
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape)
    optimizer.step()


@pytest.mark.parametrize("tied", [False, True])
def test_restored_state_goes_on_exactly_as_the_original(tmp_path, tiny, tied):
    config = dataclasses.replace(tiny, tie_embeddings=tied)
    torch.manual_seed(0)
    model, optimizer = stepped(config, 3)
    save_state(tmp_path / "step-3", model, optimizer, step=3, extra={"a": [1]}, tensors={"seen": torch.arange(3)})
    update(model, optimizer)
    torch.manual_seed(99)
    copy, copied = stepped(config, 0, seed=7)
    state = load_state(tmp_path / "step-3", copy, copied)
    update(copy, copied)
    assert (state.step, state.extra) == (3, {"a": [1]})
    assert torch.equal(state.tensors["seen"], torch.arange(3))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copy.parameters(), strict=True))
    assert (copy.head.weight is copy.embedding.weight) is tied


def test_the_newest_whole_state_is_found_and_older_ones_are_pruned(tmp_path, tiny):
    model, optimizer = stepped(tiny, 1)
    for step in (5, 10, 100):
        save_state(tmp_path / f"step-{step}", model, optimizer, step=step)
    prune_states(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-100"]
    assert latest_state(tmp_path) == tmp_path / "step-100"
    weights = tmp_path / "step-100" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert latest_state(tmp_path) == tmp_path / "step-10"
    (tmp_path / "step-10" / "manifest.json").unlink()
    assert latest_state(tmp_path) is None


def test_a_state_of_another_architecture_is_refused(tmp_path, tiny):
    model, optimizer = stepped(tiny, 1)
    save_state(tmp_path / "step-1", model, optimizer, step=1)
    other, others = stepped(dataclasses.replace(tiny, d_ff=32), 0)
    with pytest.raises(InputError, match="architecture"):
        load_state(tmp_path / "step-1", other, others)


@pytest.mark.parametrize("tied", [False, True])
def test_published_model_loads_with_equal_weights(tmp_path, tiny, trained, tied):
    model, _ = stepped(dataclasses.replace(tiny, tie_embeddings=tied), 2)
    manifest = save_final(tmp_path / "final", model, trained["tokenizer_dir"], {"parent": None})
    loaded, config = load_model(tmp_path / "final")
    assert config == model.config and manifest["params"] == config.n_params
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    ids = torch.randint(0, config.vocab_size, (1, 9))
    assert torch.equal(model(ids), loaded(ids))


def test_same_model_has_the_same_digest_and_other_weights_another(tmp_path, tiny, trained):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_final(tmp_path / name, Transformer(tiny, seed=seed), trained["tokenizer_dir"], {"parent": None})
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_tampered_model_is_refused(tmp_path, tiny, trained):
    save_final(tmp_path / "final", Transformer(tiny), trained["tokenizer_dir"], {"parent": None})
    config = tmp_path / "final" / "config.json"
    config.write_text(config.read_text().replace('"rope_theta": 100000.0', '"rope_theta": 200000.0'))
    with pytest.raises(CorruptArtifact, match=r"config\.json"):
        load_model(tmp_path / "final")
    with pytest.raises(InputError, match="nowhere"):
        load_model(tmp_path / "nowhere")
