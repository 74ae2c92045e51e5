"""The loop learns, stops before it spoils weights, and resumes to the very same bits."""

import pytest
import torch
from torch.nn import functional as F

from models.config import InputError
from models.nets.transformer import Transformer
from models.seeds import uniforms
from models.training.loop import LoopSettings, choose_device, deterministic, train
from models.training.losses import Loss, token_loss
from models.training.muon import muon_adamw
from models.training.optim import NonFiniteTraining, Schedule, adamw
from models.training.recorder import read_metrics
from models.training.spikes import SpikeRule

STEPS = 10


def batch_at(step):
    """Counting sequences, so there is something to learn."""
    starts = torch.from_numpy((uniforms([step], 8)[0] * 200).astype("int64"))
    return starts[:, None] + torch.arange(17)


def language_loss(model, batch):
    return token_loss(model(batch[:, :-1]), batch[:, 1:], z_loss=1e-4)


def run(workdir, config, *, loss=language_loss, batches=batch_at, steps=STEPS, identity=None, rate=0.01, after=None):
    deterministic(1, 0)
    model = Transformer(config, seed=1)
    recorder = train(
        model,
        adamw(model, weight_decay=0.1),
        batches,
        loss,
        schedule=Schedule(peak=rate, steps=steps, warmup_steps=2),
        settings=LoopSettings(checkpoint_every=3, log_every=1),
        workdir=workdir,
        identity=identity or {"run": 1},
        after_step=after,
    )
    return model, recorder


def test_loss_falls_far_below_that_of_a_uniform_guess(tmp_path, tiny):
    run(tmp_path, tiny, steps=60, rate=0.02)
    losses = [row["metrics"]["nats_per_token"] for row in read_metrics(tmp_path)]
    assert losses[0] == pytest.approx(5.7, abs=0.1)  # ln 300
    assert losses[-1] < 1.5


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("last", [1, 3, 5, 9])
def test_interrupted_run_ends_with_the_weights_and_curves_of_a_whole_one(tmp_path, tiny, last):
    whole, _ = run(tmp_path / "whole", tiny)

    def dying(step):
        if step == last:
            raise Killed
        return batch_at(step)

    with pytest.raises(Killed):
        run(tmp_path / "killed", tiny, batches=dying)
    resumed, _ = run(tmp_path / "killed", tiny)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    curves = [
        [(row["step"], row["metrics"]["loss"], row["metrics"]["grad_norm"]) for row in read_metrics(tmp_path / name)]
        for name in ("whole", "killed")
    ]
    assert curves[0] == curves[1] and len(curves[0]) == STEPS


def test_damaged_last_state_falls_back_to_the_one_before(tmp_path, tiny):
    whole, _ = run(tmp_path / "whole", tiny)
    run(tmp_path / "again", tiny)
    (weights,) = (tmp_path / "again" / "checkpoints").glob("step-9/model.safetensors")
    weights.write_bytes(b"torn")
    resumed, _ = run(tmp_path / "again", tiny)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_states_of_another_run_are_refused(tmp_path, tiny):
    run(tmp_path, tiny)
    with pytest.raises(InputError, match="another recipe"):
        run(tmp_path, tiny, identity={"run": 2})


def poisoned(value, *, only_gradient):
    """The language loss, made non-finite at step 4 in its value or in its gradient alone."""
    calls = iter(range(100))

    def loss(model, batch):
        result = language_loss(model, batch)
        if next(calls) != 4:
            return result
        bad = (model.norm.weight.sum() * 0).sqrt() if only_gradient else value  # sqrt at 0: value 0, gradient nan
        return Loss(result.value + bad, result.metrics, result.tokens)

    return loss


def remember(seen, step, model):
    seen[step] = [weight.detach().clone() for weight in model.parameters()]
    return {}


@pytest.mark.parametrize(("value", "only_gradient"), [(float("nan"), False), (float("inf"), False), (0.0, True)])
def test_non_finite_loss_or_gradient_stops_before_any_weight_changes(tmp_path, tiny, value, only_gradient):
    seen = {}
    deterministic(1, 0)
    model = Transformer(tiny, seed=1)
    with pytest.raises(NonFiniteTraining, match="step 4"):
        train(
            model,
            adamw(model, weight_decay=0.1),
            batch_at,
            poisoned(value, only_gradient=only_gradient),
            schedule=Schedule(peak=0.01, steps=STEPS, warmup_steps=2),
            settings=LoopSettings(checkpoint_every=100),
            workdir=tmp_path / "poisoned",
            identity={},
            after_step=lambda step, recorder: remember(seen, step, model),
        )
    assert max(seen) == 4
    assert all(torch.equal(a, b) for a, b in zip(seen[4], model.parameters(), strict=True))


