"""The quality score: how likely people would keep a text for training a language model, 0 to 1, by its words alone.

A logistic regression over hashed words and pairs of words. A feature's value is log(1 + its count), and a text's values
have length 1, so neither a long text nor one repeated word counts for more. Scores are calibrated on texts that the
weights were not fitted to. The weights know no more than the few hundred English texts that they come from
(models/text/quality.py); the first `READ_POINTS` code points of a text are read.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numba import njit
from safetensors.numpy import load

from kernels.text.hashed_ngrams import capacity, word_ngrams, word_ngrams_reference
from kernels.text.scripts import CODES, code_points, kinds_and_counts, script_table

BITS = 14  # log2 of the number of buckets
READ_POINTS = 32_768  # code points
PACKAGED = Path(__file__).parent / "weights" / "quality.safetensors"


@dataclass(frozen=True)
class QualityModel:
    """A fitted classifier: weights float32[2**BITS], and the slope and offset from its sum to log-odds."""

    weights: np.ndarray
    slope: float
    offset: float


@lru_cache(maxsize=1)
def packaged() -> QualityModel:
    """The classifier that comes with the package."""
    return parse(PACKAGED.read_bytes())


def parse(content: bytes) -> QualityModel:
    """The classifier of a file that models/text/quality.py wrote."""
    arrays = load(content)
    slope, offset = arrays["calibration"].tolist()
    return QualityModel(arrays["weights"], slope, offset)


def score(text: str, model: QualityModel | None = None) -> float:
    """Probability that people would keep the text, by the packaged classifier or another; 0.0 without a word."""
    model = packaged() if model is None else model
    buckets, values = features(text)
    if not buckets.size:
        return 0.0
    return calibrated(model, float(values @ model.weights[buckets]))


def calibrated(model: QualityModel, total: float) -> float:
    """The probability from a text's weighted sum."""
    return float(1 / (1 + np.exp(-(model.slope * total + model.offset))))


def features(text: str) -> tuple[np.ndarray, np.ndarray]:
    """A text's distinct buckets in rising order, int32[n], and their values, float32[n] of length 1."""
    points = code_points(text[:READ_POINTS].lower())
    kinds, _ = kinds_and_counts(points, script_table(), len(CODES))
    written = np.empty(capacity(points.size), np.int32)
    return _counted(written, word_ngrams(points, kinds, BITS, written))


@njit(cache=True)
def _counted(written: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    found = np.sort(written[:count])
    buckets, values = np.empty(count, np.int32), np.empty(count, np.float32)
    n, start, square = 0, 0, 0.0
    while start < count:
        end = start
        while end < count and found[end] == found[start]:
            end += 1
        value = np.log(1.0 + (end - start))
        buckets[n], values[n] = found[start], value
        square += value * value
        n, start = n + 1, end
    return buckets[:n], values[:n] / np.float32(max(np.sqrt(square), 1e-12))


def features_reference(text: str) -> dict[int, float]:
    """What `features` returns, by bucket, in plain Python."""
    points = [ord(character) for character in text[:READ_POINTS].lower()]
    table = script_table()
    kinds = [int(table[point]) if point < table.size else 0 for point in points]
    found = word_ngrams_reference(points, kinds, BITS)
    values = {bucket: float(np.log(1 + found.count(bucket))) for bucket in sorted(set(found))}
    length = sum(value * value for value in values.values()) ** 0.5
    return {bucket: value / length for bucket, value in values.items()}
