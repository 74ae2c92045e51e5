"""The lake: partitions are replaced whole, versions name bytes, deleted rows are gone from disk, S3 is the same."""

import json
import tempfile
import threading
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import parts, schemas
from assets.artifacts import MANIFEST, ArtifactMissing, CorruptArtifact
from assets.lake import Lake, LakeRefused, PartMissing, SchemaConflict, TableMissing
from assets.parts import PartWriter, data_version, file_sha256

SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("snapshot", pa.string()),
        ("shard", pa.string()),
        ("n", pa.int64()),
        ("signature", pa.binary()),
        ("pii", schemas.PII_SPANS),
    ]
)
BY = ("snapshot", "shard")


def rows(names: list[str]) -> pa.Table:
    spans = [[{"type": "email", "start": 1, "end": 5}] if len(name) % 2 else [] for name in names]
    return pa.table(
        {"doc_id": names, "n": list(range(len(names))), "signature": [b"\0" * 16] * len(names), "pii": spans},
        schema=pa.schema([f for f in SCHEMA if f.name not in BY]),
    )


def part(lake: Lake, table: str, snapshot: str, shard: str, names: list[str]):
    partition = {"snapshot": snapshot, "shard": shard}
    with PartWriter(lake.staging(table), SCHEMA, partition, lake.storage_options) as writer:
        writer.write(rows(names))
    return writer.part


def ids(frame: pl.LazyFrame) -> set[str]:
    return set(frame.select("doc_id").collect()["doc_id"])


@pytest.fixture(params=["local", "s3", "ceph"])
def lake(request, tmp_path) -> Lake:
    if request.param == "local":
        return Lake(tmp_path / "home")
    options = request.getfixturevalue(request.param)
    return Lake(f"s3://stemma-test/{tmp_path.name}", options, local=tmp_path / "home")


def test_worker_written_parts_become_visible_in_one_commit(lake):
    parts = [part(lake, "t", "A", "s1", ["a", "b"]), part(lake, "t", "A", "s2", ["c"])]
    with pytest.raises(TableMissing, match="the table t is not in"):
        lake.scan("t")
    commit = lake.commit("t", parts, schema=SCHEMA, partition_by=BY, replace={"snapshot": "A"})
    frame = lake.scan("t").collect()
    assert (commit.rows, commit.bytes) == (3, sum(p.bytes for p in parts))
    assert set(frame["doc_id"]) == {"a", "b", "c"} and set(frame["shard"]) == {"s1", "s2"}
    assert commit.data_version == lake.version_of("t", snapshot="A") == data_version(parts)
    assert lake.reads == [("t", commit.data_version)]


def test_replacing_a_partition_leaves_the_others_and_older_versions_readable(lake):
    lake.commit("t", [part(lake, "t", "A", "s", ["a"])], schema=SCHEMA, partition_by=BY, replace={"snapshot": "A"})
    first = lake.commit(
        "t", [part(lake, "t", "B", "s", ["b"])], schema=SCHEMA, partition_by=BY, replace={"snapshot": "B"}
    )
    kept = part(lake, "t", "A", "s", ["a"])
    second = lake.commit(
        "t",
        [kept, part(lake, "t", "A", "s9", ["a2"])],
        schema=SCHEMA,
        partition_by=BY,
        replace={"snapshot": "A"},
    )
    assert ids(lake.scan("t")) == {"a", "a2", "b"}
    assert ids(lake.scan("t", snapshot="A")) == {"a", "a2"}
    assert ids(lake.scan("t", version=first.version)) == {"a", "b"}
    assert second.version == first.version + 1
    again = lake.commit(
        "t", [kept, part(lake, "t", "A", "s9", ["a2"])], schema=SCHEMA, partition_by=BY, replace={"snapshot": "A"}
    )
    assert again == second, "committing what is there makes no new version"


