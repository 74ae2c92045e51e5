"""The network gives one answer, however it is asked: cached, padded, packed or whole."""

import pytest
import torch

from models.config import InputError
from models.nets.transformer import KVCache, Transformer

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def model(tiny) -> Transformer:
    model = Transformer(tiny, seed=1)
    with torch.no_grad():  # norms away from 1, weights large enough that every part matters
        generator = torch.Generator().manual_seed(2)
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model.eval()


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 300, shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_a_token_never_sees_what_follows(model):
    first, second = ids(1, 20), ids(1, 20)
    second[0, 12:] = ids(8, seed=5)
    before, after = model(first), model(second)
    torch.testing.assert_close(before[:, :12], after[:, :12], rtol=0, atol=1e-5)
    assert (before[:, 12:] - after[:, 12:]).abs().max() > 0.1


@torch.inference_mode()
@pytest.mark.parametrize("cuts", [[20], [7, 13], [5, 1, 1, 13], [1] * 20])
def test_cached_pieces_equal_the_whole(model, cuts):
    tokens = ids(3, 20)
    cache = KVCache(model.config, torch.zeros(3, dtype=torch.int64), 20, torch.float32)
    pieces = [model(piece, cache=cache) for piece in tokens.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens), **CLOSE)


@torch.inference_mode()
def test_left_padding_changes_no_real_token(model):
    tokens = ids(1, 12)
    padded = torch.cat([ids(1, 7, seed=3), tokens], dim=1)
    cache = KVCache(model.config, torch.tensor([7]), 19, torch.float32)
    torch.testing.assert_close(model(padded, cache=cache)[:, 7:], model(tokens), **CLOSE)


@torch.inference_mode()
def test_rows_kept_in_the_cache_go_on_as_before(model):
    tokens = ids(4, 10)
    cache = KVCache(model.config, torch.zeros(4, dtype=torch.int64), 10, torch.float32)
    model(tokens[:, :6], cache=cache)
    rows = torch.tensor([3, 1])
    cache.keep(rows)
    torch.testing.assert_close(model(tokens[rows, 6:], cache=cache), model(tokens)[rows, 6:], **CLOSE)


@torch.inference_mode()
def test_packed_documents_do_not_see_each_other(model):
    first, second = ids(1, 9), ids(1, 11, seed=4)
    segments = torch.tensor([[0] * 9 + [1] * 11])
    packed = model(torch.cat([first, second], 1), segment_ids_BT=segments)
    torch.testing.assert_close(packed, torch.cat([model(first), model(second)], 1), **CLOSE)


def test_initial_weights_follow_the_seed_and_not_the_global_generator(tiny):
    torch.manual_seed(1)
    first = Transformer(tiny, seed=5)
    torch.manual_seed(2)
    second, other = Transformer(tiny, seed=5), Transformer(tiny, seed=6)
    weights = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)


def test_too_many_tokens_are_refused(model):
    with pytest.raises(InputError, match="max_seq_len"):
        model(ids(1, 65))
    with pytest.raises(InputError, match="cache"):
        model(ids(1, 3), cache=KVCache(model.config, torch.zeros(1, dtype=torch.int64), 2, torch.float32))


def test_branches_get_the_states_that_each_would_get_alone(model):
    prefix, first, second = ids(1, 5, seed=1), ids(1, 4, seed=2), ids(1, 3, seed=3)
    packed = torch.cat([prefix, first, second, torch.zeros(1, 2, dtype=torch.int64)], dim=1)
    branches = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3 + [-1] * 2])
    together = model.hidden(packed, branches_BT=branches)
    for branch, place in ((first, slice(5, 9)), (second, slice(9, 12))):
        alone = model.hidden(torch.cat([prefix, branch], dim=1))
        torch.testing.assert_close(together[:, :5], alone[:, :5], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together[:, place], alone[:, 5:], rtol=1e-5, atol=1e-5)
