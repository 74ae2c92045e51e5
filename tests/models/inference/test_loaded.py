"""Models stay in memory within their budget, the least recently used leave first, withdrawn ones are gone."""

import shutil

import pytest

from models.artifacts import CorruptArtifact
from models.config import InputError
from models.inference.loaded import Models, TooLarge


@pytest.fixture
def three(base_model_dir, tmp_path):
    places = [tmp_path / name for name in "abc"]
    for place in places:
        shutil.copytree(base_model_dir, place)
    return places


def test_the_least_recently_used_model_leaves_first(three):
    size = Models(1 << 30).get(three[0]).bytes
    models = Models(2 * size + 10_000)
    first = models.get(three[0])
    models.get(three[1])
    assert models.get(three[0]) is first
    models.get(three[2])
    assert [path for path, _ in models.held()] == [three[0], three[2]]
    assert models.unload(three[0]) and not models.unload(three[0])
    assert models.get(three[0]) is not first


def test_a_model_beyond_the_budget_is_refused_and_others_stay(three):
    models = Models(Models(1 << 30).get(three[0]).bytes + 10_000)
    models.get(three[0])
    models.max_bytes = 1000
    with pytest.raises(TooLarge, match="1,000 B"):
        models.get(three[1])
    assert [path for path, _ in models.held()] == [three[0]]


def test_a_withdrawn_model_does_not_speak_any_more(three):
    models = Models(1 << 30)
    models.get(three[0])
    shutil.rmtree(three[0])
    with pytest.raises(InputError, match=r"manifest\.json"):
        models.get(three[0])
    assert models.held() == []


def test_damaged_and_foreign_directories_are_refused(three, trained, tmp_path):
    weights = three[0] / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    models = Models(1 << 30)
    with pytest.raises(CorruptArtifact):
        models.get(three[0])
    for directory in (tmp_path, trained["tokenizer_dir"], tmp_path / "nowhere"):
        with pytest.raises(InputError):
            models.get(directory)
    assert models.held() == []


def test_a_tokenizer_is_read_once(trained, base_model_dir):
    models = Models(1 << 30)
    assert models.tokenizer(trained["tokenizer_dir"]) is models.tokenizer(trained["tokenizer_dir"])
    assert models.get(base_model_dir).text is models.tokenizer(base_model_dir)
