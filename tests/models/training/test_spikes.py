"""A spike is left out, a new level is followed, and the rule forgets nothing over a restart."""

import pytest
import torch

from models.seeds import uniforms
from models.training.spikes import SpikeRule, SpikeWatch

RULE = SpikeRule(window=16, sigmas=6.0, least=8)


def settled(steps=20):
    """A watch that has seen quiet steps around loss 2 and norm 1."""
    watch = SpikeWatch(RULE)
    noise = uniforms([7], 2 * steps)[0].reshape(steps, 2)
    skipped = [watch.is_spike(2 + 0.1 * float(a), 1 + 0.1 * float(b)) for a, b in noise]
    assert not any(skipped)
    return watch


@pytest.mark.parametrize(
    ("loss", "norm", "spike"), [(2.05, 1.05, False), (5.0, 1.05, True), (2.05, 9.0, True), (0.0, 0.0, False)]
)
def test_only_what_leaps_upwards_is_a_spike(loss, norm, spike):
    watch = settled()
    assert watch.is_spike(loss, norm) is spike
    assert watch.skipped == int(spike)


def test_nothing_is_judged_before_enough_steps_were_seen():
    watch = SpikeWatch(RULE)
    assert not any(watch.is_spike(loss, 1.0) for loss in (1.0, 2.0, 1.0, 500.0, 1.0, 1.0, 1.0, 900.0))
    watch = SpikeWatch(RULE)
    assert [watch.is_spike(loss, 1.0) for loss in [1.0, 1.1] * 4 + [50.0]] == [False] * 8 + [True]


def test_one_spike_does_not_hide_the_next():
    watch = settled()
    skipped = [watch.is_spike(loss, 1.05) for loss in (90.0, 2.05, 2.0, 60.0, 2.1, 30.0)]
    assert skipped == [True, False, False, True, False, True]


def test_a_lasting_change_of_level_is_followed():
    watch = settled()
    skipped = [watch.is_spike(8.0, 1.0) for _ in range(RULE.window)]
    assert all(skipped[:3]) and not any(skipped[10:])


def test_state_is_the_tensor():
    watch = settled()
    copy = SpikeWatch(RULE, watch.tensor)
    for loss, norm in ((2.01, 1.0), (30.0, 1.0), (2.02, 1.01), (2.0, 40.0)):
        assert watch.is_spike(loss, norm) == copy.is_spike(loss, norm)
    assert torch.equal(watch.tensor, copy.tensor)
