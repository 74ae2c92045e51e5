"""What no layout of another engine holds is refused before anything is written."""

import dataclasses

import pytest

from models.config import InputError, TransformerConfig
from models.data.tokenizer import load_tokenizer
from models.export import command
from models.nets.mixed import build
from models.training.checkpoint import save_final

OPTIONS = [
    {"activation": "relu2"},
    {"softcap": 15.0},
    {"layers": "SL", "window": 8},
    {"value_tables": 1},
    {"residual_weights": True},
    {"net": "mamba"},
    {"net": "lstm"},
]


@pytest.mark.parametrize("form", ["hf", "gguf"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)) + str(options.get("net", "")))
def test_only_plain_models_leave(options, form, tiny, trained, tmp_path, silent):
    vocab_size = load_tokenizer(trained["tokenizer_dir"]).get_vocab_size()
    config: TransformerConfig = dataclasses.replace(tiny, vocab_size=vocab_size, **options)
    save_final(tmp_path / "model", build(config), trained["tokenizer_dir"], {"parent": None})
    with pytest.raises(InputError, match=f"a {config.profile} model cannot be exported.*plain"):
        command.run({"model_dir": str(tmp_path / "model"), "format": form}, tmp_path / "out", silent)
    assert not (tmp_path / "out" / "final").exists()
