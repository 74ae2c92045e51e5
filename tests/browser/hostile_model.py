"""A checkpoint that answers everything with one hostile string, for real: its weights make each token call the next.

The layers add nothing to the residual stream, so the logits depend on the last token alone; the head's row of a token
is the embedding of the token before it. A string works whose tokens are all different.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from models.config import TransformerConfig
from models.data.tokenizer import END_OF_TEXT_ID, IM_END_ID, save, train
from models.nets.transformer import Transformer
from models.training.checkpoint import save_final

WIDTH, ENTRIES = 256, 2000


class NoSuchString(ValueError):
    """Every string given repeats a token."""


def sayable(strings: Sequence[str], tokenizer: Tokenizer) -> tuple[str, list[int]]:
    """The first string whose tokens are all different and none a line break, with its ids. Raises NoSuchString."""
    newline = tokenizer.encode("\n").ids
    for string in strings:
        ids = tokenizer.encode(string).ids
        if len(set(ids)) == len(ids) and not set(ids) & set(newline):
            return string, ids
    raise NoSuchString(f"none of {len(strings)} strings has tokens that are all different")


def write(final: Path, tokenizer_dir: Path, strings: Sequence[str], seed: int = 0) -> str:
    """Publishes such a model at `final`, its own tokenizer, made of the strings, at `tokenizer_dir`.

    Returns what it says.
    """
    tokenizer = train(list(strings) * 2, ENTRIES)
    tokenizer_dir.mkdir(parents=True)
    save(tokenizer, tokenizer_dir)
    said, ids = sayable(strings, tokenizer)
    vocabulary = tokenizer.get_vocab_size()
    generator = torch.Generator().manual_seed(seed)
    model = Transformer(TransformerConfig(vocabulary, WIDTH, 1, 1, 1, 2, 1, 512))
    embeddings = torch.nn.functional.normalize(torch.randn(vocabulary, WIDTH, generator=generator))
    head = torch.zeros(vocabulary, WIDTH)
    (newline,) = tokenizer.encode("\n").ids
    for before, after in zip([newline, *ids], [*ids, IM_END_ID], strict=True):
        head[after] = 8 * embeddings[before]
    head[ids[0]] += 8 * embeddings[END_OF_TEXT_ID]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_() if parameter.dim() > 1 else parameter.fill_(1)
        named = dict(model.named_parameters())
        named["embedding.weight"].copy_(embeddings)
        named["head.weight"].copy_(head)
    save_final(final, model, tokenizer_dir, {"says": "one hostile string", "seed": seed})
    return said