def test_an_empty_partition_is_known_and_an_unknown_one_is_not(lake):
    lake.commit("t", [], schema=SCHEMA, partition_by=BY, replace={"snapshot": "A"})
    assert lake.scan("t", snapshot="A").collect().height == 0
    assert lake.exists("t", snapshot="A") and not lake.exists("t", snapshot="B")
    with pytest.raises(TableMissing, match="holds no snapshot B"):
        lake.scan("t", snapshot="B")


def test_deleted_rows_leave_the_files_and_untouched_files_stay(lake):
    keep = part(lake, "t", "A", "s1", ["a", "b"])
    hit = part(lake, "t", "A", "s2", ["secret-c", "d"])
    alone = part(lake, "t", "A", "s3", ["secret-e"])
    lake.commit("t", [keep, hit, alone], schema=SCHEMA, partition_by=BY, replace={"snapshot": "A"})
    assert lake.delete("t", pl.col("doc_id").str.starts_with("secret")) == 2
    assert ids(lake.scan("t")) == {"a", "b", "d"}
    names = {Path(path).name for path in lake.files("t")}
    assert Path(keep.path).name in names and len(names) == 2
    if lake.is_local:
        for path in Path(lake.staging("t")).rglob("*.parquet"):
            assert not any(name.startswith("secret") for name in pq.read_table(path)["doc_id"].to_pylist())
    fresh = part(lake, "other", "A", "s2", ["d"])
    kept_n = lake.scan("t").filter(pl.col("doc_id") == "d").collect()["n"].item()
    assert kept_n == 1 and fresh.rows == 1
    assert lake.delete("t", pl.col("doc_id") == "nobody") == 0


def test_deleting_gives_the_data_version_of_a_table_that_never_held_the_row(tmp_path):
    one, two = Lake(tmp_path / "one"), Lake(tmp_path / "two")
    table = rows(["a", "b", "c"])
    for home, selected in ((one, table), (two, table.filter(pa.compute.not_equal(table["doc_id"], "b")))):
        with PartWriter(home.staging("t"), SCHEMA, {"snapshot": "A", "shard": "s"}) as writer:
            writer.write(selected)
        home.commit("t", [writer.part], schema=SCHEMA, partition_by=BY, replace={"snapshot": "A"})
    one.delete("t", pl.col("doc_id") == "b")
    assert one.version_of("t") == two.version_of("t")


def test_two_writers_of_one_partition_never_leave_a_mixture(lake):
    parts = {tag: [part(lake, "t", "A", f"{tag}{i}", [f"{tag}{i}"]) for i in range(3)] for tag in "xyz"}
    lake.commit("t", [], schema=SCHEMA, partition_by=BY, replace={"snapshot": "other"})
    barrier = threading.Barrier(3)
    errors: list[BaseException] = []

    def write(tag: str) -> None:
        barrier.wait()
        try:
            lake.commit("t", parts[tag], schema=SCHEMA, partition_by=BY, replace={"snapshot": "A"})
        except RuntimeError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(tag,)) for tag in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not errors
    found = ids(lake.scan("t", snapshot="A"))
    assert found in [{f"{tag}{i}" for i in range(3)} for tag in "xyz"]


def test_a_part_that_is_not_there_is_refused_and_nothing_is_visible(lake):
    good = part(lake, "t", "A", "s1", ["a"])
    gone = type(good)(good.path.replace("s1", "s2"), good.sha256, 1, good.bytes, {"snapshot": "A", "shard": "s2"})
    with pytest.raises(PartMissing, match="found None"):
        lake.commit("t", [good, gone], schema=SCHEMA, partition_by=BY, replace={"snapshot": "A"})
    assert not lake.exists("t")


