"""Recipes by size, 1M to 1B parameters in two profiles, and the rules that give their batch, rate and length.

A name is the number of parameters of `plain`. `fast` multiplies a token with as many weights; the tables that it only
looks tokens up in (an embedding apart from the head, values) come on top. d_model is 64 a layer where it can be, widths
are multiples of 256 (K-quants), key and value heads are shared above 200M parameters (SmolLM3).
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from models.architecture import TransformerConfig
from models.config import InputError, PretrainRecipe, Recipe

SEQ_LEN = 2048
ROWS_AT_ONCE = 16  # of a rank: 57 GiB of activations at 1B in bfloat16 (models/memory.py), products still large
TIED_ABOVE = 0.25  # of the parameters: a vocabulary that takes more than that is not held twice (SmolLM2, Qwen3 0.6B)
TOKENS_PER_PARAMETER = 20.0  # Hoffmann et al. 2022 (arXiv 2203.15556)
WIDTH_OF_SFT = 192  # d_model at which the instruction stage's rate was chosen (the demo)


@dataclass(frozen=True)
class Size:
    """The dimensions of a size; the head's size follows."""

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_ff: int  # of the SwiGLU, 8/3 of d_model rounded to 256; a squared ReLU of the same arithmetic is half wider


SIZES = {
    "1M": Size(2_560, 128, 4, 2, 2, 256),
    "10M": Size(18_432, 256, 6, 4, 4, 768),
    "50M": Size(18_432, 512, 10, 8, 8, 1_280),
    "125M": Size(26_624, 768, 12, 12, 12, 2_048),
    "350M": Size(32_768, 1_024, 24, 16, 8, 2_816),
    "1B": Size(32_768, 1_792, 24, 14, 7, 4_864),
}


def ties(vocab_size: int, d_model: int, block_params: int) -> bool:
    """Whether the head is the embedding: where one table is more than a quarter of all parameters."""
    return vocab_size * d_model > TIED_ABOVE * (vocab_size * d_model + block_params)


def batch_tokens(params: int) -> float:
    """Tokens a step at which a model of this size learns well: 160 rows of 2,048 at 108M, times (N / 108M)^(2/3).

    Porian et al. 2024 (arXiv 2406.19146) as OLMo's model ladder uses it (arXiv 2412.04403), from 190M on; below that it
    is carried further, not measured.
    """
    return 160 * 2048 * (params / 108e6) ** (2 / 3)


def adamw_rate(params: int, tokens_a_step: float, schedule: Literal["cosine", "wsd"] = "wsd") -> float:
    """Peak rate of AdamW: 0.0047 (N / 108M)^(-1/3), half of it where the rate is held before it falls.

    Source as of `batch_tokens`. With fewer tokens a step it falls with their root (Malladi et al. 2022, arXiv
    2205.10287); with more it does not rise, for nothing was measured there.
    """
    rate = 0.0047 * (params / 108e6) ** (-1 / 3) * (0.5 if schedule == "wsd" else 1.0)
    return rate * min(1.0, (tokens_a_step / batch_tokens(params)) ** 0.5)


def muon_rate(_params: int) -> float:
    """Peak rate of Muon: 0.02 at every size, for what it changes a matrix by has a size of its own (Jordan 2024)."""
    return 0.02


def training_tokens(params: int, tokens_per_parameter: float = TOKENS_PER_PARAMETER) -> int:
    """Tokens of a run, by their ratio to the parameters."""
    if not tokens_per_parameter > 0:
        raise InputError(f"tokens_per_parameter must be above 0, got {tokens_per_parameter}")
    return round(params * tokens_per_parameter)


def architecture(profile: str, size: str) -> TransformerConfig:
    """The network of a profile (plain, fast) and a size; InputError names those that there are."""
    if profile not in ("plain", "fast") or size not in SIZES:
        raise InputError(f"no architecture {profile}-{size}: profiles are plain, fast; sizes are {', '.join(SIZES)}")
    chosen = SIZES[size]
    head_dim = chosen.d_model // chosen.n_heads
    blocks = 2 * chosen.d_model * head_dim * (chosen.n_heads + chosen.n_kv_heads)
    blocks = chosen.n_layers * (blocks + 3 * chosen.d_model * chosen.d_ff)
    plain = TransformerConfig(
        **dataclasses.asdict(chosen),
        head_dim=head_dim,
        max_seq_len=SEQ_LEN,
        tie_embeddings=ties(chosen.vocab_size, chosen.d_model, blocks),
    )
    if profile == "plain":
        return plain
    return dataclasses.replace(
        plain,
        tie_embeddings=False,
        d_ff=chosen.d_ff * 3 // 2,
        activation="relu2",
        layers="SSSL",
        window=SEQ_LEN // 4,
        softcap=15.0,
        value_tables=2,
        residual_weights=True,
    )


def pretraining(params: int, *, tokens_per_parameter: float = TOKENS_PER_PARAMETER) -> PretrainRecipe:
    """How a model of so many parameters is trained, the same in both profiles; rows a step are a power of two."""
    rows = 2 ** max(0, round(math.log2(batch_tokens(params) / SEQ_LEN)))
    steps = max(20, round(training_tokens(params, tokens_per_parameter) / (rows * SEQ_LEN)))
    return PretrainRecipe(
        steps=steps,
        batch_size=rows,
        seq_len=SEQ_LEN,
        learning_rate=adamw_rate(params, rows * SEQ_LEN),
        warmup_steps=min(2_000, max(1, steps // 20)),
        eval_every=max(1, steps // 20),
        eval_max_tokens=262_144,
        sample_every=max(1, steps // 20),
        checkpoint_every=max(1, steps // 40),
        device="auto",
        optimizer="muon",
        muon_learning_rate=muon_rate(params),
        skip_spikes=True,
        packing="best_fit",
        head="chunked",
        micro_batch_size=ROWS_AT_ONCE,
    )


def multiplied(config: TransformerConfig) -> int:
    """Parameters that take part in a token's arithmetic: all but the tables that tokens are only looked up in."""
    tables = config.value_tables * config.n_kv_heads * config.head_dim
    tables += 0 if config.tie_embeddings else config.d_model
    return config.n_params - config.vocab_size * tables


def recipe(profile: str, size: str, base: Recipe, *, tokens_per_parameter: float = TOKENS_PER_PARAMETER) -> Recipe:
    """A whole run of this profile and size. What stages after pretraining do is `base`'s, rates by width (d^-1/2)."""
    model = architecture(profile, size)
    slower = (WIDTH_OF_SFT / model.d_model) ** 0.5
    return dataclasses.replace(
        base,
        name=f"{profile}-{size}",
        vocab_size=model.vocab_size,
        model=model,
        pretrain=pretraining(architecture("plain", size).n_params, tokens_per_parameter=tokens_per_parameter),
        sft=dataclasses.replace(base.sft, learning_rate=base.sft.learning_rate * slower, device="auto", head="chunked"),
        rl=dataclasses.replace(base.rl, learning_rate=base.rl.learning_rate * slower, device="auto", head="chunked"),
    )


def recipes(base: Callable[[], Recipe]) -> dict[str, Callable[[], Recipe]]:
    """Name to recipe, of every profile and size."""
    return {
        f"{profile}-{size}": lambda profile=profile, size=size: recipe(profile, size, base())
        for profile in ("plain", "fast")
        for size in SIZES
    }
