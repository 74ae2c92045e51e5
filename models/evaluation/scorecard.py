"""`python -m models evaluate`: every model on every metric, beside what knowing nothing would score.

| metric | unit of n | uniform baseline | random baseline |
|---|---|---|---|
| bits_per_byte, held-out documents | document | log2(V) bits a token | token frequencies of the training split |
| accuracy_greedy, accuracy_sampled | problem | a uniform token predictor | answer drawn from the family's own |
| response_tokens, with the end token | problem | a uniform token predictor | length of such a drawn answer |

Accuracies and lengths come overall and per family (`metric/family`). Baselines are exact expectations, not samples.
Intervals are 95%: Wilson's for greedy accuracy, a bootstrap over documents or problems for the rest.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from kernels.tokens.shards import CorruptShard, SplitReader
from models.artifacts import building, digest, publish, seal, sha256_file, verify, write_json
from models.config import InputError
from models.data.tokenizer import load_tokenizer, tokenizer_sha256
from models.evaluation.accuracy import load_tasks, measure, summarise
from models.evaluation.bits import model_bits, token_bytes, uniform_bits, unigram_bits
from models.evaluation.intervals import Estimate, bootstrap_ratio
from models.nets.transformer import Transformer
from models.recipes import resolve
from models.tasks.families import Problem
from models.tasks.verify import normalise
from models.training.checkpoint import load_model
from models.training.loop import choose_device, deterministic

SCORECARD = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False, metadata={"meaning": "lower end of the 95% interval"}),
        pa.field("high", pa.float64(), nullable=False, metadata={"meaning": "upper end of the 95% interval"}),
        pa.field("n", pa.int64(), nullable=False, metadata={"meaning": "documents or problems measured"}),
        pa.field("baseline_uniform", pa.float64(), nullable=False),
        pa.field("baseline_random", pa.float64(), nullable=False),
    ]
)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What two predictors that know nothing of the question score on one metric."""

    uniform: float
    random: float


def run(config: dict[str, Any], out: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """The `evaluate` command. Config: recipe, seed, overrides, models {name: dir}, shards_dir, tasks_files.

    Publishes scorecard.parquet (SCORECARD: models in the given order, metrics by name) and the same rows as
    scorecard.json. InputError when a model's tokenizer is not the one that made the shards.
    """
    recipe = resolve(config)
    if not config.get("models") or not config.get("shards_dir") or not config.get("tasks_files"):
        raise InputError("evaluate needs models, shards_dir and tasks_files")
    shards_dir, files = Path(config["shards_dir"]), [Path(file) for file in config["tasks_files"]]
    training, heldout = load_tasks(files, "train"), load_tasks(files, "heldout")
    shards = verify(shards_dir)
    try:
        text, training_text = SplitReader(shards_dir, "heldout"), SplitReader(shards_dir, "train")
    except CorruptShard as error:
        raise InputError(str(error)) from error
    deterministic(recipe.threads, recipe.seed)
    device = choose_device(recipe.rl.device)
    rows: list[dict[str, Any]] = []
    baselines: dict[str, Baseline] = {}
    for name, directory in config["models"].items():
        directory = Path(directory)
        if tokenizer_sha256(directory) != shards.get("tokenizer_sha256"):
            raise InputError(f"model {name} has another tokenizer than the shards in {shards_dir}")
        model, architecture = load_model(directory, device)
        tokenizer = load_tokenizer(directory)
        if not baselines:
            baselines = {
                "bits_per_byte": text_baseline(text, training_text, tokenizer, architecture.vocab_size),
                **task_baselines(training, heldout, tokenizer, recipe.rl.max_new_tokens),
            }
        results = measure(
            model,
            tokenizer,
            heldout,
            max_new_tokens=recipe.rl.max_new_tokens,
            samples=recipe.rl.eval_samples,
            seed=recipe.seed,
        )
        figures = {"bits_per_byte": text_estimate(model, text, tokenizer), **summarise(results)}
        for metric in sorted(figures):
            baseline = baselines[metric]
            row = {"model": name, "metric": metric, **dataclasses.asdict(figures[metric])}
            rows.append(row | {"baseline_uniform": baseline.uniform, "baseline_random": baseline.random})
        report(
            f"evaluate: {name}: {figures['bits_per_byte'].value:.3f} bits per byte, accuracy"
            f" {figures['accuracy_greedy'].value:.1%} greedy, {figures['accuracy_sampled'].value:.1%} sampled"
        )
    with building(out / "final") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCORECARD), temporary / "scorecard.parquet")
        write_json(temporary / "scorecard.json", rows)
        identity = {
            "models": {name: digest(Path(directory)) for name, directory in config["models"].items()},
            "shards": digest(shards_dir),
            "tasks": [sha256_file(file) for file in files],
            "seed": recipe.seed,
        }
        seal(temporary, "scorecard", identity)
        publish(temporary, out / "final")
    return {
        f"{row['model']}/{row['metric']}": row["value"]
        for row in rows
        if row["metric"] in ("bits_per_byte", "accuracy_greedy", "accuracy_sampled")
    }


