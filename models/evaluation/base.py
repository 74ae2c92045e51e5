"""`python -m models evaluate-base`: what a base model learned, each figure beside what it must be read against.

| measure | group | unit of n | beside it |
|---|---|---|---|
| bits_per_byte | all, snapshot, language, class of host | held-out document | uniform and unigram predictor |
| bits_per_byte_at | range of places | held-out document | the unigram predictor at the same places |
| in_context_gain | | held-out document | the unigram predictor, which has none |
| memorized, tokens_continued | reads of the document, its cluster's size | document | the group `held-out` |
| recall | shots | probe | chance |
| spelling, counting, comparing | | question | chance |

Intervals are 95%: Wilson's for shares, else a bootstrap over documents. Every measure is bounded by the recipe
(models/evaluation/settings.py), and which documents it looks at is a function of their ids.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from kernels.tokens.shards import CorruptShard, SplitReader
from models.artifacts import building, digest, publish, seal, verify
from models.config import InputError
from models.data.tokenizer import load_tokenizer, tokenizer_sha256
from models.evaluation import choices, context, memorization
from models.evaluation.bits import token_bytes, unigram_table
from models.evaluation.intervals import Estimate, bootstrap_ratio
from models.evaluation.scoring import Scored, score
from models.evaluation.settings import BaseEvaluation
from models.evaluation.sources import UNKNOWN, Source, sources_of
from models.recipes import resolve
from models.training.checkpoint import load_model
from models.training.loop import choose_device, deterministic

FIGURES = pa.schema(
    [
        pa.field("measure", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False, metadata={"meaning": "of which documents, places or shots"}),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False, metadata={"meaning": "lower end of the 95% interval"}),
        pa.field("high", pa.float64(), nullable=False, metadata={"meaning": "upper end of the 95% interval"}),
        pa.field("n", pa.int64(), nullable=False, metadata={"meaning": "documents, probes or questions"}),
        pa.field("uniform", pa.float64(), metadata={"meaning": "of a predictor that knows nothing; null: none"}),
        pa.field("unigram", pa.float64(), metadata={"meaning": "of one that knows token frequencies; null: none"}),
        pa.field("chance", pa.float64(), metadata={"meaning": "of an answer without looking; null: none"}),
    ]
)
Row = dict[str, Any]


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `evaluate-base` command. Config: recipe, seed, overrides, model_dir, shards_dir; corpus_files and
    corpus_snapshots (the snapshot of each) for groups by source.

    Publishes figures.parquet (FIGURES). InputError when the model's tokenizer is not the one that made the shards.
    """
    recipe = resolve(config)
    if not config.get("model_dir") or not config.get("shards_dir"):
        raise InputError("evaluate-base needs model_dir and shards_dir")
    model_dir, shards_dir, settings = Path(config["model_dir"]), Path(config["shards_dir"]), recipe.evaluation
    shards = verify(shards_dir)
    if tokenizer_sha256(model_dir) != shards.get("tokenizer_sha256"):
        raise InputError(f"the model in {model_dir} has another tokenizer than the shards in {shards_dir}")
    try:
        training, heldout = SplitReader(shards_dir, "train"), SplitReader(shards_dir, "heldout")
    except CorruptShard as error:
        raise InputError(str(error)) from error
    deterministic(recipe.threads, recipe.seed)
    model, architecture = load_model(model_dir, choose_device(recipe.pretrain.device))
    manifest, tokenizer = verify(model_dir), load_tokenizer(model_dir)
    sizes, table = token_bytes(tokenizer), unigram_table(training, architecture.vocab_size)
    sources = sources_of(config.get("corpus_files") or [], config.get("corpus_snapshots") or [])
    trained = min(int(manifest.get("pretrain", {}).get("seq_len", architecture.max_seq_len)), architecture.max_seq_len)
    rows = [*text_rows(model, heldout, sources, settings, sizes, table, architecture.max_seq_len)]
    rows += place_rows(model, heldout, settings, sizes, table, trained)
    if (model_dir / "consumed.parquet").is_file():
        consumed = _consumed(model_dir / "consumed.parquet")
        rows += memory_rows(model, training, heldout, consumed, sources, settings, recipe.seed, sizes)
    for shots in settings.shots:
        found = context.recall(model, architecture.vocab_size, shots, settings.probes, recipe.seed)
        rows.append(_row("recall", f"{shots} shot{'s' * (shots > 1)}", found, chance=1 / context.PAIRS))
    sets = {name: choices.questions(name, settings.questions, recipe.seed) for name in choices.SETS}
    for name, made in sets.items():
        found = choices.accuracy(model, tokenizer, made, sizes)
        rows.append(_row(name, "all", found, chance=choices.chance(made)))
    identity = {
        "model": digest(model_dir),
        "shards": digest(shards_dir),
        "seed": recipe.seed,
        "settings": dataclasses.asdict(settings),
        "sets": [choices.described(name, made) for name, made in sets.items()],
        "rows": len(rows),
    }
    with building(out / "final") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=FIGURES), temporary / "figures.parquet")
        seal(temporary, "base_evaluation", identity)
        publish(temporary, out / "final")
    report(
        f"evaluate-base: {rows[0]['value']:.3f} bits per byte on {rows[0]['n']} held-out documents, {len(rows)} rows"
    )
    return {f"{row['measure']}/{row['group']}": row["value"] for row in rows}


