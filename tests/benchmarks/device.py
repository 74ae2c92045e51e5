"""Kernels of kernels/device: time, floor, torch.compile's time, peak memory, error; on a GPU or, without one, the CPU.

`python -m tests.benchmarks.device [--json]` needs torch and nothing else (triton on CUDA), so it runs on a bare GPU
image. Every case is one step's use of the kernel: of training, forward and backward, or of drawing many texts. Peer:
the plain form of the same thing under torch.compile. The floor is the larger of FLOP and bytes over what this machine
reached in the same run. On the CPU time is CPU time of one thread; on CUDA a median of events. Memory is what a step
holds above its inputs. Errors are the largest difference of a gradient (of a result, where nothing is learnt) from
float64, over that of torch in the same dtype.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.timing import cpu_s, in_fresh_process, peak_bytes, row

Z_LOSS = 1e-5
SIDES = ("ours", "plain", "compiled")


@dataclass(frozen=True)
class Case:
    """One row of the table; ours and plain take what make gives; tensors with gradient are differentiated."""

    name: str
    make: Callable[[str, int], tuple[Any, ...]]  # of the device, and the part of the rows: 1 is all of them
    ours: Callable[..., Any]
    plain: Callable[..., Any]
    flops: float  # of forward and backward, without recomputation
    moved_bytes: float  # that must be read or written once
    multiply_adds: float = 0.0  # of 64-bit integers
    exponentials: float = 0.0  # of float32


def cross_entropy_case(tokens: int, vocabulary: int, width: int, dtype_name: str) -> Case:
    """Cross-entropy with z-loss of a linear head."""
    import torch

    from kernels.device.logprobs import Settings
    from kernels.device.losses import cross_entropy

    dtype = getattr(torch, dtype_name)

    def make(device: str, part: int) -> tuple[Any, ...]:
        generator, rows = torch.Generator().manual_seed(0), tokens // part
        hidden = torch.randn(rows, width, generator=generator).to(device, dtype).requires_grad_()
        weight = (torch.randn(vocabulary, width, generator=generator) * 0.02).to(device, dtype).requires_grad_()
        return hidden, weight, torch.randint(0, vocabulary, (rows,), generator=generator).to(device)

    def ours(hidden: Any, weight: Any, targets: Any) -> Any:
        return cross_entropy(hidden, weight, targets, z_loss=Z_LOSS, settings=Settings(entropy=False))[0]

    def plain(hidden: Any, weight: Any, targets: Any) -> Any:
        logits = (hidden @ weight.T).to(torch.promote_types(hidden.dtype, torch.float32))
        lse = logits.logsumexp(-1)
        chosen = logits.gather(-1, targets[:, None])[:, 0]
        return (lse - chosen).mean() + Z_LOSS * lse.square().mean()

    size = torch.empty((), dtype=dtype).element_size()
    return Case(
        f"cross-entropy {tokens}x{vocabulary}x{width} {dtype_name}",
        make, ours, plain,
        flops=6.0 * tokens * vocabulary * width,
        moved_bytes=2.0 * size * width * (tokens + vocabulary),
    )  # fmt: skip


def fused_cases(tokens: int, width: int, inner: int, heads: int, head_width: int, dtype_name: str) -> list[Case]:
    """The passes of kernels/device/fused.py: bound by the bytes that they move."""
    import torch

    from kernels.device import fused, fused_reference

    dtype, eps, length = getattr(torch, dtype_name), 1e-6, min(tokens, 2048)
    size = torch.empty((), dtype=dtype).element_size()

    def leaves(*shapes: tuple[int, ...]) -> Callable[[str, int], tuple[Any, ...]]:
        def make(device: str, part: int) -> tuple[Any, ...]:
            generator, made = torch.Generator().manual_seed(0), []
            for shape in shapes:
                rows = shape[0] // part if len(shape) > 1 else shape[0]
                made.append(torch.randn(max(rows, 1), *shape[1:], generator=generator).to(device, dtype))
            return tuple(one.requires_grad_() for one in made)

        return make

    angles = torch.arange(length)[:, None] * 1e5 ** (-torch.arange(0, head_width, 2) / head_width)
    table = torch.stack([torch.cat([one, one], -1) for one in (angles.cos(), angles.sin())])

    def turned(module: Any) -> Callable[..., Any]:
        return lambda x, weight: module.norm_rope(x, weight, table.to(x.device), eps)

    def normed(module: Any) -> Callable[..., Any]:
        return lambda x, residual, weight: module.add_rms_norm(x, residual, weight, eps)

    flat, heads_shape = (tokens, inner), (tokens // length, length, heads, head_width)
    rows = (tokens, width)
    return [
        Case(f"swiglu {tokens}x{inner} {dtype_name}", leaves(flat, flat), fused.swiglu, fused_reference.swiglu,
             flops=0.0, moved_bytes=8.0 * size * tokens * inner),
        Case(f"add + rms norm {tokens}x{width} {dtype_name}", leaves(rows, rows, (width,)), normed(fused),
             normed(fused_reference), flops=0.0, moved_bytes=8.0 * size * tokens * width),
        Case(f"qk norm + rope {tokens}x{heads}x{head_width} {dtype_name}", leaves(heads_shape, (head_width,)),
             turned(fused), turned(fused_reference), flops=0.0, moved_bytes=5.0 * size * tokens * heads * head_width),
    ]  # fmt: skip


def drawing_cases(rows: int, context: int, heads: int, kv_heads: int, width: int, vocabulary: int, dtype_name: str):
    """What drawing many texts at once does beside matrix products: attention over pages, and the draw."""
    import torch

    from kernels.device import decode, sampling

    dtype, slots = getattr(torch, dtype_name), 32
    size, pages = torch.empty((), dtype=dtype).element_size(), context // slots

    def paged(device: str, part: int) -> tuple[Any, ...]:
        generator, count = torch.Generator().manual_seed(0), rows // part
        q = torch.randn(count, heads, width, generator=generator).to(device, dtype)
        pools = [torch.randn(count * pages, slots, kv_heads, width, generator=generator) for _ in range(2)]
        tables = torch.randperm(count * pages, generator=generator).view(count, pages).int().to(device)
        return q, *(one.to(device, dtype) for one in pools), tables, torch.full((count,), context, device=device).int()

    def settled(device: str, part: int) -> tuple[Any, ...]:
        generator, count = torch.Generator().manual_seed(0), rows // part
        logits = (3 * torch.randn(count, vocabulary, generator=generator)).to(device)
        kinds = (0.8, torch.float64), (50, torch.int64), (0.9, torch.float64), (0.01, torch.float64)
        same = [torch.full((count,), value, dtype=kind, device=device) for value, kind in kinds]
        return logits, *same, torch.rand(count, generator=generator, dtype=torch.float64).to(device)

    def drawn(passes: Any) -> Callable[..., Any]:
        return lambda logits, *given: sampling.draw(logits, *given, passes=passes).logprobs

    return [
        Case(f"paged attention {rows}x{context}x{heads}/{kv_heads}x{width} {dtype_name}", paged,
             decode.paged_attention, lambda *given: decode.paged_attention(*given, passes="torch"),
             flops=4.0 * rows * context * heads * width, moved_bytes=2.0 * size * rows * context * kv_heads * width),
        Case(f"draw {rows}x{vocabulary} float32", settled, drawn(None), drawn("torch"),
             flops=0.0, moved_bytes=4.0 * rows * vocabulary),
    ]  # fmt: skip


def cases(device: str) -> list[Case]:
    """The shapes of the device: an H200's are a training step's, the CPU's fit two slow cores."""
    from tests.benchmarks import device_data

    if device == "cuda":
        shapes = [(32768, 32768, width) for width in (256, 768, 1024, 2048)]
        heads = [cross_entropy_case(*shape, "bfloat16") for shape in shapes]
        drawing = drawing_cases(256, 1024, 12, 12, 64, 32768, "bfloat16")
        return heads + fused_cases(32768, 1024, 2816, 24, 64, "bfloat16") + drawing + device_data.cases(device)
    heads = [cross_entropy_case(2048, 8192, 256, "float32"), cross_entropy_case(8192, 32768, 256, "float32")]
    drawing = drawing_cases(32, 512, 6, 2, 64, 8192, "float32")
    return heads + fused_cases(8192, 256, 768, 6, 64, "float32") + drawing + device_data.cases(device)


