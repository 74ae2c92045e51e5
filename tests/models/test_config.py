"""Configurations are frozen, complete and refuse what they do not know."""

import dataclasses
import subprocess
import sys

import pytest

from models.config import InputError, PretrainRecipe, TransformerConfig, as_dict, from_dict, override
from models.nets.transformer import Transformer
from models.recipes import RECIPES, resolve


def test_transformer_config_survives_json(tiny):
    assert TransformerConfig.from_json(tiny.to_json()) == tiny


@pytest.mark.parametrize("change", [{}, {"tie_embeddings": True}, {"qk_norm": False}])
def test_parameter_count_is_the_models(tiny, change):
    config = dataclasses.replace(tiny, **change)
    assert config.n_params == sum(weight.numel() for weight in Transformer(config).parameters())


@pytest.mark.parametrize("change", [{"n_kv_heads": 3}, {"head_dim": 7}, {"d_model": 0}])
def test_impossible_architectures_are_refused(tiny, change):
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(tiny, **change)


@pytest.mark.parametrize("name", ["smoke", "demo"])
def test_options_at_their_default_leave_the_spelling_of_a_recipe_alone(name):
    recipe = RECIPES[name]()
    spelled, later = as_dict(recipe), set()
    for part in ("model", "pretrain", "sft", "rl"):
        options = {one.name for one in dataclasses.fields(getattr(recipe, part)) if one.metadata}
        whole = dataclasses.asdict(getattr(recipe, part))
        assert spelled[part] == {name: value for name, value in whole.items() if name not in options}
        later |= options
    assert later == {
        "qk_norm", "net", "layers", "window", "activation", "softcap", "value_tables", "residual_weights", "d_state",
        "d_conv", "expand", "optimizer", "muon_learning_rate", "skip_spikes", "packing", "document_masking", "head",
        "parallel", "micro_batch_size", "activation_checkpointing", "compiled",
    }  # fmt: skip
    assert from_dict(PretrainRecipe, as_dict(recipe)["pretrain"]) == recipe.pretrain
    chosen = dataclasses.replace(recipe.pretrain, optimizer="muon")
    assert as_dict(chosen) == as_dict(recipe.pretrain) | {"optimizer": "muon"}
    assert from_dict(PretrainRecipe, as_dict(chosen)) == chosen


@pytest.mark.parametrize("stage", ["pretrain", "sft", "rl"])
def test_every_stage_knows_two_heads(stage):
    assert getattr(resolve({"recipe": "smoke", "overrides": {stage: {"head": "chunked"}}}), stage).head == "chunked"
    with pytest.raises(InputError, match=f"{stage}.head"):
        resolve({"recipe": "smoke", "overrides": {stage: {"head": "small"}}})


@pytest.mark.parametrize(
    "change", [{"optimizer": "sgd"}, {"packing": "tight"}, {"head": "small"}, {"document_masking": True}]
)
def test_impossible_options_are_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(RECIPES["smoke"]().pretrain, **change)


def test_unknown_and_missing_fields_are_named(tiny):
    with pytest.raises(InputError, match="d_modell"):
        TransformerConfig.from_json('{"d_modell": 1}')
    with pytest.raises(InputError, match="vocab_size"):
        TransformerConfig.from_json("{}")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_fits_its_own_model(name):
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert recipe.pretrain.seq_len <= recipe.model.max_seq_len and recipe.model.max_seq_len >= 256
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]


def test_overrides_change_single_fields_at_any_depth():
    recipe = resolve({"recipe": "smoke", "seed": 9, "overrides": {"pretrain": {"steps": 7}, "threads": 1}})
    assert (recipe.seed, recipe.threads, recipe.pretrain.steps) == (9, 1, 7)
    assert recipe.pretrain.batch_size == RECIPES["smoke"]().pretrain.batch_size


def test_unknown_recipes_and_overrides_are_named():
    with pytest.raises(InputError, match=r"smoek.*smoke"):
        resolve({"recipe": "smoek"})
    with pytest.raises(InputError, match="stepz"):
        override(RECIPES["smoke"](), {"pretrain": {"stepz": 1}})


def test_configuration_and_text_modules_load_without_torch():
    modules = ("config", "recipes", "artifacts", "seeds", "data.tokenizer", "data.chat", "data.tokenize", "__main__")
    code = "import sys, importlib\n" + "".join(f"importlib.import_module('models.{name}')\n" for name in modules)
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