def test_a_non_finite_step_names_gradients_module_and_batch(tmp_path, tiny):
    deterministic(1, 0)
    model = Transformer(tiny, seed=1)
    with torch.no_grad():
        model.blocks[1].mlp.down.weight[3, 5] = float("inf")
    with pytest.raises(NonFiniteTraining) as caught:
        train(
            model,
            muon_adamw(model, learning_rate=0.01, muon_learning_rate=0.02, weight_decay=0.1),
            batch_at,
            language_loss,
            schedule=Schedule(peak=0.01, steps=STEPS, warmup_steps=2),
            settings=LoopSettings(checkpoint_every=100),
            workdir=tmp_path,
            identity={},
            describe=lambda step: f"documents of step {step}",
        )
    message = str(caught.value)
    assert message.startswith("step 0: loss nan") and "documents of step 0" in message
    assert "gradient not finite in embedding.weight" in message
    assert "output of blocks.1.mlp.down not finite" in message


def spiky(scale, at):
    """The language loss; at some steps multiplied, gradient and all."""

    def loss(model, batch):
        result = language_loss(model, batch[1])
        return Loss(result.value * (scale if batch[0] in at else 1.0), result.metrics, result.tokens)

    return loss


def watched(workdir, config, spikes, *, batches=lambda step: (step, batch_at(step)), at=(17, 23), seen=None):
    deterministic(1, 0)
    model = Transformer(config, seed=1)
    train(
        model,
        muon_adamw(model, learning_rate=1e-3, muon_learning_rate=2e-3, weight_decay=0.1),
        batches,
        spiky(50.0, at),
        schedule=Schedule(peak=1e-3, steps=26, warmup_steps=2),
        settings=LoopSettings(checkpoint_every=6, log_every=1, grad_clip=0, spikes=spikes),
        workdir=workdir,
        identity={"run": 1},
        after_step=lambda step, recorder: remember({} if seen is None else seen, step, model),
    )
    return model


def test_a_spike_moves_no_weight_and_the_next_step_goes_on(tmp_path, tiny):
    seen = {}
    watched(tmp_path, tiny, SpikeRule(least=8), seen=seen)
    same = [step for step in range(2, 27) if all(map(torch.equal, seen[step], seen[step - 1]))]
    assert same == [18, 24]
    assert read_metrics(tmp_path)[-1]["metrics"]["steps_skipped"] == 2


@pytest.mark.parametrize("last", [18, 21])
def test_an_interrupted_run_with_spikes_ends_as_a_whole_one(tmp_path, tiny, last):
    whole = watched(tmp_path / "whole", tiny, SpikeRule(least=8))

    def dying(step):
        if step == last:
            raise Killed
        return step, batch_at(step)

    with pytest.raises(Killed):
        watched(tmp_path / "killed", tiny, SpikeRule(least=8), batches=dying)
    resumed = watched(tmp_path / "killed", tiny, SpikeRule(least=8))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert read_metrics(tmp_path / "killed")[-1]["metrics"]["steps_skipped"] == 2


def test_token_loss_equals_cross_entropy_and_its_mask_leaves_positions_out():
    logits, targets = torch.randn(2, 5, 11), torch.randint(0, 11, (2, 5))
    mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)
    torch.testing.assert_close(token_loss(logits, targets).value, F.cross_entropy(logits.mT, targets))
    torch.testing.assert_close(token_loss(logits, targets, mask).value, F.cross_entropy(logits[mask], targets[mask]))
    none = token_loss(logits, targets, torch.zeros_like(mask)).value
    assert none == 0


def test_z_loss_adds_the_mean_squared_log_partition():
    logits, targets = torch.randn(2, 5, 11), torch.randint(0, 11, (2, 5))
    difference = token_loss(logits, targets, z_loss=0.1).value - token_loss(logits, targets).value
    torch.testing.assert_close(difference, 0.1 * logits.logsumexp(-1).square().mean())


def test_gradient_norm_is_clipped_in_the_update_and_reported_unclipped(tmp_path, tiny):
    model = Transformer(tiny, seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    settings = LoopSettings(checkpoint_every=100, log_every=1, grad_clip=0.01)
    schedule = Schedule(peak=1.0, steps=1, warmup_steps=0)
    before = [weight.detach().clone() for weight in model.parameters()]
    train(
        model, optimizer, batch_at, language_loss, schedule=schedule, settings=settings, workdir=tmp_path, identity={}
    )
    moved = torch.stack([(a - b).norm() for a, b in zip(before, model.parameters(), strict=True)]).norm()
    (row,) = read_metrics(tmp_path)
    assert row["metrics"]["grad_norm"] > 0.1
    assert float(moved.detach()) == pytest.approx(0.01 * schedule.rate(0), rel=1e-3)


def test_unknown_and_absent_devices_are_refused():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="tpu"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="cuda"):
            choose_device("cuda")
