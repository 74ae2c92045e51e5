"""A stream's tokens are those of `generate`, bit by bit, whatever other streams do between its steps."""

import pytest
import torch

from models.config import InputError
from models.inference.sampler import generate
from models.inference.stream import NonFiniteLogits, Sampling, Stream
from models.nets.transformer import Transformer

PROMPTS = [[5, 6, 7], [8], list(range(10, 40)), [9, 9, 250, 3, 4]]
STOPS = {7, 20, 33}


@pytest.fixture(scope="module")
def model(tiny) -> Transformer:
    model = Transformer(tiny, seed=1)
    with torch.no_grad():
        model.head.weight.mul_(30)
    return model.eval()


def to_the_end(stream: Stream) -> list:
    drawn = []
    while stream.left:
        drawn.append(stream.step())
    return drawn


@pytest.mark.parametrize("controls", [{}, {"top_k": 5, "temperature": 1.5}, {"top_p": 0.6}, {"temperature": 0.0}])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_stream_is_a_batch_of_one(model, prompt, controls):
    sampling = Sampling(max_new_tokens=20, seed=11, **controls)
    drawn = to_the_end(Stream(model, prompt, sampling, STOPS))
    settings = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    (expected,) = generate(model, [prompt], max_new_tokens=20, seeds=[11], stop_ids=STOPS, **settings)
    assert ([one.token for one in drawn], [one.logprob for one in drawn]) == (expected.ids, expected.logprobs)
    assert drawn[-1].stops is expected.finished


def test_interleaved_streams_say_what_each_says_alone(model):
    sampling = Sampling(max_new_tokens=25, temperature=1.2, seed=5)
    alone = [to_the_end(Stream(model, prompt, sampling, STOPS)) for prompt in PROMPTS]
    streams, drawn = [Stream(model, prompt, sampling, STOPS) for prompt in PROMPTS], [[] for _ in PROMPTS]
    while any(stream.left for stream in streams):
        for stream, own in zip(streams, drawn, strict=True):
            if stream.left:
                own.append(stream.step())
    assert drawn == alone


def test_a_stream_ends_where_the_models_context_does(model):
    stream = Stream(model, [4] * 60, Sampling(max_new_tokens=100), ())
    assert len(to_the_end(stream)) == 4
    with pytest.raises(InputError, match="over"):
        stream.step()


@pytest.mark.parametrize("prompt", [[], [4] * 64])
def test_prompts_without_room_are_refused(model, prompt):
    with pytest.raises(InputError, match="1 to 63"):
        Stream(model, prompt, Sampling(), ())


def test_weights_that_are_no_numbers_are_named(tiny):
    broken = Transformer(tiny)
    with torch.no_grad():
        broken.norm.weight.fill_(float("inf"))
    with pytest.raises(NonFiniteLogits):
        Stream(broken, [1, 2], Sampling(), ()).step()
