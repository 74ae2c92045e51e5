"""`python -m models gradients`: gradient features of every valid candidate, by the base model as proxy.

Publishes features.safetensors ("features", rows × dim, float32) and order.parquet: for each candidate its row, or the
reason why it has none. Finished batches stay in the work directory, so a killed run does not compute them again.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from models.artifacts import building, canonical_json, digest, publish, read_manifest, seal, verify
from models.config import InputError
from models.data.chat import render
from models.data.tokenizer import load_tokenizer
from models.diversity.gradients import Example, gradient_features, unusable
from models.diversity.projection import ROWS_PER_BATCH
from models.nets.transformer import Transformer
from models.progress import progress
from models.recipes import resolve
from models.tasks.candidates import read_candidates
from models.training.checkpoint import load_model
from models.training.loop import deterministic

ORDER = pa.schema(
    [
        pa.field("candidate_id", pa.string(), nullable=False),
        pa.field("row", pa.int32()),  # in features.safetensors; null when the candidate has no features
        pa.field("reason", pa.string()),  # why it has none; null when it has
    ]
)


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `gradients` command. Config: recipe, model_dir, candidates_files, optional dim (else the recipe's)."""
    if not config.get("model_dir") or not config.get("candidates_files"):
        raise InputError("gradients needs model_dir and candidates_files")
    recipe = resolve(config)
    dim = int(config.get("dim", recipe.selection.dim))
    if dim < 64 or dim % 64:
        raise InputError(f"dim must be a positive multiple of 64, got {dim}")
    deterministic(recipe.threads, recipe.seed)
    model, _ = load_model(Path(config["model_dir"]))
    examples, order = render_examples(read_candidates(config["candidates_files"]), config["model_dir"], model)
    if not examples:
        raise InputError("no candidate is valid and fits the model's context")
    parent = digest(Path(config["model_dir"]))
    key = hashlib.sha256(canonical_json([parent, dim, recipe.seed, [list(vars(e).values()) for e in examples]]))
    features = _features(model, examples, dim, recipe.seed, out / "batches" / key.hexdigest()[:16])
    identity = {"parent": parent, "dim": dim, "seed": recipe.seed, "rows": len(examples), "candidates": len(order)}
    with building(out / "final") as temporary:
        save_file({"features": features}, temporary / "features.safetensors")
        pq.write_table(pa.Table.from_pylist(order, schema=ORDER), temporary / "order.parquet")
        manifest = seal(temporary, "gradients", identity)
        publish(temporary, out / "final")
    report(f"gradients: {len(examples)} of {len(order)} candidates, {dim} numbers each")
    return {key: value for key, value in manifest.items() if key != "files"}


def load_features(directory: Path) -> tuple[list[str], np.ndarray]:
    """Candidate ids and their features (n, dim), in the order of rows; verified first (CorruptArtifact)."""
    manifest = read_manifest(directory)
    if manifest["kind"] != "gradients":
        raise InputError(f"{directory} holds {manifest['kind']}, not gradients")
    verify(directory)
    rows = [row for row in pq.read_table(directory / "order.parquet").to_pylist() if row["row"] is not None]
    ids = [row["candidate_id"] for row in sorted(rows, key=lambda row: row["row"])]
    return ids, load_file(directory / "features.safetensors")["features"]


def render_examples(
    rows: Sequence[dict[str, Any]], model_dir: str | Path, model: Transformer
) -> tuple[list[Example], list[dict[str, Any]]]:
    """Usable examples, and for every candidate its row of ORDER (its place among them or why it has none)."""
    tokenizer = load_tokenizer(model_dir)
    examples: list[Example] = []
    order = []
    for row in rows:
        turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["solution"]}]
        example = Example(row["candidate_id"], *render(turns, tokenizer))  # type: ignore[arg-type]
        reason = f"vote: {row['reason']}" if not row["valid"] else unusable(example, model.config.max_seq_len)
        order.append({"candidate_id": row["candidate_id"], "row": None if reason else len(examples), "reason": reason})
        if not reason:
            examples.append(example)
    return examples, order


def _features(model: Transformer, examples: Sequence[Example], dim: int, seed: int, cache: Path) -> np.ndarray:
    cache.mkdir(parents=True, exist_ok=True)
    parts = []
    with progress("gradients", -(-len(examples) // ROWS_PER_BATCH)) as advance:
        for first in range(0, len(examples), ROWS_PER_BATCH):
            path = cache / f"{first:08d}.safetensors"
            if not path.is_file():
                part = gradient_features(model, examples[first : first + ROWS_PER_BATCH], dim, seed)
                save_file({"features": part}, path.with_suffix(".tmp"))
                path.with_suffix(".tmp").rename(path)
            parts.append(load_file(path)["features"])
            advance(f"{min(first + ROWS_PER_BATCH, len(examples))} examples")
    return np.concatenate(parts)
