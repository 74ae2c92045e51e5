"""A chain crosses made data: document, teacher, example, model; and back, from the model to the document."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.descent import CHOSEN_WITH, MADE_BY, MADE_FROM, MEASURED_WITH, PARENT_READ, READ, READ_DERIVED, READ_TAUGHT
from assets.lake import Lake
from assets.reach import reach
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope
from assets.takedowns import apply, seen_by
from models.artifacts import digest, read_manifest, seal
from models.config import TransformerConfig
from models.data import sft as sft_data
from models.data import tokenizer as tokenizers_room
from models.diversity import features, selection
from models.nets.transformer import Transformer
from models.tasks import rl_tasks, synthesize
from models.tasks.candidates import CANDIDATES
from models.training import sft
from models.training.checkpoint import save_final
from orchestration import ancestry
from tests.assets.byte_search import holding

PAGE, OTHER = (f"{n:08x}-0000-4000-8000-{n:012x}" for n in (1, 2))
NET = {"d_model": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8, "d_ff": 32, "max_seq_len": 96}
QUIET = {"report": lambda line: None}
SECRET = "the sentence of somebody who wants it back, long enough to be found again"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Makes a small random base model that has read one document; (seed, doc_id) → directory."""
    root = tmp_path_factory.mktemp("tokenizer")
    texts = [f"{a} + {b} = {a + b} gcd of Count the words Sort" for a in range(40) for b in range(9)]
    tokenizer = tokenizers_room.train(texts, 320)
    tokenizers_room.save(tokenizer, root)

    def make(out: Path, seed: int, doc_id: str) -> Path:
        consumed = out / "consumed.parquet"
        consumed.parent.mkdir(parents=True)
        rows = {"doc_id": [doc_id], "tokens": [7], "times": [1], "reads": [7]}
        pl.DataFrame(rows).write_parquet(consumed)
        net = Transformer(TransformerConfig(vocab_size=tokenizer.get_vocab_size(), tie_embeddings=True, **NET), seed)
        save_final(out / "final", net, root, {"parent": None}, kind="base_model", files={consumed.name: consumed})
        return out / "final"

    return make


CONFIG = {
    "recipe": "smoke",
    "overrides": {
        "threads": 1,
        "model": NET,
        "synthesis": {"problems": 240, "votes": 1, "max_tokens": 60, "temperature": 1.0, "families": ["count_bits"]},
        "selection": {"target": 30},
        "tasks": {"families": ["count_bits"], "train": 10, "heldout": 5},
        "sft": {"steps": 4, "batch_size": 4, "eval_every": 9, "eval_problems": 2, "heldout_fraction": 0.3},
    },
}


@pytest.fixture(scope="module")
def crossed(tmp_path_factory, base):
    """A lake whose instruct model never read the page: its teacher did. Its own base model read another."""
    root = tmp_path_factory.mktemp("crossed")
    lake = Lake(root / "home")
    teacher, own = base(root / "teacher", 1, PAGE), base(root / "own", 2, OTHER)
    digests = {"teacher": lake.commit_dir("base_model", teacher).data_version}
    digests["own"] = lake.commit_dir("base_model", own).data_version
    asked = CONFIG | {"teacher": {"kind": "checkpoint", "model_dir": str(teacher)}}
    synthesize.run(asked, root / "synthetic", **QUIET)
    lake.commit_dir("synthetic_candidates", root / "synthetic" / "final")
    files = {"candidates_files": [str(root / "synthetic" / "final" / "candidates.parquet")]}
    features.run(CONFIG | files | {"model_dir": str(own)}, root / "features", **QUIET)
    lake.commit_dir("gradient_features", root / "features" / "final")
    selection.run(CONFIG | files | {"features_dir": str(root / "features" / "final")}, root / "diverse", **QUIET)
    lake.commit_dir("diverse_candidates", root / "diverse" / "final")
    chosen = {
        "selected_files": [str(root / "diverse" / "final" / "selected.parquet")], "tokenizer_dir": str(own),
    }  # fmt: skip
    sft_data.run(CONFIG | chosen, root / "data", **QUIET)
    lake.commit_dir("sft_dataset", root / "data" / "final")
    examples = {"model_dir": str(own), "sft_files": [str(root / "data" / "final" / "sft.parquet")]}
    sft.run(CONFIG | examples, root / "sft", **QUIET)
    digests["sft"] = lake.commit_dir("sft_model", root / "sft" / "final").data_version
    rl_tasks.run(CONFIG, root / "tasks", **QUIET)
    lake.commit_dir("rl_tasks", root / "tasks" / "final")
    return lake, digests


def held_of(lake: Lake, doc_id: str) -> dict:
    return {(one.asset, one.what): one for one in reach(lake, scope("document", doc_id)).holdings}


def test_reach_names_what_a_model_that_read_the_page_wrote_and_the_model_that_learnt_from_it(crossed):
    lake, digests = crossed
    held = held_of(lake, PAGE)
    assert set(held) == {
        ("base_model", READ),
        ("synthetic_candidates", MADE_BY),
        ("diverse_candidates", MADE_BY),
        ("sft_dataset", MADE_BY),
        ("sft_model", READ_TAUGHT),
    }
    assert held["sft_model", READ_TAUGHT].version == digests["sft"]
    candidates = pq.read_table(lake.open_dir("synthetic_candidates") / "candidates.parquet")
    assert held["synthetic_candidates", MADE_BY].rows == candidates.num_rows


