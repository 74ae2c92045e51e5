"""A pre-norm transformer with rotary positions and gated heads of keys, for rows of tokens: their logits, in numba.

A row is one token of one sequence at one position; rows of many sequences, and many rows of one, stand in any order.
Every row writes its key and value into the page that its sequence's table names, then looks at its own positions 0 to
its own. Each number is made by a fixed order of operations from its row's numbers alone (kernels/decode/lanes.py), so
a row's bits are the same alone, in any batch, on any number of threads, and whether a prompt is read at once or in
pieces. The plain form is kernels/decode/reference.py.

A page holds PAGE positions of every layer and key head: keys as (head width, PAGE), values as panels of (PAGE, PANEL),
both contiguous, so that scores and sums are products of row tiles like all others.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from kernels.decode.lanes import LANES, PANEL, add_product, exponentials, largest, product, squares, swiglu

PAGE = PANEL  # positions of a page
SERIAL_ROWS = 4  # of so few rows, what is small is done by one thread


class Weights(NamedTuple):
    """Weights of a step, float32. Matrices are cut into panels of PANEL columns, (…, panels, depth, PANEL)."""

    embedding: np.ndarray  # (V, D)
    attention_norm: np.ndarray  # (L, D)
    qkv: np.ndarray  # (L, panels, D, PANEL): query heads, key heads, value heads
    q_norm: np.ndarray  # (L, K), or (L, 0) where there is no norm of heads
    k_norm: np.ndarray
    out: np.ndarray  # (L, panels, H K, PANEL)
    mlp_norm: np.ndarray  # (L, D)
    gate: np.ndarray  # (L, panels, D, PANEL)
    up: np.ndarray
    down: np.ndarray  # (L, panels, F padded to panels, PANEL)
    norm: np.ndarray  # (D,)
    head: np.ndarray  # (panels, D, PANEL)
    rotary: np.ndarray  # (2, positions, K): cosines, sines


class Sizes(NamedTuple):
    """What the arrays' shapes do not say."""

    heads: int
    kv_heads: int
    head_dim: int  # even
    eps: float  # of the norms


