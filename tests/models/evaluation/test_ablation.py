"""Corpora are ranked as they must where the answer is known: the same corpus equal, a foreign or broken one worse."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.artifacts import digest, verify
from models.config import InputError
from models.evaluation import ablation
from models.evaluation.mixture import Encoded
from models.evaluation.settings import Ablation
from models.recipes import resolve

SMALL = {"seeds": 3, "steps": 20, "batch_size": 4, "seq_len": 32, "vocab_size": 400, "d_model": 16, "n_layers": 1,
         "n_heads": 2, "d_ff": 32, "learning_rate": 0.02}  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory, corpus_documents):
    """English sentences, the same under other ids, digits; held out are sentences of the same kind."""
    root = tmp_path_factory.mktemp("ablation")
    rng = np.random.default_rng(0)
    texts, members = [], []
    for doc_id, _, text in corpus_documents[:40]:
        digits = "".join(rng.choice(list("0123456789 "), len(text)))
        for variant, content in (("plain", text), ("again", text), ("digits", digits)):
            texts.append({"text_id": f"{doc_id}/{variant}", "doc_id": doc_id, "source": "web", "text": content})
            members.append({"variant": variant, "text_id": f"{doc_id}/{variant}"})
    heldout = [{"set": "sentences", "text": text} for _, _, text in corpus_documents[40:]]
    for name, rows in (("texts", texts), ("members", members), ("heldout", heldout)):
        pq.write_table(pa.Table.from_pylist(rows), root / f"{name}.parquet")
    return {
        "recipe": "smoke",
        "overrides": {"ablation": SMALL},
        **{name: str(root / f"{name}.parquet") for name in ("texts", "members", "heldout")},
        "weights": {"web": 1.0},
        "reference": "plain",
        "tokenizer_from": "plain",
    }


@pytest.fixture(scope="module")
def made(config, tmp_path_factory, silent):
    out, scratch = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("scratch")
    ablation.run({**config, "scratch": str(scratch)}, out, silent)
    return out


@pytest.fixture(scope="module")
def ranked(made):
    rows = pq.read_table(made / "final" / "ranking.parquet").to_pylist()
    return {row["variant"]: row for row in rows}


def test_the_same_corpus_is_equal_to_the_bit_and_a_foreign_one_is_worse(ranked):
    assert ranked["again"]["difference"] == 0.0 and ranked["again"]["verdict"] == "no difference shown"
    assert ranked["again"]["bits_per_byte"] == ranked["plain"]["bits_per_byte"]
    assert ranked["digits"]["verdict"] == "worse" and ranked["digits"]["difference"] > 0.5
    assert ranked["plain"]["verdict"] == "reference"


def test_every_variant_read_the_same_number_of_tokens(ranked):
    assert {row["tokens_trained"] for row in ranked.values()} == {20 * 4 * 32}
    assert all(row["seeds"] == 3 and row["documents"] == 40 and row["texts"] == 20 for row in ranked.values())


def test_figures_by_seed_are_kept_and_agree_with_the_table(made, ranked):
    seeds = json.loads((made / "final" / "seeds.json").read_text())["sentences"]
    for name, row in ranked.items():
        assert len(set(seeds[name])) == 3, "seeds differ"
        assert row["bits_per_byte"] == pytest.approx(np.mean(seeds[name]))
        assert row["low"] < row["bits_per_byte"] < row["high"]


def test_no_text_and_no_document_stays(made):
    kept = b"".join(path.read_bytes() for path in made.rglob("*") if path.is_file())
    assert b"doc-0" not in kept and b"miller" not in kept


def test_a_run_that_was_cut_short_goes_on_and_ends_the_same(config, made, tmp_path, silent, monkeypatch):
    calls = []
    trained = ablation._trained

    def counted(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return trained(*arguments)

    monkeypatch.setattr(ablation, "_trained", counted)
    with pytest.raises(KeyboardInterrupt):
        ablation.run({**config, "scratch": str(tmp_path / "first")}, tmp_path / "out", silent)
    ablation.run({**config, "scratch": str(tmp_path / "second")}, tmp_path / "out", silent)
    assert len(calls) == 4 + 1 + 5, "nine trainings, the fifth of them twice"
    assert digest(tmp_path / "out" / "final") == digest(made / "final")
    assert verify(made / "final")["settings"]["seeds"] == 3


def test_results_of_other_inputs_are_not_taken(made, tmp_path):
    (first, *_) = sorted((made / "results").iterdir())
    found = json.loads(first.read_text())
    assert ablation._kept(first, found["key"]) == found
    assert ablation._kept(first, "0" * 32) is None and ablation._kept(tmp_path / "none", found["key"]) is None


def test_bad_input_is_named(config, tmp_path, silent):
    given = {**config, "scratch": str(tmp_path)}
    with pytest.raises(InputError, match="reference other is none of the variants plain"):
        ablation.run({**given, "reference": "other"}, tmp_path / "a", silent)
    with pytest.raises(InputError, match="source blog has a share"):
        ablation.run({**given, "weights": {"web": 0.5, "blog": 0.5}}, tmp_path / "b", silent)
    with pytest.raises(InputError, match="one training has no interval"):
        ablation.run({**given, "overrides": {"ablation": {"seeds": 1}}}, tmp_path / "c", silent)


def test_what_is_scored_is_no_heading_where_the_text_is_long():
    text = "A HEADING\n" + "\n".join(f"line {i} of the text" for i in range(200))
    assert ablation.excerpt(text, 16).startswith("line ") and len(ablation.excerpt(text, 16)) == 256
    assert ablation.excerpt("short\ntext", 16) == "short\ntext"
    assert ablation.excerpt("x" * 999, 16) == "x" * 256


def test_nothing_of_a_recipes_own_model_enters_an_ablation():
    settings = Ablation(seeds=2, steps=10)
    found = [
        resolve({"recipe": name, "overrides": {"pretrain": {"optimizer": "muon"}, "model": {"qk_norm": False}}})
        for name in ("smoke", "demo")
    ]
    first, second = (resolve({"recipe": one.name, "overrides": ablation.overrides(settings)}) for one in found)
    assert (first.model, first.pretrain, first.threads) == (second.model, second.pretrain, second.threads)


def test_the_wider_of_documents_decides_where_seeds_agree():
    """Two texts of which one got better and one worse, on every seed alike: nothing is shown."""
    results = {
        "reference": [{"bits": {"set": [100.0, 100.0]}, "read_again": 0.0}] * 3,
        "mixed": [{"bits": {"set": [90.0 - s / 10, 105.0]}, "read_again": 0.0} for s in range(3)],
    }
    variants = {name: [Encoded("d", "s", np.arange(4))] for name in results}
    rows = ablation.ranking(results, {"set": np.array([50, 50])}, variants, Ablation(seeds=3, steps=1), "reference")
    mixed = next(row for row in rows if row["variant"] == "mixed")
    assert mixed["seeds_high"] < 0 < mixed["texts_high"] and mixed["verdict"] == "no difference shown"
