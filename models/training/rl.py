"""`python -m models rl`: a policy trained on problems with verifiable answers, and on a coin as its control.

Each draw takes the next problems, samples a group of answers to each from the current policy, scores them, and hands
whole groups to the shared training loop. The random-reward control differs in one word of the configuration.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from models.artifacts import digest, sha256_file
from models.config import InputError, Recipe, RlRecipe, as_dict
from models.data.order import consumed_problems, step_problems
from models.data.provenance import PROVENANCE
from models.data.sft import read_columns
from models.data.tokenizer import load_tokenizer, tokenizer_sha256
from models.evaluation.accuracy import load_tasks, measure, subset, summarise
from models.nets.transformer import Transformer
from models.objectives.algorithms import algorithm
from models.recipes import resolve
from models.tasks.families import Problem
from models.training.checkpoint import load_model, save_final
from models.training.loop import LoopSettings, autocast, choose_device, deterministic, train
from models.training.losses import Loss
from models.training.optim import Schedule, adamw
from models.training.policy import Scored, score, step_loss
from models.training.recorder import Recorder
from models.training.rewards import KINDS
from models.training.rollouts import Rollout, draw, write_record

SAMPLES_SHOWN = 3


class Draws:
    """The loop's batches: fresh rollouts every `updates_per_draw` steps, cut into that many pieces of whole groups.

    A draw is a function of (policy, seed, index of the draw), so a run resumed between draws repeats what it would have
    drawn. `rollouts` holds the latest draw.
    """

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, problems: Sequence[Problem], recipe: RlRecipe, seed: int
    ) -> None:
        self.model, self.tokenizer, self.problems, self.recipe, self.seed = model, tokenizer, problems, recipe, seed
        self.rollouts: list[Rollout] = []

    def fresh(self, step: int) -> bool:
        """Does the 0-based loop step begin with a new draw?"""
        return step % self.recipe.updates_per_draw == 0

    def take(self, step: int, reward: str) -> list[Rollout]:
        """The rollouts that the 0-based loop step belongs to, drawn now if the step begins a draw."""
        if self.fresh(step):
            index = step // self.recipe.updates_per_draw + 1
            self.rollouts = draw(
                self.model,
                self.tokenizer,
                step_problems(self.problems, self.recipe.prompts_per_step, self.seed, index),
                group_size=self.recipe.group_size,
                max_new_tokens=self.recipe.max_new_tokens,
                reward=reward,
                seed=self.seed,
                step=index,
                policy_version=step,
            )
        return self.rollouts


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `rl` command. Config: recipe, seed, overrides, model_dir, tasks_files, reward ("true" or "random").

    Publishes out/final: the policy with its tokenizer, consumed.parquet (PROBLEMS_CONSUMED), and a
    manifest with the parent's digest and both models' accuracies on all held-out problems. Rollout records are left in
    out/rollouts. PolicyMismatch, PolicyDiverged and NonFiniteTraining stop the run; its last state is its last good
    policy.
    """
    recipe = resolve(config)
    rl, rule, device = recipe.rl, algorithm(recipe.rl.algorithm), choose_device(recipe.rl.device)
    reward = config.get("reward", "true")
    if reward not in KINDS:
        raise InputError(f"unknown reward {reward!r}; one of {', '.join(KINDS)}")
    if not config.get("model_dir") or not config.get("tasks_files"):
        raise InputError("rl needs model_dir and tasks_files")
    model_dir, files = Path(config["model_dir"]), [Path(file) for file in config["tasks_files"]]
    training, heldout = load_tasks(files, "train"), load_tasks(files, "heldout")
    if shared := {p.problem_id for p in training} & {p.problem_id for p in heldout}:
        raise InputError(f"{len(shared)} problems are in both splits of the task files, e.g. {min(shared)}")

    deterministic(recipe.threads, recipe.seed)
    model, _ = load_model(model_dir, device)
    reference = load_model(model_dir, device)[0].requires_grad_(False) if rl.kl_beta else None
    tokenizer = load_tokenizer(model_dir)
    identity = _identity(recipe, reward, model_dir, files)
    watched = subset(heldout, rl.eval_problems)
    report(f"rl: {len(training)} training problems, {len(heldout)} held out, reward {reward}, {rl.algorithm}")

    def accuracies(problems: Sequence[Problem]) -> dict[str, float]:
        with autocast(device):
            results = measure(
                model,
                tokenizer,
                problems,
                max_new_tokens=rl.max_new_tokens,
                samples=rl.eval_samples,
                seed=recipe.seed,
            )
        return {name: estimate.value for name, estimate in summarise(results).items()}

    parent_curve = accuracies(watched)
    parent_final = parent_curve if len(watched) == len(heldout) else accuracies(heldout)
    draws = Draws(model, tokenizer, training, rl, recipe.seed)

    def batch_at(step: int) -> tuple[int, Scored]:
        with autocast(device):
            rollouts = draws.take(step, reward)
        scored = score(rollouts, rl.group_size, rule)
        if draws.fresh(step) and (step == 0 or (step + 1) % rl.record_every < rl.updates_per_draw):
            write_record(out / "rollouts" / f"step-{step + 1:06}.parquet", rollouts, scored.advantages_B.tolist())
        return step, scored.part(step % rl.updates_per_draw, rl.updates_per_draw)

    def loss(model: Transformer, batch: tuple[int, Scored]) -> Loss:
        step, scored = batch
        found = step_loss(
            model,
            scored,
            rule,
            max_new_tokens=rl.max_new_tokens,
            max_logprob_gap=rl.max_logprob_gap if draws.fresh(step) else None,
            reference=reference,
            beta=rl.kl_beta,
            head=rl.head,
        )
        return Loss(found.value, {**found.metrics, **rollout_figures(scored)}, found.tokens)

    def after_step(step: int, recorder: Recorder) -> dict[str, float]:
        if step == 1:
            recorder.log(0, **parent_curve)
            _show(recorder, 0, draws.rollouts)
        if step % rl.eval_every and step != rl.steps:
            return {}
        if step > 1:
            _show(recorder, step, draws.rollouts)
        figures = accuracies(watched)
        greedy, sampled = figures["accuracy_greedy"], figures["accuracy_sampled"]
        report(f"rl: step {step}, held-out accuracy {greedy:.1%} greedy, {sampled:.1%} sampled")
        return figures

    train(
        model,
        adamw(model, weight_decay=rl.weight_decay, beta1=rl.beta1, beta2=rl.beta2, eps=rl.adam_eps),
        batch_at,
        loss,
        schedule=_schedule(rl),
        settings=LoopSettings(rl.checkpoint_every, 1, rl.grad_clip, "rl"),
        workdir=out,
        identity=identity,
        after_step=after_step,
    )
    final = accuracies(heldout)
    figures = {
        "steps": rl.steps,
        "problems_heldout": len(heldout),
        **final,
        **{f"parent_{name}": value for name, value in parent_final.items()},
    }
    consumed = out / "consumed.parquet"
    tasks = (row for file in files for row in read_columns(file, ("task_id",), PROVENANCE.names))
    origins = {row["task_id"]: row for row in tasks}
    pq.write_table(consumed_problems(training, rl, recipe.seed, origins), consumed)
    save_final(
        out / "final", model, model_dir, {**identity, **figures}, kind="rl_model", files={consumed.name: consumed}
    )
    report(
        f"rl: held-out accuracy {parent_final['accuracy_greedy']:.1%} to {final['accuracy_greedy']:.1%} greedy,"
        f" {parent_final['accuracy_sampled']:.1%} to {final['accuracy_sampled']:.1%} sampled"
    )
    return figures


