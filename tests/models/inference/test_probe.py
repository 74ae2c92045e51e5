"""A probe's figures are those of a direct pass of the model, and known ones where the distribution is known."""

import math

import pytest
import torch

from models.config import InputError, TransformerConfig
from models.inference import probe as module
from models.inference.probe import expectations
from models.inference.stream import NonFiniteLogits
from models.nets.transformer import Transformer

IDS = [0, 17, 250, 3, 3, 99, 41, 8, 120, 17]


@pytest.fixture(scope="module")
def model(tiny) -> Transformer:
    model = Transformer(tiny, seed=1)
    with torch.no_grad():
        model.head.weight.mul_(30)
    return model.eval()


def test_every_figure_is_that_of_a_direct_pass(model):
    direct = model(torch.tensor([IDS]))[0].detach().double().softmax(-1)
    found = expectations(model, IDS, top_k=300)
    assert len(found) == len(IDS)
    for place, one in enumerate(found, start=1):
        exact = direct[place - 1]
        shares = dict(one.top)
        assert [shares[token] for token in range(300)] == pytest.approx(exact.tolist(), abs=1e-5)
        assert sum(shares.values()) == pytest.approx(1)
        assert [share for _, share in one.top] == sorted(shares.values(), reverse=True)
        assert one.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in exact.tolist()), abs=1e-5)
        if place < len(IDS):
            assert one.loss_bits == pytest.approx(-math.log2(exact[IDS[place]]), abs=1e-5)
            assert one.rank is not None and one.top[one.rank - 1][0] == IDS[place]
    assert found[-1].loss_bits is found[-1].rank is None


def test_positions_computed_in_parts_are_the_same(model, monkeypatch):
    whole = expectations(model, IDS, top_k=5)
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 3 * model.config.vocab_size)
    for ours, theirs in zip(expectations(model, IDS, top_k=5), whole, strict=True):
        assert [token for token, _ in ours.top] == [token for token, _ in theirs.top]
        assert ours.entropy_bits == pytest.approx(theirs.entropy_bits, abs=1e-5)
        assert (ours.rank, ours.loss_bits) == (theirs.rank, pytest.approx(theirs.loss_bits, abs=1e-5))


def known(rows: list[list[float]]) -> Transformer:
    """A model whose logits are rows[token] after each token, whatever came before: attention and feed-forward add 0."""
    size = len(rows)
    config = TransformerConfig(
        vocab_size=size, d_model=size, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=2, d_ff=2, max_seq_len=8
    )
    model = Transformer(config)
    with torch.no_grad():
        model.blocks[0].attention.out.weight.zero_()
        model.blocks[0].mlp.down.weight.zero_()
        model.embedding.weight.copy_(torch.eye(size))
        model.norm.weight.fill_(size**-0.5)  # rms of a one-hot is size**-0.5
        model.head.weight.copy_(torch.tensor(rows).T)
    return model.eval()


def test_entropy_of_no_knowledge_is_the_logarithm_of_the_vocabulary():
    for one in expectations(known([[0.0] * 16] * 16), [1, 2, 3], top_k=2):
        assert one.entropy_bits == pytest.approx(4.0, abs=1e-5)
        assert one.loss_bits in (None, pytest.approx(4.0, abs=1e-5))
        assert one.rank in (None, 1) and [token for token, _ in one.top] == [0, 1]


def test_entropy_of_certainty_is_zero_and_what_was_certain_costs_nothing():
    certain = known([[1000.0 * (column == (row + 1) % 4) for column in range(4)] for row in range(4)])
    first, second, after = expectations(certain, [0, 1, 3], top_k=1)
    assert (first.entropy_bits, first.loss_bits, first.rank, first.top) == (0.0, 0.0, 1, [(1, 1.0)])
    assert second.loss_bits == pytest.approx(1000 / math.log(2), rel=1e-4) and second.rank == 2
    assert after.entropy_bits == 0.0 and after.top == [(0, 1.0)]


def test_distributions_are_listed_where_they_are_asked_for(model):
    found = expectations(model, IDS, top_k=3, places={2, len(IDS)})
    assert [len(one.top) for one in found] == [0, 3, *[0] * (len(IDS) - 3), 3]


@pytest.mark.parametrize("ids", [[], [4] * 65, [300], [-1]])
def test_ids_that_cannot_be_read_are_refused(model, ids):
    with pytest.raises(InputError):
        expectations(model, ids)


def test_weights_that_are_no_numbers_are_named(tiny):
    broken = Transformer(tiny)
    with torch.no_grad():
        broken.norm.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLogits):
        expectations(broken, [1, 2])
