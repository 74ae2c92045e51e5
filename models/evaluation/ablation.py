"""`python -m models ablate`: corpora compared by training small models on them, everything but the corpus pinned.

One tokenizer, one model, one optimizer, the same number of tokens, sources in the same shares, the same seeds and the
same held-out texts for every variant. A training's figures are kept as soon as it ends, so a run that was killed goes
on with the next one; the models themselves and all texts lie in a scratch folder that its owner removes.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kernels.tokens.shards import SplitWriter, write_manifest
from models.artifacts import building, publish, seal, sha256_file, write_json
from models.config import InputError, PretrainRecipe, TransformerConfig
from models.data import tokenizer as tokenizers
from models.data.tokenizer import END_OF_TEXT_ID, load_tokenizer, tokenizer_sha256
from models.evaluation.bits import token_bytes
from models.evaluation.mixture import Encoded, Piece, stream
from models.evaluation.paired import bootstrap_difference, t_mean, verdict
from models.evaluation.scoring import score
from models.evaluation.settings import Ablation
from models.recipes import resolve
from models.seeds import derive
from models.training import pretrain
from models.training.checkpoint import load_model
from models.training.recorder import Recorder

PIECES = 2  # windows in a piece of a document


def _meaning(kind: pa.DataType, name: str, meaning: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"meaning": meaning})


RANKING = pa.schema(
    [
        _meaning(pa.string(), "heldout", "set of texts that nobody trained on"),
        _meaning(pa.string(), "variant", "corpus"),
        _meaning(pa.float64(), "bits_per_byte", "mean over seeds; less is better"),
        _meaning(pa.float64(), "low", "lower end of Student's 95% interval over seeds"),
        _meaning(pa.float64(), "high", "upper end of it"),
        _meaning(pa.float64(), "difference", "bits per byte minus the reference's, paired by seed"),
        _meaning(pa.float64(), "seeds_low", "lower end of its 95% interval over seeds"),
        _meaning(pa.float64(), "seeds_high", "upper end of it"),
        _meaning(pa.float64(), "texts_low", "lower end of its 95% interval over held-out texts"),
        _meaning(pa.float64(), "texts_high", "upper end of it"),
        _meaning(pa.string(), "verdict", "better or worse than the reference where both intervals leave 0 out"),
        _meaning(pa.int64(), "seeds", "trainings"),
        _meaning(pa.int64(), "texts", "held-out texts"),
        _meaning(pa.int64(), "documents", "of the variant, of which a training reads a part"),
        _meaning(pa.int64(), "tokens_available", "distinct tokens of the variant, no document counted twice"),
        _meaning(pa.int64(), "tokens_trained", "the same for every variant"),
        _meaning(pa.float64(), "read_again", "share of the tokens read that their document had been read before, mean"),
    ]
)


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `ablate` command. Config: recipe, seed, overrides; texts, members, heldout, weights, reference,
    tokenizer_from, scratch.

    texts: Parquet of text_id, doc_id, source, text. members: of variant, text_id. heldout: of set, text. weights: share
    of each source. reference: the variant that others are compared with; tokenizer_from: the one whose texts the
    tokenizer is trained on. scratch: a folder for all that holds text, which the caller removes.

    Publishes ranking.parquet (RANKING) and seeds.json: bits per byte by set, variant and seed.
    """
    recipe = resolve(config)
    settings, scratch = recipe.ablation, Path(config["scratch"])
    tokenizer_dir = _tokenizer(config, settings, scratch, report)
    variants, heldout = _encoded(config, tokenizer_dir, settings)
    weights = {str(source): float(share) for source, share in config["weights"].items()}
    if (reference := config["reference"]) not in variants:
        raise InputError(f"the reference {reference} is none of the variants {', '.join(variants)}")
    identity = {
        "settings": dataclasses.asdict(settings),
        "seed": recipe.seed,
        "weights": weights,
        "reference": reference,
        "tokenizer_sha256": tokenizer_sha256(tokenizer_dir),
        "inputs": {name: sha256_file(Path(config[name])) for name in ("texts", "members", "heldout")},
        **{name: config[name] for name in ("sets", "described") if name in config},
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    sizes = token_bytes(load_tokenizer(tokenizer_dir))
    bytes_of = {name: _bytes(windows, sizes) for name, windows in heldout.items()}
    recorder = Recorder(out, 0)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for number in range(settings.seeds):
        for name, documents in variants.items():
            place = out / "results" / f"{name}-{number}.json"
            found = _kept(place, key)
            if found is None:
                seed = derive(recipe.seed, "ablation", number)
                pieces = stream(documents, weights, settings.tokens, seed, PIECES * settings.seq_len)
                found = {"key": key, "read_again": _read_again(pieces)}
                found["bits"] = _trained(pieces, heldout, tokenizer_dir, settings, seed, scratch, recipe.name)
                write_json(place, found)
            results[name].append(found)
            figures = {f"{one}/{name}": sum(bits) / int(bytes_of[one].sum()) for one, bits in found["bits"].items()}
            recorder.log(number + 1, **{f"bpb/{what}": value for what, value in figures.items()})
            told = ", ".join(f"{one} {figures[f'{one}/{name}']:.3f}" for one in heldout)
            report(f"ablate: {name}, seed {number + 1} of {settings.seeds}: {told} bits per byte")
    rows = ranking(results, bytes_of, variants, settings, reference)
    with building(out / "final") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=RANKING), temporary / "ranking.parquet")
        write_json(temporary / "seeds.json", _by_seed(results, bytes_of))
        seal(temporary, "ablation", {**identity, "rows": len(rows)})
        publish(temporary, out / "final")
    return {f"{row['heldout']}/{row['variant']}": row["bits_per_byte"] for row in rows}


