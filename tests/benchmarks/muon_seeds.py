"""Muon with AdamW against tuned AdamW: steps to equal held-out loss, a model of 1 or 10 million parameters, some seeds.

`python -m tests.benchmarks.muon_seeds SHARDS [--size 10M] [--seeds N] [--steps N] [--speedups 1.2 1.5] > rows.jsonl`.
What a file of rows holds already (`--rows FILE`) is not run again. Each optimizer's learning rate is
chosen on one more seed, from the few below. Then AdamW takes `steps`, Muon takes fewer, each with a whole
warm-up-stable-decay schedule of its own: a loss in the middle of a schedule says nothing. A speed-up of 1.2 is reached
by a seed where Muon with steps / 1.2 ends no higher than AdamW. Every run prints a line; the last one is the summary.
One thread.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from kernels.tokens.shards import SplitReader
from models.config import TransformerConfig
from models.data.loader import WindowLoader
from models.nets.transformer import Transformer
from models.seeds import derive
from models.training.loop import deterministic, step_once
from models.training.losses import token_loss
from models.training.muon import muon_adamw
from models.training.optim import Schedule, adamw

BATCH, LENGTH = 8, 128
HELDOUT_WINDOWS = 160
ADAMW_RATES = (2e-3, 3e-3, 6e-3)
MUON_RATES = (0.01, 0.02)
SPEEDUPS = (1.2, 1.5)


def network(size: str, vocab_size: int) -> TransformerConfig:
    """1.1 or 10 million parameters with a vocabulary of 2,048."""
    sizes: dict[str, dict[str, Any]] = {
        "1M": {"d_model": 128, "n_layers": 4, "n_heads": 4, "n_kv_heads": 4, "head_dim": 32, "d_ff": 384},
        "10M": {"d_model": 320, "n_layers": 8, "n_heads": 5, "n_kv_heads": 5, "head_dim": 64, "d_ff": 768},
    }
    return TransformerConfig(vocab_size=vocab_size, max_seq_len=LENGTH, tie_embeddings=True, **sizes[size])


def train(given: argparse.Namespace, kind: str, rate: float, steps: int, seed: int, adamw_rate: float) -> dict:
    """One run; `rate` is AdamW's, or Muon's on its matrices beside AdamW at adamw_rate."""
    asked = {
        "optimizer": kind,
        "rate": rate,
        "steps": steps,
        "seed": seed,
        "adamw_rate": adamw_rate,
        "size": given.size,
    }
    for found in _rows(given.rows):
        if asked.items() <= found.items():
            return found
    shards = given.shards
    deterministic(1, seed)
    training, heldout = SplitReader(shards, "train"), SplitReader(shards, "heldout")
    model = Transformer(network(given.size, training.vocab_size), derive(seed, "init"))
    muon = kind == "muon"
    optimizer = (
        muon_adamw(model, learning_rate=adamw_rate, muon_learning_rate=rate, weight_decay=0.1)
        if muon
        else adamw(model, weight_decay=0.1)
    )
    schedule = Schedule(peak=adamw_rate if muon else rate, steps=steps, warmup_steps=steps // 20)
    loader = WindowLoader(training, BATCH, LENGTH, derive(seed, "order"))
    began = time.process_time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step) * group.get("scale", 1.0)
        batch = torch.from_numpy(loader.batch(step))
        step_once(optimizer, token_loss(model(batch[:, :-1]), batch[:, 1:], z_loss=1e-5).value, 1.0, step)
    spent = time.process_time() - began
    windows = WindowLoader(heldout, 1, LENGTH, 0)
    count = min(HELDOUT_WINDOWS, windows.windows)
    with torch.inference_mode():
        rows = torch.stack([torch.from_numpy(windows.batch(i)[0]) for i in range(count)])
        nats = float(token_loss(model(rows[:, :-1]), rows[:, 1:]).value)
    found = {**asked, "params": model.config.n_params, "heldout_nats": nats, "cpu_s": spent}
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--size", choices=["1M", "10M"], default="1M")
    parser.add_argument("--speedups", type=float, nargs="+", default=SPEEDUPS)
    parser.add_argument("--adamw-rates", type=float, nargs="+", default=ADAMW_RATES)
    parser.add_argument("--muon-rates", type=float, nargs="+", default=MUON_RATES)
    parser.add_argument("--rows", type=Path, help="rows of an earlier call")
    given = parser.parse_args()
    steps = {speedup: round(given.steps / speedup) for speedup in given.speedups}
    best = min((train(given, "adamw", r, given.steps, 1000, r) for r in given.adamw_rates), key=_nats)["rate"]
    fewer = steps[given.speedups[-1]]
    muon = min((train(given, "muon", r, fewer, 1000, best) for r in given.muon_rates), key=_nats)["rate"]
    gaps: dict[float, list[float]] = {speedup: [] for speedup in given.speedups}
    spent: dict[str, list[float]] = {"adamw": [], "muon": []}
    for seed in range(given.seeds):
        peer = train(given, "adamw", best, given.steps, seed, best)
        spent["adamw"].append(peer["cpu_s"] / peer["steps"])
        for speedup in given.speedups:
            ours = train(given, "muon", muon, steps[speedup], seed, best)
            gaps[speedup].append(ours["heldout_nats"] - peer["heldout_nats"])
            spent["muon"].append(ours["cpu_s"] / ours["steps"])
    summary = {
        "adamw_rate": best,
        "muon_rate": muon,
        "gap_nats": {speedup: [round(gap, 4) for gap in values] for speedup, values in gaps.items()},
        "no_higher": {speedup: sum(gap <= 0 for gap in values) for speedup, values in gaps.items()},
        "cpu_s_per_step": {kind: statistics.median(values) for kind, values in spent.items()},
    }
    print(json.dumps(summary), flush=True)


def _rows(path: Path | None) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.is_file() else []


def _nats(run: dict) -> float:
    return run["heldout_nats"]


if __name__ == "__main__":
    main()
