"""Variants keep what their policy keeps, share what is held out, and differ in nothing else."""

import polars as pl
import pytest

from assets import policy as policies
from assets.steps import decide, variants
from assets.steps.variants import REFERENCE, Variant, make, sampled, shuffled, standard
from models.data.tokenize import is_heldout

SETTINGS = {"heldout_fraction": 0.2, "heldout_documents": 40, "seed": 0}


@pytest.fixture(scope="module")
def lake(smoke):
    from assets.lake import Lake

    return Lake(str(smoke.home), local=smoke.home)


@pytest.fixture(scope="module")
def documents(lake):
    return sampled(lake.scan("documents"), 10_000)


@pytest.fixture(scope="module")
def annotations(lake):
    return decide.annotated(lake)


@pytest.fixture(scope="module")
def foreign(documents):
    """A set from elsewhere; its first text is a page of the crawl but for a word."""
    page = documents.filter(pl.col("text").str.len_bytes() > 3000)["text"][0]
    return {"elsewhere": [page + " indeed", "A text that stands nowhere else, of a few words and no more."]}


@pytest.fixture(scope="module")
def made(documents, annotations, foreign, tmp_path_factory):
    return make(documents, annotations, standard(), foreign, tmp_path_factory.mktemp("scratch"), **SETTINGS)


def members(made, name: str) -> set[str]:
    texts = made.texts.join(made.members.filter(variant=name), on="text_id")
    return set(texts["doc_id"])


def test_a_variant_holds_what_its_policy_keeps_but_for_what_is_held_out_and_doubled(made, documents, annotations):
    decided = policies.decide(annotations, policies.load("fineweb")).filter(pl.col("verdict") == "kept").collect()
    kept, ours = set(decided["doc_id"]), members(made, "fineweb")
    assert ours < kept and len(ours) > 0.6 * len(kept)
    assert members(made, "fineweb") <= members(made, "fineweb_no_dedup") <= kept
    assert members(made, "strict") < members(made, "english") <= members(made, REFERENCE) | kept
    assert len(members(made, REFERENCE)) > len(members(made, "english")) > len(ours)


def test_a_random_half_is_one(made):
    whole, half = members(made, REFERENCE), members(made, "random_half")
    assert half < whole and 0.3 < len(half) / len(whole) < 0.7


def test_shuffled_words_are_the_same_words(made):
    texts = dict(made.texts.select("text_id", "text").iter_rows())
    plain = [text_id for text_id in texts if f"{text_id}/shuffled" in texts]
    assert plain
    for text_id in plain:
        other = texts[f"{text_id}/shuffled"]
        assert sorted(other.split()) == sorted(texts[text_id].split())
    assert any(texts[f"{text_id}/shuffled"].split() != texts[text_id].split() for text_id in plain)
    assert shuffled("a b c d e f", 1) == shuffled("a b c d e f", 1) != shuffled("a b c d e f", 2)


def test_nothing_that_is_held_out_is_in_any_variant(made, documents):
    """Neither the held-out pages nor a near-copy of a text from elsewhere."""
    known = set(made.texts["text"])
    pages = made.heldout.filter(pl.col("set") != "elsewhere")
    assert pages.height > 5 and not set(pages["text"]) & known
    near = documents.filter(pl.col("text").str.len_bytes() > 3000)["doc_id"][0]
    assert near not in set(made.texts["doc_id"])


def test_held_out_pages_are_one_of_each_cluster(made):
    for name in ("kept_by_all", "all_pages"):
        texts = made.heldout.filter(set=name)["text"]
        assert texts.n_unique() == len(texts)
    assert set(made.heldout.filter(set="kept_by_all")["text"]) and is_heldout("x", 1.0)


def test_weights_are_shares_of_sources_that_every_variant_has(made):
    assert sum(made.weights.values()) == pytest.approx(1, abs=1e-4)
    for name in made.members["variant"].unique():
        sources = set(made.texts.join(made.members.filter(variant=name), on="text_id")["source"])
        assert set(made.weights) <= sources, name


def test_the_same_lake_gives_the_same_variants(documents, annotations, foreign, made, tmp_path):
    again = make(documents.sample(fraction=1, shuffle=True, seed=1), annotations, standard(), foreign, tmp_path,
                 **SETTINGS)  # fmt: skip
    assert again.texts.equals(made.texts) and again.members.equals(made.members)
    assert again.heldout.equals(made.heldout) and again.weights == made.weights


def test_a_document_of_two_snapshots_is_one_and_a_sample_is_a_function_of_ids(lake):
    both = pl.concat(
        [lake.scan("documents"), lake.scan("documents").with_columns(pl.lit("zz-later").alias("snapshot"))]
    )
    once, few = sampled(both, 10_000), sampled(both, 7)
    assert once["doc_id"].n_unique() == once.height == sampled(lake.scan("documents"), 10_000).height
    assert "zz-later" not in once["snapshot"].to_list()
    assert few.height == 7 and few.equals(sampled(lake.scan("documents"), 7))


def test_the_homes_own_policy_is_a_variant_of_its_own():
    changed = policies.what_if(policies.load("fineweb"), ["language_score.min=0.9"], [])
    own = standard(changed)[-1]
    assert own.policy == changed and own.name not in {one.name for one in standard()}
    assert [one.name for one in standard(policies.load("strict"))] == [one.name for one in standard()]


def test_a_variant_without_documents_leaves_the_others_alone(documents, annotations, tmp_path):
    impossible = policies.what_if(policies.load("fineweb"), ["gopher_short_doc.min=99999"], [])
    two = [Variant(REFERENCE, "all", None), Variant("none", "nothing", impossible)]
    found = make(documents, annotations, two, {}, tmp_path, **SETTINGS)
    assert set(found.members["variant"]) == {REFERENCE} and found.weights == {}
    assert variants.LANGUAGE_RULES[0] in [rule.rule for rule in impossible.rules]
