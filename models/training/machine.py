"""What a training costs its machine: memory, and the share of the machine's matrix peak that it uses (MFU).

The arithmetic of MFU is counted in models/nets/flops.py, for rows of the model's longest length. The peak is that of
bfloat16 matrix products on this device, measured when the training begins; no table of devices is asked. On a CPU there
is no MFU: its peak depends on who else computes.
"""

import resource
import time

import torch

from models.architecture import TransformerConfig
from models.nets.flops import mfu

SIZE, ROUNDS = 8192, 20


def matrix_peak(device: torch.device) -> float | None:
    """bfloat16 operations a second of a large matrix product on a GPU, the best of some rounds; None elsewhere."""
    if device.type != "cuda":
        return None
    a, b = (torch.randn(SIZE, SIZE, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(ROUNDS):
        torch.cuda.synchronize(device)
        since = time.perf_counter()
        torch.matmul(a, b)
        torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - since)
    return 2.0 * SIZE**3 / best


class Machine:
    """Figures for the curves of one training."""

    def __init__(self, device: torch.device, config: TransformerConfig) -> None:
        self.device, self.config = device, config
        state = torch.random.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self.peak = matrix_peak(device)
        torch.random.set_rng_state(state[0])  # a measurement must not move the training's random numbers
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
            torch.cuda.reset_peak_memory_stats(device)

    def figures(self, tokens_per_s: float) -> dict[str, float]:
        """memory_gib, the most that the process (CPU) or the allocator (GPU) held so far; mfu where there is a peak."""
        if self.device.type == "cuda":
            held = torch.cuda.max_memory_allocated(self.device)
        else:
            held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found = {"memory_gib": held / 2**30}
        if self.peak is None:
            return found
        return found | {"mfu": mfu(self.config, self.config.max_seq_len, tokens_per_s, self.peak)}
