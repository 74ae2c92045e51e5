"""Does reinforcement teach, and is it the reward that does it? Three seeds, the true reward beside a coin.

`python -m tests.benchmarks.rl_seeds --inputs DIR --recipe demo` makes in DIR, once, what all seeds share (tokenizer,
base model, instruction data), then per seed an instruct model, tasks, and one policy for each reward. Greedy and
sampled accuracy are measured on the same held-out problems before and after. Text to pretrain on comes from
--corpus (Parquet with doc_id, cluster_id and text).
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

REWARDS = ("true", "random")
METRICS = ("accuracy_greedy", "accuracy_sampled")


@dataclass(frozen=True)
class Row:
    """One seed under one reward: shares of held-out problems that are right, before (SFT) and after (RL)."""

    seed: int
    reward: str
    metric: str
    before: float
    after: float

    @property
    def gain(self) -> float:
        """Percentage points."""
        return 100 * (self.after - self.before)


def command(name: str, out: Path, config: dict[str, Any]) -> Path:
    """Run one learning command to its published result, which a second call finds finished; returns OUT/final."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "config.json"
    path.write_text(json.dumps(config))
    arguments = [sys.executable, "-m", "models", name, "--config", str(path), "--out", str(out)]
    subprocess.run(arguments, check=True, stderr=subprocess.DEVNULL, env=os.environ)
    return out / "final"


def shared_inputs(root: Path, recipe: dict[str, Any], corpus: Path) -> tuple[Path, Path]:
    """The base model and sft.parquet that all seeds start from."""
    tokenizer = command("tokenizer", root / "tokenizer", recipe | {"corpus_files": [str(corpus)]})
    known = recipe | {"tokenizer_dir": str(tokenizer)}
    shards = command("tokenize", root / "shards", known | {"corpus_files": [str(corpus)]})
    base = command("pretrain", root / "base", known | {"shards_dir": str(shards)})
    offered = {"candidates_files": [str(command("synthesize", root / "candidates", recipe) / "candidates.parquet")]}
    features = command("gradients", root / "features", recipe | offered | {"model_dir": str(base)})
    selected = command("select", root / "selected", recipe | offered | {"features_dir": str(features)})
    data = command("sft-data", root / "sft-data", known | {"selected_files": [str(selected / "selected.parquet")]})
    return base, data / "sft.parquet"


def measure_seed(root: Path, recipe: dict[str, Any], base: Path, examples: Path, seed: int) -> list[Row]:
    """Instruct model, tasks and both policies of one seed."""
    own, place = recipe | {"seed": seed}, root / f"seed-{seed}"
    sft = command("sft", place / "sft", own | {"model_dir": str(base), "sft_files": [str(examples)]})
    tasks = command("rl-tasks", place / "tasks", own | {"exclude": [str(examples)]}) / "tasks.parquet"
    rows = []
    for reward in REWARDS:
        policy = command(
            "rl",
            place / f"rl-{reward}",
            own | {"model_dir": str(sft), "tasks_files": [str(tasks)], "reward": reward},
        )
        figures = json.loads((policy / "manifest.json").read_text())
        rows += [Row(seed, reward, metric, figures[f"parent_{metric}"], figures[metric]) for metric in METRICS]
    return rows


def table(rows: list[Row]) -> str:
    """The rows, and per reward and metric the mean and range of the gain, as text."""
    lines = [f"{'seed':>4} {'reward':>7} {'metric':>17} {'SFT':>6} {'RL':>6} {'gain':>7}"]
    for row in rows:
        lines.append(
            f"{row.seed:>4} {row.reward:>7} {row.metric:>17} {row.before:>6.1%} {row.after:>6.1%} {row.gain:>+7.1f}"
        )
    for metric in METRICS:
        for reward in REWARDS:
            gains = [row.gain for row in rows if (row.reward, row.metric) == (reward, metric)]
            lines.append(f"{metric}, {reward}: gain {mean(gains):+.1f} points, {min(gains):+.1f} to {max(gains):+.1f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=Path, required=True, help="work directory; finished parts are used again")
    parser.add_argument("--corpus", type=Path, help="Parquet with doc_id, cluster_id and text; needed the first time")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--threads", type=int, help="of torch; the recipe's own without it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    recipe: dict[str, Any] = {"recipe": given.recipe}
    if given.threads:
        recipe["overrides"] = {"threads": given.threads}
    corpus = given.corpus or given.inputs / "corpus.parquet"
    base, examples = shared_inputs(given.inputs, recipe, corpus)
    rows = [row for seed in given.seeds for row in measure_seed(given.inputs, recipe, base, examples, seed)]
    print(table(rows))


if __name__ == "__main__":
    main()
