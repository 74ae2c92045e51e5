"""The graph as a whole: one lineage, no bare asset, gated automation, and a text that freezes every spec."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets import schemas
from assets.configs import RECIPE_FIELDS, config_of
from assets.conventions import (
    BLOCKING,
    MONTHLY,
    NIGHTLY,
    REFRESH_BUT_FOR_SCORES,
    REFRESH_WHEN_SOUND,
    SOUND,
    TRAIN_WEEKLY_WHEN_SOUND,
    column_schema,
)
from orchestration.definitions import defs
from orchestration.specs import order

REPO = Path(__file__).resolve().parents[2]
SPECS = order(defs)
BY_NAME = {spec.key.to_user_string(): spec for spec in SPECS}
STAGES = [
    "labels", "quality_classifier", "crawl_fetches", "crawl_manifest", "documents", "annotations",
    "annotation_statistics", "contamination", "search_index", "page_quality", "decisions", "signatures",
    "duplicate_clusters", "repeated_text", "corpus", "corpus_card", "corpus_clusters", "tokenizer", "token_shards",
    "base_model", "synthetic_candidates", "gradient_features", "diverse_candidates", "sft_dataset", "sft_model",
    "rl_tasks", "rl_model", "preferences", "base_evaluation", "scorecard", "released_model",
]  # fmt: skip
PER_SNAPSHOT = STAGES[STAGES.index("crawl_fetches") : STAGES.index("corpus_card")]
NO_TABLES = {"search_index"}  # of the data plane: directories
RECORDS = ["takedown_reports", "refresh_report"]  # of what happened; nothing is built on them
EXPERIMENTS = ["ablations"]  # made when somebody asks; never outdated
TRAINED = [
    "quality_classifier",
    "tokenizer",
    "token_shards",
    "base_model",
    "synthetic_candidates",
    "sft_model",
    "rl_model",
]


def parents(name: str) -> set[str]:
    return {dep.asset_key.to_user_string() for dep in BY_NAME[name].deps}


def test_every_stage_is_in_the_graph_and_nothing_else():
    assert set(BY_NAME) == {*STAGES, *RECORDS, *EXPERIMENTS}


def test_everything_descends_from_the_crawl_and_from_people():
    reached = {"crawl_fetches", "labels"}
    for spec in SPECS:
        if parents(spec.key.to_user_string()) & reached:
            reached.add(spec.key.to_user_string())
    assert reached == {*STAGES, "refresh_report", *EXPERIMENTS}


def test_every_stage_before_the_rl_model_leads_to_it():
    above, waiting = set(), ["rl_model"]
    while waiting:
        name = waiting.pop()
        above.add(name)
        waiting += parents(name) - above
    assert set(STAGES[: STAGES.index("rl_model")]) - above == {"corpus_card", "annotation_statistics", *NO_TABLES}


@pytest.mark.parametrize("name", [*STAGES, *RECORDS, *EXPERIMENTS])
def test_no_asset_is_bare(name):
    spec = BY_NAME[name]
    assert spec.group_name and spec.group_name != "default"
    assert spec.owners and spec.kinds and spec.code_version and spec.description


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_automated_and_no_record_is(name):
    condition = BY_NAME[name].automation_condition
    assert condition is not None and condition.get_label()
    assert all(BY_NAME[other].automation_condition is None for other in [*RECORDS, *EXPERIMENTS])


def test_a_night_is_due_every_night_and_nothing_else_is():
    """Freshness is the age of the newest materialization, and what has nothing new is not made again."""
    assert {name for name, spec in BY_NAME.items() if spec.freshness_policy == NIGHTLY} == {"refresh_report"}
    assert {name for name, spec in BY_NAME.items() if spec.freshness_policy == MONTHLY} == set(STAGES)


@pytest.mark.parametrize("name", PER_SNAPSHOT)
def test_data_plane_is_cut_by_snapshot(name):
    assert isinstance(BY_NAME[name].partitions_def, dg.DynamicPartitionsDefinition)


@pytest.mark.parametrize("name", [name for name in PER_SNAPSHOT if name not in NO_TABLES])
def test_tables_say_what_their_columns_mean(name):
    columns = column_schema(schemas.table(name).schema).columns
    assert columns and all(column.description for column in columns)
    declared = BY_NAME[name].metadata.get("dagster/column_schema")
    assert declared is None if name == "annotations" else declared == column_schema(schemas.table(name).schema)


def test_what_reads_all_snapshots_says_so():
    whole = [spec for spec in SPECS if spec.partitions_def is None]
    mapped = {
        dep.asset_key.to_user_string(): type(dep.partition_mapping)
        for spec in whole
        for dep in spec.deps
        if BY_NAME[dep.asset_key.to_user_string()].partitions_def is not None
    }
    assert mapped and set(mapped.values()) == {dg.AllPartitionMapping}


def test_training_is_never_eager():
    for name in TRAINED:
        assert BY_NAME[name].automation_condition == TRAIN_WEEKLY_WHEN_SOUND
    assert "eager" not in repr(TRAIN_WEEKLY_WHEN_SOUND).lower().replace("on_cron", "")


def test_all_conditions_ask_for_sound_inputs():
    for spec in [BY_NAME[name] for name in STAGES]:
        scored = REFRESH_BUT_FOR_SCORES if spec.key.to_user_string() == "decisions" else REFRESH_WHEN_SOUND
        assert spec.automation_condition in (scored, TRAIN_WEEKLY_WHEN_SOUND)
    assert "all_deps_blocking_checks_passed" in [one.get_label() for one in REFRESH_BUT_FOR_SCORES.operands]
    for condition in (REFRESH_WHEN_SOUND, TRAIN_WEEKLY_WHEN_SOUND):
        assert SOUND in condition.operands


def test_every_table_and_model_has_a_blocking_check():
    unchecked = set(STAGES) - set(BLOCKING)
    assert unchecked == {"signatures", "tokenizer", "synthetic_candidates", "gradient_features", "diverse_candidates"}
    blocking = {check.key for checks in defs.asset_checks or [] for check in checks.check_specs if check.blocking}
    assert {(key.asset_key.to_user_string(), key.name) for key in blocking} == {
        (asset, name) for asset, names in BLOCKING.items() for name in names
    }


def test_jobs_cover_the_graph_without_overlap():
    graph = defs.resolve_asset_graph()
    jobs = {job.name: getattr(job, "selection", None) for job in defs.jobs or []}
    assert [name for name, selection in jobs.items() if selection is None] == ["nightly"]
    chosen = {
        name: {key.to_user_string() for key in selection.resolve(graph)}
        for name, selection in jobs.items()
        if selection is not None
    }
    assert chosen == {
        "pages": set(PER_SNAPSHOT),
        "models": set(STAGES) - set(PER_SNAPSHOT) - {"labels", "quality_classifier"},
        "curation": {"labels", "quality_classifier"},
        "takedowns": {"takedown_reports"},
        "report": {"refresh_report"},
        "ablate": {"ablations"},
    }


def test_recipe_fields_exist_and_decide_every_learning_stage():
    of_people = {"labels", "quality_classifier", "preferences"}
    learning = set(STAGES) - set(PER_SNAPSHOT) - {"corpus_card", "corpus_clusters"} - of_people
    assert set(RECIPE_FIELDS) == learning | set(EXPERIMENTS)
    for name in learning:
        configs = [config_of(name, recipe=recipe, policy="fineweb") for recipe in ("smoke", "demo")]
        assert set(configs[0]) == {"seed", "threads", *RECIPE_FIELDS[name]}


def test_an_ablation_is_decided_by_its_recipe_the_policy_and_the_held_out_sets(shared_data):
    def config(**given):
        return config_of("ablations", **{"recipe": "smoke", "policy": "fineweb", **given})

    assert config() == config() and set(config()) == {"seed", "threads", "ablation", "policy", "rules", "sets"}
    assert config()["rules"] != config(policy="strict")["rules"]
    assert config()["ablation"] != config(recipe="demo")["ablation"]
    assert config()["sets"] != config(heldout_sets=str(shared_data))["sets"]


def test_definitions_stay_light():
    heavy = ["torch", "mlflow", "datatrove", "transformers", "trafilatura", "spacy", "matplotlib"]
    code = f"import sys, orchestration.definitions; print([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_specs_are_the_committed_ones():
    """Rewrite the file on purpose: python tests/assets/test_graph.py > tests/assets/specs.json"""
    assert described() == json.loads((Path(__file__).parent / "specs.json").read_text())


def described() -> list[dict]:
    return [
        {
            "asset": spec.key.to_user_string(),
            "deps": sorted(parents(spec.key.to_user_string())),
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "owners": list(spec.owners),
            "code_version": spec.code_version,
            "partitions": getattr(spec.partitions_def, "name", None),
            "condition": spec.automation_condition.get_label() if spec.automation_condition else None,
            "checks": sorted(BLOCKING.get(spec.key.to_user_string(), [])),
            "description": spec.description,
        }
        for spec in SPECS
    ]


if __name__ == "__main__":
    print(json.dumps(described(), indent=1, ensure_ascii=False))
