"""Part files exchanged, cut or flipped under the lake are refused before a row is used, and made again."""

import shutil
from pathlib import Path

import pytest

from assets.lake import Lake, PartMissing
from assets.parts import read_batches
from assets.policy import load
from assets.steps import stages
from assets.steps.pipeline import SNAPSHOT
from assets.verified import PartDamaged
from tests.faults.data_plane import Here, make

DAMAGES = ("exchanged", "cut", "flipped", "gone")
READERS = {
    "annotations": lambda lake: stages.decisions(lake, SNAPSHOT, load("fineweb")),
    "decisions": lambda lake: stages.duplicate_clusters(lake, SNAPSHOT),
    "signatures": lambda lake: stages.duplicate_clusters(lake, SNAPSHOT),
    "documents": lambda lake: stages.annotation_statistics(lake, SNAPSHOT),
    "corpus": lambda lake: lake.files("corpus"),
}


def damage(how: str, path: Path) -> None:
    content = path.read_bytes()
    other = max((one for one in path.parents[3].rglob("*.parquet") if one != path), key=lambda one: one.stat().st_size)
    exchanged = other.read_bytes()[: len(content)].ljust(len(content), b"\0")
    middle = len(content) // 2
    spoilt = {
        "exchanged": exchanged,
        "cut": content[:-7],
        "flipped": content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :],
    }
    path.unlink()
    if how != "gone":
        path.write_bytes(spoilt[how])


QUICK = ("annotations", "corpus")


@pytest.mark.parametrize(
    "table", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in READERS]
)
def test_damage_is_refused_by_every_reader_and_a_run_mends_it(table, calm_home, crawl, block_list_cache, tmp_path):
    home, undisturbed = calm_home
    shutil.copytree(home, tmp_path / "home", symlinks=True)
    lake = Lake(tmp_path / "home")
    before = {name: lake.version_of(name) for name in READERS}
    for how in DAMAGES:
        part = lake.parts(table, snapshot=SNAPSHOT)[0]
        path = Path(lake.staging(table), part.path)
        damage(how, path)
        with pytest.raises((PartDamaged, PartMissing, FileNotFoundError), match=part.sha256):
            READERS[table](lake)
        with pytest.raises((PartDamaged, FileNotFoundError)):
            list(read_batches(lake.staging(table), [part]))
        assert {name: lake.version_of(name) for name in READERS} == before, "nothing was committed from it"
        path.unlink(missing_ok=True)
        assert make(lake, crawl, Here(), block_list_cache) == undisturbed, f"made again after it was {how}"
