"""A text that was learned by heart is memorized, a held-out one is not; one pass finds what decoding finds."""

import dataclasses

import numpy as np
import pytest
import torch

from kernels.tokens.shards import SplitReader, SplitWriter, write_manifest
from models.data.tokenizer import load_tokenizer, tokenizer_sha256
from models.evaluation.bits import token_bytes
from models.evaluation.memorization import (
    UNREAD,
    chosen,
    cluster_group,
    long_enough,
    probe,
    probed,
    read_group,
    reads_of,
)
from models.inference.sampler import generate
from models.nets.transformer import Transformer
from models.seeds import derive

PROMPT, CONTINUATION = 12, 8
SIZES = {"prompt_tokens": PROMPT, "continuation_tokens": CONTINUATION, "seed": 0}


@pytest.fixture(scope="module")
def shards(tmp_path_factory, trained):
    """Random tokens: whoever continues them knows them by heart."""
    place, rng = tmp_path_factory.mktemp("random"), np.random.default_rng(0)
    writers = {split: SplitWriter(place, split, 400) for split in ("train", "heldout")}
    for split, n in (("train", 6), ("heldout", 6)):
        for i in range(n):
            writers[split].add(f"{split}{i}", [0, *rng.integers(4, 60, 40)], 0)
    counts = {split: writer.close() for split, writer in writers.items()}
    write_manifest(place, tokenizer_sha256=tokenizer_sha256(trained["tokenizer_dir"]), vocab_size=400, splits=counts)
    return SplitReader(place, "train"), SplitReader(place, "heldout")


@pytest.fixture(scope="module")
def by_heart(shards, tiny):
    """A small model after 400 steps on the six training texts."""
    torch.set_num_threads(1)
    training, model = shards[0], Transformer(dataclasses.replace(tiny, vocab_size=400), 1)
    ids = torch.from_numpy(np.stack([training.document(i) for i in range(6)]))
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        begin = int(torch.randint(0, 26, (1,), generator=generator))  # a prompt may begin anywhere
        logits = model(ids[:, begin:-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, begin + 1 :].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def sizes(trained):
    return token_bytes(load_tokenizer(trained["tokenizer_dir"]))


def test_texts_learned_by_heart_are_continued_and_held_out_ones_are_not(by_heart, shards, sizes):
    known, unknown = (probe(by_heart, reader, range(6), **SIZES, sizes=np.ones(400, np.int64)) for reader in shards)
    assert probed(known, CONTINUATION).exact.value == 1.0
    assert probed(known, CONTINUATION).tokens.value == CONTINUATION
    assert probed(unknown, CONTINUATION).exact.value == 0.0
    assert probed(unknown, CONTINUATION).exact.high < 0.5, "its interval says that six documents are few"


def test_an_untrained_model_has_memorized_nothing(shards, tiny):
    model = Transformer(dataclasses.replace(tiny, vocab_size=400), 9).eval()
    found = probed(probe(model, shards[0], range(6), **SIZES, sizes=np.ones(400, np.int64)), CONTINUATION)
    assert found.exact.value == 0.0 and found.tokens.value < 1


def test_one_pass_agrees_as_long_as_greedy_decoding(by_heart, shards):
    """On texts that are half known: the training texts with one token in the continuation changed."""
    for reader in shards:
        found = probe(by_heart, reader, range(6), **SIZES, sizes=np.ones(400, np.int64))
        for index, agreeing in enumerate(found):
            tokens = reader.document(index)[1:]
            place = derive(0, "memorization", reader.doc_ids[index]) % (len(tokens) - PROMPT - CONTINUATION + 1)
            (drawn,) = generate(
                by_heart,
                [tokens[place : place + PROMPT].tolist()],
                max_new_tokens=CONTINUATION,
                temperature=0,
                seeds=[0],
                stop_ids=[],
            )
            expected = tokens[place + PROMPT : place + PROMPT + CONTINUATION].tolist()
            same = [a == b for a, b in zip(drawn.ids, expected, strict=True)]
            assert agreeing == (same.index(False) if False in same else CONTINUATION)


def test_copies_of_a_document_are_one_and_their_reads_are_together(tmp_path, trained):
    writer = SplitWriter(tmp_path, "train", 400)
    for doc_id in ("a", "b", "a"):
        writer.add(doc_id, [0, *range(4, 24)], 0)
    write_manifest(tmp_path, tokenizer_sha256="x", vocab_size=400, splits={"train": writer.close()})
    reader = SplitReader(tmp_path, "train")
    assert reads_of(reader, {"a": 63, "b": 5}) == {"a": 3.0, "b": pytest.approx(5 / 21)}
    assert long_enough(reader, 10) == [0, 1] and long_enough(reader, 20) == []
    assert chosen(reader, [0, 1], 1) == chosen(reader, [1, 0], 1)


def test_groups_double_and_never_overlap():
    assert [read_group(reads) for reads in (0, 0.4, 1, 1.9, 2, 3.5, 4, 9)] == [
        UNREAD, "read in part", "read 1 to 2 times", "read 1 to 2 times", "read 2 to 4 times", "read 2 to 4 times",
        "read 4 to 8 times", "read 8 to 16 times",
    ]  # fmt: skip
    assert [cluster_group(size) for size in (1, 2, 4, 5)] == [
        "cluster of 1", "cluster of 2 to 4", "cluster of 2 to 4", "cluster of 5 or more"
    ]  # fmt: skip