def step(side: str, case: Case, leaves: tuple[Any, ...]) -> Callable[[], Any]:
    """A function that makes one forward and backward pass and returns the gradients; of a case without any, one forward
    pass, and returns its results."""
    import torch

    function = {"ours": case.ours, "plain": case.plain}.get(side) or torch.compile(case.plain)
    learned = [leaf for leaf in leaves if leaf.requires_grad]
    upstream: list[Any] = []

    def run() -> Any:
        found = function(*leaves)
        found = found if isinstance(found, tuple) else (found,)
        if not learned:
            return found
        if not upstream:
            upstream.extend(torch.ones_like(one) for one in found)
        return torch.autograd.grad(found, learned, upstream)

    return run


def measure(index: int, side: str, device: str) -> dict[str, float]:
    """Seconds of a step and the bytes that it holds above its inputs."""
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    case = cases(device)[index]
    leaves = case.make(device, 1)
    run = step(side, case, leaves)
    if device == "cuda":
        for _ in range(3):
            run()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        times = []
        for _ in range(10):
            started, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            started.record()
            run()
            ended.record()
            torch.cuda.synchronize()
            times.append(started.elapsed_time(ended) / 1000)
        held = torch.cuda.max_memory_allocated() - before
        return {"seconds": statistics.median(times), "held_bytes": held}
    small = cross_entropy_case(64, 128, 16, "float32")  # libraries and the compiler load before the mark is read
    small_leaves = small.make(device, 1)
    step(side, small, small_leaves)()
    before = resident_bytes()
    run()  # compiles, and reserves memory
    began = cpu_s()
    run()
    return {"seconds": cpu_s() - began, "held_bytes": peak_bytes() - before}


