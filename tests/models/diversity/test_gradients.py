"""Gradient features: completion tokens only, one example at a time, equal to torch.func and independent of company."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.config import TransformerConfig
from models.diversity.gradients import (
    NO_COMPLETION,
    TOO_LONG,
    Example,
    completion_loss,
    example_gradient,
    gradient_features,
    unusable,
)
from models.diversity.projection import ROWS_PER_BATCH, reference_signs
from models.nets.transformer import Transformer

CONFIG = TransformerConfig(
    vocab_size=60,
    d_model=16,
    n_layers=2,
    n_heads=2,
    n_kv_heads=1,
    head_dim=8,
    d_ff=24,
    max_seq_len=32,
    tie_embeddings=True,
)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def model(request) -> Transformer:
    made = Transformer(dataclasses.replace(CONFIG, tie_embeddings=request.param), seed=1)
    with torch.no_grad():  # larger weights: a fresh model's gradients hardly differ between examples
        for weight in made.parameters():
            weight.mul_(2.0)
    return made


def examples(n: int, seed: int = 0) -> list[Example]:
    generator = np.random.default_rng(seed)
    made = []
    for index in range(n):
        prompt, completion = generator.integers(3, 12), generator.integers(1, 9)
        ids = generator.integers(4, 60, prompt + completion + 1).tolist()
        made.append(Example(f"e{index:03d}", ids, [False] * prompt + [True] * completion + [False]))
    return made


def test_gradient_equals_torch_func_on_the_whole_sequence(model):
    parameters = dict(model.named_parameters())

    def loss(weights, ids, mask):
        logits = torch.func.functional_call(model, weights, (ids[None],))[0, :-1]
        losses = F.cross_entropy(logits, ids[1:], reduction="none")
        return (losses * mask[1:]).sum() / mask[1:].sum()

    for example in examples(5):
        want = torch.func.grad(loss)(parameters, torch.tensor(example.ids), torch.tensor(example.loss_mask).float())
        flat = torch.cat([want[name].reshape(-1) for name in parameters])
        assert torch.allclose(example_gradient(model, example), flat, atol=2e-6, rtol=1e-4)


def test_token_weighted_gradients_sum_to_the_batch_gradient(model):
    rows = [example for example in examples(40) if len(example.ids) == 14][:3] or examples(1)
    tokens = [sum(example.loss_mask) for example in rows]
    weighted = sum(n * example_gradient(model, e) for n, e in zip(tokens, rows, strict=True)) / sum(tokens)
    ids_BT = torch.tensor([example.ids for example in rows])
    mask_BT = torch.tensor([example.loss_mask for example in rows])
    batch_loss = F.cross_entropy(model(ids_BT[:, :-1])[mask_BT[:, 1:]], ids_BT[:, 1:][mask_BT[:, 1:]])
    batch = torch.cat([g.reshape(-1) for g in torch.autograd.grad(batch_loss, list(model.parameters()))])
    assert len(rows) == 3 and torch.allclose(weighted, batch, atol=2e-6, rtol=1e-4)


def test_a_finite_difference_agrees(model):
    example = examples(1)[0]
    gradient = example_gradient(model, example)
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0))
    direction /= direction.norm()
    step, losses = 1e-2, []
    for sign in (1, -1):
        shifted = Transformer(model.config, seed=1)
        start = 0
        with torch.no_grad():
            for target, source in zip(shifted.parameters(), model.parameters(), strict=True):
                piece = direction[start : start + source.numel()].view_as(source)
                target.copy_(source + sign * step * piece)
                start += source.numel()
            losses.append(completion_loss(shifted, example).item())
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(float(gradient @ direction), rel=0.05, abs=2e-3)


def test_prompt_tokens_are_no_targets_and_what_follows_the_completion_is_ignored(model):
    example = examples(1)[0]
    tail = dataclasses.replace(example, ids=[*example.ids, 7, 8], loss_mask=[*example.loss_mask, False, False])
    assert torch.equal(example_gradient(model, example), example_gradient(model, tail))
    first = example.loss_mask.index(True)
    targets = torch.tensor([example.ids[t] for t in range(len(example.ids)) if example.loss_mask[t]])
    logits = model(torch.tensor([example.ids]))[0, first - 1 : first - 1 + len(targets)]
    assert completion_loss(model, example).item() == pytest.approx(F.cross_entropy(logits, targets).item(), rel=1e-5)
    fewer = dataclasses.replace(example, loss_mask=[*example.loss_mask[:first], False, *example.loss_mask[first + 1 :]])
    if any(fewer.loss_mask):
        assert not torch.allclose(example_gradient(model, example), example_gradient(model, fewer))


def test_features_are_the_dense_projection_of_the_gradients(model):
    rows = examples(4)
    gradients = torch.stack([example_gradient(model, example) for example in rows]).double().numpy()
    dense = gradients @ reference_signs(3, 0, gradients.shape[1], 128) / np.sqrt(128)
    assert np.allclose(gradient_features(model, rows, 128, 3), dense, atol=1e-4 * np.abs(dense).max())


def test_features_do_not_depend_on_order_batch_or_shards(model):
    rows = examples(ROWS_PER_BATCH + 9)
    heard: list[int] = []
    whole = gradient_features(model, rows, 64, 5, heard.append)
    assert heard == [ROWS_PER_BATCH, len(rows)]
    assert np.array_equal(whole[::-1], gradient_features(model, rows[::-1], 64, 5))
    for shards in (2, 7):
        cuts = np.linspace(0, len(rows), shards + 1).astype(int)
        parts = [gradient_features(model, rows[a:b], 64, 5) for a, b in pairwise(cuts)]
        assert np.array_equal(whole, np.concatenate(parts))


def test_unusable_examples_say_why():
    assert unusable(Example("a", [4, 5, 6], [False] * 3), 8) == NO_COMPLETION
    assert unusable(Example("b", [4], [True]), 8) == NO_COMPLETION  # nothing stands before it to predict it from
    assert unusable(Example("c", [4] * 10, [False] * 9 + [True]), 8) == TOO_LONG
    assert unusable(Example("d", [4] * 9, [False] * 8 + [True]), 8) is None
