"""Muon's update is orthogonal, batches change nothing, and a step that is not finite moves nothing at all."""

import dataclasses
import math
from contextlib import suppress

import numpy as np
import pytest
import torch

from models.nets.transformer import Transformer
from models.training.muon import POLAR_EXPRESS, SAFETY, MuonAdamW, muon_adamw, orthogonalised
from models.training.optim import NonFiniteTraining, adamw
from models.training.states import load_state, save_state


def matrix(rows, columns, singular_values, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = min(rows, columns)
    u, v = (torch.linalg.qr(torch.randn(n, size, generator=generator, dtype=torch.float64))[0] for n in (rows, columns))
    return (u * torch.as_tensor(singular_values, dtype=torch.float64)) @ v.T, u @ v.T


@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (17, 50), (50, 17), (1, 9), (64, 16)])
def test_singular_values_become_one_and_directions_stay(rows, columns):
    spread = np.geomspace(1.0, 2e-3 * min(rows, columns) ** 0.5, min(rows, columns))
    given, polar = matrix(rows, columns, spread)
    found = orthogonalised(given[None].float())[0].double()
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.87 and values.max() < 1.13
    # the nearest orthogonal matrix has the same singular vectors: the product with it is symmetric and positive
    product = found.T @ polar if rows >= columns else polar @ found.T
    torch.testing.assert_close(product, product.T, atol=1e-4, rtol=0)
    assert torch.linalg.svdvals(found - polar).max() < 0.13


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e8])
def test_the_length_of_the_gradient_does_not_matter(factor):
    given, _ = matrix(12, 20, np.linspace(0.5, 1, 12))
    one, other = (orthogonalised((given * f)[None].float()) for f in (1.0, factor))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_a_zero_gradient_stays_zero():
    assert not orthogonalised(torch.zeros(2, 4, 6)).any()


def best_quintic(lower, upper):
    """a x + b x^3 + c x^5 of least max |1 - p| on [lower, upper]: Remez exchange, four points of equal error."""
    q, r = (3 * lower + upper) / 4, (lower + 3 * upper) / 4
    for _ in range(100):
        points = np.array([lower, q, r, upper])
        a, b, c, _ = np.linalg.solve(np.stack([points, points**3, points**5, [1, -1, 1, -1]], 1), np.ones(4))
        root = math.sqrt(9 * b * b - 20 * a * c)
        q, r = math.sqrt((-3 * b - root) / (10 * c)), math.sqrt((-3 * b + root) / (10 * c))
    return a, b, c


def test_coefficients_are_the_best_polynomials_in_turn():
    lower, upper, cushion = 1e-3, 1.0, 0.024
    for index, given in enumerate(POLAR_EXPRESS):
        a, b, c = best_quintic(max(lower, cushion * upper), upper)
        ends = [a * x + b * x**3 + c * x**5 for x in (lower, upper)]
        a, b, c = (2 * one / sum(ends) for one in (a, b, c))  # the interval comes to lie around 1
        lower = a * lower + b * lower**3 + c * lower**5
        upper = 2 - lower
        room = SAFETY if index < len(POLAR_EXPRESS) - 1 else 1.0
        assert given == pytest.approx((a / room, b / room**3, c / room**5), rel=1e-9)
    assert lower == pytest.approx(0.876, abs=1e-3)