def test_reach_tells_data_that_a_model_chose_from_data_that_it_wrote(crossed):
    lake, digests = crossed
    held = held_of(lake, OTHER)
    assert set(held) == {
        ("base_model", READ),
        ("gradient_features", MEASURED_WITH),
        ("diverse_candidates", CHOSEN_WITH),
        ("sft_dataset", CHOSEN_WITH),
        ("sft_model", PARENT_READ),
    }
    assert held["base_model", READ].version == digests["own"]


def test_trace_leads_from_the_model_through_its_teacher_to_the_page(crossed):
    lake, digests = crossed
    assert ancestry.teachers_behind(lake, digests["sft"]) == [("base_model", digests["teacher"])]
    rows = ancestry.rows_of(lake, "sft_model", digests["sft"], lake.artifacts.version_of("sft_dataset"))
    made_of = ancestry.summary(lake, rows)
    assert [(one["teacher_model"], one["rows"]) for one in made_of["teachers"]] == [(digests["teacher"], rows.height)]
    assert [(one["asset"], one["chosen_with"]) for one in made_of["chosen_with"]] == [("base_model", digests["own"])]
    assert {one["generator"].split()[0] for one in made_of["generators"]} == {"reasoning_gym"}
    candidates = pq.read_table(lake.open_dir("synthetic_candidates") / "candidates.parquet").to_pylist()
    parents = {row["candidate_id"]: row for row in candidates}
    for row in rows.to_dicts():
        (parent,) = row["parents"]
        assert (parents[parent]["problem_seed"], parents[parent]["problem_index"]) == (
            row["problem_seed"],
            row["problem_index"],
        )


def test_gate_refuses_a_model_whose_teacher_read_the_page(crossed):
    lake, digests = crossed
    ledger = Ledger(lake.local)
    number = ledger.add(scope("document", PAGE), "Ann", "hers")[0].number
    assert seen_by(lake, digests["sft"]) == [number] == seen_by(lake, digests["teacher"])
    assert seen_by(lake, digests["own"]) == []


@pytest.fixture
def derived(tmp_path, crossed):
    """A lake in which the page's text went into one candidate, and from there into an example and a model."""
    lake, source = Lake(tmp_path / "home"), crossed[0]
    rows = pq.read_table(source.open_dir("synthetic_candidates") / "candidates.parquet").to_pylist()
    rows = [row | {"teacher_model": None, "teacher": "an editor", "valid": True, "reason": None} for row in rows[:8]]
    rows[3] |= {"solution": SECRET, "doc_ids": [OTHER, PAGE]}
    for at in ("old", "new"):
        folder = tmp_path / at
        folder.mkdir()
        kept = rows if at == "new" else rows[:5]
        pq.write_table(pa.Table.from_pylist(kept, schema=CANDIDATES), folder / "candidates.parquet")
        seal(folder, "candidates", {"candidates": len(kept), "seed": 0})
        lake.commit_dir("synthetic_candidates", folder)
    work = lake.work_dir("synthetic_candidates", "0123456789abcdef") / "final"
    work.parent.joinpath("solutions").mkdir()
    (work.parent / "solutions" / "0.json").write_text(SECRET)
    work.mkdir()
    pq.write_table(pq.read_table(tmp_path / "new" / "candidates.parquet"), work / "candidates.parquet")
    made, _ = sft_data.examples(
        rows, tokenizers_room.load_tokenizer(source.open_dir("base_model")), heldout_fraction=0.0, max_tokens=999
    )
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(made, schema=sft_data.EXAMPLES), tmp_path / "data" / "sft.parquet")
    seal(tmp_path / "data", "sft_data", {})
    lake.commit_dir("sft_dataset", tmp_path / "data")
    from models.data.order import consumed_examples

    (tmp_path / "model").mkdir()
    pq.write_table(consumed_examples(made, 4, 2, seed=0), tmp_path / "model" / "consumed.parquet")
    seal(tmp_path / "model", "sft_model", {"parent": "0" * 32})
    model = lake.commit_dir("sft_model", tmp_path / "model").data_version
    return lake, model


def test_takedown_takes_the_rows_that_the_text_went_into_and_marks_who_learnt_from_them(derived, here_engine):
    from assets import policy

    lake, model = derived
    held = held_of(lake, PAGE)
    assert set(held) == {("synthetic_candidates", MADE_FROM), ("sft_dataset", MADE_FROM), ("sft_model", READ_DERIVED)}
    assert holding(lake.local, [SECRET])
    ledger = Ledger(lake.local)
    ledger.add(scope("document", PAGE), "Ann", "hers")
    (report,) = apply(lake, here_engine(), policy.load("fineweb"))
    assert holding(lake.local, [SECRET]) == set()
    left = pq.read_table(lake.open_dir("synthetic_candidates") / "candidates.parquet")
    assert left.num_rows == 7 and all(PAGE not in ids for ids in left["doc_ids"].to_pylist())
    assert pq.read_table(lake.open_dir("sft_dataset") / "sft.parquet").num_rows == 7
    assert read_manifest(lake.open_dir("synthetic_candidates"))["taken_out"] == 1
    assert [one["version"] for one in report["marked"]] == [model] and seen_by(lake, model) == [1]
    assert {one["asset"] for one in report["descendants"]} == {"synthetic_candidates", "sft_dataset"}
    changed = {(one["asset"], bool(one["after"])) for one in report["digests"]}
    assert changed == {("synthetic_candidates", True), ("synthetic_candidates", False), ("sft_dataset", True)}
    assert digest(lake.open_dir("sft_dataset")) == lake.artifacts.version_of("sft_dataset")
    assert {key[1] for key in held_of(lake, PAGE)} == {READ_DERIVED}
