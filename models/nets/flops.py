"""How much arithmetic a network takes: floating-point operations, a multiplication and an addition counting two.

Counted are matrix products, attention's two products over the pairs of tokens that its mask leaves (PaLM, arXiv
2204.02311, appendix B, counts all pairs; half of them are masked), and Mamba's convolution and scan. Norms, rotary
positions, activations and the optimizer are not. No torch here.
"""

from models.architecture import FULL, MAMBA, SLIDING, TransformerConfig

SCAN_FLOPS = 9  # a channel, a number of state and a token: decay, input, recurrence, reading


def pairs(tokens: int, window: int | None = None) -> int:
    """(query, key) pairs of a row under a causal mask, at most `window` keys a query."""
    near = tokens if window is None else min(tokens, window)
    return near * (near + 1) // 2 + (tokens - near) * near


def forward_flops(config: TransformerConfig, tokens: int) -> int:
    """Of one row of so many tokens, logits included."""
    products = 2 * tokens * (config.vocab_size * config.d_model + sum(map(config.matrices, config.kinds)))
    of_pair = 4 * config.n_heads * config.head_dim  # scores, and the sum of values
    attention = of_pair * pairs(tokens) * config.kinds.count(FULL)
    attention += of_pair * pairs(tokens, config.window) * config.kinds.count(SLIDING)
    scans = tokens * config.inner * (2 * config.d_conv + SCAN_FLOPS * config.d_state) * config.kinds.count(MAMBA)
    return products + attention + scans


def training_flops(config: TransformerConfig, tokens: int) -> int:
    """Of a forward and a backward pass, which takes twice as much; what is made again to save memory does not count."""
    return 3 * forward_flops(config, tokens)


def mfu(config: TransformerConfig, seq_len: int, tokens_per_s: float, peak_flops_per_s: float) -> float:
    """Model FLOPs utilisation: the share of the hardware's peak that training at this speed puts to use."""
    return training_flops(config, seq_len) / seq_len * tokens_per_s / peak_flops_per_s
