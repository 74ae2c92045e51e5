"""Decoding on the CPU: tokens a second of our engine and of transformers' `generate`, the same weights and prompts.

Both sides run in one process, in turn, with the same number of threads, and draw at temperature 1 (ours tells the
log-probability of every token too, and no text depends on its batch); before anything is timed, both must continue
the prompts greedily with the same tokens. A decode includes reading its prompts.

Tokens a second of wall clock are those of each side's fastest round: a busy machine can only add to a round. The rows
of one thread are in CPU time. The floor: a step reads every weight once and does two operations a weight and text, so
it takes the larger of bytes over bandwidth and operations over FLOP/s, both measured in the same process.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.benchmarks.timing import cpu_s, in_fresh_process, row

SHAPE = {
    "vocab_size": 18432, "d_model": 256, "n_layers": 6, "n_heads": 4, "n_kv_heads": 4, "head_dim": 64, "d_ff": 768,
    "max_seq_len": 2048, "rope_theta": 100_000.0, "tie_embeddings": True,
}  # fmt: skip  # of 10 million parameters
BATCHES = {1: 3, 8: 3, 64: 2}  # texts at once, and rounds
PROMPT, DRAWN = 32, 64  # tokens
THREADS = 2


class Disagreement(RuntimeError):
    """The two sides do not continue a prompt with the same tokens, so their times say nothing."""


def rows() -> list[dict]:
    """Tokens a second at batch 1, 8 and 64."""
    made = []
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # or torch's threads spin where others compute
    for threads, clock in ((THREADS, f"{THREADS} threads"), (1, "1 thread, CPU time")):
        found = in_fresh_process("tests.benchmarks.decode", "--threads", str(threads))
        peer, floor = f"transformers {found['version']} generate", f"{found['bytes_s'] / 1e9:.1f} GB/s"
        floor += f", {found['flop_s'] / 1e9:.0f} GFLOP/s"
        for batch, one in found["batches"].items():
            name, speeds = f"batch {batch}, {clock}", (one["ours"], one["peer"])
            made.append(row("decode", name, "tokens/s", *speeds, peer, one["floor"], floor, more_is_better=True))
    return made


def measure(threads: int) -> dict[str, Any]:
    """Tokens a second of both sides and the floor by batch, and what the machine reached."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    from models.config import TransformerConfig
    from models.nets.transformer import Transformer
    from models.seeds import uniforms

    torch.set_num_threads(threads)
    model = Transformer(TransformerConfig(**SHAPE), seed=0).eval()
    peer = peer_of(model)
    clock = time.perf_counter if threads > 1 else cpu_s
    bytes_s, flop_s = machine(clock, sum(one.nbytes for one in model.parameters()))
    weights = sum(one.numel() for one in model.parameters())
    batches: dict[int, dict[str, float]] = {}
    for batch, rounds in BATCHES.items():
        prompts = (uniforms(range(batch), PROMPT) * SHAPE["vocab_size"]).astype("int64").tolist()
        sides = decoding(model, threads, prompts), generating(peer, prompts)
        ours, theirs = (side(True) for side in sides)
        if ours != theirs:
            raise Disagreement(f"batch {batch}: {ours[0][:8]} is not {theirs[0][:8]}")
        seconds: list[list[float]] = [[], []]
        for _ in range(rounds):
            for side, taken in zip(sides, seconds, strict=True):
                began = clock()
                side(False)
                taken.append(clock() - began)
        step_s = max(4 * weights / bytes_s, 2 * weights * batch / flop_s)
        ours_s, peer_s = (batch * DRAWN / min(taken) for taken in seconds)
        batches[batch] = {"ours": ours_s, "peer": peer_s, "floor": batch / step_s}
    return {"batches": batches, "bytes_s": bytes_s, "flop_s": flop_s, "version": transformers.__version__}


def decoding(model: Any, threads: int, prompts: list[list[int]]) -> Callable[[bool], list[list[int]]]:
    """Our engine's side: DRAWN tokens for every prompt, greedily or at temperature 1."""
    from models.inference.engine import Capacity, Engine, Token
    from models.inference.stream import Sampling

    # no prompt is known from the round before
    engine = Engine(model, Capacity(rows=len(prompts), prompt_tokens=2048, threads=threads, share=False))

    def decode(greedy: bool) -> list[list[int]]:
        temperature = 0.0 if greedy else 1.0
        drawn: dict[int, list[int]] = {}
        for seed, prompt in enumerate(prompts):
            settings = Sampling(max_new_tokens=DRAWN, temperature=temperature, seed=seed)
            drawn[engine.submit(prompt, settings, ())] = []
        while not engine.idle:
            for event in engine.step():
                assert isinstance(event, Token)
                drawn[event.request].append(event.token)
        return list(drawn.values())

    return decode


def generating(peer: Any, prompts: list[list[int]]) -> Callable[[bool], list[list[int]]]:
    """The side of transformers, as its users run it: `generate` with its own cache and attention."""
    import torch

    ids = torch.tensor(prompts)
    settings = {"max_new_tokens": DRAWN, "min_new_tokens": DRAWN, "attention_mask": torch.ones_like(ids)}

    def generate(greedy: bool) -> list[list[int]]:
        drawing = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0}
        with torch.inference_mode():
            return peer.generate(ids, **settings, **drawing)[:, PROMPT:].tolist()

    return generate


def peer_of(model: Any) -> Any:
    """The same weights as Qwen3ForCausalLM, which no token ends."""
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    from models.export.huggingface import qwen3_config, qwen3_weights

    peer = Qwen3ForCausalLM(Qwen3Config(**qwen3_config(model.config)))
    missing, unknown = peer.load_state_dict(qwen3_weights(model), strict=False)
    assert not unknown and missing == ["lm_head.weight"]
    peer.tie_weights()
    peer.generation_config = GenerationConfig(pad_token_id=0)
    return peer.eval()


def machine(clock: Callable[[], float], size: int) -> tuple[float, float]:
    """Bytes a second that are read of so many bytes again and again, and FLOP/s of a large product of matrices."""
    import torch

    data, square = torch.ones(size // 4), torch.ones(1536, 1536)
    read, multiply = best_s(clock, data.sum), best_s(clock, lambda: square @ square)
    return size / read, 2 * 1536**3 / multiply


def best_s(clock: Callable[[], float], work: Callable[[], object], rounds: int = 30) -> float:
    """Seconds of the fastest of many rounds."""
    taken = []
    for _ in range(rounds):
        began = clock()
        work()
        taken.append(clock() - began)
    return min(taken)


def main() -> int:
    """What `rows` runs in a process of its own: prints what `measure` finds as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.decode", description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS)
    print(json.dumps(measure(parser.parse_args().threads)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
