"""The engine's step in torch, as GPUs take it, is the CPU's: its logits, its draws, and the pages that it copies.

Here it runs on the CPU, in torch and (a few steps) in Triton's interpreter; on a GPU the recorded steps are compared
with the unrecorded ones too.
"""

import os

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when the kernels are first imported

from kernels.device.logprobs import has_triton
from models.config import TransformerConfig
from models.inference.engine import Capacity, Engine, Token, can_run
from models.inference.on_device import OnDevice, bytes_per_page
from models.inference.packed import Packed, Rows
from models.inference.stream import Sampling
from models.nets.transformer import Transformer

SMALL = TransformerConfig(
    vocab_size=300, d_model=48, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=12, d_ff=64, max_seq_len=128
)
PASSES = ["torch", pytest.param("triton", marks=pytest.mark.skipif(not has_triton(), reason="no triton"))]
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU: no step was recorded")


@pytest.fixture(scope="module")
def model() -> Transformer:
    made = Transformer(SMALL, seed=1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(4 if weight.ndim == 2 else 1)
    return made


def rows() -> Rows:
    """Two sequences at once: 40 tokens of one, of which the last is asked for, and 3 of another."""
    random = np.random.default_rng(0)
    ids = random.integers(0, 300, 43)
    positions = np.concatenate([np.arange(40), np.arange(3)])
    places = np.array([0] * 40 + [1] * 3)
    return Rows(ids, positions, places, np.array([[3, 1], [2, 0]], np.int32), np.array([39, 42, 41]))


@pytest.mark.parametrize("passes", PASSES)
def test_logits_are_those_of_the_step_on_the_cpu(model, passes):
    expected = Packed.of(model, 4).step(rows())[:, :300]
    found = OnDevice.of(model, 4, passes=passes).step(rows())
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-4, rtol=1e-4)


def test_what_a_page_holds_is_copied(model):
    device, asked = OnDevice.of(model, 4), rows()
    device.step(asked)
    device.copy_page(3, 0)
    more = Rows(np.array([5]), np.array([31]), np.array([0]), np.array([[0]], np.int32), np.array([0]))
    once = device.step(more)
    same = Rows(more.ids, more.positions, more.places, np.array([[3]], np.int32), more.wanted)
    assert torch.equal(once, device.step(same))


def drawn(engine: Engine, sizes: range) -> list[list[tuple[int, float]]]:
    """What requests of these prompt lengths draw, by request."""
    random, texts = np.random.default_rng(2), {}
    for size in sizes:
        settings = Sampling(max_new_tokens=9, temperature=[0.0, 0.9][size % 2], top_k=20, top_p=0.9, seed=size)
        texts[engine.submit(random.integers(0, 300, size).tolist(), settings, {7})] = []
    while not engine.idle:
        for event in engine.step():
            assert isinstance(event, Token)
            texts[event.request].append((event.token, event.logprob))
    return list(texts.values())


def test_an_engine_draws_the_same_texts_with_either_step(model):
    here, there = (Engine(model, Capacity(prompt_tokens=20)) for _ in range(2))
    there.computes = OnDevice.of(model, there.pages.total)
    expected, found = drawn(here, range(1, 40, 3)), drawn(there, range(1, 40, 3))
    assert [[token for token, _ in text] for text in found] == [[token for token, _ in text] for text in expected]
    for text, other in zip(found, expected, strict=True):
        assert [value for _, value in text] == pytest.approx([value for _, value in other], abs=1e-4)


def test_a_net_with_options_or_half_a_float_on_the_cpu_is_left_to_others(model):
    assert can_run(model) and not can_run(object())
    assert not can_run(Transformer(SMALL).bfloat16())
    assert bytes_per_page(SMALL, torch.bfloat16) == 2 * 2 * 2 * 12 * 32 * 2


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_recorded_steps_are_the_unrecorded_ones(model, dtype):
    moved = Transformer(SMALL).to("cuda", dtype)
    moved.load_state_dict(model.state_dict())
    recorded, plain = OnDevice.of(moved, 4), OnDevice.of(moved, 4, passes="torch")
    allowed = {torch.float32: 1e-3, torch.bfloat16: 0.2}[dtype]
    for _ in range(3):
        found = recorded.step(rows())
        exact = plain.model.logits(plain._hidden(*_inputs(plain))[torch.tensor([39, 42, 41], device="cuda")])
        torch.testing.assert_close(found, exact, atol=allowed, rtol=allowed)
    assert len(recorded.graphs) == 1
    assert [len(text) for text in drawn(Engine(moved, Capacity()), range(1, 40, 3))] != []


def _inputs(device: OnDevice) -> list[torch.Tensor]:
    given = rows()
    made = given.ids, given.positions, given.tables[given.places]
    return [torch.from_numpy(one).to(device.keys.device) for one in made]
