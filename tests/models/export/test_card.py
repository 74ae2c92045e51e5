"""A model card says only what was recorded, and says all of it."""

import dataclasses

import pytest

from models.artifacts import digest, read_manifest
from models.config import InputError
from models.export.card import CardFacts, CardScore, card_of_manifest, render_card


@pytest.fixture
def facts(tiny) -> CardFacts:
    return CardFacts(
        name="stemma-test",
        digest="0123abcd",
        parent="none",
        license="apache-2.0",
        stage="base",
        architecture=tiny,
        training={"recipe": "smoke", "pretrain": {"steps": 12}},
        data=["Pages of one crawl."],
        scores=[CardScore("accuracy | exact", 0.5, "random", 0.125, 96)],
        limits=["Not for anything."],
        lineage={"corpus": "feed"},
    )


def test_every_fact_is_on_the_card(facts):
    card = render_card(facts)
    for part in ("stemma-test", "0123abcd", "apache-2.0", "Pages of one crawl.", "Not for anything.", "feed"):
        assert part in card
    assert "| pretrain.steps | 12 |" in card
    assert "| accuracy \\| exact | 0.5 | 0.125 (random) | 96 |" in card
    assert f"{facts.architecture.n_params:,} parameters" in card
    assert card.startswith("---\nlicense: apache-2.0\n")


@pytest.mark.parametrize("name", ["name", "digest", "parent", "license", "data", "limits"])
def test_an_empty_fact_is_an_error_and_never_a_blank(facts, name):
    empty = type(getattr(facts, name))()
    with pytest.raises(InputError, match=name):
        render_card(dataclasses.replace(facts, **{name: empty}))


def test_card_of_a_model_carries_its_figures_beside_both_baselines(base_model_dir):
    manifest = read_manifest(base_model_dir)
    card = card_of_manifest(base_model_dir, {"license": "odc-by"})
    assert card == card_of_manifest(base_model_dir, {"license": "odc-by"})
    for figure in ("bpb_heldout", "bpb_unigram", "bpb_uniform"):
        assert f"{manifest[figure]:.4g}" in card
    assert digest(base_model_dir) in card and manifest["shards"] in card and "license: odc-by" in card


def test_facts_that_a_card_does_not_know_are_refused(base_model_dir):
    with pytest.raises(InputError, match="licence"):
        card_of_manifest(base_model_dir, {"licence": "x"})
