"""Learning rates are functions of the step; decay touches matrices alone."""

import dataclasses

import pytest
import torch

from models.config import InputError
from models.nets.transformer import Transformer
from models.training.optim import Schedule, adamw


def test_wsd_rises_holds_and_falls_to_its_last_share():
    schedule = Schedule(peak=1.0, steps=100, warmup_steps=10, kind="wsd", cooldown_fraction=0.4, final_fraction=0.1)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0
    assert all(rate == 1.0 for rate in rates[9:60])
    assert rates[99] == pytest.approx(0.1)
    assert rates[79] == pytest.approx(0.1 + 0.9 * 20 / 40)


def test_cosine_is_half_way_down_in_the_middle():
    schedule = Schedule(peak=2.0, steps=110, warmup_steps=10, kind="cosine", final_fraction=0.0)
    assert schedule.rate(59) == pytest.approx(1.0)
    assert schedule.rate(109) == pytest.approx(0.0, abs=1e-12)
    rates = [schedule.rate(step) for step in range(9, 110)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("change", [{"kind": "linear"}, {"warmup_steps": 11}, {"steps": 0}])
def test_impossible_schedules_are_refused(change):
    with pytest.raises(InputError):
        dataclasses.replace(Schedule(peak=1.0, steps=10, warmup_steps=2), **change)


@pytest.mark.parametrize("tied", [False, True])
def test_only_matrices_decay_and_each_weight_is_in_one_group(tiny, tied):
    model = Transformer(dataclasses.replace(tiny, tie_embeddings=tied))
    decayed, kept = adamw(model, weight_decay=0.1).param_groups
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert {names[id(weight)] for weight in (*decayed["params"], *kept["params"])} == set(names.values())
    assert all("norm" not in names[id(weight)] and "embedding" not in names[id(weight)] for weight in decayed["params"])
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert ("head.weight" in {names[id(weight)] for weight in decayed["params"]}) is not tied


def test_without_gradient_a_step_shrinks_decayed_weights_alone(tiny):
    model = Transformer(tiny)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = adamw(model, weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    after = dict(model.named_parameters())
    torch.testing.assert_close(after["head.weight"], before["head.weight"] * 0.95)
    assert torch.equal(after["embedding.weight"], before["embedding.weight"])
    assert torch.equal(after["norm.weight"], before["norm.weight"])
