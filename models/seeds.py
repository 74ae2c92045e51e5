"""Counter-based randomness: every number is a function of a seed and a place, so nothing has to be remembered."""

import hashlib
from collections.abc import Sequence

import numpy as np

WORD = 0xFFFFFFFFFFFFFFFF
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: np.ndarray) -> np.ndarray:
    """The SplitMix64 finaliser (Steele, Lea, Flood 2014) on a uint64 array, wrapping: a scattering bijection."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seeds: Sequence[int], positions: int) -> np.ndarray:
    """Uniform numbers in [0, 1), (rows, positions) float64: entry (b, t) depends on seeds[b] and t alone.

    SplitMix64 in counter mode, one stream a seed; the top 53 bits make the number.
    """
    rows = mix(np.array([seed & WORD for seed in seeds], dtype=np.uint64))
    counters = np.arange(1, positions + 1, dtype=np.uint64) * GOLDEN
    return (mix(rows[:, None] + counters[None]) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def derive(seed: int, *place: int | str) -> int:
    """A 63-bit seed for one place of a run, e.g. derive(seed, "rollout", step, row): first bits of a sha256."""
    name = "\0".join(str(part) for part in (seed, *place))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
