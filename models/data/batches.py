"""What a published model read at one step: the documents, examples or problems of that batch.

Recomputed from the model's manifest (seed, batch size) and the very data that it names, by the functions that made the
batches, so it holds after any number of restarts and needs no log.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from kernels.tokens.shards import SplitReader
from models.artifacts import digest, read_manifest, sha256_file
from models.config import InputError, RlRecipe, from_dict
from models.data.order import EXAMPLES_CONSUMED, PROBLEMS_CONSUMED, step_rows, update_problems
from models.data.packing import loader_of
from models.data.provenance import PROVENANCE
from models.data.sft import read_columns
from models.evaluation.accuracy import load_tasks

STAGES = {"base_model": "pretrain", "sft_model": "sft", "rl_model": "rl"}  # kind of a model → its recipe's part
EXAMPLE_COLUMNS = ("example_id", "candidate_id", "problem_id", "split", "loss_mask")


class NoSuchStep(InputError):
    """The run has no step of that number."""


class OtherData(InputError):
    """The data are not those that the model was trained on."""


def batch(model_dir: Path, data: Path | Sequence[Path], step: int) -> pa.Table:
    """What step `step` (from 1, as curves count them) of a model's training read.

    data: the token shards' directory of a base_model (rows of loader.BATCH_SCHEMA), the files with the examples of an
    sft_model (EXAMPLES_CONSUMED) or with the tasks of an rl_model (PROBLEMS_CONSUMED), `times` being those in this
    batch. Raises NoSuchStep, OtherData, InputError.
    """
    manifest = read_manifest(model_dir)
    if manifest["kind"] not in STAGES:
        raise InputError(f"{model_dir} holds {manifest['kind']}, which was not trained")
    if not 1 <= step <= manifest["steps"]:
        raise NoSuchStep(f"{model_dir.name} was trained in steps 1 to {manifest['steps']}: it has no step {step}")
    settings, seed = manifest[STAGES[manifest["kind"]]], manifest["seed"]
    if isinstance(data, Path):
        if manifest["kind"] != "base_model" or digest(data) != manifest["shards"]:
            raise OtherData(f"the model {model_dir.name} was not trained on {data}")
        return loader_of(SplitReader(data, "train"), settings, seed).documents(step - 1)
    if [sha256_file(file) for file in data] != manifest.get("data", manifest.get("tasks")):
        raise OtherData(f"the model {model_dir.name} was not trained on {', '.join(map(str, data))}")
    if manifest["kind"] == "sft_model":
        return _examples(data, settings["batch_size"], seed, step - 1)
    return _problems(data, from_dict(RlRecipe, settings), seed, step - 1)


def _examples(files: Sequence[Path], batch_size: int, seed: int, step: int) -> pa.Table:
    rows = [row for file in files for row in read_columns(file, EXAMPLE_COLUMNS, PROVENANCE.names)]
    training = [row for row in rows if row["split"] == "train"]
    times = Counter(step_rows(len(training), batch_size, seed, step).tolist())
    found = [{**training[i], "tokens": sum(training[i]["loss_mask"]), "times": n} for i, n in sorted(times.items())]
    return pa.Table.from_pylist(found, schema=EXAMPLES_CONSUMED)


def _problems(files: Sequence[Path], recipe: RlRecipe, seed: int, step: int) -> pa.Table:
    origins = {row["task_id"]: row for file in files for row in read_columns(file, ("task_id",), PROVENANCE.names)}
    asked = update_problems(load_tasks(files, "train"), recipe, seed, step)
    times, families = Counter(p.problem_id for p in asked), {p.problem_id: p.family for p in asked}
    found = [
        {**origins[key], "problem_id": key, "family": families[key], "times": n, "samples": n * recipe.group_size}
        for key, n in sorted(times.items())
    ]
    return pa.Table.from_pylist(found, schema=PROBLEMS_CONSUMED)
