"""What is shown of a text that grows is whole characters, and in the end what the tokenizer decodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import InputError
from models.data.tokenizer import SPECIAL_TOKENS, load_tokenizer, train
from models.inference.pieces import TextStream, token_spellings


@pytest.fixture(scope="module")
def tokenizer(trained):
    return load_tokenizer(trained["tokenizer_dir"])


@pytest.fixture(scope="module")
def spellings(tokenizer):
    return token_spellings(tokenizer, "the tokenizer")


@given(text=st.text(max_size=60))
def test_a_texts_tokens_spell_its_bytes(tokenizer, spellings, text):
    assert b"".join(spellings[index] for index in tokenizer.encode(text).ids) == text.encode()


@given(ids=st.lists(st.integers(0, 399), max_size=40))
def test_any_ids_stream_into_what_the_tokenizer_decodes(tokenizer, spellings, ids):
    ids = [index for index in ids if index < len(spellings)]
    stream = TextStream()
    parts = [stream.add(spellings[index]) for index in ids]
    assert "".join(parts) + stream.end() == tokenizer.decode(ids)


@given(text=st.text(min_size=1, max_size=20))
def test_no_answer_holds_a_part_of_a_character(text):
    stream = TextStream()
    parts = [stream.add(bytes([value])) for value in text.encode()]
    assert stream.end() == "" and "".join(parts) == text
    assert all(len(part) <= 1 for part in parts)


def test_bytes_that_never_become_a_character_are_replaced_and_not_lost():
    stream = TextStream()
    assert [stream.add(b"a\xe2\x82"), stream.add(b"b"), stream.add(b"\xf0\x9f")] == ["a", "\ufffdb", ""]
    assert stream.end() == "\ufffd"


@given(
    text=st.text("ab", max_size=30),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(1, 4), max_size=30),
)
def test_text_ends_before_the_first_stop_string_however_it_is_cut(text, stops, cuts):
    stream, left, shown = TextStream(stops), text, ""
    for cut in [*cuts, len(text) + 1]:
        shown += stream.add(left[:cut].encode())
        assert not any(stop in shown for stop in stops)
        left = left[cut:]
        if stream.stopped:
            break
    shown += stream.end()
    if any(stop in text for stop in stops):
        assert stream.stopped and not any(stop in shown for stop in stops)
        assert any(text.startswith(shown + stop) for stop in stops)
    else:
        assert shown == text and not stream.stopped


def test_special_tokens_stand_for_no_text(spellings):
    assert spellings[: len(SPECIAL_TOKENS)] == [b""] * len(SPECIAL_TOKENS)


def test_a_vocabulary_that_is_not_spelled_in_bytes_is_refused():
    tokenizer = train(["a b"], 260)
    tokenizer.add_tokens(["\u4e2d"])
    with pytest.raises(InputError, match="not spelled in bytes"):
        token_spellings(tokenizer, "a folder")
