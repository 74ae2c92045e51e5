"""Several ranks train the model that one would have trained; what stops one of them harms no weight and no state."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.artifacts import digest, verify
from models.config import InputError
from models.nets.transformer import Transformer
from models.training.optim import adamw
from models.training.ranks import World
from models.training.recorder import read_metrics
from models.training.states import latest_state, load_state
from tests.models.training.together import TINY, begun, broken_at, filled, pretrained, saving, together

CASES = [(2, "ddp"), (2, "fsdp"), (4, "ddp")]
REPEATED = ("loss", "grad_norm", "nats_per_token", "learning_rate", "bpb_heldout")
SEED = 20261201


def config_with(config: dict, **options) -> dict:
    overrides = config["overrides"]
    return config | {"overrides": overrides | {"pretrain": overrides["pretrain"] | options}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, pretrain_config) -> dict[tuple[int, str], Path]:
    """Work directories of uninterrupted runs, by ranks and how they share."""
    made = {}
    for world, parallel in CASES:
        made[world, parallel] = tmp_path_factory.mktemp(f"{parallel}{world}")
        codes = together(world, pretrained, config_with(pretrain_config, parallel=parallel), made[world, parallel])
        assert codes == [0] * world
    return made


def curve(out: Path, *names: str) -> list[tuple[int, dict[str, float]]]:
    return [
        (row["step"], {name: row["metrics"][name] for name in names if name in row["metrics"]})
        for row in read_metrics(out)
    ]


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_ranks_learns_what_one_learns(runs, base_model_dir, case):
    ours, alone = curve(runs[case], "loss", "bpb_heldout"), curve(base_model_dir.parent, "loss", "bpb_heldout")
    assert [step for step, _ in ours] == [step for step, _ in alone]
    for (_, found), (_, expected) in zip(ours, alone, strict=True):
        assert found == pytest.approx(expected, rel=1e-6)
    consumed = [verify(path)["files"]["consumed.parquet"] for path in (runs[case] / "final", base_model_dir)]
    assert consumed[0] == consumed[1], "the same global batches were read"


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_ranks_that_take_their_rows_in_pieces_learn_the_same(base_model_dir, pretrain_config, tmp_path, parallel):
    config = config_with(pretrain_config, parallel=parallel, micro_batch_size=1)
    assert together(2, pretrained, config, tmp_path) == [0, 0]
    names = ("loss", "grad_norm", "bpb_heldout")
    for (_, found), (_, expected) in zip(curve(tmp_path, *names), curve(base_model_dir.parent, *names), strict=True):
        assert found == pytest.approx(expected, rel=5e-6)


MUON = {"optimizer": "muon", "parallel": "fsdp"}


@pytest.fixture(scope="module")
def sharded_muon(tmp_path_factory, pretrain_config) -> Path:
    """The work directory of an uninterrupted run of Muon on two ranks that share every weight."""
    out = tmp_path_factory.mktemp("muon")
    assert together(2, pretrained, config_with(pretrain_config, **MUON), out) == [0, 0]
    return out


def test_muon_on_shards_learns_what_it_learns_on_whole_matrices(sharded_muon, pretrain_config, tmp_path):
    pretrained(config_with(pretrain_config, optimizer="muon"), tmp_path)
    ours, alone = curve(sharded_muon, "loss", "bpb_heldout"), curve(tmp_path, "loss", "bpb_heldout")
    for (step, found), (at, expected) in zip(ours, alone, strict=True):
        assert step == at and found == pytest.approx(expected, rel=1e-5)
    ours, theirs = (load_file(place / "final" / "model.safetensors") for place in (sharded_muon, tmp_path))
    assert all(torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-4) for name in theirs)


def test_muon_on_shards_goes_on_to_the_bit(sharded_muon, pretrain_config, tmp_path):
    out = resumed(sharded_muon, 8, tmp_path)
    assert together(2, pretrained, config_with(pretrain_config, **MUON), out) == [0, 0]
    assert digest(out / "final") == digest(sharded_muon / "final")
    assert curve(out, *REPEATED) == curve(sharded_muon, *REPEATED)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 4])
def test_a_state_of_muon_on_two_shards_is_gone_on_from_at_one_and_at_four(
    sharded_muon, pretrain_config, tmp_path, ranks
):
    out = resumed(sharded_muon, 8, tmp_path)
    assert together(ranks, pretrained, config_with(pretrain_config, **MUON), out) == [0] * ranks
    last, expected = curve(out, "loss", "bpb_heldout")[-2:], curve(sharded_muon, "loss", "bpb_heldout")[-2:]
    for (step, found), (at, wanted) in zip(last, expected, strict=True):
        assert step == at and found == pytest.approx(wanted, rel=1e-5)


def resumed(source: Path, step: int, out: Path) -> Path:
    """A work directory that holds one state of another run, and its curves."""
    shutil.copytree(source / "checkpoints" / f"step-{step}", out / "checkpoints" / f"step-{step}")
    for name in ("metrics.jsonl", "samples.jsonl"):
        shutil.copy(source / name, out / name)
    return out


@pytest.mark.parametrize("case", CASES[:2])
def test_going_on_at_two_ranks_is_exact_to_the_bit(runs, tmp_path, pretrain_config, case):
    world, parallel = case
    out = resumed(runs[case], 4, tmp_path)
    assert together(world, pretrained, config_with(pretrain_config, parallel=parallel), out) == [0] * world
    assert digest(out / "final") == digest(runs[case] / "final")
    assert curve(out, *REPEATED) == curve(runs[case], *REPEATED)
    states = [verify(place / "checkpoints" / "step-8")["files"] for place in (out, runs[case])]
    assert states[0] == states[1], "weights, moments and random states"


@pytest.mark.parametrize("case", CASES[:2])
@pytest.mark.parametrize("ranks", [1, 4])
def test_a_state_of_two_ranks_is_gone_on_from_at_one_and_at_four(runs, tmp_path, pretrain_config, case, ranks):
    out = resumed(runs[case], 8, tmp_path)
    assert together(ranks, pretrained, config_with(pretrain_config, parallel=case[1]), out) == [0] * ranks
    last, expected = curve(out, "loss", "bpb_heldout")[-2:], curve(runs[case], "loss", "bpb_heldout")[-2:]
    for (step, found), (at, wanted) in zip(last, expected, strict=True):
        assert step == at and found == pytest.approx(wanted, rel=1e-6)
    ours, theirs = (load_file(place / "final" / "model.safetensors") for place in (out, runs[case]))
    assert all(torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-5) for name in theirs)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_number_on_one_rank_stops_all_before_any_weight_changes(tmp_path, parallel, value):
    assert together(2, broken_at, 3, parallel, value, tmp_path) == [0, 0]
    said = [json.loads((tmp_path / f"said-{rank}.json").read_text()) for rank in range(2)]
    assert all(one["untouched"] for one in said)
    assert said[0]["error"] == said[1]["error"]
    for part in ("step 3: ", "rank 1: output of ", "blocks.1", "rows 1 of step 3", "gradient not finite in "):
        assert part in said[0]["error"]
    assert "rank 0: output" not in said[0]["error"]
    assert latest_state(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "step-3"


def struck(world: int, place: Path, draw: random.Random) -> int:
    """Kills one rank of a run that saves without end, or all, at a random moment; returns the step that is left."""
    acknowledged = place / "acknowledged"
    ranks = begun(world, saving, place / "checkpoints", acknowledged)
    deadline = time.monotonic() + 300
    while not acknowledged.exists():
        assert time.monotonic() < deadline and all(rank.exitcode is None for rank in ranks)
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.1))
    first = draw.choice(ranks)
    first.kill()
    if draw.random() < 0.5:
        for rank in ranks:
            rank.kill()
    for rank in ranks:
        rank.join(300)
        assert rank.exitcode is not None, "a rank hangs on a dead one"
        assert rank.exitcode == -signal.SIGKILL or rank.exitcode == 1
    newest = latest_state(place / "checkpoints")
    assert newest is not None
    model = Transformer(TINY)
    optimizer = adamw(model, weight_decay=0.0)
    state = load_state(newest, model, optimizer)
    assert state.step >= int(acknowledged.read_text().split()[-1])
    expected = Transformer(TINY)
    moments = adamw(expected, weight_decay=0.0)
    filled(expected, moments, state.step)
    for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(found, wanted)
        assert all(torch.equal(optimizer.state[found][key], moments.state[wanted][key]) for key in ("exp_avg", "step"))
    return state.step


@pytest.mark.parametrize("world", [1, 2])
def test_a_kill_while_a_state_is_written_leaves_the_last_whole_one(tmp_path, world):
    draw = random.Random(SEED + world)
    steps = [struck(world, tmp_path / str(kill), draw) for kill in range(4)]
    print(f"{len(steps)} kills at {world} ranks, states left: {steps}")


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_a_hundred_kills_while_states_are_written(tmp_path, world):
    draw = random.Random(SEED - world)
    steps = []
    for kill in range(100):
        place = tmp_path / str(kill)
        steps.append(struck(world, place, draw))
        shutil.rmtree(place)
    print(f"100 kills at {world} ranks (seed {SEED - world}), states left: {min(steps)} to {max(steps)}")


def test_ranks_that_cannot_share_a_batch_or_are_half_described_are_refused(pretrain_config, tmp_path, monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="batch_size 4 cannot be shared by 3 ranks"):
        pretrained(pretrain_config, tmp_path)
    with pytest.raises(InputError, match="torchrun"):
        World.from_environment({"RANK": "0"})
    with pytest.raises(InputError, match="not among"):
        World.from_environment({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"})