def resident_bytes() -> int:
    """What this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def errors(index: int, device: str) -> tuple[float, float]:
    """Largest relative error of a gradient, ours and torch's in the same dtype, on a 16th of the rows."""
    case = cases(device)[index]
    cut = case.make(device, 16)
    learnt = any(leaf.requires_grad for leaf in cut)
    exact = [
        (leaf.detach().double().requires_grad_(learnt) if leaf.is_floating_point() else leaf)
        if leaf.requires_grad or not learnt
        else leaf
        for leaf in cut
    ]
    truth = step("plain", case, tuple(exact))()
    found = []
    for side in ("ours", "plain"):
        made = step(side, case, cut)()
        found.append(max(float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(made, truth, strict=True)))
    return found[0], found[1]


def peaks(device: str) -> tuple[float, float]:
    """FLOP a second of a matrix product and bytes a second of a copy, as this machine reaches them now."""
    import torch

    if device == "cuda":
        a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
        source = torch.empty(1 << 30, device=device, dtype=torch.uint8)
    else:
        torch.set_num_threads(1)
        a, b = (torch.randn(1024, 1024) for _ in range(2))
        source = torch.empty(1 << 26, dtype=torch.uint8)
    target = torch.empty_like(source)

    product = 2.0 * len(a) ** 3 / fastest(lambda: a @ b, device)
    return product, 2.0 * len(source) / fastest(lambda: target.copy_(source), device)


def fastest(work: Callable[[], object], device: str) -> float:
    """Seconds of the best of 6: of the clock on CUDA, of the CPU elsewhere."""
    import torch

    best = float("inf")
    for _ in range(6):
        if device == "cuda":
            torch.cuda.synchronize()
            began = time.perf_counter()
            work()
            torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
        else:
            began = cpu_s()
            work()
            best = min(best, cpu_s() - began)
    return best


def rows() -> list[dict]:
    import torch

    from tests.benchmarks import device_data

    device = "cuda" if torch.cuda.is_available() else "cpu"
    flops, bytes_ = peaks(device)
    multiply_adds, exponentials = device_data.rates(device)
    found = []
    for index, case in enumerate(cases(device)):
        figures = {
            side: measure(index, side, device)
            if device == "cuda"
            else in_fresh_process("tests.benchmarks.device", "--one", str(index), side)
            for side in SIDES
        }
        floor = max(
            case.flops / flops,
            case.moved_bytes / bytes_,
            case.multiply_adds / multiply_adds,
            case.exponentials / exponentials,
        )
        ours, compiled = figures["ours"], figures["compiled"]
        ours_error, plain_error = errors(index, device)
        found += [
            row("device", f"{case.name}: time", "ms", 1e3 * ours["seconds"], 1e3 * compiled["seconds"],
                "torch.compile", 1e3 * floor, "rates measured here"),
            row("device", f"{case.name}: memory", "MiB", ours["held_bytes"] / 2**20,
                compiled["held_bytes"] / 2**20, "torch.compile"),
            row("device", f"{case.name}: error", "of max", ours_error, plain_error, "torch in the same dtype"),
        ]  # fmt: skip
        eager = figures["plain"]
        found.append(
            row("device", f"{case.name}: torch eager", "ms", 1e3 * eager["seconds"], 1e3 * compiled["seconds"],
                "torch.compile", 1e3 * floor, f"{eager['held_bytes'] / 2**20:.0f} MiB held")
        )  # fmt: skip
    return found


def main() -> int:
    """Entry point; `--one INDEX SIDE` is what a fresh process measures on the CPU."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.device", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    parser.add_argument("--one", nargs=2, metavar=("INDEX", "SIDE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(int(given.one[0]), given.one[1], "cpu")))
        return 0
    found = rows()
    if given.json:
        print(json.dumps(found, indent=1))
        return 0
    for one in found:
        of_floor = f"{one['floor'] / one['ours']:6.0%} of floor {one['floor']:.3g}" if one["floor"] else ""
        print(f"{one['row']:58} {one['ours']:10.4g} {one['unit']:6} {one['peer_name']} {one['peer']:.4g} {of_floor}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
