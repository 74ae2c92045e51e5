"""The commands synthesize and rl-tasks: reproducible, resumable, disjoint, judged."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from models.__main__ import main
from models.artifacts import digest, verify
from models.config import InputError, TransformerConfig
from models.data import tokenizer as tokenizers_room
from models.nets.transformer import Transformer
from models.recipes import RECIPES, resolve
from models.tasks.candidates import CANDIDATES, read_candidates
from models.tasks.families import FAMILIES, generate, role_of
from models.tasks.rl_tasks import TASKS, problem_ids
from models.tasks.synthesize import make_teacher
from models.tasks.teachers import CheckpointTeacher, Teacher
from models.tasks.verify import normalise
from models.tasks.verify import verify as verdict
from models.tasks.votes import REASONS
from models.training.checkpoint import save_final


def command(tmp_path: Path, name: str, config: dict, out: str = "work") -> int:
    path = tmp_path / f"{name}-{out}.json"
    path.write_text(json.dumps(config))
    return main([name, "--config", str(path), "--out", str(tmp_path / out)])


def synthesized(tmp_path: Path, out: str = "work", **config) -> list[dict]:
    assert command(tmp_path, "synthesize", {"recipe": "smoke", **config}, out) == 0
    verify(tmp_path / out / "final")
    table = pq.read_table(tmp_path / out / "final" / "candidates.parquet")
    assert table.schema.equals(CANDIDATES)
    return table.to_pylist()


def small_tokenizer() -> Tokenizer:
    return tokenizers_room.train(
        [f"{a} + {b} = {a + b} gcd of Count the words" for a in range(40) for b in range(9)], 320
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("model")
    (root / "tokenizer").mkdir()
    tokenizer = small_tokenizer()
    tokenizers_room.save(tokenizer, root / "tokenizer")
    config = TransformerConfig(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=16,
        n_layers=1,
        n_heads=2,
        n_kv_heads=2,
        head_dim=8,
        d_ff=32,
        max_seq_len=96,
        tie_embeddings=True,
    )
    save_final(root / "final", Transformer(config, seed=3), root / "tokenizer", {"parent": None})
    return root / "final"


def test_candidates_say_what_the_vote_said(tmp_path):
    rows = synthesized(tmp_path)
    assert 200 <= len(rows) == len({row["problem_id"] for row in rows}) == len({row["candidate_id"] for row in rows})
    for row in rows:
        assert row["candidate_id"].startswith(row["problem_id"] + "-") and role_of(row["problem_id"]) == "sft"
        assert row["valid"] == (row["reason"] is None) == (2 * row["majority"] > row["votes"])
        assert row["reason"] in (None, *REASONS) and row["parents"] == [] and row["teacher"] == "procedural"
        if row["valid"]:
            assert row["answer"] == normalise(row["solution"])
    report = json.loads((tmp_path / "work" / "final" / "report.json").read_text())
    dropped = [row for row in rows if not row["valid"]]
    assert report["dropped"] == len(dropped) == sum(report[f"dropped_{reason}"] for reason in REASONS) > 0
    wrong = [row for row in rows if row["valid"] and not verdict(row["gold_answer"], row["solution"])]
    assert report["wrong_left"] == len(wrong) and 0 < report["wrong_after"] < report["wrong_before"]


def test_families_are_skewed_in_the_recipes_order(tmp_path):
    families = [row["family"] for row in synthesized(tmp_path)]
    counts = [families.count(family) for family in resolve({"recipe": "smoke"}).synthesis.families]
    assert counts == sorted(counts, reverse=True) and counts[0] > 6 * counts[-1] > 0


def test_same_seed_same_bytes_and_another_seed_other_problems(tmp_path):
    first, again = synthesized(tmp_path, "a"), synthesized(tmp_path, "b")
    assert digest(tmp_path / "a" / "final") == digest(tmp_path / "b" / "final") and first == again
    other = synthesized(tmp_path, "c", seed=1)
    shared = {row["problem_id"] for row in first} & {row["problem_id"] for row in other}
    assert len(shared) < len(first) / 2


def test_a_killed_run_asks_only_for_what_is_missing(tmp_path, monkeypatch):
    from models.tasks.teachers import ProceduralTeacher

    asked: list[int] = []
    solve = ProceduralTeacher.solve

    def counted(self, problems, n_solutions, seed):
        asked.append(len(problems))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return solve(self, problems, n_solutions, seed)

    monkeypatch.setattr(ProceduralTeacher, "solve", counted)
    with pytest.raises(KeyboardInterrupt):
        synthesized(tmp_path)
    synthesized(tmp_path)
    assert asked == [256, 4, 4]
    synthesized(tmp_path, "whole")
    assert digest(tmp_path / "work" / "final") == digest(tmp_path / "whole" / "final")


def test_a_checkpoint_can_teach(tmp_path, checkpoint):
    changes = {"synthesis": {"problems": 24, "votes": 2, "max_tokens": 6, "temperature": 1.0}}
    rows = synthesized(tmp_path, overrides=changes, teacher={"kind": "checkpoint", "model_dir": str(checkpoint)})
    assert {row["teacher"] for row in rows} == {f"checkpoint:{digest(checkpoint)}"} and len(rows) == 24
    assert sum(row["valid"] for row in rows) < 12  # an untrained model agrees with itself by chance only


def test_a_checkpoints_solutions_do_not_depend_on_their_batch(checkpoint):
    problems = generate("gcd", 7, 1, 1)
    teachers: list[Teacher] = [CheckpointTeacher(checkpoint, max_new_tokens=8, batch_size=size) for size in (1, 4, 64)]
    alone, few, many = (teacher.solve(problems, 2, seed=5) for teacher in teachers)
    assert alone == few == many
    assert len({solution.text for row in many for solution in row}) > 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "kind is one of"),
        ({"kind": "oracle"}, "kind is one of"),
        ({"kind": "procedural", "url": "x"}, "kind is one of"),
        ({"kind": "openai", "model": "m"}, "needs base_url"),
        ({"kind": "checkpoint"}, "needs model_dir"),
        ({"kind": "openai", "model": "m", "base_url": "http://x", "api_key_env": "STEMMA_NO_SUCH_KEY"}, "not set"),
    ],
)
def test_teachers_that_cannot_be_made_are_input_errors(spec, message):
    with pytest.raises(InputError, match=message):
        make_teacher(spec, resolve({"recipe": "smoke"}).synthesis, 1)


def test_input_errors_exit_with_2(tmp_path, capsys):
    assert command(tmp_path, "synthesize", {"recipe": "smoke", "teacher": {"kind": "oracle"}}) == 2
    assert "kind is one of" in capsys.readouterr().err


def test_tasks_never_meet_instruction_data_and_splits_never_meet(tmp_path):
    candidates = synthesized(tmp_path)
    instruction = str(tmp_path / "work" / "final" / "candidates.parquet")
    assert command(tmp_path, "rl-tasks", {"recipe": "smoke", "exclude": [instruction]}, "tasks") == 0
    table = pq.read_table(tmp_path / "tasks" / "final" / "tasks.parquet")
    assert table.schema.equals(TASKS)
    rows = table.to_pylist()
    ids = {split: {row["task_id"] for row in rows if row["split"] == split} for split in ("train", "heldout")}
    assert len(ids["train"]) == 120 and len(ids["heldout"]) == 60 and not ids["train"] & ids["heldout"]
    assert not (ids["train"] | ids["heldout"]) & {row["problem_id"] for row in candidates}
    assert {row["family"] for row in rows} == set(FAMILIES)
    assert all(verdict(row["answer"], row["answer"]) == 1.0 for row in rows)


def test_foreign_instruction_data_is_excluded_by_either_column(tmp_path):
    assert command(tmp_path, "rl-tasks", {"recipe": "smoke"}, "free") == 0
    first = pq.read_table(tmp_path / "free" / "final" / "tasks.parquet").to_pylist()
    taken = [row["task_id"] for row in first[:50]]
    pq.write_table(pa.table({"problem_id": taken[:25]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"candidate_id": [f"{identity}-0123" for identity in taken[25:]]}), tmp_path / "b.parquet")
    files = [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    assert problem_ids(files) == set(taken)
    assert command(tmp_path, "rl-tasks", {"recipe": "smoke", "exclude": files}, "strict") == 0
    rows = pq.read_table(tmp_path / "strict" / "final" / "tasks.parquet").to_pylist()
    assert len(rows) == len(first) and not {row["task_id"] for row in rows} & set(taken)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match="neither"):
        problem_ids([tmp_path / "c.parquet"])
    with pytest.raises(InputError, match="cannot be read"):
        problem_ids([tmp_path / "missing.parquet"])


def test_candidates_read_back_in_one_order_from_any_files(tmp_path):
    rows = synthesized(tmp_path)
    table = pa.Table.from_pylist(rows[::-1], schema=CANDIDATES).append_column("extra", pa.array([0] * len(rows)))
    pq.write_table(table.slice(0, 100), tmp_path / "1.parquet")
    pq.write_table(table.slice(100), tmp_path / "2.parquet")
    assert read_candidates([tmp_path / "1.parquet", tmp_path / "2.parquet"]) == rows
    with pytest.raises(InputError, match="twice"):
        read_candidates([tmp_path / "1.parquet", tmp_path / "1.parquet"])
    pq.write_table(table.drop_columns(["valid"]), tmp_path / "3.parquet")
    with pytest.raises(InputError, match="no column valid"):
        read_candidates([tmp_path / "3.parquet"])
    with pytest.raises(InputError, match="no candidate"):
        read_candidates([])


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_ask_for_known_families_and_sound_numbers(name):
    recipe = RECIPES[name]()
    assert set(recipe.synthesis.families) <= set(FAMILIES) and set(recipe.tasks.families) <= set(FAMILIES)
    assert recipe.synthesis.votes % 2 == 1 and recipe.selection.dim % 64 == 0
    assert recipe.selection.target < recipe.synthesis.problems
