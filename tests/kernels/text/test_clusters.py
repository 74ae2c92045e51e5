"""Clusters find the known pairs, never chain, and do not depend on the order of documents."""

import csv
import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.text import clusters, minhash

NO_SIGNATURE = np.arange(minhash.HASHES, dtype=np.uint64)


def clustered(documents: dict[str, str], order: list[str], **options) -> tuple[dict[str, str], clusters.Clusters]:
    """Survivor by document id, for documents given in that order and keyed by their ids."""
    hashes = [minhash.shingles(documents[name]) for name in order]
    signatures = np.stack([minhash.fold(h) if h.size else NO_SIGNATURE + np.uint64(i) for i, h in enumerate(hashes)])
    sets = [clusters.shingle_set(h) for h in hashes]
    found = clusters.cluster(order, signatures, lambda positions: [sets[i] for i in positions], **options)
    return {name: order[i] for name, i in zip(order, found.survivor)}, found


def jaccard(a: str, b: str) -> float:
    return clusters.jaccard(*(clusters.shingle_set(minhash.shingles(text)) for text in (a, b)))


def word(number: int) -> str:
    """A word of its own for each number, in letters: figures are all the same to MinHash."""
    return "w" + "".join(chr(ord("a") + int(digit)) for digit in str(number))


words = st.lists(st.sampled_from([word(i) for i in range(9)]), min_size=1, max_size=25)


@st.composite
def corpora(draw) -> dict[str, str]:
    """Texts that are edits of each other, so that similarities of every size and chains of them occur."""
    base = [word(100 + i) for i in range(60)]
    documents = {}
    for number in range(draw(st.integers(1, 9))):
        text = list(base)
        for position in draw(st.lists(st.integers(0, 59), max_size=4, unique=True)):
            text[position] = word(draw(st.integers(0, 3)))
        if draw(st.booleans()):
            text = text[draw(st.integers(0, 12)) :]
        if draw(st.integers(0, 5)) == 0:
            text = draw(words)
        documents[f"d{number}"] = " ".join(text)
    return documents


@settings(max_examples=60, deadline=None)
@given(corpora(), st.randoms(use_true_random=False))
def test_clusters_do_not_depend_on_the_order_of_documents(documents, random):
    names = sorted(documents)
    shuffled = names[:]
    random.shuffle(shuffled)
    assert clustered(documents, names)[0] == clustered(documents, shuffled)[0]


@settings(max_examples=60, deadline=None)
@given(corpora(), st.sampled_from([0.5, 0.75, 0.9]))
def test_every_removed_document_is_that_similar_to_its_survivor(documents, threshold):
    names = sorted(documents)
    survivors, found = clustered(documents, names, threshold=threshold)
    for i, name in enumerate(names):
        survivor = survivors[name]
        assert survivors[survivor] == survivor, "a survivor survives"
        assert survivor <= name, "the least key survives"
        if survivor != name:
            assert found.similarity[i] == jaccard(documents[name], documents[survivor]) >= threshold
        else:
            assert found.similarity[i] == 1.0
        assert found.size[i] == sum(survivors[other] == survivor for other in names)


def chain() -> dict[str, str]:
    """Each text is .9 similar to the next, and the ends have nothing in common."""
    return {f"{i:03d}": " ".join(word(j) for j in range(i * 8, i * 8 + 160)) for i in range(40)}


def test_likeness_does_not_spread_along_a_chain():
    documents = chain()
    assert jaccard(documents["000"], documents["001"]) > 0.88
    assert jaccard(documents["000"], documents["039"]) == 0
    survivors, _ = clustered(documents, sorted(documents))
    assert 8 <= len(set(survivors.values())) <= 39
    assert survivors["039"] != "000"


def test_a_removed_survivor_promotes_the_next():
    page = " ".join(word(i) for i in range(100))
    documents = {name: f"{page} {name}" for name in "abc"}
    assert set(clustered(documents, ["b", "c", "a"])[0].values()) == {"a"}
    del documents["a"]
    assert set(clustered(documents, ["c", "b"])[0].values()) == {"b"}


def test_the_ten_true_pairs_of_the_thousand_articles_are_found_and_nothing_else(shared_data):
    with gzip.open(shared_data / "dedup" / "articles-1000.jsonl.gz", "rt") as lines:
        documents = {row["id"]: row["text"] for row in map(json.loads, lines)}
    lines = (shared_data / "dedup" / "articles-1000.truth.tsv").read_text().splitlines()
    truth = {tuple(sorted(line.split())) for line in lines}
    survivors, found = clustered(documents, list(documents))
    pairs = {tuple(sorted((name, survivor))) for name, survivor in survivors.items() if name != survivor}
    assert pairs == truth and len(truth) == 10
    assert (found.size > 1).sum() == 20


def test_recall_on_near_duplicate_web_pages_follows_the_bands(shared_data):
    with gzip.open(shared_data / "pages" / "webpages.gold.jsonl.gz", "rt") as lines:
        documents = {row["record_id"]: row["text"] or "" for row in map(json.loads, lines)}
    with open(shared_data / "dedup" / "webpages-near-dup-pairs.tsv") as file:
        pairs = [row for row in csv.DictReader(file, delimiter="\t")]
    pairs = [row for row in pairs if row["record_id_1"] in documents and row["record_id_2"] in documents]
    involved = sorted({row[key] for row in pairs for key in ("record_id_1", "record_id_2")})
    survivors, _ = clustered({name: documents[name] for name in involved}, involved)
    found, missed, wrong = {"high": 0, "mid": 0}, {"high": 0, "mid": 0}, 0
    for row in pairs:
        one, two = row["record_id_1"], row["record_id_2"]
        similarity = jaccard(documents[one], documents[two])
        together = survivors[one] == survivors[two]
        if similarity >= 0.85:
            (found if together else missed)["high"] += 1
        elif similarity >= 0.75:
            (found if together else missed)["mid"] += 1
        elif together and one in (survivors[one], survivors[two]):
            wrong += 1  # below the threshold, although one is the other's survivor
    assert found["high"] / (found["high"] + missed["high"]) > 0.98
    assert wrong == 0


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-1, 3), min_size=3, max_size=3), min_size=1, max_size=4))
def test_components_equal_their_reference(rows):
    keys = np.array(rows, np.int64)
    keys[keys >= len(rows)] = -1
    assert clusters.components(keys).tolist() == clusters.components_reference(keys).tolist()


@settings(deadline=None)
@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_jaccard_equals_its_reference(a, b):
    one, two = (np.array(sorted(s), np.uint64) for s in (a, b))
    assert clusters.jaccard(one, two) == clusters.jaccard_reference(one, two)


def test_no_documents_and_bad_arguments():
    empty = clusters.cluster([], np.zeros((0, minhash.HASHES), np.uint64), lambda positions: [])
    assert len(empty.survivor) == 0
    two = np.stack([NO_SIGNATURE, NO_SIGNATURE])
    with pytest.raises(ValueError, match="same key"):
        clusters.cluster(["a", "a"], two, lambda positions: [])
    with pytest.raises(ValueError, match="threshold"):
        clusters.cluster(["a", "b"], two, lambda positions: [], threshold=0)