def test_schema_may_grow_but_not_change_type(tmp_path):
    lake = Lake(tmp_path)
    frame = pl.DataFrame({"doc_id": ["a"], "snapshot": ["A"]})
    narrow = pa.schema([("doc_id", pa.string()), ("snapshot", pa.string())])
    lake.write("t", frame, schema=narrow, partition_by=["snapshot"], replace={"snapshot": "A"})
    wide = narrow.append(pa.field("score", pa.float64()))
    wider = frame.with_columns(snapshot=pl.lit("B"), score=pl.lit(0.5))
    lake.write("t", wider, schema=wide, partition_by=["snapshot"], replace={"snapshot": "B"})
    assert lake.scan("t").sort("snapshot").collect()["score"].to_list() == [None, 0.5]
    changed = pa.schema([("doc_id", pa.int64()), ("snapshot", pa.string())])
    with pytest.raises(SchemaConflict, match=r"t\.doc_id is string in the lake and int64"):
        lake.commit("t", [], schema=changed, partition_by=["snapshot"], replace={"snapshot": "A"})


def test_a_missing_table_names_what_makes_it(tmp_path):
    with pytest.raises(TableMissing, match="the asset documents makes it"):
        Lake(tmp_path).scan("documents")


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 1500), min_size=1, max_size=5))
def test_part_bytes_do_not_depend_on_batches(tmp_path_factory, sizes):
    root = tmp_path_factory.mktemp("parts")
    table = rows([f"doc-{i}" for i in range(sum(sizes))])
    shas = []
    for cuts in (sizes, [table.num_rows]):
        with PartWriter(str(root), SCHEMA, {"snapshot": "A", "shard": "s"}) as writer:
            start = 0
            for size in cuts:
                writer.write(table.slice(start, size))
                start += size
        shas.append(writer.part and writer.part.sha256)
    assert shas[0] == shas[1]
    assert not list(root.rglob("*.tmp"))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 900), min_size=1, max_size=60), st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_a_part_is_the_same_bytes_and_no_group_is_large_whatever_the_batches_were(sizes, steps):
    schema = pa.schema([pa.field("text", pa.string()), pa.field("n", pa.int64())])
    rows = pa.table({"text": ["x" * size for size in sizes], "n": list(range(len(sizes)))}, schema=schema)
    found = []
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "BYTES_PER_GROUP", 1000)
        patch.setattr(parts, "ROWS_PER_GROUP", 7)
        for batches in ([len(sizes)], [*steps, len(sizes)]):
            with PartWriter(root, schema, {}) as writer:
                at = 0
                for step in batches:
                    writer.write(rows.slice(at, step))
                    at += step
            assert writer.part
            found.append(writer.part.sha256)
        file = pq.ParquetFile(f"{root}/{writer.part.path}")
        assert file.read().equals(rows)
        for group in range(file.num_row_groups):
            texts = file.read_row_group(group)["text"].to_pylist()
            assert len(texts) <= 7 and sum(map(len, texts[:-1])) < 1000
    assert found[0] == found[1]


def test_an_aborted_part_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="boom"), PartWriter(str(tmp_path), SCHEMA, {"snapshot": "A"}) as writer:
        writer.write(rows(["a"]).append_column("shard", pa.array(["s"])))
        raise RuntimeError("boom")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize("value", ["", "a/b", "..", ".hidden", "a=b", "a b"])
def test_partition_values_that_are_no_folder_names_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="cannot name a partition"):
        PartWriter(str(tmp_path), SCHEMA, {"snapshot": value})


def artifact(path: Path, text: str = "weights") -> Path:
    path.mkdir(parents=True)
    (path / "model.bin").write_text(text)
    manifest = {
        "kind": "model",
        "files": {"model.bin": {"sha256": file_sha256(path / "model.bin"), "bytes": len(text)}},
    }
    (path / MANIFEST).write_text(json.dumps(manifest))
    return path


