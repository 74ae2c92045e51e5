"""What the data plane costs at sizes: `stemma bench scale --documents N` (default 10^4; compared with a tenth of it).

A generated crawl (generated.py) goes through every asset up to the corpus card, each in a real Dagster run in a process
of its own (scale_step.py), with real workers. Then a second snapshot of 1% is added in one night. Rows: CPU time a
document and its exponent between the two sizes (1: linear), memory of the parent and of a worker, bytes a document of
every table and index, what the night cost beside the building, what dedup found of the families that were generated,
and seconds of the questions that people ask. FOLDER (STEMMA_SCALE, else a temporary one) keeps everything when named.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.generated import Crawl, Form, families
from tests.benchmarks.timing import PeerFailed, cpu_s, row

PER_SNAPSHOT = (
    "crawl_fetches",
    "crawl_manifest",
    "documents",
    "annotations",
    "annotation_statistics",
    "contamination",
    "page_quality",
    "search_index",
    "decisions",
    "signatures",
    "duplicate_clusters",
    "repeated_text",
    "corpus",
)
JUDGEMENTS = ("labels", "quality_classifier")  # what scores the pages: before them, of no snapshot
OVER_ALL = ("corpus_clusters", "corpus_card")
POLICY = Path(__file__).with_name("scale.yaml")
FIRST, SECOND = "base", "night"
SECOND_SHARE = 0.01
QUESTIONS = {
    "reach one host": ("reach", "--host", "www.site00007.example"),
    "status": ("status",),
    "what if a threshold moved": ("policy", "what-if", str(POLICY), "--set", "language_score.min=0.8"),
}


def build(folder: Path, form: Form, documents: int, workers: int = 2) -> list[dict]:
    """Makes the crawl and the home of so many documents below the folder; one line for each asset, as it is made.

    What was made before is not made again: its line is read from FOLDER/steps.jsonl.
    """
    crawl, log = folder / "crawl", folder / "steps.jsonl"
    if not (crawl / FIRST).is_dir():
        Crawl(form).write(crawl, FIRST, 0, documents)
    done = [json.loads(line) for line in log.open()] if log.is_file() else []
    known = {line["asset"] for line in done}
    for asset in [name for name in (*JUDGEMENTS, *PER_SNAPSHOT, *OVER_ALL) if name not in known]:
        where = ["--snapshot", FIRST] if asset in PER_SNAPSHOT else []
        made = run(folder, workers, "-m", "tests.benchmarks.scale_step", asset, *where)
        done.append({"asset": asset, "documents": documents, "form": form, **json.loads(made.splitlines()[-1])})
        with log.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    return done


def run(folder: Path, workers: int, *arguments: str) -> str:
    """What `python ARGUMENTS` prints, in the folder's home. Raises PeerFailed."""
    env = os.environ | {
        "STEMMA_HOME": str(folder / "home"),
        "STEMMA_CRAWL": str(folder / "crawl"),
        "STEMMA_POLICY": str(POLICY),
        "STEMMA_WORKERS": str(workers),
    }
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise PeerFailed(f"{' '.join(arguments)}: {done.stderr[-3000:]}")
    return done.stdout


def cpu_of(line: dict) -> dict[str, float]:
    """CPU seconds of an asset: its body in this process and in workers, its checks, Dagster's own work around them."""
    body, checks, around = line["body"], line["checks"], line["run"]
    return {
        "parent": body["cpu_s"],
        "workers": body["workers_s"],
        "checks": checks["cpu_s"] + checks["workers_s"],
        "around": around["cpu_s"],
    }


def total_of(line: dict) -> float:
    """CPU seconds of an asset in all."""
    return sum(cpu_of(line).values())


def exponent(small: float, large: float, ratio: float) -> float:
    """The power of the size by which a figure grows between two sizes."""
    return math.log(large / small) / math.log(ratio) if small > 0 and large > 0 else math.nan


def table_bytes(home: Path, documents: int) -> dict[str, float]:
    """Bytes a document of every table, and of the index over all snapshots."""
    found = {place.name: sum(f.stat().st_size for f in place.rglob("*.parquet")) for place in (home / "lake").iterdir()}
    index = home / "index"
    found |= (
        {f"index: {place.name}": folder_bytes(place) for place in sorted(index.iterdir())} if index.is_dir() else {}
    )
    found["work/shards (records of jobs)"] = folder_bytes(home / "work" / "shards")
    found["dagster"] = folder_bytes(home / "dagster")
    return {name: size / documents for name, size in sorted(found.items())}


