"""Every net and the `fast` profile: one answer however asked, nothing seen of what follows, and something learnt."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from kernels.device import scan
from models.config import InputError, TransformerConfig
from models.nets.mixed import build
from models.nets.transformer import KVCache, Transformer
from models.training.checkpoint import load_model, save_final
from models.training.muon import muon_adamw
from models.training.optim import adamw

SIZES = dict(vocab_size=64, d_model=32, n_layers=4, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=64, max_seq_len=300)
FAST = dict(layers="SSSL", window=5, activation="relu2", softcap=15.0, value_tables=2, residual_weights=True)
NETS = {
    "fast": FAST,
    "mamba": dict(net="mamba", d_ff=0),
    "mamba with feed-forward parts": dict(net="mamba"),
    "hybrid": dict(net="hybrid", layers="MSLR", window=5),
    "hybrid with the options": dict(net="hybrid", layers="ML", activation="relu2", softcap=15.0, residual_weights=True),
    "lstm": dict(net="lstm", d_ff=0),
    "mlp": dict(net="mlp", window=4),
}
EXACT = {"rtol": 0, "atol": 1e-5}


def config_of(name: str, **changes) -> TransformerConfig:
    return TransformerConfig(**{**SIZES, **NETS[name], **changes})


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=sorted(NETS))
def model(request) -> Transformer:
    """With weights and norms away from where they start, so that every part matters."""
    made, generator = build(config_of(request.param), seed=1), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return made.eval()


def nats(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the tokens after the first."""
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 64, shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_a_token_never_sees_what_follows(model):
    first, second = ids(2, 40), ids(2, 40)
    second[:, 25:] = ids(2, 15, seed=5)
    before, after = model(first), model(second)
    torch.testing.assert_close(before[:, :25], after[:, :25], **EXACT)
    assert (before[:, 25:] - after[:, 25:]).abs().max() > 0.01


@torch.inference_mode()
@pytest.mark.parametrize("cuts", [[40], [7, 13, 20], [1] * 40, [3, 1, 1, 35]])
def test_cached_pieces_equal_the_whole(model, cuts):
    tokens = ids(3, 40)
    cache = KVCache(model.config, torch.zeros(3, dtype=torch.int64), 40, torch.float32)
    pieces = [model(piece, cache=cache) for piece in tokens.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens), **EXACT)


@torch.inference_mode()
@pytest.mark.parametrize("cuts", [[26], [4, 10, 12], [1] * 26])
def test_left_padding_changes_no_real_token(model, cuts):
    rows = [ids(1, length, seed=length) for length in (26, 19, 9)]
    starts = torch.tensor([26 - row.shape[1] for row in rows])
    padded = torch.cat([torch.cat([ids(1, 26 - row.shape[1], seed=3), row], 1) for row in rows])
    cache = KVCache(model.config, starts, 26, torch.float32)
    found = torch.cat([model(piece, cache=cache) for piece in padded.split(cuts, dim=1)], 1)
    for place, row in enumerate(rows):
        torch.testing.assert_close(found[place : place + 1, starts[place] :], model(row), **EXACT)


@torch.inference_mode()
def test_rows_kept_in_the_cache_go_on_as_before(model):
    tokens = ids(4, 20)
    cache = KVCache(model.config, torch.zeros(4, dtype=torch.int64), 20, torch.float32)
    model(tokens[:, :12], cache=cache)
    rows = torch.tensor([3, 1, 1])
    cache.keep(rows)
    torch.testing.assert_close(model(tokens[rows, 12:], cache=cache), model(tokens)[rows, 12:], **EXACT)


@torch.inference_mode()
def test_packed_documents_do_not_see_each_other(model):
    parts = [ids(2, 11, seed=1), ids(2, 1, seed=2), ids(2, 14, seed=3)]
    segments = torch.cat([torch.full_like(part, place) for place, part in enumerate(parts)], 1)
    packed = model(torch.cat(parts, 1), segment_ids_BT=segments)
    torch.testing.assert_close(packed, torch.cat([model(part) for part in parts], 1), **EXACT)


def test_parameter_count_is_the_models(model):
    assert model.config.n_params == sum(weight.numel() for weight in model.parameters())
    assert TransformerConfig.from_json(model.config.to_json()) == model.config


def test_matrices_and_tables_alone_have_two_dimensions(model):
    """What optimizers rely on: decay and Muon are for matrices."""
    flat = {name for name, weight in model.named_parameters() if weight.ndim == 1}
    assert {weight.ndim for weight in model.parameters()} == {1, 2}
    assert all(not name.endswith(("norm.weight", "bias", "decay", "through")) or name in flat for name in flat)
    count = sum(weight.numel() for name, weight in model.named_parameters() if name not in flat)
    config = model.config
    tables = (2 - config.tie_embeddings) * config.vocab_size * config.d_model
    tables += config.value_tables * config.vocab_size * config.n_kv_heads * config.head_dim
    assert count == sum(config.matrices(kind) for kind in config.kinds) + tables