def rollout_figures(scored: Scored) -> dict[str, float]:
    """reward_mean, each reward part's mean, response_tokens (with the end token), and the share of silent rows."""
    rollouts = scored.rollouts
    parts = {name: np.mean([r.reward.parts[name] for r in rollouts]) for name in rollouts[0].reward.parts}
    return {
        "reward_mean": float(np.mean([r.reward.total for r in rollouts])),
        **{f"reward_{name}": float(value) for name, value in parts.items()},
        "rollout_tokens": float(np.mean([len(r.completion_ids) for r in rollouts])),
        "silent_groups": float((~scored.live_B).double().mean()),
    }


def _identity(recipe: Recipe, reward: str, model_dir: Path, files: list[Path]) -> dict[str, Any]:
    return {
        "parent": digest(model_dir),
        "recipe": recipe.name,
        "seed": recipe.seed,
        "threads": recipe.threads,
        "rl": as_dict(recipe.rl),
        "reward": reward,
        "tasks": [sha256_file(file) for file in files],
        "tokenizer_sha256": tokenizer_sha256(model_dir),
    }


def _schedule(rl: RlRecipe) -> Schedule:
    return Schedule(
        peak=rl.learning_rate,
        steps=rl.steps,
        warmup_steps=rl.warmup_steps,
        cooldown_fraction=rl.cooldown_fraction,
        final_fraction=rl.final_lr_fraction,
    )


def _show(recorder: Recorder, step: int, rollouts: Sequence[Rollout]) -> None:
    """Decoded answers with their rewards, from the groups' first samples."""
    for rollout in [r for r in rollouts if r.sample == 0][:SAMPLES_SHOWN]:
        parts = ", ".join(f"{name} {value:g}" for name, value in rollout.reward.parts.items())
        verdict = f"[reward {rollout.reward.total:g}: {parts}; the answer is {rollout.problem.answer}]"
        recorder.sample(step, rollout.problem.question, f"{rollout.text} {verdict}")
