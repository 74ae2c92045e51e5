"""Cases of tests/benchmarks/device.py for the data stages and Mamba: MinHash, k-means, projection, selective scan.

All but the scan have no backward pass. Peers of the scan and of the projection are our torch forms under torch.compile:
token by token, or with a matrix that fills the memory, nobody would run them.
"""

from collections.abc import Callable
from typing import Any

import torch

from kernels.device import kmeans, minhash, projection
from kernels.device.scan import selective_scan
from tests.benchmarks.device import Case

VALUES = 112  # of a signature
SEED = 5


def minhash_case(documents: int, mean: int) -> Case:
    """Signatures of documents of 0 to 2 x mean shingles; its floor is one 64-bit multiply and add a value."""

    def make(device: str, part: int) -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(0, 2 * mean + 1, (documents // part,), generator=generator)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        drawn = [torch.randint(0, 2**61 - 1, (n,), generator=generator) for n in (int(offsets[-1]), VALUES, VALUES)]
        return tuple(one.to(device) for one in (drawn[0], offsets, *drawn[1:]))

    def plain(hashes: Any, offsets: Any, a: Any, b: Any) -> Any:
        x = hashes[:, None] * a + b
        x = (x & minhash.MERSENNE_61) + ((x >> 61) & 7)
        x = torch.where(x >= minhash.MERSENNE_61, x - minhash.MERSENNE_61, x)
        places = torch.arange(len(hashes), device=hashes.device)
        document = torch.searchsorted(offsets, places, right=True) - 1
        least = hashes.new_full((len(offsets) - 1, VALUES), minhash.MERSENNE_61)
        return least.scatter_reduce(0, document[:, None].expand_as(x), x, "amin")

    return Case(
        f"minhash {documents} documents of {mean} shingles", make, minhash.signatures, plain,
        flops=0.0, moved_bytes=8.0 * documents * (mean + VALUES), multiply_adds=float(documents * mean * VALUES),
    )  # fmt: skip


def kmeans_case(rows: int, clusters: int, width: int, dtype_name: str) -> Case:
    """Labels, and the new centroids."""
    dtype = getattr(torch, dtype_name)

    def ours(x: Any, centroids: Any) -> Any:
        return kmeans.means(x, kmeans.assign(x, centroids), centroids)

    def plain(x: Any, centroids: Any) -> Any:
        labels = (x @ centroids.T).argmax(1)
        sums = torch.zeros_like(centroids).index_add(0, labels, x)
        lengths = sums.norm(dim=1, keepdim=True)
        return torch.where(lengths > 0, sums / lengths, centroids)

    return Case(
        f"k-means step {rows}x{clusters}x{width} {dtype_name}",
        normal(dtype, (rows, width), (clusters, width), split=(0,)), ours, plain,
        flops=2.0 * rows * clusters * width, moved_bytes=2.0 * rows * width * dtype.itemsize,
    )  # fmt: skip


def projection_case(rows: int, parameters: int, dim: int, dtype_name: str) -> Case:
    """Random signs, made and multiplied."""
    dtype = getattr(torch, dtype_name)

    def ours(x: Any) -> Any:
        return projection.project(x, dim, SEED)

    def plain(x: Any) -> Any:
        matrix = projection.signs(SEED, 0, x.shape[1], dim, x.device)
        return x @ matrix.to(x.dtype) / dim**0.5

    return Case(
        f"projection {rows}x{parameters}x{dim} {dtype_name}", normal(dtype, (rows, parameters), split=(0,)), ours,
        plain, flops=2.0 * rows * parameters * dim, moved_bytes=float(rows * parameters * dtype.itemsize),
    )  # fmt: skip


def scan_case(rows: int, tokens: int, channels: int, states: int, dtype_name: str) -> Case:
    """Forward and back; its floor is one exponential a number of state, though the backward pass needs it again."""
    dtype = getattr(torch, dtype_name)
    wide, narrow = (rows, tokens, channels), (rows, tokens, states)
    shapes = wide, wide, narrow, narrow, (channels, states), (rows, channels, states)
    drawn = normal(dtype, *shapes, split=(0, 1, 2, 3, 5), learned=True)

    def run(passes: Any) -> Callable[..., Any]:
        def scan(x: Any, step: Any, write: Any, read: Any, decay: Any, before: Any) -> Any:
            goes_on = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            return selective_scan(x, step.sigmoid() / 8, write, read, decay, goes_on, before, passes)

        return scan

    return Case(
        f"selective scan {rows}x{tokens}x{channels}x{states} {dtype_name}", drawn, run(None), run("torch"), flops=0.0,
        moved_bytes=dtype.itemsize * rows * tokens * (8.0 * channels + 6.0 * states),
        exponentials=float(rows * tokens * channels * states),
    )  # fmt: skip


def normal(
    dtype: torch.dtype, *shapes: tuple[int, ...], split: tuple[int, ...], learned: bool = False
) -> Callable[[str, int], tuple[Any, ...]]:
    """Draws tensors; those named in split have only a part of their rows where a part is asked for."""

    def make(device: str, part: int) -> tuple[Any, ...]:
        generator, made = torch.Generator().manual_seed(0), []
        for index, shape in enumerate(shapes):
            rows = max(shape[0] // part, 1) if index in split else shape[0]
            one = torch.randn(rows, *shape[1:], generator=generator).to(device, dtype)
            made.append(one.requires_grad_(learned))
        return tuple(made)

    return make


def cases(device: str) -> list[Case]:
    """An H200's are those of a corpus of ten million shingles and of a net of 125M; the CPU's fit two slow cores."""
    if device == "cuda":
        kinds = [kmeans_case(1_000_000, 1024, 512, kind) for kind in ("bfloat16", "float32")]
        return [minhash_case(20_000, 500), *kinds, projection_case(64, 1 << 21, 512, "float32"),
                scan_case(8, 2048, 2048, 16, "float32")]  # fmt: skip
    return [minhash_case(200, 500), kmeans_case(20_000, 256, 128, "float32"),
            projection_case(64, 1 << 16, 512, "float32"), scan_case(2, 256, 256, 16, "float32")]  # fmt: skip


def rates(device: str) -> tuple[float, float]:
    """64-bit multiplications with addition, and exponentials in float32, a second, as this machine reaches them now:
    a chain of 64 on numbers that stay in registers, compiled."""
    from tests.benchmarks.device import fastest

    def multiplied(x: Any) -> Any:
        for _ in range(64):
            x = x * 0x5DEECE66D + 11
        return x

    def raised(x: Any) -> Any:
        for _ in range(64):
            x = (-x).exp()
        return x

    size = 1 << (24 if device == "cuda" else 16)
    found = []
    for function, numbers in ((multiplied, torch.arange(size)), (raised, torch.linspace(0, 1, size))):
        compiled, given = torch.compile(function), numbers.to(device)
        compiled(given)
        found.append(64.0 * size / fastest(lambda run=compiled, x=given: run(x), device))
    return found[0], found[1]