def panels(matrix: np.ndarray) -> np.ndarray:
    """A matrix (outputs, depth), as torch keeps it, as panels (outputs / PANEL rounded up, depth, PANEL), zeros at the
    end."""
    outputs, depth = matrix.shape
    padded = np.zeros((-(-outputs // PANEL) * PANEL, depth), np.float32)
    padded[:outputs] = matrix
    return np.ascontiguousarray(padded.reshape(-1, PANEL, depth).transpose(0, 2, 1))


def pools(layers: int, pages: int, sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Room for the keys and values of `pages` pages; the system gives memory when a page is first written."""
    width = -(-sizes.head_dim // PANEL)
    keys = np.empty((layers, pages, sizes.kv_heads, sizes.head_dim, PAGE), np.float32)
    return keys, np.empty((layers, pages, sizes.kv_heads, width, PAGE, PANEL), np.float32)


def page_bytes(layers: int, sizes: Sizes) -> int:
    """Bytes of one page, of all layers."""
    return layers * sizes.kv_heads * (sizes.head_dim + -(-sizes.head_dim // PANEL) * PANEL) * PAGE * 4


@njit(cache=True)
def _normed(x, at, weight, weight_at, width, eps, out, out_at):
    """out = x / rms(x) * weight of one row."""
    even = width // LANES * LANES
    total = squares(x, at, even)
    for place in range(even, width):
        total += x[at + place] * x[at + place]
    scale = np.float32(1.0) / np.sqrt(total / np.float32(width) + np.float32(eps))
    for place in range(width):
        out[out_at + place] = x[at + place] * scale * weight[weight_at + place]


@njit(cache=True)
def _turned(x, at, width, cosines, sines):
    """Rotary position of one head, in place: entry i turns with entry i + width / 2."""
    half = width // 2
    for place in range(half):
        first, second = x[at + place], x[at + place + half]
        x[at + place] = first * cosines[place] - second * sines[place]
        x[at + place + half] = second * cosines[place + half] + first * sines[place + half]


@njit(cache=True)
def _attend(heads, at, group, width, position, table, keys, values, page_stride, out, out_at):
    """Softmax attention of one row's query heads that share a key head over positions 0 … position.

    keys, values: of the layer, from this key head on; page_stride: entries from a page to the next, of either.
    """
    pages = position // PAGE + 1
    count, panels_of = pages * PAGE, (width + PANEL - 1) // PANEL
    scores, sums = np.empty(group * count, np.float32), np.zeros(group * panels_of * PANEL, np.float32)
    for page in range(pages):
        product(heads, at, width, keys, table[page] * page_stride[0], PAGE, width, scores, page * PAGE, count, group)
    scale = np.float32(1.0 / np.sqrt(width))
    for head in range(group):
        for place in range(position + 1, count):  # of a page that has no such position yet: anything may stand there
            scores[head * count + place] = -np.inf
    totals = np.empty(group, np.float32)
    for head in range(group):
        most = largest(scores, head * count, count)
        totals[head] = exponentials(scores, head * count, count, most, scale, scores, head * count)
    for page in range(pages):
        depth = min(PAGE, position + 1 - page * PAGE)
        for panel in range(panels_of):
            value_at = table[page] * page_stride[1] + panel * PAGE * PANEL
            at_sum = panel * PANEL
            add_product(
                scores, page * PAGE, count, values, value_at, PANEL, depth, sums, at_sum, panels_of * PANEL, group
            )
    for head in range(group):
        for place in range(width):
            out[out_at + head * width + place] = sums[head * panels_of * PANEL + place] / totals[head]


@njit(cache=True)
def _heads_of(row, kv_head, qkv, stride, weights, layer, sizes, position, keys, values, page_stride, page):
    """Norms and positions of a row's heads that belong to one key head; its key and value go into the page."""
    heads, kv_heads, width, eps = sizes
    group = heads // kv_heads
    cosines, sines = weights.rotary[0, position], weights.rotary[1, position]
    first = row * stride
    key_at, value_at = first + (heads + kv_head) * width, first + (heads + kv_heads + kv_head) * width
    normed = weights.q_norm.shape[1] > 0
    for head in range(kv_head * group, (kv_head + 1) * group):
        at = first + head * width
        if normed:
            _normed(qkv, at, weights.q_norm[layer], 0, width, eps, qkv, at)
        _turned(qkv, at, width, cosines, sines)
    if normed:
        _normed(qkv, key_at, weights.k_norm[layer], 0, width, eps, qkv, key_at)
    _turned(qkv, key_at, width, cosines, sines)
    slot = position % PAGE
    for place in range(width):
        keys[page * page_stride[0] + place * PAGE + slot] = qkv[key_at + place]
        panel, lane = place // PANEL, place % PANEL
        values[page * page_stride[1] + (panel * PAGE + slot) * PANEL + lane] = qkv[value_at + place]


@njit(cache=True, parallel=True)
def _forward(weights, sizes, ids, positions, places, tables, wanted, keys, values, logits):
    heads, kv_heads, width, eps = sizes
    rows, layers, depth = ids.size, weights.qkv.shape[0], weights.embedding.shape[1]
    group, all_heads = heads // kv_heads, heads * width
    qkv_panels, mlp_panels, depth_panels = weights.qkv.shape[1], weights.gate.shape[1], weights.out.shape[1]
    qkv_stride, mlp_stride, stride = qkv_panels * PANEL, mlp_panels * PANEL, depth_panels * PANEL
    head_stride = kv_heads * width * PAGE
    value_panels = (width + PANEL - 1) // PANEL
    page_stride = (head_stride, kv_heads * value_panels * PAGE * PANEL)
    x = np.empty(rows * depth, np.float32)
    h = np.empty(rows * depth, np.float32)
    for row in range(rows):
        x[row * depth : (row + 1) * depth] = weights.embedding[ids[row]]
    qkv = np.empty(rows * qkv_stride, np.float32)
    mixed = np.empty(rows * all_heads, np.float32)
    added = np.empty(rows * stride, np.float32)
    gate, up = np.empty(rows * mlp_stride, np.float32), np.empty(rows * mlp_stride, np.float32)
    for layer in range(layers):
        layer_keys, layer_values = keys[layer].reshape(-1), values[layer].reshape(-1)
        if rows <= SERIAL_ROWS:
            for row in range(rows):
                _normed(x, row * depth, weights.attention_norm[layer], 0, depth, eps, h, row * depth)
        else:
            for row in prange(rows):
                _normed(x, row * depth, weights.attention_norm[layer], 0, depth, eps, h, row * depth)
        matrix = weights.qkv[layer].reshape(-1)
        for panel in prange(qkv_panels):
            product(h, 0, depth, matrix, panel * depth * PANEL, PANEL, depth, qkv, panel * PANEL, qkv_stride, rows)
        for one in prange(rows * kv_heads):
            row, head = one // kv_heads, one % kv_heads
            page = tables[places[row], positions[row] // PAGE]
            own_keys, own_values = layer_keys[head * width * PAGE :], layer_values[head * value_panels * PAGE * PANEL :]
            _heads_of(
                row,
                head,
                qkv,
                qkv_stride,
                weights,
                layer,
                sizes,
                positions[row],
                own_keys,
                own_values,
                page_stride,
                page,
            )
        for one in prange(rows * kv_heads):
            row, head = one // kv_heads, one % kv_heads
            own_keys, own_values = layer_keys[head * width * PAGE :], layer_values[head * value_panels * PAGE * PANEL :]
            at, out_at = row * qkv_stride + head * group * width, row * all_heads + head * group * width
            table = tables[places[row]]
            _attend(qkv, at, group, width, positions[row], table, own_keys, own_values, page_stride, mixed, out_at)
        matrix = weights.out[layer].reshape(-1)
        for panel in prange(depth_panels):
            _added(mixed, all_heads, matrix, panel, all_heads, added, stride, x, depth, rows)
        if rows <= SERIAL_ROWS:
            for row in range(rows):
                _normed(x, row * depth, weights.mlp_norm[layer], 0, depth, eps, h, row * depth)
        else:
            for row in prange(rows):
                _normed(x, row * depth, weights.mlp_norm[layer], 0, depth, eps, h, row * depth)
        gates, ups = weights.gate[layer].reshape(-1), weights.up[layer].reshape(-1)
        for panel in prange(mlp_panels):
            at, first = panel * PANEL, panel * depth * PANEL
            product(h, 0, depth, gates, first, PANEL, depth, gate, at, mlp_stride, rows)
            product(h, 0, depth, ups, first, PANEL, depth, up, at, mlp_stride, rows)
            for row in range(rows):
                swiglu(gate, row * mlp_stride + at, up, row * mlp_stride + at, PANEL)
        matrix = weights.down[layer].reshape(-1)
        for panel in prange(depth_panels):
            _added(gate, mlp_stride, matrix, panel, mlp_stride, added, stride, x, depth, rows)
    chosen = np.empty(wanted.size * depth, np.float32)
    for one in range(wanted.size):
        _normed(x, wanted[one] * depth, weights.norm, 0, depth, eps, chosen, one * depth)
    matrix, out, out_stride = weights.head.reshape(-1), logits.reshape(-1), logits.shape[1]
    for panel in prange(weights.head.shape[0]):
        first = panel * depth * PANEL
        product(chosen, 0, depth, matrix, first, PANEL, depth, out, panel * PANEL, out_stride, wanted.size)


@njit(cache=True)
def _added(x, x_stride, matrix, panel, depth, made, stride, residual, residual_stride, rows):
    """residual += x @ one panel of a matrix."""
    at = panel * PANEL
    product(x, 0, x_stride, matrix, at * depth, PANEL, depth, made, at, stride, rows)
    for row in range(rows):
        for place in range(at, min(at + PANEL, residual_stride)):
            residual[row * residual_stride + place] += made[row * stride + place]


def forward(
    weights: Weights,
    sizes: Sizes,
    ids: np.ndarray,
    positions: np.ndarray,
    places: np.ndarray,
    tables: np.ndarray,
    wanted: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    """Logits (wanted, V padded to panels), float32, of the rows in `wanted`; all rows' keys and values are written.

    ids, positions, places: int64 (rows,); row r is the token ids[r] at positions[r] of the sequence whose pages, by
    number, are tables[places[r]], int32. A row may look at positions that rows of the same call write. The caller sees
    to it that no page is written by two sequences. Columns beyond the vocabulary are 0.
    """
    logits = np.empty((wanted.size, weights.head.shape[0] * PANEL), np.float32)
    _forward(weights, sizes, ids, positions, places, tables, wanted, keys, values, logits)
    return logits
