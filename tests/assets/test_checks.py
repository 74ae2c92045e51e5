"""Every blocking check of the data plane fails when its property is broken, and the guards inside assets hold."""

import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets import schemas
from assets.lake import Lake
from assets.making import UndeclaredRead, making
from assets.resources import LakeResource, Progress, RecipeResource
from assets.searching import index as search
from orchestration import definitions

REPO = Path(__file__).resolve().parents[2]
FILES = ("dolma-sample-0000.warc.gz", "cc-whirlwind.warc.wet.gz")
SNAPSHOT = "small"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture(scope="module")
def made(tmp_path_factory, block_list_cache) -> Path:
    """A home whose data plane was really made, from two small files of the bundled crawl."""
    root = tmp_path_factory.mktemp("checks")
    crawl = root / "crawl" / SNAPSHOT
    crawl.mkdir(parents=True)
    for name in FILES:
        shutil.copy(REPO / "tests" / "data" / "crawl" / "web-sample-2024" / name, crawl)
    (root / "home").mkdir()
    (root / "home" / "cache").symlink_to(block_list_cache)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STEMMA_HOME", str(root / "home"))
        environment.setenv("STEMMA_CRAWL", str(root / "crawl"))
        with dg.DagsterInstance.ephemeral() as instance:
            assert run(instance, "pages").success
            clusters = definitions.build().resolve_job_def("models")
            chosen = [dg.AssetKey(["corpus_clusters"])]
            assert clusters.execute_in_process(instance=instance, asset_selection=chosen, run_config=QUIET).success
    return root


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of that home to break."""
    shutil.copytree(made / "home", tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.setenv("STEMMA_HOME", str(tmp_path))
    monkeypatch.setenv("STEMMA_CRAWL", str(made / "crawl"))
    return tmp_path


def run(instance: dg.DagsterInstance, job: str, assets: list[str] | None = None) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions("snapshot", [SNAPSHOT])
    chosen = [dg.AssetKey([name]) for name in assets] if assets else None
    return (
        definitions.build()
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance, partition_key=SNAPSHOT, asset_selection=chosen, raise_on_error=False, run_config=QUIET
        )
    )


def evaluate(instance: dg.DagsterInstance, asset: str, check: str) -> bool:
    """Runs one check alone, on what the home holds."""
    key = dg.AssetCheckKey(dg.AssetKey([asset]), check)
    job = dg.define_asset_job("one_check", dg.AssetSelection.checks(key))
    built = dg.Definitions.merge(definitions.build(), dg.Definitions(jobs=[job]))
    instance.add_dynamic_partitions("snapshot", [SNAPSHOT])
    result = built.resolve_job_def("one_check").execute_in_process(
        instance=instance, tags={"dagster/partition": SNAPSHOT}, raise_on_error=False, run_config=QUIET
    )
    [evaluation] = result.get_asset_check_evaluations()
    return evaluation.passed


def passes(asset: str, check: str) -> bool:
    with dg.DagsterInstance.ephemeral() as instance:
        return evaluate(instance, asset, check)


def change(home: Path, table: str, *columns: pl.Expr, rows: slice = slice(None)) -> None:
    """Rewrites a table of the copy with some columns replaced; of some rows only, when asked."""
    lake = Lake(home)
    frame = lake.scan(table, snapshot=SNAPSHOT).collect()[rows]
    if columns:
        frame = frame.with_columns(*columns)
    lake.write(table, frame.select(schemas.table(table).schema.names), replace={"snapshot": SNAPSHOT})


def first_row(value: pl.Expr, column: str) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) == 0).then(value).otherwise(pl.col(column)).alias(column)


BROKEN = {
    ("documents", "records_are_accounted_for"): ("documents", [], slice(1, None)),
    ("documents", "doc_ids_are_unique"): ("documents", [pl.col("doc_id").first().alias("doc_id")], slice(None)),
    ("annotations", "languages_are_known"): (
        "annotations", [first_row(pl.lit("en"), "language")], slice(None),  # lid.176's code is no tag of ours
    ),
    ("annotation_statistics", "statistics_count_every_page"): (
        "annotation_statistics", [first_row(pl.col("n") + 1, "n")], slice(None),
    ),
    ("decisions", "decisions_account_for_every_page"): (
        "decisions", [pl.lit(None, pl.String).alias("reason"), pl.lit("dropped").alias("verdict")], slice(None),
    ),
    ("duplicate_clusters", "clusters_partition_the_kept_pages"): (
        "duplicate_clusters", [pl.lit("none").alias("cluster_id")], slice(None),
    ),
    ("duplicate_clusters", "every_source_keeps_its_share"): (
        "duplicate_clusters", [pl.lit(False).alias("survivor")], slice(None),
    ),
    ("corpus_clusters", "clusters_partition_the_corpus"): ("corpus_clusters", [], slice(1, None)),
    ("corpus_clusters", "clusters_are_those_of_the_index"): (
        "corpus_clusters", [first_row(pl.lit(0.5), "similarity")], slice(None),
    ),
    ("repeated_text", "spans_lie_in_their_texts"): (
        "repeated_text", [pl.lit([{"start": 5, "end": 5}]).alias("cut")], slice(None),
    ),
    ("corpus", "corpus_holds_the_survivors"): ("corpus", [], slice(1, None)),
    ("corpus", "no_personal_data_is_left"): (
        "corpus", [(pl.col("text") + "\nWrite to jane.doe@gmail.com or 203.0.113.77.").alias("text")], slice(None),
    ),
    ("crawl_fetches", "planned_records_are_accounted_for"): (
        "crawl_fetches", [pl.lit(7, pl.Int64).alias("planned_records")], slice(None),
    ),
    ("crawl_manifest", "files_are_listed_once"): ("crawl_manifest", [pl.lit("0").alias("shard")], slice(None)),
}  # fmt: skip


@pytest.mark.parametrize(("asset", "check"), BROKEN)
def test_check_passes_on_what_was_made_and_fails_when_it_is_broken(home, asset, check):
    assert passes(asset, check)
    table, columns, rows = BROKEN[(asset, check)]
    change(home, table, *columns, rows=rows)
    assert not passes(asset, check)


def test_a_passage_that_is_not_in_its_page_fails_the_check_on_contamination(home):
    page = Lake(home).scan("documents", snapshot=SNAPSHOT).sort("doc_id").select("doc_id", "shard", "text").first()
    doc_id, shard, text = page.collect().row(0)
    sound = {"doc_id": doc_id, "shard": shard, "start": 0, "end": len(text), "n_matches": 1, "n_ngrams": 9}
    broken = [{"end": len(text) + 1}, {"start": len(text)}, {"doc_id": "none"}, {"n_matches": 10}]
    for changes in ({}, *broken):
        row = {"snapshot": SNAPSHOT, "set": "s", "item": "0", "part": "question", **sound, **changes}
        Lake(home).write("contamination", pl.DataFrame([row]), replace={"snapshot": SNAPSHOT})
        assert passes("contamination", "spans_lie_in_their_pages") == (changes == {})


def test_a_page_that_cannot_be_found_fails_the_check_on_search_index(home):
    assert passes("search_index", "every_page_is_indexed")
    place, *_ = search.wanted(Lake(home), SNAPSHOT)
    moved = place.folder.rename(home / "elsewhere")
    assert not passes("search_index", "every_page_is_indexed")
    moved.rename(place.folder)
    pl.read_parquet(place.folder / search.IDS).head(0).write_parquet(place.folder / search.IDS)
    assert not passes("search_index", "every_page_is_indexed")


def test_failed_check_stops_consumers_in_other_runs_too(home, monkeypatch):
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance, "pages").success
        change(home, "decisions", pl.lit(None, pl.String).alias("reason"), pl.lit("dropped").alias("verdict"))
        assert not evaluate(instance, "decisions", "decisions_account_for_every_page")
        refused = run(instance, "pages", ["signatures"])
        [failure] = [event for event in refused.all_events if event.is_step_failure]
        assert "UnsoundInput" in str(failure.step_failure_data.error)


def test_asset_that_reads_more_than_it_declares_is_not_materialized(home):
    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="snapshot"), code_version="1")
    def secretive(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with making(context, LakeResource(), RecipeResource(), Progress()) as work:
            rows = work.lake.scan("documents", snapshot=SNAPSHOT).collect()
            commit = work.lake.write(
                "secretive", rows, schema=schemas.table("documents").schema, partition_by=["snapshot"]
            )
            return work.result(commit)

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("snapshot", [SNAPSHOT])
        with pytest.raises(UndeclaredRead, match="documents"):
            dg.materialize([secretive], instance=instance, partition_key=SNAPSHOT)
        assert instance.get_latest_materialization_event(dg.AssetKey(["secretive"])) is None


def test_materialization_records_what_it_was_made_from(made, monkeypatch):
    monkeypatch.setenv("STEMMA_HOME", str(made / "home"))
    monkeypatch.setenv("STEMMA_CRAWL", str(made / "crawl"))
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance, "pages").success
        records = {
            name: instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey([name])), limit=1).records[0]
            for name in ("documents", "annotations")
        }
    event = records["annotations"].asset_materialization
    assert event is not None and event.tags is not None
    inputs = event.metadata["stemma/inputs"].value
    upstream = records["documents"].asset_materialization
    assert upstream is not None and upstream.tags is not None
    assert inputs == {"documents": {SNAPSHOT: upstream.tags["dagster/data_version"]}}
    lake = Lake(made / "home")
    assert event.tags["dagster/data_version"] == lake.version_of("annotations", snapshot=SNAPSHOT)
    for name in ("dagster/row_count", "stemma/bytes", "stemma/wall_s", "stemma/cpu_s", "dagster/column_schema"):
        assert name in event.metadata
