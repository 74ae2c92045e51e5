"""The plain form of kernels/decode: a sequence at a time in float64, and draws by sorting, for anyone to read."""

import numpy as np

from kernels.decode.step import Sizes, Weights


def matrix(panelled: np.ndarray, outputs: int) -> np.ndarray:
    """Panels (panels, depth, PANEL) as the matrix (outputs, depth) that they were made of, float64."""
    return panelled.transpose(0, 2, 1).reshape(-1, panelled.shape[1])[:outputs].astype(np.float64)


def logits_plainly(weights: Weights, sizes: Sizes, ids: np.ndarray, vocabulary: int, hidden: int) -> np.ndarray:
    """Logits (T, vocabulary) of every position of one sequence; hidden: inner width of the gated part."""
    heads, kv_heads, width, eps = sizes
    depth, tokens = weights.embedding.shape[1], len(ids)
    cosines, sines = weights.rotary[:, :tokens, None].astype(np.float64)
    x = weights.embedding[ids].astype(np.float64)
    seen = np.tril(np.ones((tokens, tokens), bool))
    for layer in range(weights.qkv.shape[0]):
        outputs = (heads + 2 * kv_heads) * width
        qkv = _normed(x, weights.attention_norm[layer], eps) @ matrix(weights.qkv[layer], outputs).T
        q, k, v = np.split(qkv.reshape(tokens, -1, width), [heads, heads + kv_heads], axis=1)
        if weights.q_norm.shape[1]:
            q, k = _normed(q, weights.q_norm[layer], eps), _normed(k, weights.k_norm[layer], eps)
        q, k = _turned(q, cosines, sines), _turned(k, cosines, sines)
        k, v = (np.repeat(one, heads // kv_heads, axis=1) for one in (k, v))
        scores = np.where(seen, np.einsum("thk,shk->hts", q, k) / np.sqrt(width), -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = np.einsum("hts,shk->thk", shares, v).reshape(tokens, -1)
        x = x + mixed @ matrix(weights.out[layer], depth).T
        h = _normed(x, weights.mlp_norm[layer], eps)
        gate, up = h @ matrix(weights.gate[layer], hidden).T, h @ matrix(weights.up[layer], hidden).T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ matrix(weights.down[layer], depth)[:, :hidden].T
    return _normed(x, weights.norm, eps) @ matrix(weights.head, vocabulary).T


def drawn_plainly(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float, uniform: float
) -> tuple[int, float]:
    """The token that one row of logits draws, and its log-probability: see kernels/decode/draw.py."""
    scaled = logits.astype(np.float64) / (temperature or 1.0)
    logprobs = scaled - scaled.max() - np.log(np.exp(scaled - scaled.max()).sum())
    if temperature == 0:
        token = int(logits.argmax())
        return token, float(logprobs[token])
    order = np.lexsort((np.arange(len(logits)), -logits))
    left = order[:top_k] if top_k else order
    weights = np.exp(logprobs[left] - logprobs[left[0]])
    before = np.cumsum(weights) - weights
    left = left[(before < top_p * weights.sum()) & (weights >= min_p) | (np.arange(len(left)) == 0)]
    left = np.sort(left)
    sums = np.cumsum(np.exp(logprobs[left]))
    token = int(left[min(np.searchsorted(sums, uniform * sums[-1], side="right"), len(left) - 1)])
    return token, float(logprobs[token])


def _normed(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def _turned(x: np.ndarray, cosines: np.ndarray, sines: np.ndarray) -> np.ndarray:
    first, second = np.split(x, 2, axis=-1)
    return x * cosines + np.concatenate([-second, first], axis=-1) * sines