def ranking(
    results: dict[str, list[dict[str, Any]]],
    bytes_of: dict[str, np.ndarray],
    variants: dict[str, list[Encoded]],
    settings: Ablation,
    reference: str,
) -> list[dict[str, Any]]:
    """RANKING rows, by held-out set in the order given, the best variant first.

    results: by variant and seed {"bits": {set: bits of each text}, "read_again"}. bytes_of: bytes of the scored texts.
    """
    rows = []
    for one, bytes_D in bytes_of.items():
        bits = {name: np.array([result["bits"][one] for result in found]) for name, found in results.items()}
        values = {name: (bits_nD.sum(1) / bytes_D.sum()).tolist() for name, bits_nD in bits.items()}
        of_set = []
        for name, found in results.items():
            own = t_mean(values[name])
            by_seed = t_mean([a - b for a, b in zip(values[name], values[reference], strict=True)])
            by_text = bootstrap_difference(bits[name], bits[reference], bytes_D)
            of_set.append(
                {
                    "heldout": one,
                    "variant": name,
                    "bits_per_byte": own.value,
                    "low": own.low,
                    "high": own.high,
                    "difference": by_seed.value,
                    "seeds_low": by_seed.low,
                    "seeds_high": by_seed.high,
                    "texts_low": by_text.low,
                    "texts_high": by_text.high,
                    "verdict": "reference" if name == reference else verdict(by_seed, by_text),
                    "seeds": len(found),
                    "texts": len(bytes_D),
                    "documents": len(variants[name]),
                    "tokens_available": _distinct(variants[name]),
                    "tokens_trained": settings.steps * settings.batch_size * settings.seq_len,
                    "read_again": float(np.mean([result["read_again"] for result in found])),
                }
            )
        rows += sorted(of_set, key=lambda row: (row["bits_per_byte"], row["variant"]))
    return rows


def _tokenizer(config: dict[str, Any], settings: Ablation, scratch: Path, report: Callable[[str], None]) -> Path:
    """The one tokenizer, trained on the texts of one variant; made once in the scratch folder."""
    final = scratch / "tokenizer" / "final"
    if not final.is_dir():
        ids = set(_members(config)[config["tokenizer_from"]])
        table = pq.read_table(config["texts"], columns=["text_id", "text"])
        rows = zip(table["text_id"].to_pylist(), table["text"].to_pylist(), strict=True)
        trained = tokenizers.train((text for text_id, text in rows if text_id in ids), settings.vocab_size)
        report(f"ablate: {trained.get_vocab_size()} tokens from the texts of {config['tokenizer_from']}")
        with building(final) as temporary:
            tokenizers.save(trained, temporary)
            seal(temporary, "tokenizer", {"vocab_size": trained.get_vocab_size()})
            publish(temporary, final)
    return final


def _members(config: dict[str, Any]) -> dict[str, list[str]]:
    table = pq.read_table(config["members"], columns=["variant", "text_id"])
    found: dict[str, list[str]] = {}
    for variant, text_id in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        found.setdefault(variant, []).append(text_id)
    if config["tokenizer_from"] not in found:
        raise InputError(f"the variant {config['tokenizer_from']} has no texts to train a tokenizer on")
    return found


