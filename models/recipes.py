"""Named recipes: functions that return the complete frozen configuration of a whole run."""

import dataclasses
from collections.abc import Callable
from typing import Any

from models import sizes
from models.config import (
    Ablation,
    BaseEvaluation,
    InputError,
    PretrainRecipe,
    Recipe,
    RlRecipe,
    SelectionRecipe,
    SftRecipe,
    SynthesisRecipe,
    TasksRecipe,
    TransformerConfig,
    override,
)

# From what a tiny model can learn to what it hardly can: the skew over families follows this order.
FAMILIES = (
    "number_sorting",
    "count_bits",
    "word_reversal",
    "number_filtering",
    "chain_sum",
    "letter_counting",
    "leg_counting",
    "products",
    "gcd",
    "base_conversion",
    "spell_backward",
    "caesar",
)


def smoke() -> Recipe:
    """The whole graph in about a minute on two cores: enough to see every part move, not to learn much."""
    return Recipe(
        name="smoke",
        seed=0,
        threads=2,
        vocab_size=1024,
        heldout_fraction=0.1,
        model=TransformerConfig(
            vocab_size=1024,
            d_model=64,
            n_layers=2,
            n_heads=2,
            n_kv_heads=2,
            head_dim=32,
            d_ff=192,
            max_seq_len=256,
            tie_embeddings=True,
        ),
        pretrain=PretrainRecipe(
            steps=60,
            batch_size=8,
            seq_len=128,
            learning_rate=6e-3,
            warmup_steps=6,
            eval_every=20,
            sample_every=30,
            checkpoint_every=20,
        ),
        synthesis=SynthesisRecipe(families=FAMILIES, problems=260, zipf=1.0, level_shares=(0.8, 0.2, 0.0)),
        selection=SelectionRecipe(
            dim=128, start_fraction=0.25, rounds=3, k_fraction=0.1, keep_fraction=0.5, target=120
        ),
        sft=SftRecipe(
            steps=40,
            batch_size=16,
            learning_rate=3e-3,
            warmup_steps=4,
            eval_every=20,
            eval_problems=32,
            eval_samples=1,
            checkpoint_every=20,
        ),
        tasks=TasksRecipe(families=FAMILIES, train=120, heldout=60, level_shares=(1.0, 0.0, 0.0)),
        rl=RlRecipe(
            steps=10,
            prompts_per_step=8,
            group_size=8,
            max_new_tokens=16,
            learning_rate=1e-3,
            warmup_steps=2,
            eval_every=5,
            eval_problems=32,
            eval_samples=1,
            record_every=5,
            checkpoint_every=5,
        ),
        evaluation=BaseEvaluation(documents=60, windows=2, prompts=24, questions=48, probes=48),
        ablation=Ablation(
            seeds=2,
            steps=20,
            batch_size=8,
            seq_len=64,
            vocab_size=512,
            d_model=32,
            n_layers=2,
            n_heads=2,
            d_ff=96,
            heldout_documents=40,
        ),
    )


def demo() -> Recipe:
    """The run of `make demo`: a model of about two million parameters that clearly beats the unigram baseline."""
    return Recipe(
        name="demo",
        seed=0,
        threads=2,
        vocab_size=2048,
        heldout_fraction=0.05,
        model=TransformerConfig(
            vocab_size=2048,
            d_model=192,
            n_layers=4,
            n_heads=4,
            n_kv_heads=4,
            head_dim=48,
            d_ff=512,
            max_seq_len=256,
            tie_embeddings=True,
        ),
        pretrain=PretrainRecipe(
            steps=680,
            batch_size=4,
            seq_len=256,
            learning_rate=2e-3,
            warmup_steps=20,
            eval_every=170,
            sample_every=170,
            checkpoint_every=85,
        ),
        synthesis=SynthesisRecipe(families=FAMILIES, problems=1600, zipf=1.0, level_shares=(0.6, 0.3, 0.1)),
        selection=SelectionRecipe(
            dim=256, start_fraction=0.25, rounds=5, k_fraction=0.1, keep_fraction=0.5, target=800
        ),
        sft=SftRecipe(
            steps=300, batch_size=32, learning_rate=1e-3, warmup_steps=10, max_new_tokens=16, checkpoint_every=50
        ),
        # one family that the instruct model can hardly do and a model of this size can learn from reward alone
        tasks=TasksRecipe(families=("count_bits",), train=300, heldout=150, level_shares=(0.4, 0.6, 0.0)),
        rl=RlRecipe(
            steps=300,
            prompts_per_step=48,
            group_size=8,
            max_new_tokens=8,
            learning_rate=6e-4,
            cooldown_fraction=0.3,
            eval_every=30,
            record_every=30,
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"smoke": smoke, "demo": demo, **sizes.recipes(demo)}


def resolve(config: dict[str, Any]) -> Recipe:
    """The recipe that a command's configuration asks for.

    `recipe` names it, `overrides` changes fields (nested by stage, e.g. {"pretrain": {"steps": 10}}), `seed` replaces
    the seed. InputError when the name or a field is unknown.
    """
    name = config.get("recipe")
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}")
    recipe = override(RECIPES[name](), config.get("overrides", {}))
    return dataclasses.replace(recipe, seed=int(config["seed"])) if "seed" in config else recipe