def test_a_published_net_loads_as_it_was(model, trained, tmp_path):
    save_final(tmp_path / "final", model, trained["tokenizer_dir"], {"parent": None})
    loaded, config = load_model(tmp_path / "final")
    assert config == model.config
    with torch.inference_mode():
        assert torch.equal(loaded(ids(2, 30)), model(ids(2, 30)))


def test_initial_weights_follow_the_seed_and_not_the_global_generator(model):
    found = []
    for outer, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(outer)
        found.append(build(model.config, seed))
    pairs = zip(found[0].parameters(), found[1].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(found[0].embedding.weight, found[2].embedding.weight)


@torch.inference_mode()
def test_a_window_ends_where_it_says():
    """What lies further back than all windows together can reach changes nothing; one token nearer does."""
    alone = dict(layers="S", residual_weights=False, value_tables=0)  # the last layer of a transformer sees everything
    for name, changes, reach in (("fast", alone, None), ("hybrid", dict(layers="S"), 16), ("mlp", {}, 3)):
        model = build(config_of(name, **changes), seed=1).eval()
        for weight in model.parameters():
            weight.mul_(3)
        first, back = ids(1, 40), reach or 39
        outside, inside = first.clone(), first.clone()
        inside[0, 39 - back] = (inside[0, 39 - back] + 1) % 64
        assert not torch.equal(model(inside)[0, -1], model(first)[0, -1]), name
        if reach:
            outside[0, : 39 - back] = ids(39 - back, seed=9)
            torch.testing.assert_close(model(outside)[0, -1], model(first)[0, -1], **EXACT)


@torch.inference_mode()
def test_a_branch_has_the_states_that_it_would_have_alone_also_in_windows():
    model = build(config_of("fast"), seed=1).eval()
    prefix, first, second = ids(1, 9, seed=1), ids(1, 8, seed=2), ids(1, 7, seed=3)
    packed = torch.cat([prefix, first, second, torch.zeros(1, 2, dtype=torch.int64)], dim=1)
    together = model.hidden(packed, branches_BT=torch.tensor([[0] * 9 + [1] * 8 + [2] * 7 + [-1] * 2]))
    for branch, place in ((first, slice(9, 17)), (second, slice(17, 24))):
        torch.testing.assert_close(together[:, place], model.hidden(torch.cat([prefix, branch], 1))[:, 9:], **EXACT)


def test_branches_of_a_state_are_refused():
    with pytest.raises(InputError, match="branches"):
        build(config_of("mamba")).hidden(ids(1, 4), branches_BT=torch.zeros(1, 4, dtype=torch.int64))


def test_capped_logits_stay_below_the_cap_and_keep_their_order():
    model = build(config_of("fast"), seed=1)
    states = torch.randn(5, 32, generator=torch.Generator().manual_seed(1)) * 300
    capped, plain = model.logits(states), model.head(states)
    assert capped.abs().max() <= 15 < plain.abs().max()
    torch.testing.assert_close(capped, 15 * torch.tanh(plain / 15))


def test_states_that_are_made_again_have_the_gradients_of_those_that_are_kept(monkeypatch):
    model, tokens = build(config_of("mamba"), seed=1), ids(2, 50)
    found = []
    for chunk in (128, 16):
        monkeypatch.setattr(scan, "CHUNK", chunk)
        model.zero_grad()
        nats(model, tokens).backward()
        found.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])
    assert len(found[0]) == len(list(model.parameters()))
    for kept, again in zip(*found, strict=True):
        torch.testing.assert_close(again, kept, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name, optimizer", [*((name, "adamw") for name in NETS), ("fast", "muon"), ("hybrid", "muon")])
def test_a_language_of_known_entropy_is_learnt_beyond_its_unigrams(name, optimizer):
    """Each word of 16 is followed by one of two, chosen by a coin: ln 2 nats a word, ln 16 without its predecessor."""
    config = config_of(name, vocab_size=16, n_layers=2, value_tables=1 if name == "fast" else 0)
    if name == "hybrid":
        config = dataclasses.replace(config, layers="MR")
    model, generator = build(config, seed=3), torch.Generator().manual_seed(4)
    made = (
        adamw(model, weight_decay=0.0)
        if optimizer == "adamw"
        else muon_adamw(model, learning_rate=1e-2, muon_learning_rate=2e-2, weight_decay=0.0)
    )
    after = torch.stack([torch.randperm(16, generator=generator) for _ in range(2)], 1)  # both columns are uniform

    def words(rows: int) -> torch.Tensor:
        found = [torch.randint(0, 16, (rows,), generator=generator)]
        for _ in range(16):
            found.append(after[found[-1], torch.randint(0, 2, (rows,), generator=generator)])
        return torch.stack(found, 1)

    steps = 50
    for step in range(steps):
        for group in made.param_groups:
            group["lr"] = 1e-2 * (1 - step / steps) * group.get("scale", 1.0)
        batch = words(16)
        made.zero_grad()
        nats(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        made.step()
    with torch.inference_mode():
        found = float(nats(model, words(64)))
    assert math.log(2) * 0.95 < found < (math.log(2) + math.log(16)) / 2, found
