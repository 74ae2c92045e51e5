"""`stemma policy`: answers for people and machines, about a folder or a home, one line where there is no answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from assets.lake import Lake
from assets.policy import available, load
from assets.schemas import table
from tests.benchmarks.policies import annotated_rows

REPO = Path(__file__).resolve().parents[2]
PAGES = 300


def stemma(*arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "160", **({"STEMMA_HOME": str(home)} if home else {})}
    command = [sys.executable, "-m", "orchestration.cli", "policy", *arguments]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, env=environment)


def answer(*arguments: str, home: Path | None = None) -> dict:
    done = stemma(*arguments, "--json", home=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, block_list_cache) -> Path:
    """As much of a `stemma corpus` folder as a policy is asked about."""
    out = tmp_path_factory.mktemp("out")
    (out / "annotations").mkdir()
    annotated_rows(PAGES, block_list_cache).write_parquet(out / "annotations" / "part-00000.parquet")
    return out


@pytest.fixture(scope="module")
def home(tmp_path_factory, folder) -> Path:
    root = tmp_path_factory.mktemp("home")
    (root / "home.json").write_text("{}")
    rows = pl.read_parquet(folder / "annotations" / "*.parquet").with_columns(pl.lit("2024-10").alias("snapshot"))
    Lake(root).write("annotations", rows.select(table("annotations").schema.names), replace={"snapshot": "2024-10"})
    return root


def test_list_and_show_say_what_is_in_effect():
    listed = answer("list")
    assert [one["policy"] for one in listed] == [load(name).id for name in available()]
    shown = answer("show", "fineweb_v1")
    assert shown["digest"] == load("fineweb_v1").digest and shown["extends"] == ["fineweb@1"]
    assert [rule["rule"] for rule in shown["rules"]] == [rule.rule for rule in load("fineweb").rules]
    german = answer("show", "fineweb2", "--language", "deu_Latn")
    assert {"condition": "language_score >= 0.821"}.items() <= german["rules"][3].items()
    table = stemma("show", "fineweb2").stdout
    assert "other rules by language for arb_Arab" in table and "100: 8" in table


def test_diff_names_rules_settings_and_with_a_folder_the_pages(folder):
    found = answer("diff", "fineweb", "fineweb2")
    assert {
        "rule": "curly_bracket",
        "before": "c4_reason not in curly_bracket",
        "after": None,
        "languages": "all",
    } in found["rules"]
    assert found["settings"]["line_filter"] == {"before": "c4", "after": "none"} and found["effect"] is None
    found = answer("diff", "fineweb", "fineweb_v1", "--corpus", str(folder))
    assert found["effect"]["pages"]["documents"] == PAGES and len(found["rules"]) == 4


def test_what_if_gives_the_same_answer_about_a_folder_and_a_home(folder, home):
    question = ["what-if", "fineweb", "--set", "language_score.min=0.9", "--remove", "curly_bracket"]
    about_folder = answer(*question, "--corpus", str(folder))
    about_home = answer(*question, home=home)
    assert about_home == about_folder == answer(*question, "--home", str(home), "--snapshot", "2024-10")
    effect = about_home["effect"]
    before, after = effect["reasons"]["kept"]
    assert after["documents"] - before["documents"] == effect["kept_now"] - effect["dropped_now"]
    assert effect["reasons"]["curly_bracket"][1]["documents"] == 0
    shown = stemma(*question, "--corpus", str(folder)).stdout
    assert "lid176_score > 0.9" in shown and "pages that change sides" in shown


def test_statistics_are_shown_for_all_or_for_one_by_language(folder):
    everything = answer("statistics", "--corpus", str(folder))
    assert {row["grouped_by"] for row in everything} == {"all"} and len(everything) > 40
    one = answer("statistics", "n_words", "--corpus", str(folder))
    assert sum(row["n"] for row in one if row["grouped_by"] == "language") == PAGES
    assert "█" in stemma("statistics", "n_words", "--corpus", str(folder)).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "finewebb"], "unknown policy finewebb"),
        (["show", "fineweb", "--language", "deu_Latn"], "has no rules of its own for deu_Latn"),
        (["what-if", "fineweb", "--corpus", "."], "say what to change: --set RULE.FIELD=VALUE"),
        (["what-if", "fineweb", "--set", "x.min=1", "--corpus", "."], "has no rule x"),
        (["what-if", "fineweb", "strict", "--corpus", "."], "holds no annotations: name a folder that `stemma corpus`"),
        (["what-if", "fineweb", "strict", "--home", "/none/there"], "nothing was made in /none/there yet"),
        (
            ["what-if", "fineweb", "strict", "--home", ".", "--corpus", "."],
            "give no --home and no --snapshot beside it",
        ),
    ],
)
def test_a_question_without_an_answer_gets_one_line_and_code_2(arguments, message):
    done = stemma(*arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_policy_that_asks_for_more_than_was_measured_is_refused(folder):
    done = stemma("what-if", "fineweb", "strict", "--corpus", str(folder))
    assert done.returncode == 2 and "pages were not compared with evaluation sets" in done.stderr


def test_save_and_use_change_what_the_home_goes_by(home):
    saved = answer(
        "save", "ours", "--set", "language_score.min=0.8", "--by", "Ann", "--why", "surer of the language", home=home
    )
    assert (saved["policy"], saved["extends"], saved["meanwhile"]) == ("ours@1", ["fineweb@1"], [])
    assert [one["rule"] for one in saved["rules"]] == ["language_score"]
    assert answer("use", "ours", home=home)["policy"] == "ours@1"
    again = answer("save", "ours", "--remove", "url", "--by", "Bob", "--why", "lists are old", home=home)
    assert again["extends"] == ["ours@1", "fineweb@1"], "it starts from what the home goes by"
    assert [one["policy"] for one in answer("list", home=home)][-2:] == ["ours@1", "ours@2"]
    refused = stemma("save", "fineweb", "--set", "url.missing=pass", "--by", "A", "--why", "b", home=home)
    assert refused.returncode == 2 and "another name" in refused.stderr
    assert stemma("use", "nobody", home=home).returncode == 2
