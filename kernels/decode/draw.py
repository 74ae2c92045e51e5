"""Tokens drawn from rows of logits, each row by settings and a uniform number of its own, in numba.

The distribution is that of models/inference/sampler.py: softmax at the temperature, then top-k, the nucleus of what it
left, min-p, and the token at which the running sum in the order of the vocabulary passes uniform times the whole. Of
equally likely tokens, lower ids come first. Top-k and the nucleus need no sort: the weight that stands at their border
is found digit by digit of its binary form (a radix selection), by counting tokens or adding up weights.

A row's sums run in a fixed order of its own, so what it draws does not depend on the rows beside it.
"""

import numpy as np
from numba import njit, prange

from kernels.decode.lanes import exponentials, largest

BLOCK = 256  # entries whose sum is kept, so that few are walked through
DIGITS = ((20, 11), (10, 10), (0, 10))  # shift and bits of the digits of a float32 that is not negative


@njit(cache=True)
def _border(bits, weights, wanted, by_weight):
    """The weight, as bits, that stands at the border, and how many tokens of just that weight are kept.

    Tokens are taken from the likeliest down until `wanted` tokens, or the weight `wanted`, are reached.
    """
    prefix, above, kept = np.uint32(0), 0.0, 0
    for shift, width in DIGITS:
        counts, sums = np.zeros(1 << width, np.int64), np.zeros(1 << width, np.float64)
        mask, high = np.uint32((1 << width) - 1), np.uint32(shift + width)
        for token in range(bits.size):
            if (np.uint64(bits[token]) >> np.uint64(high)) == np.uint64(prefix):
                digit = (bits[token] >> np.uint32(shift)) & mask
                counts[digit] += 1
                sums[digit] += weights[token]
        digit = (1 << width) - 1
        while digit > 0 and above + (sums[digit] if by_weight else counts[digit]) < wanted:
            above += sums[digit] if by_weight else counts[digit]
            digit -= 1
        while digit < (1 << width) - 1 and counts[digit] == 0:  # rounding left the sum just short: the last that was
            digit += 1
            above -= sums[digit] if by_weight else counts[digit]
        prefix = np.uint32((np.uint32(prefix) << np.uint32(width)) | np.uint32(digit))
        kept = counts[digit]
    if by_weight:
        each = np.array([prefix], np.uint32).view(np.float32)[0]
        least = int(np.ceil((wanted - above) / each)) if each > 0 else kept
        return prefix, min(max(least, 1), kept)
    return prefix, int(wanted - above)


@njit(cache=True)
def _cut(weights, bits, border, equals):
    """Sets to zero what lies below the border, and of what lies on it all but the first `equals`."""
    for token in range(weights.size):
        if bits[token] < border:
            weights[token] = 0.0
        elif bits[token] == border:
            if equals == 0:
                weights[token] = 0.0
            else:
                equals -= 1


@njit(cache=True)
def _narrow(weights, top_k, top_p, min_p):
    """Sets to zero what may not be drawn. The largest weight is 1."""
    bits = weights.view(np.uint32)
    if 0 < top_k < weights.size:
        border, equals = _border(bits, weights, float(top_k), False)
        _cut(weights, bits, border, equals)
    if top_p < 1.0:
        whole = 0.0
        for token in range(weights.size):
            whole += weights[token]
        border, equals = _border(bits, weights, top_p * whole, True)
        _cut(weights, bits, border, equals)
    if min_p > 0.0:
        for token in range(weights.size):
            if weights[token] < min_p:
                weights[token] = 0.0


@njit(cache=True)
def _walk(weights, uniform):
    """The token at which the running sum passes uniform times the whole; the last that may be drawn where none does."""
    blocks = (weights.size + BLOCK - 1) // BLOCK
    sums = np.zeros(blocks, np.float64)
    for block in range(blocks):
        for token in range(block * BLOCK, min((block + 1) * BLOCK, weights.size)):
            sums[block] += weights[token]
    wanted, before, block = uniform * sums.sum(), 0.0, 0
    while block < blocks - 1 and before + sums[block] <= wanted:
        before += sums[block]
        block += 1
    last = -1
    for token in range(block * BLOCK, weights.size):
        before += weights[token]
        if weights[token] > 0.0:
            last = token
            if before > wanted:
                return token
    if last >= 0:
        return last
    for token in range(weights.size - 1, -1, -1):
        if weights[token] > 0.0:
            return token
    return 0


@njit(cache=True, parallel=True)
def _draw(logits, vocabulary, temperatures, top_ks, top_ps, min_ps, uniforms, tokens, logprobs, peaks, sums):
    for row in prange(logits.shape[0]):
        own = logits[row]
        own[vocabulary:] = -np.inf
        most = largest(own, 0, own.size)
        greedy = temperatures[row] == 0.0
        scale = np.float32(1.0 if greedy else 1.0 / temperatures[row])
        weights = np.empty(own.size, np.float32)
        total = exponentials(own, 0, own.size, most, scale, weights, 0)
        token = 0
        if not np.isfinite(total):
            token = -1
        elif greedy:
            while own[token] != most:
                token += 1
        else:
            _narrow(weights[:vocabulary], top_ks[row], top_ps[row], min_ps[row])
            token = _walk(weights[:vocabulary], uniforms[row])
        tokens[row], peaks[row], sums[row] = token, most, np.log(total)
        logprobs[row] = np.nan if token < 0 else (float(own[token]) - float(most)) * float(scale) - sums[row]


def draw(
    logits: np.ndarray,
    vocabulary: int,
    temperatures: np.ndarray,
    top_ks: np.ndarray,
    top_ps: np.ndarray,
    min_ps: np.ndarray,
    uniforms: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One token a row, and its natural log-probability under the full softmax at the row's temperature.

    logits: (rows, a multiple of 32) float32, of which `vocabulary` columns count; the others become -inf. Per row:
    temperature (0: the likeliest token, with its log-probability at temperature 1), top_k (int64, 0: off), top_p (1:
    off), min_p (0: off), uniform in [0, 1), float64. Returns tokens (int64, -1 where a logit is not finite), log-probs
    (float64, NaN there), and of each row the largest logit and the log of the sum of exp((logit - largest) / T), from
    which the log-probability of any other token follows.
    """
    rows = logits.shape[0]
    tokens, logprobs = np.empty(rows, np.int64), np.empty(rows, np.float64)
    peaks, sums = np.empty(rows, np.float32), np.empty(rows, np.float64)
    _draw(logits, vocabulary, temperatures, top_ks, top_ps, min_ps, uniforms, tokens, logprobs, peaks, sums)
    return tokens, logprobs, peaks, sums
