"""Generated crawls: same seed, same bytes; every size is a beginning of the next; the truth is borne out by texts."""

from collections import Counter

import pytest

from assets.steps.warc import Page, Reject, Skipped, read
from kernels.text.minhash import shingles
from tests.benchmarks.generated import Crawl, families

DOCUMENTS = 400


@pytest.fixture(scope="module", params=["warc", "wet"])
def made(request, tmp_path_factory):
    folder, crawl = tmp_path_factory.mktemp(request.param), Crawl(request.param, seed=3)
    crawl.write(folder, "a", 0, DOCUMENTS)
    (path,) = (folder / "a").iterdir()
    return crawl, path, list(read(path, path.name))


def test_every_document_is_the_record_that_it_is_said_to_be(made):
    crawl, _, items = made
    kinds = Counter(crawl.plan(number).kind for number in range(DOCUMENTS))
    pages = kinds["original"] + kinds["copy"] + kinds["near"]
    found = Counter(type(item) for item in items)
    assert (found[Page], found[Skipped]) == (pages, kinds["absent"])
    assert found[Reject] == kinds["wrong_digest"] + kinds["torn"]
    assert 0.05 < kinds["near"] / DOCUMENTS < 0.2 and kinds["copy"]


def test_a_small_crawl_is_the_beginning_of_a_large_one(made, tmp_path):
    crawl, path, _ = made
    crawl.write(tmp_path, "b", 0, 50)
    (small,) = (tmp_path / "b").iterdir()
    assert path.read_bytes().startswith(small.read_bytes())


def test_families_are_alike_and_originals_are_not(made):
    crawl, _, items = made
    bodies = {item.doc_id: item.body for item in items if isinstance(item, Page)}
    texts = {doc_id: set(shingles(body.decode()).tolist()) for doc_id, body in bodies.items()}
    alike: dict[str, list[float]] = {"copy": [], "near": []}
    for doc_id, kind, origin in families(crawl, range(DOCUMENTS)):
        if origin in bodies and kind != "original":
            alike[kind].append(len(texts[doc_id] & texts[origin]) / len(texts[doc_id] | texts[origin]))
    assert set(alike["copy"]) == {1.0}
    assert sum(one > 0.75 for one in alike["near"]) > 0.85 * len(alike["near"])  # short Chinese texts change by more


def test_hosts_follow_zipfs_law():
    crawl = Crawl("wet")
    hosts = Counter(crawl.url(number).split("/")[2] for number in range(3000))
    first, second = (count for _, count in hosts.most_common(2))
    assert 1.2 < first / second < 3 and len(hosts) > 1000