def folder_bytes(place: Path) -> int:
    """Bytes of all files below a folder; 0 where it is not there."""
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def add_a_night(folder: Path, documents: int, workers: int = 2) -> float:
    """CPU seconds of a whole night after 1% more documents came as a snapshot: one command, everything it does."""
    form: Form = "wet" if next((folder / "crawl" / FIRST).iterdir()).name.endswith(".wet.gz") else "warc"
    if not (folder / "crawl" / SECOND).is_dir():
        Crawl(form).write(folder / "crawl", SECOND, documents, round(documents * SECOND_SHARE))
    began = cpu_s()
    run(folder, workers, "-m", "orchestration.cli", "nightly", "--json")
    return cpu_s() - began


def found_families(home: Path, form: Form, documents: int) -> dict[str, tuple[int, int]]:
    """(found, of) for copies and near-duplicates: those that lie in one cluster with their original, both kept."""
    import polars as pl

    from assets.lake import Lake

    rows = Lake(home).scan("duplicate_clusters", snapshot=FIRST).select("doc_id", "cluster_id").collect()
    cluster = dict(rows.iter_rows())
    truth = [one for one in families(Crawl(form), range(documents)) if one[1] != "original"]
    frame = pl.DataFrame(truth, orient="row", schema=["doc_id", "kind", "origin"])
    both = frame.filter(pl.col("doc_id").is_in(list(cluster)) & pl.col("origin").is_in(list(cluster)))
    same = [cluster[one] == cluster[origin] for one, _, origin in both.iter_rows()]
    counted = both.with_columns(pl.Series("same", same, dtype=pl.Boolean)).group_by("kind")
    return {kind: (found, of) for kind, found, of in counted.agg(pl.col("same").sum(), pl.len()).iter_rows()}


@contextmanager
def place(documents: int) -> Iterator[Path]:
    """Where a size is worked on: below STEMMA_SCALE, which stays, else a temporary folder."""
    if named := os.environ.get("STEMMA_SCALE"):
        folder = Path(named) / str(documents)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    folder = Path(tempfile.mkdtemp(prefix="scale-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def rows(documents: int = 10_000, form: Form = "warc") -> list[dict]:
    """documents: of the larger size. form: "warc" (HTML, extraction by our own extractor) or "wet" (short texts)."""
    small = documents // 10
    with place(small) as folder:
        before = {line["asset"]: line for line in build(folder, form, small)}
    with place(documents) as folder:
        lines = build(folder, form, documents)
        made = [one for line in lines for one in rows_of(line, before[line["asset"]], documents, small)]
        made += [
            row("scale", f"{name}: size", "B/doc", b) for name, b in table_bytes(folder / "home", documents).items()
        ]
        for kind, (found, of) in sorted(found_families(folder / "home", form, documents).items()):
            made.append(row("scale", f"families found: {kind}, of {of}", "share", found / of, more_is_better=True))
        building, night = sum(map(total_of, lines)), add_a_night(folder, documents)
        made.append(row("scale", f"build {documents:,} documents", "CPU s", building))
        name = "3% of building"
        made.append(row("scale", "a night that adds 1%", "CPU s", night, SECOND_SHARE * 3 * building, name))
        for question, arguments in QUESTIONS.items():
            began = cpu_s()
            run(folder, 1, "-m", "orchestration.cli", *arguments)
            made.append(row("scale", f"{question}, {documents:,} documents", "CPU s", cpu_s() - began))
    return made


def rows_of(line: dict, before: dict, documents: int, small: int) -> list[dict]:
    """The figures of one asset at the larger size, beside what is linear."""
    name, ratio, made = line["asset"], documents / small, []
    for part, seconds in cpu_of(line).items():
        if part != "around":
            made.append(row("scale", f"{name}, {part}", "ms/doc", 1000 * seconds / documents))
    power = exponent(total_of(before), total_of(line), ratio)
    made.append(row("scale", f"{name}: CPU grows with the power", "", power, 1.0, "linear"))
    for who, peak in (("body", "body"), ("checks", "checks")):
        grown = line[peak]["peak_bytes"] - line["run"]["resident_bytes"]
        made.append(row("scale", f"{name}: memory of the parent's {who} beside its start", "MB", grown / 1e6))
    if line["worker_peak_bytes"]:
        made.append(row("scale", f"{name}: memory of a worker", "MB", line["worker_peak_bytes"] / 1e6))
    return made
