"""Reinforcement: exact masks and log-probabilities, typed stops, the control arm, learning, and a killed run."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.artifacts import digest, verify
from models.config import InputError, RlRecipe, TransformerConfig
from models.data.chat import render
from models.data.order import consumed_problems, step_problems
from models.data.tokenizer import IM_END_ID, load_tokenizer, save, train
from models.nets.transformer import Transformer
from models.objectives.algorithms import ALGORITHMS
from models.tasks.families import Problem
from models.tasks.rl_tasks import TASKS
from models.training.checkpoint import load_model, save_final
from models.training.policy import PolicyMismatch, sampled_logprobs, score, step_loss
from models.training.recorder import read_metrics
from models.training.rewards import reward_of
from models.training.rl import run
from models.training.rollouts import SCHEMA, PolicyDiverged, collate, draw
from models.training.sft import masked_loss, pieces

TEXTS = ["Say 1", "Say 2", "user assistant", "Answer: 0 1 2 3 4 5 6 7 8 9"] * 4
SMALL = {
    "threads": 1,
    "rl": {
        "steps": 6, "prompts_per_step": 4, "group_size": 4, "max_new_tokens": 5, "eval_every": 3, "eval_problems": 8,
        "eval_samples": 1, "record_every": 2, "checkpoint_every": 2,
    },
}  # fmt: skip


def speak_digits(model: Transformer, tokenizer) -> None:
    """Train the model to answer any "Say d" with a digit below 4 at random, so that about a quarter is right."""
    rows = []
    for asked in range(4):
        for said in range(4):
            turns = [{"role": "user", "content": f"Say {asked}"}, {"role": "assistant", "content": str(said)}]
            ids, mask = render(turns, tokenizer)
            rows.append({"input_ids": ids, "loss_mask": mask})
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        masked_loss(model, pieces(rows)).value.backward()
        optimizer.step()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A small random model and tasks "Say d" with answer d: learnable by reward alone."""
    root = tmp_path_factory.mktemp("rl")
    (root / "tokenizer").mkdir()
    tokenizer = train(TEXTS, 280)
    save(tokenizer, root / "tokenizer")
    config = TransformerConfig(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=16, d_ff=64,
        max_seq_len=64, tie_embeddings=False,
    )  # fmt: skip
    model = Transformer(config, seed=1)
    speak_digits(model, tokenizer)
    save_final(root / "model", model, root / "tokenizer", {"parent": None}, kind="sft_model")
    rows = [
        {"task_id": f"{split}{d}-{i}", "family": "say", "question": f"Say {d}", "answer": str(d), "level": 1,
         "split": split}
        for split in ("train", "heldout") for d in range(4) for i in range(2)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=TASKS), root / "tasks.parquet")
    return root


PROBLEMS = [Problem(f"p{d}", "say", 1, f"Say {d}", str(d)) for d in range(4)]


def config_of(home: Path, reward: str = "true", **rl) -> dict:
    overrides = {**SMALL, "rl": SMALL["rl"] | rl}
    return {
        "recipe": "smoke", "overrides": overrides, "model_dir": str(home / "model"),
        "tasks_files": [str(home / "tasks.parquet")], "reward": reward,
    }  # fmt: skip


def rollouts_of(home: Path):
    model, _ = load_model(home / "model")
    drawn = draw(
        model, load_tokenizer(home / "model"), PROBLEMS, group_size=4, max_new_tokens=5, reward="true", seed=0,
        step=1, policy_version=0,
    )  # fmt: skip
    return model, drawn


def test_batch_holds_exactly_the_sampled_tokens(home):
    _, drawn = rollouts_of(home)
    batch = collate(drawn)
    assert len(batch.ids_RT) == 4, "one row per prompt, not one per answer"
    for row, rollout in enumerate(drawn):
        length = len(rollout.completion_ids)
        assert batch.targets_BC[row, :length].tolist() == rollout.completion_ids
        assert batch.mask_BC[row].tolist() == [1.0] * length + [0.0] * (batch.mask_BC.shape[1] - length)
        assert (rollout.completion_ids[-1] == IM_END_ID) == rollout.ended, "the end token is among the trained ones"
    assert any(r.ended for r in drawn)


def test_logprobs_equal_a_plain_pass_over_each_answer_alone_and_the_samplers(home):
    model, drawn = rollouts_of(home)
    found_BC, _ = sampled_logprobs(model, collate(drawn))
    for row, rollout in enumerate(drawn):
        ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids])
        logprobs_TV = model(ids)[0].log_softmax(-1)
        start = len(rollout.prompt_ids)
        plain = [logprobs_TV[start + t - 1, token].item() for t, token in enumerate(rollout.completion_ids)]
        assert found_BC[row, : len(plain)].tolist() == pytest.approx(plain, abs=1e-4)
        assert rollout.logprobs == pytest.approx(plain, abs=1e-4)
        assert found_BC[row, len(plain) :].abs().sum().item() == 0.0


