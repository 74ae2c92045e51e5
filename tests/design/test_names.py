"""Our package names are common words: each must mean ours, and no neighbour may be hurt by them."""

import importlib
import importlib.metadata
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["orchestration", "assets", "models", "kernels"])
def test_package_name_resolves_to_ours(name):
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == REPO / name / "__init__.py"


def test_transformers_imports_beside_our_kernels():
    from transformers import Qwen3Config

    import kernels

    assert Qwen3Config(num_hidden_layers=1).num_hidden_layers == 1
    assert Path(kernels.__file__).resolve().parent == REPO / "kernels"


def test_exactly_one_distribution_provides_fasttext():
    providers = importlib.metadata.packages_distributions().get("fasttext", [])
    assert sorted(set(providers)) == ["fasttext-predict"]