def text_estimate(model: Transformer, reader: SplitReader, tokenizer: Tokenizer) -> Estimate:
    """Bits per byte on all documents of a split, with its interval over documents."""
    sizes = token_bytes(tokenizer)
    scored = [model_bits(model, reader, sizes, documents=[index]) for index in range(len(reader.doc_ids))]
    scored = [bits for bits in scored if bits.text_bytes]
    return bootstrap_ratio([bits.bits for bits in scored], [float(bits.text_bytes) for bits in scored])


def text_baseline(reader: SplitReader, training: SplitReader, tokenizer: Tokenizer, vocab_size: int) -> Baseline:
    """Bits per byte of the uniform and of the unigram predictor."""
    sizes = token_bytes(tokenizer)
    uniform, unigram = uniform_bits(reader, sizes, vocab_size), unigram_bits(reader, training, sizes, vocab_size)
    return Baseline(uniform.value, unigram.value)


def task_baselines(
    training: Sequence[Problem], heldout: Sequence[Problem], tokenizer: Tokenizer, max_new_tokens: int
) -> dict[str, Baseline]:
    """Baselines of the accuracies and of response_tokens, overall and per family.

    Uniform: every token, the end token too, has probability 1/V. It is right with at least V^-(tokens + 1), counting
    only the bare answer; other spellings of it add less than rounding. Random: an answer drawn from the training
    problems of the same family, and never right in a family without any.
    """
    vocab_size = tokenizer.get_vocab_size()
    answers: dict[str, Counter[str | None]] = {}
    lengths: dict[str, list[int]] = {}
    for problem in training:
        answers.setdefault(problem.family, Counter())[normalise(problem.answer)] += 1
        lengths.setdefault(problem.family, []).append(_tokens(problem.answer, tokenizer))
    groups: dict[str, list[Problem]] = {"": list(heldout)}
    for problem in heldout:
        groups.setdefault(f"/{problem.family}", []).append(problem)
    endless = float(vocab_size * -np.expm1(max_new_tokens * np.log1p(-1 / vocab_size)))
    found = {}
    for suffix, group in groups.items():
        drawn, spelled, sizes = [], [], []
        for problem in group:
            known = answers.get(problem.family, Counter())
            drawn.append(known[normalise(problem.answer)] / max(known.total(), 1))
            spelled.append(float(vocab_size) ** -_tokens(problem.answer, tokenizer))
            sizes.append(min(float(np.mean(lengths.get(problem.family, [1]))), max_new_tokens))
        right = Baseline(float(np.mean(spelled)), float(np.mean(drawn)))
        found |= {f"accuracy_greedy{suffix}": right, f"accuracy_sampled{suffix}": right}
        found[f"response_tokens{suffix}"] = Baseline(endless, float(np.mean(sizes)))
    return found


def _tokens(answer: str, tokenizer: Tokenizer) -> int:
    """Tokens of a bare answer with its end token."""
    return len(tokenizer.encode(answer).ids) + 1