def test_a_chunked_head_gives_the_same_losses_gradients_and_figures(home):
    model, drawn = rollouts_of(home)
    scored = score(drawn, 4, ALGORITHMS["dr_grpo"])
    found = {}
    for head in ("materialised", "chunked"):
        model.zero_grad()
        loss = loss_of(model, scored, head=head)
        loss.value.backward()
        found[head] = loss, torch.cat([p.grad.flatten() for p in model.parameters()])
    (plain, gradient), (ours, own) = found.values()
    torch.testing.assert_close(own, gradient, rtol=1e-4, atol=1e-7)
    assert float(gradient.norm()) > 1e-6
    assert ours.metrics == pytest.approx(plain.metrics, rel=1e-4, abs=1e-5)


def loss_of(model, scored, **changes):
    settings = {"max_new_tokens": 5, "max_logprob_gap": 1e-3} | changes
    return step_loss(model, scored, ALGORITHMS["dr_grpo"], **settings)


def test_on_policy_ratio_is_one_and_the_clip_is_idle(home):
    model, drawn = rollouts_of(home)
    found = loss_of(model, score(drawn, 4, ALGORITHMS["dr_grpo"]))
    assert found.metrics["clip_fraction"] == 0.0
    assert found.metrics["logprob_gap_max"] < 1e-4


def test_leaving_out_silent_groups_changes_no_gradient(home):
    model, drawn = rollouts_of(home)
    scored = score(drawn, 4, ALGORITHMS["dr_grpo"])
    assert 0 < int(scored.live_B.sum()) < len(drawn), "the fixture must have groups with signal and without"
    gradients = []
    for live_B in (scored.live_B, torch.ones_like(scored.live_B)):
        model.zero_grad()
        loss_of(model, replace(scored, live_B=live_B)).value.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)
    assert float(gradients[0].norm()) > 1e-6


def test_nothing_to_learn_from_gives_a_zero_gradient(home):
    model, drawn = rollouts_of(home)
    silent = [replace(r, reward=reward_of("true", answer="9", completion="1", ended=True, seed=0)) for r in drawn]
    loss_of(model, score(silent, 4, ALGORITHMS["dr_grpo"])).value.backward()
    assert all(float(p.grad.abs().max()) == 0.0 for p in model.parameters())


def test_rollouts_of_other_weights_are_refused(home):
    model, drawn = rollouts_of(home)
    with torch.no_grad():
        model.head.weight.mul_(1.1)
    with pytest.raises(PolicyMismatch, match="nats per token"):
        loss_of(model, score(drawn, 4, ALGORITHMS["dr_grpo"]))


def test_a_cut_off_answer_earns_nothing_even_when_right():
    assert reward_of("true", answer="3", completion="3", ended=True, seed=0).total == 1.0
    cut = reward_of("true", answer="3", completion="3", ended=False, seed=0)
    assert (cut.total, cut.parts) == (0.0, {"right": 1.0, "ended": 0.0})


def test_the_coin_is_fair_seeded_and_blind():
    coins = [reward_of("random", answer="3", completion="3", ended=True, seed=seed).total for seed in range(4000)]
    assert sum(coins) / 4000 == pytest.approx(0.5, abs=0.03)
    assert coins[:50] == [reward_of("random", answer="3", completion="x", ended=False, seed=s).total for s in range(50)]


def test_problems_of_a_draw_cover_every_problem_once_a_pass():
    asked = [p.problem_id for step in range(1, 5) for p in step_problems(PROBLEMS, 3, seed=0, step=step)]
    assert all(sorted(asked[lap * 4 : lap * 4 + 4]) == ["p0", "p1", "p2", "p3"] for lap in range(3))
    recipe = RlRecipe(steps=4, prompts_per_step=3, group_size=2, max_new_tokens=4, learning_rate=1e-3)
    consumed = consumed_problems(PROBLEMS, recipe, seed=0).to_pylist()
    assert {row["problem_id"]: row["samples"] for row in consumed} == dict.fromkeys(["p0", "p1", "p2", "p3"], 6)


@pytest.mark.parametrize(
    ("field", "value"), [("group_size", 1), ("updates_per_draw", 3), ("updates_per_draw", 4), ("algorithm", "ppo")]
)
def test_recipes_that_cannot_work_are_refused(home, tmp_path, field, value):
    with pytest.raises((InputError, ValueError), match=f"{field}|{value}"):
        run(config_of(home, **{field: value}), tmp_path / "out", lambda line: None)
    assert not (tmp_path / "out").exists()