def text_rows(
    model: nn.Module,
    heldout: SplitReader,
    sources: dict[str, Source],
    settings: BaseEvaluation,
    sizes: np.ndarray,
    table: np.ndarray,
    window: int,
) -> Iterable[Row]:
    """Bits per byte over all scored documents first, then by each group that is large enough."""
    documents = memorization.chosen(heldout, range(len(heldout.doc_ids)), settings.documents)
    windows, owners = [], []
    for index in documents:
        tokens = heldout.document(index)
        for first in range(0, min(len(tokens) - 1, settings.windows * window), window):
            windows.append(tokens[first : first + window + 1])
            owners.append(index)
    scored = score(model, windows, sizes)
    bits, flat, size, count = ({index: 0.0 for index in documents} for _ in range(4))
    for index, tokens, one in zip(owners, windows, scored, strict=True):
        bits[index] += one.bits
        flat[index] += float(table[tokens[1:]].sum())
        size[index] += float(one.bytes_T.sum())
        count[index] += len(tokens) - 1
    groups: dict[str, list[int]] = {"all": [index for index in documents if size[index]]}
    for index in groups["all"]:
        known = sources.get(heldout.doc_ids[index])
        for name in known.groups if known else [f"snapshot {UNKNOWN}"] if sources else []:
            groups.setdefault(name, []).append(index)
    shown = sorted(name for name, own in groups.items() if name != "all" and len(own) >= settings.group_documents)
    for name in ["all", *shown]:
        own = groups[name]
        found = bootstrap_ratio([bits[index] for index in own], [size[index] for index in own])
        total = sum(size[index] for index in own)
        uniform = math.log2(len(table)) * sum(count[index] for index in own) / total
        yield _row("bits_per_byte", name, found, uniform=uniform, unigram=sum(flat[index] for index in own) / total)


def place_rows(
    model: nn.Module, heldout: SplitReader, settings: BaseEvaluation, sizes: np.ndarray, table: np.ndarray, length: int
) -> list[Row]:
    """Bits per byte by place, of documents of `length` tokens at least, and what late places gain; none has no rows."""
    documents = memorization.chosen(heldout, memorization.long_enough(heldout, length), settings.documents)
    if not documents or length < 2 * context.BETWEEN:
        return []
    windows = [heldout.document(index)[: length + 1] for index in documents]
    scored = score(model, windows, sizes)
    flat = [
        Scored(table[tokens[1:]] * math.log(2), one.bytes_T, one.likeliest_T)
        for tokens, one in zip(windows, scored, strict=True)
    ]
    without = context.by_place(flat, length)
    rows = [
        _row("bits_per_byte_at", str(place), found, unigram=without[place].value)
        for place, found in context.by_place(scored, length).items()
    ]
    return [*rows, _row("in_context_gain", "all", context.gain(scored, flat, length), unigram=0.0)]


def memory_rows(
    model: nn.Module,
    training: SplitReader,
    heldout: SplitReader,
    consumed: dict[str, int],
    sources: dict[str, Source],
    settings: BaseEvaluation,
    seed: int,
    sizes: np.ndarray,
) -> Iterable[Row]:
    """Verbatim continuation by how often a document was read, by its cluster's size where it was, and held-out."""
    whole = settings.prompt_tokens + settings.continuation_tokens
    reads = memorization.reads_of(training, consumed)
    groups: dict[str, list[int]] = {}
    for index in memorization.long_enough(training, whole):
        doc_id = training.doc_ids[index]
        groups.setdefault(memorization.read_group(reads[doc_id]), []).append(index)
        if reads[doc_id] >= 1 and doc_id in sources:
            groups.setdefault(memorization.cluster_group(sources[doc_id].cluster_size), []).append(index)
    named = [(memorization.HELDOUT, heldout, memorization.long_enough(heldout, whole))]
    named += [(name, training, groups[name]) for name in sorted(groups)]
    for name, reader, documents in named:
        if not documents:
            continue
        agreeing = memorization.probe(
            model,
            reader,
            memorization.chosen(reader, documents, settings.prompts),
            prompt_tokens=settings.prompt_tokens,
            continuation_tokens=settings.continuation_tokens,
            seed=seed,
            sizes=sizes,
        )
        found = memorization.probed(agreeing, settings.continuation_tokens)
        yield _row("memorized", name, found.exact)
        yield _row("tokens_continued", name, found.tokens)


def _consumed(path: Path) -> dict[str, int]:
    """Token reads by document, its copies together."""
    found: dict[str, int] = {}
    table = pq.read_table(path, columns=["doc_id", "reads"])
    for doc_id, reads in zip(table["doc_id"].to_pylist(), table["reads"].to_pylist(), strict=True):
        found[doc_id] = found.get(doc_id, 0) + reads
    return found


def _row(measure: str, group: str, found: Estimate, **beside: float) -> Row:
    return {"measure": measure, "group": group, **dataclasses.asdict(found), **beside}
