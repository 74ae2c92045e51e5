"""Prismatic selection against random selection of the same size, over ten pools, with a pretrained model as proxy.

Every seed makes another pool (other problems, another order of the families' skew, other votes) and another start. Rows
select on one half of the projected columns and are judged on the other half, which are an independent projection; so
nothing wins by fitting the noise of its own features. The control selects by features dealt to other candidates.
"""

import dataclasses
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.config import SelectionRecipe
from models.diversity.features import render_examples
from models.diversity.gradients import gradient_features
from models.diversity.selection import choose, compare
from models.recipes import FAMILIES, smoke
from models.tasks.mixture import draw
from models.tasks.synthesize import candidates, make_teacher
from models.training.checkpoint import load_model
from models.training.loop import deterministic

CRAWL = Path(__file__).resolve().parents[1] / "data" / "crawl"
SEEDS = range(10)
PROBLEMS = 500
SETTINGS = SelectionRecipe(dim=256, start_fraction=0.2, rounds=5, k_fraction=0.1, keep_fraction=0.5, target=400)


def proxy(root: Path, steps: int) -> Path:
    """A base model of the smoke recipe, trained for `steps` steps on the text of the bundled crawl."""
    from assets.steps.warc import Page, read
    from kernels.text.html import ExtractionLimit, UndecodablePage, extract
    from models.__main__ import main

    texts = {}
    for file in sorted(CRAWL.glob("*/*.warc.gz")):
        for record in read(file, f"{file.parent.name}/{file.name}"):
            if isinstance(record, Page):
                try:
                    text = extract(record.body, record.url)
                except (ExtractionLimit, UndecodablePage):
                    continue
                if len(text) > 500:
                    texts[record.doc_id] = text
    ids = sorted(texts)
    table = pa.table({"doc_id": ids, "cluster_id": ids, "text": [texts[identity] for identity in ids]})
    pq.write_table(table, root / "corpus.parquet")
    common = {"recipe": "smoke", "overrides": {"threads": 1, "pretrain": {"steps": steps}}}
    inputs = {
        "tokenizer": {"corpus_files": [str(root / "corpus.parquet")]},
        "tokenize": {"corpus_files": [str(root / "corpus.parquet")], "tokenizer_dir": str(root / "tokenizer/final")},
        "pretrain": {"shards_dir": str(root / "tokenize/final"), "tokenizer_dir": str(root / "tokenizer/final")},
    }
    for command, paths in inputs.items():
        (root / f"{command}.json").write_text(json.dumps({**common, **paths}))
        if main([command, "--config", str(root / f"{command}.json"), "--out", str(root / command)]):
            raise RuntimeError(f"{command} failed")
    return root / "pretrain" / "final"


def pool(seed: int, model_dir: Path, n_problems: int) -> tuple[list[str], np.ndarray]:
    """Valid candidates of one seed and their gradient features, twice SETTINGS.dim columns."""
    order = tuple(np.random.default_rng(seed).permutation(FAMILIES).tolist())
    synthesis = dataclasses.replace(smoke().synthesis, families=order, problems=n_problems)
    mixture = draw(order, n_problems, zipf=1.0, level_shares=(0.6, 0.3, 0.1), seed=seed, roles=("sft",))
    teacher = make_teacher({"kind": "procedural"}, synthesis, threads=1)
    rows = candidates(mixture.problems, teacher.solve(mixture.problems, synthesis.votes, seed), teacher)
    model, _ = load_model(model_dir)
    examples, _ = render_examples(rows, model_dir, model)
    return [example.identity for example in examples], gradient_features(model, examples, 2 * SETTINGS.dim, seed)


def experiment(model_dir: Path, n_problems: int = PROBLEMS) -> list[dict]:
    """One row a seed: the figures of `compare`, selected on the first half of the columns, judged on the second."""
    found = []
    for seed in SEEDS:
        ids, features = pool(seed, model_dir, n_problems)
        selecting, judging = features[:, : SETTINGS.dim], features[:, SETTINGS.dim :]
        chosen = choose(ids, selecting, SETTINGS, seed)
        found.append(compare(ids, judging, chosen, SETTINGS, seed))
        print(f"seed {seed}: {json.dumps(found[-1])}", file=sys.stderr, flush=True)
    return found


def wins(found: list[dict]) -> tuple[int, int]:
    """Pools of ten where the selection, and where the shuffled control, beats the mean of its random subsets."""
    return (
        sum(row["g_vendi"] > row["g_vendi_random_mean"] for row in found),
        sum(row["g_vendi_shuffled"] > row["g_vendi_shuffled_random_mean"] for row in found),
    )


def rows() -> list[dict]:
    deterministic(1, 0)
    with tempfile.TemporaryDirectory() as root:
        found = experiment(proxy(Path(root), steps=200))
    selection_wins, shuffled_wins = wins(found)

    def row(name: str, ours: float, peer: float, peer_name: str) -> dict:
        ceiling = statistics.mean(entry["g_vendi_ceiling"] for entry in found)
        return {
            "bench": "diversity",
            "row": name,
            "unit": "G-Vendi",
            "ours": ours,
            "peer": peer,
            "peer_name": peer_name,
            "ratio": ours / peer,
            "floor": ceiling,
            "floor_name": "finite-sample ceiling",
        }

    def mean(key: str) -> float:
        return statistics.mean(entry[key] for entry in found)

    return [
        row(f"selected ({selection_wins} of 10 pools)", mean("g_vendi"), mean("g_vendi_random_mean"), "random"),
        row(
            f"shuffled control ({shuffled_wins} of 10 pools)",
            mean("g_vendi_shuffled"),
            mean("g_vendi_shuffled_random_mean"),
            "random",
        ),
    ]