def test_problems_in_both_splits_are_refused(home, tmp_path):
    rows = pq.read_table(home / "tasks.parquet").to_pylist()
    rows[0]["task_id"] = rows[-1]["task_id"]
    pq.write_table(pa.Table.from_pylist(rows, schema=TASKS), tmp_path / "tasks.parquet")
    with pytest.raises(InputError, match="both splits"):
        run(config_of(home) | {"tasks_files": [str(tmp_path / "tasks.parquet")]}, tmp_path / "out", lambda line: None)


@pytest.fixture(scope="module")
def uninterrupted(home) -> Path:
    run(config_of(home), home / "whole", lambda line: None)
    return home / "whole"


def test_run_publishes_its_parent_and_both_accuracies(home, uninterrupted):
    manifest = verify(uninterrupted / "final")
    assert manifest["parent"] == digest(home / "model")
    assert {"accuracy_greedy", "parent_accuracy_greedy", "accuracy_sampled", "response_tokens/say"} <= set(manifest)
    curve = {p["step"]: p["metrics"] for p in read_metrics(uninterrupted) if "accuracy_greedy" in p["metrics"]}
    assert sorted(curve) == [0, 3, 6]
    assert curve[0]["accuracy_greedy"] == manifest["parent_accuracy_greedy"]


def test_rollout_record_has_what_an_update_needs(home, uninterrupted):
    files = sorted(path.name for path in (uninterrupted / "rollouts").iterdir())
    assert files == [f"step-{step:06}.parquet" for step in (1, 2, 4, 6)]
    table = pq.read_table(uninterrupted / "rollouts" / "step-000001.parquet")
    assert table.schema.names == SCHEMA.names
    for row in table.to_pylist():
        assert len(row["completion_ids"]) == len(row["logprobs"]) == len(row["mask"])
        assert row["reward"] == dict(row["reward_parts"])["right"] * dict(row["reward_parts"])["ended"]


def test_three_samples_with_their_reward_are_shown_at_step_0(uninterrupted):
    samples = [json.loads(line) for line in (uninterrupted / "samples.jsonl").read_text().splitlines()]
    first = [sample for sample in samples if sample["step"] == 0]
    assert len(first) == 3
    assert all("[reward" in sample["text"] and "right" in sample["text"] for sample in first)


def test_a_killed_run_ends_with_the_same_digest(home, uninterrupted, tmp_path):
    """SIGKILL after the first state, start again: the very bytes of the uninterrupted run."""
    (tmp_path / "config.json").write_text(json.dumps(config_of(home)))
    command = [sys.executable, "-m", "models", "rl", "--config", str(tmp_path / "config.json")]
    command += ["--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed" / "checkpoints").glob("step-*/manifest.json")):
        assert time.monotonic() < deadline and process.poll() is None, "no state was written"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "final").exists()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert digest(tmp_path / "killed" / "final") == digest(uninterrupted / "final")
    assert [p["step"] for p in read_metrics(tmp_path / "killed")] == [p["step"] for p in read_metrics(uninterrupted)]


@pytest.mark.parametrize("algorithm", ["grpo", "dapo", "rloo", "gspo"])
def test_every_algorithm_runs_off_policy_with_a_reference(home, tmp_path, algorithm):
    figures = run(
        config_of(home, algorithm=algorithm, updates_per_draw=2, steps=4, kl_beta=0.05),
        tmp_path / "out",
        lambda _: None,
    )
    curve = [p["metrics"] for p in read_metrics(tmp_path / "out") if "kl" in p["metrics"]]
    assert figures["steps"] == 4
    assert curve[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert curve[-1]["kl"] > 0.0


def test_a_broken_model_stops_the_run_before_its_weights_change(home, tmp_path):
    (tmp_path / "model").mkdir()
    model, _ = load_model(home / "model")
    with torch.no_grad():
        model.blocks[0].mlp.down.weight.fill_(float("nan"))
    save_final(tmp_path / "nan", model, home / "model", {"parent": None})
    with pytest.raises(PolicyDiverged):
        run(config_of(home) | {"model_dir": str(tmp_path / "nan")}, tmp_path / "out", lambda line: None)
    assert not (tmp_path / "out" / "final").exists()


def test_reward_teaches_what_the_coin_does_not(home, tmp_path):
    """From chance to nearly always right on "Say d" by reward alone; the control stays at chance."""
    gains = {}
    for reward in ("true", "random"):
        figures = run(
            config_of(
                home,
                reward,
                steps=160,
                group_size=16,
                learning_rate=5e-3,
                eval_every=160,
                eval_samples=8,
                max_new_tokens=2,
                checkpoint_every=160,
            ),
            tmp_path / reward,
            lambda _: None,
        )
        gains[reward] = figures["accuracy_sampled"] - figures["parent_accuracy_sampled"]
    assert gains["true"] > 0.3
    assert gains["random"] < 0.15