def test_an_artifact_is_handed_out_under_its_digest_and_recorded(tmp_path):
    lake = Lake(tmp_path / "home")
    first = lake.commit_dir("base_model", artifact(tmp_path / "one"))
    again = lake.commit_dir("base_model", tmp_path / "one")
    second = lake.commit_dir("base_model", artifact(tmp_path / "two", "other"))
    assert again == first and second.version == first.version + 1
    assert lake.open_dir("base_model").name == second.data_version
    assert (lake.open_dir("base_model", digest=first.data_version) / "model.bin").read_text() == "weights"
    assert lake.reads == [("base_model", second.data_version), ("base_model", first.data_version)]


def test_a_flipped_bit_an_absent_and_an_extra_file_are_found(tmp_path):
    lake = Lake(tmp_path / "home")
    commit = lake.commit_dir("base_model", artifact(tmp_path / "one"))
    place = tmp_path / "home/artifacts/base_model" / commit.data_version
    (place / "model.bin").write_text("weightz")
    with pytest.raises(CorruptArtifact, match=r"model\.bin: its sha256"):
        lake.open_dir("base_model")
    (place / "model.bin").unlink()
    with pytest.raises(CorruptArtifact, match="absent"):
        lake.open_dir("base_model")
    assert lake.commit_dir("base_model", tmp_path / "one").data_version == commit.data_version
    (lake.open_dir("base_model") / "more.bin").write_text("x")
    with pytest.raises(CorruptArtifact, match=r"more\.bin"):
        lake.open_dir("base_model")


def test_artifacts_are_current_per_partition_and_a_missing_one_is_named(tmp_path):
    lake = Lake(tmp_path / "home")
    one = lake.commit_dir("corpus_card", artifact(tmp_path / "one"), "2024-05-01")
    assert lake.open_dir("corpus_card", "2024-05-01").name == one.data_version
    with pytest.raises(ArtifactMissing, match="corpus_card for 2024-06-01"):
        lake.open_dir("corpus_card", "2024-06-01")


def test_concurrent_pointers_never_share_a_number(tmp_path):
    lake = Lake(tmp_path / "home")
    sources = [artifact(tmp_path / f"src{i}", f"w{i}") for i in range(8)]
    threads = [threading.Thread(target=lake.commit_dir, args=("m", source)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    pointers = sorted((tmp_path / "home/artifacts/m/versions/all").glob("*.json"))
    assert [int(p.stem) for p in pointers] == list(range(1, 9))
    assert len({json.loads(p.read_text())["digest"] for p in pointers}) == 8


def test_every_column_of_every_table_has_a_meaning():
    for table in schemas.TABLES.values():
        for column in table.schema:
            assert (column.metadata or {}).get(b"comment"), f"{table.name}.{column.name}"
        assert set(table.partition_by) <= set(table.schema.names)


def test_every_schema_survives_delta(tmp_path):
    lake = Lake(tmp_path)
    for table in schemas.TABLES.values():
        one = {"snapshot": "A"} if "snapshot" in table.partition_by else {}
        lake.commit(table.name, [], replace=one)
        assert lake.scan(table.name, **one).collect().columns == table.schema.names


@pytest.mark.parametrize("wrong", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_a_store_that_does_not_let_us_in_is_not_an_empty_lake(wrong, ceph, tmp_path):
    ours = Lake(f"s3://stemma-test/{tmp_path.name}", ceph, local=tmp_path / "home")
    ours.commit("t", [part(ours, "t", "A", "s", ["a"])], schema=SCHEMA, partition_by=BY, replace={"snapshot": "A"})
    stranger = Lake(ours.root, ceph | {wrong: "another"}, local=tmp_path / "home")
    for attempt in (lambda: stranger.scan("t"), lambda: stranger.exists("t"), lambda: stranger.files("t")):
        with pytest.raises(LakeRefused, match="AWS_SECRET_ACCESS_KEY"):
            attempt()
    with pytest.raises(PermissionError):
        part(stranger, "t", "A", "s", ["b"])
    assert ids(ours.scan("t")) == {"a"}
