"""Recipes by size are as large as they are called, and their rules are those that they name."""

import dataclasses

import pytest

from models import sizes
from models.config import InputError, as_dict, from_dict
from models.nets.flops import training_flops
from models.recipes import RECIPES, demo, resolve

NAMED = {"1M": 1e6, "10M": 10e6, "50M": 50e6, "125M": 125e6, "350M": 350e6, "1B": 1e9}
PROFILES = ("plain", "fast")


@pytest.mark.parametrize("size", NAMED)
def test_plain_has_the_parameters_of_its_name_and_fast_the_same_arithmetic(size):
    plain, fast = (sizes.architecture(profile, size) for profile in PROFILES)
    assert abs(plain.n_params / NAMED[size] - 1) < 0.03
    assert abs(sizes.multiplied(fast) / sizes.multiplied(plain) - 1) < 0.01
    assert training_flops(fast, sizes.SEQ_LEN) <= 1.01 * training_flops(plain, sizes.SEQ_LEN)
    assert (plain.profile, fast.profile) == PROFILES
    assert fast.kinds[-1] == "L" and set(fast.kinds[:3]) == {"S"} and not fast.tie_embeddings


@pytest.mark.parametrize("size", NAMED)
def test_a_vocabulary_is_held_twice_unless_it_is_more_than_a_quarter(size):
    config = sizes.architecture("plain", size)
    once = dataclasses.replace(config, tie_embeddings=True).n_params
    assert config.tie_embeddings == (config.vocab_size * config.d_model > 0.25 * once)


@pytest.mark.parametrize("profile", PROFILES)
def test_dimensions_suit_quantizers_and_rotary_positions(profile):
    for size in NAMED:
        config = sizes.architecture(profile, size)
        assert config.n_heads * config.head_dim == config.d_model
        assert config.vocab_size <= 1 << 16
        assert size == "1M" or config.d_model % 256 == 0
        assert profile == "fast" or config.d_ff % 256 == 0


def test_the_rules_give_their_sources_figures_at_108_million():
    assert sizes.batch_tokens(108_000_000) == 160 * 2048
    assert sizes.adamw_rate(108_000_000, 160 * 2048, "cosine") == pytest.approx(0.0047)
    assert sizes.adamw_rate(108_000_000, 160 * 2048) == pytest.approx(0.0047 / 2)
    assert sizes.batch_tokens(8 * 108_000_000) == pytest.approx(4 * 160 * 2048)
    assert sizes.adamw_rate(8 * 108_000_000, 10**9) == pytest.approx(0.0047 / 4)
    assert sizes.training_tokens(125_000_000) == 2_500_000_000
    assert sizes.training_tokens(125_000_000, 12) == 1_500_000_000


def test_a_smaller_batch_takes_a_smaller_rate_and_a_larger_one_no_greater():
    best = sizes.batch_tokens(10_000_000)
    full = sizes.adamw_rate(10_000_000, best)
    assert sizes.adamw_rate(10_000_000, best / 4) == pytest.approx(full / 2)
    assert sizes.adamw_rate(10_000_000, best * 4) == full


@pytest.mark.parametrize("size", NAMED)
def test_a_run_reads_its_tokens_in_whole_steps(size):
    for profile in PROFILES:
        recipe = RECIPES[f"{profile}-{size}"]()
        read = recipe.pretrain.steps * recipe.pretrain.batch_size * recipe.pretrain.seq_len
        assert abs(read / (20 * sizes.architecture("plain", size).n_params) - 1) < 0.01
        assert recipe.pretrain.batch_size & (recipe.pretrain.batch_size - 1) == 0
        assert 0.7 < recipe.pretrain.batch_size * 2048 / sizes.batch_tokens(round(NAMED[size])) < 1.45


def test_every_size_is_reached_by_name_and_survives_json():
    for profile in PROFILES:
        for size in NAMED:
            recipe = resolve({"recipe": f"{profile}-{size}", "seed": 4, "overrides": {"pretrain": {"steps": 30}}})
            assert (recipe.name, recipe.seed, recipe.pretrain.steps) == (f"{profile}-{size}", 4, 30)
            assert from_dict(type(recipe.model), as_dict(recipe.model)) == recipe.model
            assert from_dict(type(recipe.pretrain), as_dict(recipe.pretrain)) == recipe.pretrain


def test_a_ratio_changes_the_length_alone():
    short, usual = (
        sizes.recipe("plain", "10M", demo(), tokens_per_parameter=ratio).pretrain for ratio in (10, 20)
    )  # fmt: skip
    assert abs(usual.steps / short.steps - 2) < 0.01
    assert (short.batch_size, short.learning_rate) == (usual.batch_size, usual.learning_rate)


@pytest.mark.parametrize("profile, size", [("plain", "2M"), ("slow", "10M")])
def test_what_there_is_not_is_named(profile, size):
    with pytest.raises(InputError, match="125M"):
        sizes.architecture(profile, size)
    with pytest.raises(InputError, match="above 0"):
        sizes.training_tokens(10, 0)
