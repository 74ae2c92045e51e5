"""Any string comes back from its ids, and text can never forge a special token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.config import InputError
from models.data.tokenizer import SPECIAL_TOKENS, load_tokenizer, train


@pytest.fixture(scope="module")
def tokenizer(trained) -> Tokenizer:
    return load_tokenizer(trained["tokenizer_dir"])


@given(
    text=st.text(max_size=200) | st.lists(st.sampled_from([*SPECIAL_TOKENS, " ", "\n", "é", "a1", "<|"])).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_any_string_decodes_back_and_makes_no_special_token(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert all(index >= len(SPECIAL_TOKENS) for index in ids)


def test_special_tokens_have_the_first_ids(tokenizer):
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]


def test_special_tokens_in_text_stay_text_in_batches_too(tokenizer):
    (encoding,) = tokenizer.encode_batch(["a <|im_end|> b"])
    assert encoding.ids == tokenizer.encode("a <|im_end|> b").ids
    assert min(encoding.ids) >= len(SPECIAL_TOKENS)


def test_digits_stand_alone(tokenizer):
    assert [tokenizer.decode([index]) for index in tokenizer.encode("x 1024").ids][-4:] == ["1", "0", "2", "4"]


def test_order_of_the_texts_does_not_matter(corpus_documents):
    texts = [text for _, _, text in corpus_documents]
    assert train(texts, 400).to_str() == train(reversed(texts), 400).to_str()


def test_small_corpora_yield_fewer_entries_and_small_vocabularies_are_refused():
    assert train(["ab"], 1000).get_vocab_size() == 260
    with pytest.raises(InputError, match="260"):
        train(["ab"], 259)


def test_directory_without_tokenizer_or_with_another_one_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)
    foreign = train(["ab"], 260).to_str().replace("<|pad|>", "<|pod|>")
    (tmp_path / "tokenizer.json").write_text(foreign)
    with pytest.raises(InputError, match=r"<\|pad\|>"):
        load_tokenizer(tmp_path)
