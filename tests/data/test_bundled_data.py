"""The bundled data: small, made by its script byte for byte, and of known licences only."""

import csv
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LICENCES = {"CC-BY-4.0", "MIT", "Apache-2.0"}


def test_bundled_data_stays_under_eight_megabytes():
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) < 8_000_000


def test_script_makes_the_same_bytes_from_the_shared_data(shared_data, tmp_path):
    script = HERE / "select_crawl.py"
    subprocess.run([sys.executable, script, "cut", shared_data, "--out", tmp_path], check=True)
    for folder in ("crawl", "warc-edge"):
        made = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / folder).rglob("*.*")}
        bundled = {path.relative_to(HERE): path.read_bytes() for path in (HERE / folder).rglob("*.*")}
        assert made == bundled


def test_every_selected_page_has_a_licence_that_allows_it():
    with (HERE / "selection.tsv").open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert len(rows) == 330
    assert {row["licence"] for row in rows} <= LICENCES


def test_every_file_of_the_crawl_is_named_in_the_readme():
    readme = (HERE / "README.md").read_text()
    for path in (HERE / "crawl").glob("*/*"):
        name = path.name.replace("-00000.", "-0000{0,1,2}.").replace("-00001.", "-0000{0,1,2}.")
        assert name.replace("-00002.", "-0000{0,1,2}.") in readme
