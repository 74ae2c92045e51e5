"""A home with small real models that answer at once: one draws at random, two say what they were built to say."""

from pathlib import Path

import torch

from assets.lake import Lake
from models.artifacts import seal
from models.config import TransformerConfig
from models.data.tokenizer import END_OF_TEXT_ID, IM_END_ID, save, train
from models.nets.transformer import Transformer
from models.training.checkpoint import save_final
from orchestration.home import prepare

TEXTS = ["The river carries a story about bread.", "Our teacher explains the road to the harbour."] * 20
HOSTILE = '<script>alert(1)</script \u202eevil<img src=x onerror="steal()">'
CALL = '<tool_call>{"name":"rm","arguments":[1]}'
CONTEXT = 4096


def make(home: Path) -> Lake:
    """The home: base_model draws at random, sft_model answers everything with HOSTILE, rl_model with CALL."""
    prepare(home)
    lake, work = Lake(home), home / "making"
    (work / "tokenizer").mkdir(parents=True)
    tokenizer = train([*TEXTS, *[HOSTILE, CALL] * 50], 700)
    save(tokenizer, work / "tokenizer")
    seal(work / "tokenizer", "tokenizer", {"vocab_size": tokenizer.get_vocab_size()})
    lake.commit_dir("tokenizer", work / "tokenizer")
    size = tokenizer.get_vocab_size()
    config = TransformerConfig(
        vocab_size=size, d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=16, d_ff=64,
        max_seq_len=CONTEXT, tie_embeddings=True,
    )  # fmt: skip
    _commit(lake, "base_model", Transformer(config, seed=1), work)
    for asset, text in (("sft_model", HOSTILE), ("rl_model", CALL)):
        _commit(lake, asset, parrot(size, tokenizer.encode(text).ids), work)
    return lake


def parrot(size: int, ids: list[int]) -> Transformer:
    """A model that says these ids and ends: each of them is followed by the next, all other tokens by the first."""
    assert len(set(ids)) == len(ids), "a token that comes twice has two successors"
    config = TransformerConfig(
        vocab_size=size, d_model=size, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=2, d_ff=2, max_seq_len=CONTEXT
    )
    model = Transformer(config)
    following = dict(zip(ids, [*ids[1:], IM_END_ID], strict=True))
    with torch.no_grad():
        model.blocks[0].attention.out.weight.zero_()
        model.blocks[0].mlp.down.weight.zero_()
        model.embedding.weight.copy_(torch.eye(size))
        model.norm.weight.fill_(size**-0.5)  # rms of a one-hot is size**-0.5
        model.head.weight.zero_()
        for token in range(size):
            model.head.weight[following.get(token, ids[0]), token] = 200.0
    assert END_OF_TEXT_ID not in ids
    return model.eval()


def _commit(lake: Lake, asset: str, model: Transformer, work: Path) -> None:
    save_final(work / asset, model, work / "tokenizer", {"recipe": "test", "asset": asset})
    lake.commit_dir(asset, work / asset)
