"""Lines become requests or a refusal that names what is wrong; nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import InputError
from models.inference.requests import FIELDS, BadRequest, Cancel, Probe, Speak, Tokenize, parse, read_line
from models.inference.stream import Sampling

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def test_requests_are_read():
    said = {"id": "1", "ask": "complete", "model": "m", "prompt": "a", "top_p": 0.5, "seed": -3, "stop": ["x"]}
    assert parse(said) == Speak("m", prompt="a", stop=["x"], sampling=Sampling(top_p=0.5, seed=-3))
    messages = [{"role": "user", "content": "Hi"}]
    assert parse({"id": "1", "ask": "chat", "model": "m", "messages": messages}) == Speak("m", messages=messages)
    assert parse({"id": "1", "ask": "probe", "model": "m", "ids": [1]}) == Probe("m", ids=[1])
    assert parse({"id": "1", "ask": "tokenize", "tokenizer": "t", "text": ""}) == Tokenize("t", "")
    assert parse({"id": "1", "ask": "cancel", "of": "2"}) == Cancel("2")


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"ask": "destroy"}, "destroy"),
        ({"ask": "probe", "text": "a"}, "needs model"),
        ({"ask": "probe", "model": "m"}, "one of text, ids and messages"),
        ({"ask": "probe", "model": "m", "text": "a", "ids": [1]}, "one of text, ids and messages"),
        ({"ask": "probe", "model": "m", "ids": [True]}, "entry of ids"),
        ({"ask": "probe", "model": "m", "text": "a", "top_k": 10**6}, "0 to 200"),
        ({"ask": "complete", "model": "m", "prompt": "a", "hurry": 1}, "takes no hurry"),
        ({"ask": "complete", "model": "m", "prompt": "a\ud800"}, "lone surrogate"),
        ({"ask": "complete", "model": "m", "prompt": "a", "temperature": float("nan")}, "temperature"),
        ({"ask": "complete", "model": "m", "prompt": "a", "temperature": "hot"}, "temperature must be a number"),
        ({"ask": "complete", "model": "m", "prompt": "a", "seed": 1 << 70}, "seed"),
        ({"ask": "complete", "model": "m", "prompt": "a", "stop": [""]}, "stop"),
        ({"ask": "complete", "model": "m", "prompt": "a", "stop": ["x"] * 99}, "stop"),
        ({"ask": "chat", "model": "m", "messages": [{"role": "judge", "content": ""}]}, "judge"),
        ({"ask": "chat", "model": "m", "messages": [{"role": "user"}]}, "role and a content"),
    ],
)
def test_what_cannot_be_asked_is_named(asked, names):
    with pytest.raises(InputError, match=names):
        parse({"id": "1", **asked})


@pytest.mark.parametrize("line", [b"", b"\xff", b"[1]", b'{"id": 1}', b"{", b"[" * 100_000, b'{"ask": "status"}'])
def test_lines_that_are_no_requests_are_refused(line):
    with pytest.raises(BadRequest):
        read_line(line)


@given(ask=st.sampled_from(sorted(FIELDS)), data=st.data())
def test_any_values_are_read_or_refused(ask, data):
    fields = {name: data.draw(ANY_JSON) for name in data.draw(st.sets(st.sampled_from(sorted(FIELDS[ask]) or ["of"])))}
    try:
        parse(json.loads(json.dumps({"id": "1", "ask": ask, **fields})))
    except InputError:
        return