def stepped(model, optimizer, steps, rate=0.01, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        for weight in model.parameters():
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("tied", [False, True])
def test_each_weight_is_in_one_group_and_only_matrices_of_blocks_are_muons(tiny, tied):
    model = Transformer(dataclasses.replace(tiny, tie_embeddings=tied))
    optimizer = muon_adamw(model, learning_rate=0.01, muon_learning_rate=0.02, weight_decay=0.1)
    kinds = {name: group["kind"] for group in optimizer.param_groups for name in group["names"]}
    assert sum(len(group["names"]) for group in optimizer.param_groups) == len(kinds)
    assert set(kinds) == {name for name, _ in model.named_parameters()}
    for name, weight in model.named_parameters():
        assert (kinds[name] == "muon") == (name.startswith("blocks.") and weight.ndim == 2)
    decayed = {n for group in optimizer.param_groups if group["weight_decay"] for n in group["names"]}
    assert ("head.weight" in decayed) is not tied and "embedding.weight" not in decayed


def test_first_update_of_a_matrix_is_orthogonal_part_by_part(tiny):
    model = Transformer(tiny, seed=1)
    optimizer = muon_adamw(model, learning_rate=0.01, muon_learning_rate=0.02, weight_decay=0.0)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    stepped(model, optimizer, 1)
    parts = {"attention.qkv": [32, 16, 16], "attention.out": [32], "mlp.gate_up": [64, 64], "mlp.down": [32]}
    for name, weight in model.named_parameters():
        if name.startswith("blocks.") and weight.ndim == 2:
            sizes = parts[name.split(".", 2)[2].removesuffix(".weight")]
            pairs = zip((weight.detach() - before[name]).split(sizes), weight.grad.split(sizes), strict=True)
            for change, gradient in pairs:
                unit = change / (-0.02 * max(1.0, change.shape[0] / change.shape[1]) ** 0.5)
                torch.testing.assert_close(unit, orthogonalised(gradient[None])[0], atol=1e-4, rtol=0)
                values = torch.linalg.svdvals(unit)
                assert 0.87 < values.median() < 1.13 and values.min() > 0.1 and values.max() < 1.13


def test_batching_by_shape_gives_what_each_matrix_gives_alone():
    generator = torch.Generator().manual_seed(0)
    stack = torch.randn(5, 12, 30, generator=generator)
    whole = orthogonalised(stack)
    for one, together in zip(stack, whole, strict=True):
        torch.testing.assert_close(orthogonalised(one[None])[0], together, atol=1e-5, rtol=0)


def test_embedding_head_and_norms_move_as_torchs_adamw_moves_them(tiny):
    models = [Transformer(tiny, seed=1) for _ in range(2)]
    ours = muon_adamw(models[0], learning_rate=0.01, muon_learning_rate=0.02, weight_decay=0.1)
    theirs = adamw(models[1], weight_decay=0.1)
    for group in theirs.param_groups:
        group["scale"] = 1.0
    stepped(models[0], ours, 4)
    stepped(models[1], theirs, 4)
    peer = dict(models[1].named_parameters())
    for name, weight in models[0].named_parameters():
        if not name.startswith("blocks.") or weight.ndim < 2:
            torch.testing.assert_close(weight, peer[name], rtol=1e-5, atol=1e-6)
        else:
            assert not torch.allclose(weight, peer[name], atol=1e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("poisoned", ["blocks.1.mlp.down.weight", "norm.weight", "head.weight"])
def test_a_step_that_is_not_finite_moves_nothing_and_names_the_weight(tiny, poisoned, bad):
    model = Transformer(tiny, seed=1)
    optimizer = muon_adamw(model, learning_rate=0.01, muon_learning_rate=0.02, weight_decay=0.1)
    stepped(model, optimizer, 2)
    weights = [weight.detach().clone() for weight in model.parameters()]
    moments = {(p, key): value.clone() for p, state in optimizer.state.items() for key, value in state.items()}
    for name, weight in model.named_parameters():
        weight.grad = torch.ones_like(weight)
        if name == poisoned:
            weight.grad[0] = bad
    with pytest.raises(NonFiniteTraining, match=poisoned):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(torch.equal(value, optimizer.state[p][key]) for (p, key), value in moments.items())


@pytest.mark.parametrize("huge", ["blocks.1.mlp.down.weight", "norm.weight", "head.weight"])
def test_a_gradient_that_overflows_leaves_weights_and_moments_finite(tiny, huge):
    model = Transformer(tiny, seed=1)
    optimizer = muon_adamw(model, learning_rate=0.01, muon_learning_rate=0.02, weight_decay=0.1)
    stepped(model, optimizer, 2)
    for name, weight in model.named_parameters():
        weight.grad = torch.full_like(weight, 3e38 if name == huge else 1.0)
    with suppress(NonFiniteTraining):
        optimizer.step()
    held = [value for state in optimizer.state.values() for value in state.values()]
    assert all(one.isfinite().all() for one in (*model.parameters(), *held))


def test_restored_state_goes_on_exactly_as_the_original(tmp_path, tiny):
    def fresh(seed) -> tuple[Transformer, MuonAdamW]:
        model = Transformer(tiny, seed=seed)
        return model, muon_adamw(model, learning_rate=0.01, muon_learning_rate=0.02, weight_decay=0.1)

    model, optimizer = fresh(0)
    stepped(model, optimizer, 3)
    save_state(tmp_path / "step-3", model, optimizer, step=3)
    stepped(model, optimizer, 2, seed=5)
    copy, copied = fresh(9)
    load_state(tmp_path / "step-3", copy, copied)
    stepped(copy, copied, 2, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copy.parameters(), strict=True))
