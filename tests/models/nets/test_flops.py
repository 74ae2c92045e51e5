"""Floating-point operations, against sums by hand and against torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.config import TransformerConfig
from models.nets.flops import forward_flops, mfu, pairs, training_flops
from models.nets.mixed import build
from tests.models.nets.test_nets import NETS, config_of

PLAIN = TransformerConfig(
    vocab_size=100, d_model=8, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=4, d_ff=16, max_seq_len=64
)


def test_pairs_are_those_of_the_mask():
    for tokens in (1, 5, 9):
        back = torch.arange(tokens)[:, None] - torch.arange(tokens)
        assert pairs(tokens) == int((back >= 0).sum())
        for window in (1, 4, 20):
            assert pairs(tokens, window) == int(((back >= 0) & (back < window)).sum())


def test_a_plain_forward_pass_by_hand():
    # a layer: q 8x8, k and v 8x4 each, out 8x8 = 192; gate, up, down 3 x 8x16 = 384. Head: 8x100 = 800
    products = 2 * 10 * (2 * (192 + 384) + 800)
    attention = 2 * 2 * 2 * (2 * 4) * 55  # layers, products, multiply and add, heads x size, pairs of 10 tokens
    assert forward_flops(PLAIN, 10) == products + attention == 42_560
    assert training_flops(PLAIN, 10) == 3 * 42_560


def test_mfu_is_the_share_of_the_peak():
    assert mfu(PLAIN, 10, tokens_per_s=10.0, peak_flops_per_s=3 * 42_560 * 2) == 0.5


@pytest.mark.parametrize("name", [name for name in NETS if "R" not in config_of(name).kinds])
def test_matrix_products_are_those_that_torch_counts(name):
    """To the last one; its counter does not look into an LSTM, and attention and scans are counted by hand above."""
    config, tokens = config_of(name), 20
    model = build(config, seed=1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, tokens, dtype=torch.int64))
    counted = sum(
        n for op, n in counter.get_flop_counts()["Global"].items() if op in (torch.ops.aten.mm, torch.ops.aten.addmm)
    )
    attention = sum(pairs(tokens, config.window if kind == "S" else None) for kind in config.kinds if kind in "LS")
    scans = config.inner * tokens * (2 * config.d_conv + 9 * config.d_state) * config.kinds.count("M")
    assert counted == forward_flops(config, tokens) - 4 * config.n_heads * config.head_dim * attention - scans


def test_a_scan_by_hand():
    config = TransformerConfig(
        vocab_size=10, d_model=4, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=2, d_ff=0, max_seq_len=8, net="mamba"
    )
    # 8 channels: input 4x16, step rank 1 and twice 16 numbers of state 8x33, steps 1x8, out 8x4; head 4x10
    products = 2 * 3 * (64 + 264 + 8 + 32 + 40)
    assert forward_flops(config, 3) == products + 3 * 8 * (2 * 4 + 9 * 16)