def _encoded(
    config: dict[str, Any], tokenizer_dir: Path, settings: Ablation
) -> tuple[dict[str, list[Encoded]], dict[str, list[np.ndarray]]]:
    """Every variant's documents, and every held-out set's first windows."""
    tokenizer = load_tokenizer(tokenizer_dir)

    def tokens(text: str) -> np.ndarray:
        return np.array([END_OF_TEXT_ID, *tokenizer.encode(text).ids], dtype=np.int64)

    table = pq.read_table(config["texts"], columns=["text_id", "doc_id", "source", "text"])
    texts = {row["text_id"]: Encoded(row["doc_id"], row["source"], tokens(row["text"])) for row in table.to_pylist()}
    variants = {name: [texts[text_id] for text_id in ids] for name, ids in _members(config).items()}
    heldout: dict[str, list[np.ndarray]] = {}
    for row in pq.read_table(config["heldout"], columns=["set", "text"]).to_pylist():
        window = tokens(excerpt(row["text"], settings.seq_len))[: settings.seq_len + 1]
        if len(window) > 1:
            heldout.setdefault(row["set"], []).append(window)
    if not heldout:
        raise InputError(f"{config['heldout']} holds no text to measure on")
    return variants, heldout


def excerpt(text: str, tokens: int) -> str:
    """What is scored of a held-out text: from the first line that begins in its second third, for beginnings are
    headings and menus; the whole of a text that has too little after it for so many tokens."""
    most = 16 * tokens  # characters: no tokenizer's tokens are longer on average
    line = text.find("\n", len(text) // 3) + 1
    begin = line if 0 < line <= len(text) - most else 0
    return text[begin : begin + most]


def _bytes(windows: Sequence[np.ndarray], sizes: np.ndarray) -> np.ndarray:
    return np.array([int(sizes[window[1:]].sum()) for window in windows])


def _distinct(documents: Sequence[Encoded]) -> int:
    return sum({document.doc_id: len(document.tokens) for document in documents}.values())


def _read_again(pieces: Sequence[Piece]) -> float:
    """Share of a stream's tokens that are of a document in a later turn than its first."""
    return sum(piece.length for piece in pieces if piece.turn) / sum(piece.length for piece in pieces)


def _kept(place: Path, key: str) -> dict[str, Any] | None:
    """What an earlier attempt found of the same inputs."""
    found = json.loads(place.read_text()) if place.is_file() else None
    return found if found and found["key"] == key else None


def _by_seed(results: dict[str, list[dict[str, Any]]], bytes_of: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        one: {
            name: [sum(result["bits"][one]) / int(bytes_D.sum()) for result in found] for name, found in results.items()
        }
        for one, bytes_D in bytes_of.items()
    }


def _trained(
    pieces: Sequence[Piece],
    heldout: dict[str, list[np.ndarray]],
    tokenizer_dir: Path,
    settings: Ablation,
    seed: int,
    scratch: Path,
    recipe: str,
) -> dict[str, list[float]]:
    """Trains one model by the `pretrain` stage itself; bits of every held-out text, by set."""
    place = scratch / "training"
    shutil.rmtree(place, ignore_errors=True)
    shards = place / "shards"
    shards.mkdir(parents=True)
    tokenizer = load_tokenizer(tokenizer_dir)
    writers = {split: SplitWriter(shards, split, tokenizer.get_vocab_size()) for split in ("train", "heldout")}
    for piece in pieces:
        writers["train"].add(piece.document.doc_id, piece.tokens, 0)
    writers["heldout"].add("heldout", next(iter(heldout.values()))[0], 0)
    write_manifest(
        shards,
        tokenizer_sha256=tokenizer_sha256(tokenizer_dir),
        vocab_size=tokenizer.get_vocab_size(),
        splits={split: writer.close() for split, writer in writers.items()},
    )
    config = {"recipe": recipe, "seed": seed, "shards_dir": str(shards), "tokenizer_dir": str(tokenizer_dir)}
    pretrain.run({**config, "overrides": overrides(settings)}, place, lambda line: None)
    model, _ = load_model(place / "final")
    sizes = token_bytes(tokenizer)
    found = {one: [scored.bits for scored in score(model, windows, sizes)] for one, windows in heldout.items()}
    shutil.rmtree(place)
    return found


def overrides(settings: Ablation) -> dict[str, Any]:
    """The whole model and optimizer of an ablation, whatever the recipe's own are."""
    model = TransformerConfig(
        vocab_size=settings.vocab_size,
        d_model=settings.d_model,
        n_layers=settings.n_layers,
        n_heads=settings.n_heads,
        n_kv_heads=settings.n_heads,
        head_dim=settings.d_model // settings.n_heads,
        d_ff=settings.d_ff,
        max_seq_len=settings.seq_len,
        tie_embeddings=True,
    )
    never = settings.steps + 1
    training = PretrainRecipe(
        steps=settings.steps,
        batch_size=settings.batch_size,
        seq_len=settings.seq_len,
        learning_rate=settings.learning_rate,
        optimizer="muon",
        muon_learning_rate=settings.muon_learning_rate,
        warmup_steps=settings.warmup_steps,
        eval_every=never,
        sample_every=never,
        checkpoint_every=never,
    )
    return {"threads": 1, "model": dataclasses.asdict(model), "pretrain": dataclasses.asdict(training)}
