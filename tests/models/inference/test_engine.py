"""The engine: what a request draws depends on nothing but the request, to the bit; pages and waiting in order."""

import numpy as np
import pytest
import torch

from models.config import InputError, TransformerConfig
from models.inference.engine import Capacity, Engine, Failed, Token
from models.inference.packed import Packed, bytes_per_page, can_run
from models.inference.paged import PoolTooSmall
from models.inference.sampler import generate
from models.inference.stream import Sampling
from models.nets.transformer import Transformer

SMALL = TransformerConfig(
    vocab_size=500, d_model=64, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, d_ff=96, max_seq_len=256
)
Asked = tuple[list[int], Sampling]


@pytest.fixture(scope="module")
def model() -> Transformer:
    """Weights whose next-token distributions differ much from place to place."""
    torch.set_num_threads(1)
    made = Transformer(SMALL, seed=1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(4 if weight.ndim == 2 else 1)
    return made


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    """64 requests of all lengths and settings; some prompts begin alike, some are equal."""
    random = np.random.default_rng(0)
    stem = random.integers(4, 500, 70).tolist()
    requests = []
    for number in range(64):
        own = random.integers(4, 500, int(random.integers(1, 60))).tolist()
        prompt = [*stem[: [0, 32, 45, 70][number % 4]], *own] if number % 8 else stem
        settings = Sampling(
            max_new_tokens=int(random.integers(1, 60)),
            temperature=[0.9, 0.0, 1.4, 0.7][number % 4],
            top_k=[0, 20][number % 2],
            top_p=[1.0, 0.9, 0.8][number % 3],
            min_p=[0.0, 0.02][number % 2],
            seed=number,
        )
        requests.append((prompt, settings))
    return requests


def run(engine: Engine, requests: list[Asked], at_once: int | None = None) -> list[list[tuple[int, float]]]:
    """What each request draws: tokens with their log-probabilities. at_once: submitted in groups of so many."""
    drawn: dict[int, list[tuple[int, float]]] = {}
    names = []
    for first in range(0, len(requests), at_once or len(requests)):
        for prompt, settings in requests[first : first + (at_once or len(requests))]:
            names.append(engine.submit(prompt, settings, {7}))
            drawn[names[-1]] = []
        while not engine.idle:
            for event in engine.step():
                assert isinstance(event, Token)
                drawn[event.request].append((event.token, event.logprob))
    return [drawn[name] for name in names]


@pytest.fixture(scope="module")
def alone(model, asked) -> list[list[tuple[int, float]]]:
    """What each request draws in an engine of its own that shares nothing."""
    return [run(Engine(model, Capacity(rows=1, share=False)), [one])[0] for one in asked]


def test_a_request_draws_the_same_alone_and_in_a_batch_of_64(model, asked, alone):
    assert run(Engine(model), asked) == alone
    assert len({tuple(one) for one in alone}) > 56, "most texts differ"


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("prompt_tokens", [1, 37, 4096])
def test_pieces_of_prompts_and_shared_beginnings_change_no_bit(model, asked, alone, share, prompt_tokens):
    engine = Engine(model, Capacity(share=share, prompt_tokens=prompt_tokens))
    assert run(engine, asked) == alone
    read = sum(len(prompt) for prompt, _ in asked) + sum(len(one) - 1 for one in alone)
    assert (engine.read < read) == share, (engine.read, read)


def test_threads_and_rows_at_once_change_no_bit(model, asked, alone):
    assert run(Engine(model, Capacity(rows=5, threads=2)), asked) == alone
    assert run(Engine(model), asked, at_once=9) == alone


def test_a_request_draws_the_same_after_others_left(model, asked, alone):
    engine = Engine(model, Capacity(prompt_tokens=30))
    random = np.random.default_rng(4)
    numbers: dict[int, int] = {}
    drawn: dict[int, list[tuple[int, float]]] = {}
    cancelled = set()
    waiting = list(range(64))
    while waiting or not engine.idle:
        for _ in range(int(random.integers(0, 4))):
            if waiting:
                place = waiting.pop()
                numbers[name := engine.submit(*asked[place], {7})] = place
                drawn[name] = []
        if random.random() < 0.3 and numbers:
            name = int(random.choice(list(numbers)))
            if engine.cancel(name):
                cancelled.add(name)
        for event in engine.step():
            assert isinstance(event, Token) and event.request not in cancelled
            drawn[event.request].append((event.token, event.logprob))
    assert 5 < len(cancelled) < 60
    for name, place in numbers.items():
        assert drawn[name] == alone[place][: len(drawn[name])]
        assert name in cancelled or len(drawn[name]) == len(alone[place])
    assert engine.pages.held == 0 and engine.pages.available == engine.pages.total


def test_a_cache_that_is_too_small_for_all_makes_them_wait_and_changes_no_bit(model, asked, alone):
    engine = Engine(model, Capacity(cache_bytes=8 * bytes_per_page(SMALL)))
    assert engine.pages.total == 8
    assert run(engine, asked) == alone
    assert engine.pages.evicted > 20


def test_log_probabilities_are_the_trainers(model, asked):
    for prompt, settings in asked[:16]:
        drawn = run(Engine(model), [(prompt, settings)])[0]
        ids = torch.tensor([[*prompt, *(token for token, _ in drawn)]])
        with torch.inference_mode():
            logits = model(ids)[0, len(prompt) - 1 : -1].double() / (settings.temperature or 1)
        trained = logits.log_softmax(-1)
        for place, (token, logprob) in enumerate(drawn):
            assert logprob == pytest.approx(float(trained[place, token]), abs=1e-5)


def test_tokens_are_those_of_generate(model, asked):
    for prompt, settings in asked[:24]:
        options = {"top_k": settings.top_k, "top_p": settings.top_p, "min_p": settings.min_p}
        options |= {"max_new_tokens": settings.max_new_tokens, "temperature": settings.temperature}
        (expected,) = generate(model, [prompt], seeds=[settings.seed], stop_ids={7}, **options)
        drawn = run(Engine(model), [(prompt, settings)])[0]
        assert [token for token, _ in drawn] == expected.ids
        assert [logprob for _, logprob in drawn] == pytest.approx(expected.logprobs, abs=1e-5)


def test_stop_ids_and_lengths_end_a_text(model):
    engine = Engine(model)
    free = engine.submit([5, 6], Sampling(max_new_tokens=9, temperature=0), ())
    events = []
    while not engine.idle:
        events += engine.step()
    assert [event.reason for event in events] == [None] * 8 + ["length"] and {e.request for e in events} == {free}
    third = events[2].token
    engine.submit([5, 6], Sampling(max_new_tokens=9, temperature=0), {third})
    ended = []
    while not engine.idle:
        ended += engine.step()
    upto = [event.token for event in events].index(third) + 1
    assert [event.token for event in ended] == [event.token for event in events][:upto] and ended[-1].reason == "end"
    full = engine.submit([5] * 255, Sampling(max_new_tokens=9), ())
    assert [(event.request, event.reason) for event in engine.step()] == [(full, "length")]


def test_the_likeliest_tokens_are_told_with_their_log_probabilities(model):
    engine = Engine(model)
    engine.submit([9, 8, 7], Sampling(max_new_tokens=1, temperature=0.5, top_k=3), (), top=5)
    (event,) = engine.step()
    assert isinstance(event, Token)
    with torch.inference_mode():
        logprobs = (model(torch.tensor([[9, 8, 7]]))[0, -1].double() / 0.5).log_softmax(-1)
    values, ids = logprobs.topk(5)
    assert [token for token, _ in event.top] == ids.tolist()
    assert [value for _, value in event.top] == pytest.approx(values.tolist(), abs=1e-5)
    assert event.logprob == pytest.approx(float(logprobs[event.token]), abs=1e-5)


def test_prompts_are_read_in_bounded_pieces_beside_texts_under_way(model):
    engine = Engine(model, Capacity(prompt_tokens=10))
    first = engine.submit([4], Sampling(max_new_tokens=40), ())
    engine.step()
    engine.submit(list(range(4, 104)), Sampling(max_new_tokens=2), ())
    for _ in range(9):
        before = engine.read
        assert [event.request for event in engine.step()] == [first]
        assert engine.read - before == 11


def test_equal_prompts_are_read_once(model):
    engine = Engine(model)
    prompt = np.random.default_rng(1).integers(4, 500, 90).tolist()
    run(engine, [(prompt, Sampling(max_new_tokens=1, seed=seed)) for seed in range(20)])
    assert engine.read == 90 + 19


def test_a_text_that_paused_goes_on_and_reads_only_what_came(model):
    """A call of a tool ends a text at a stop id; with the result behind it, it is asked for again."""
    prompt, result = list(range(10, 80)), list(range(100, 113))
    engine, settings = Engine(model), Sampling(max_new_tokens=40, seed=3)
    [drawn] = run(engine, [(prompt, settings)])
    resumed = [*prompt, *(token for token, _ in drawn), *result]
    assert len(drawn) > 1
    before = engine.read
    [after] = run(engine, [(resumed, Sampling(max_new_tokens=20, seed=4))])
    assert engine.read - before == 1 + len(result) + len(after) - 1  # the last token that was drawn had not been read
    assert [after] == run(Engine(model, Capacity(share=False)), [(resumed, Sampling(max_new_tokens=20, seed=4))])


def test_what_cannot_be_used_is_refused(model):
    engine = Engine(model, Capacity(cache_bytes=3 * bytes_per_page(SMALL)))
    with pytest.raises(PoolTooSmall, match="130 tokens take 5 pages of 32 tokens"):
        engine.submit([4] * 100, Sampling(max_new_tokens=31), ())
    with pytest.raises(InputError, match="256 tokens; it must have 1 to 255"):
        engine.submit([4] * 256, Sampling(), ())
    with pytest.raises(InputError, match="token id 500 is outside"):
        engine.submit([4, 500], Sampling(), ())
    with pytest.raises(InputError, match="holds no page"):
        Engine(model, Capacity(cache_bytes=100))
    assert not engine.cancel(3) and engine.idle


def test_weights_that_are_no_numbers_fail_their_request_alone():
    broken = Transformer(SMALL, seed=2)
    with torch.no_grad():
        broken.embedding.weight[9] = float("nan")
    engine = Engine(broken)
    good, bad = engine.submit([4, 5], Sampling(4), ()), engine.submit([4, 9], Sampling(4), ())
    events = []
    while not engine.idle:
        events += engine.step()
    assert [event.request for event in events if isinstance(event, Failed)] == [bad]
    drawn = [event for event in events if event.request == good]
    assert len(drawn) == 4 and np.isfinite([event.logprob for event in drawn]).all()
    assert engine.pages.held == 0


def test_only_nets_that_the_step_computes_are_taken(model):
    assert can_run(model) and not can_run(torch.nn.Linear(2, 2))
    assert not can_run(Transformer(SMALL).to(torch.bfloat16))
    assert Packed.of(model, 1).bytes > sum(weight.nbytes for weight in model.parameters()) * 0.9


def test_models_in_llamas_layout_are_taken_too():
    llama = Transformer(TransformerConfig(300, 48, 2, 4, 4, 12, 100, 64, tie_embeddings=True, qk_norm=False), seed=3)
    prompt, settings = [5, 6, 7], Sampling(max_new_tokens=30, seed=4)
    (expected,) = generate(llama, [prompt], max_new_tokens=30, temperature=0.8, seeds=[4], stop_ids={7})
    assert [token for token, _ in run(Engine(llama), [(prompt, settings)])[0]] == expected.ids
