"""A clock that is a day off, before or behind, changes no data version and ends no healthy worker."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assets.lake import Lake
from orchestration.engines.local import LocalEngine
from tests.faults.data_plane import make

DRIVER = """
import json, sys, time
from pathlib import Path
from assets.lake import Lake
from orchestration.engines.local import LocalEngine
from tests.faults.data_plane import make
engine = LocalEngine(1, stall_s=60.0, retries=0)
print(json.dumps({"clock": time.time(), **make(Lake(sys.argv[1]), Path(sys.argv[2]), engine, Path(sys.argv[3]))}))
"""


@pytest.fixture(scope="session")
def wrong_clock(tmp_path_factory) -> Path:
    """A library that, preloaded, puts the clock CLOCK_OFF_S off; times of files stay the kernel's, as on a server."""
    compiler, library = shutil.which("cc") or shutil.which("gcc"), tmp_path_factory.mktemp("clock") / "wrong_clock.so"
    if sys.platform != "linux" or compiler is None:
        pytest.skip("NO CLOCK TO TURN: it needs Linux and a C compiler")
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return library


@pytest.mark.parametrize("off_s", [86_400, pytest.param(-86_400, marks=pytest.mark.slow)])
def test_a_clock_that_is_a_day_off_changes_nothing(off_s, wrong_clock, crawl, calm, block_list_cache, tmp_path):
    faked = {"LD_PRELOAD": str(wrong_clock), "CLOCK_OFF_S": str(off_s)}
    words = [sys.executable, "-c", DRIVER, str(tmp_path), str(crawl), str(block_list_cache)]
    environment = {**os.environ, **faked, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert abs(said.pop("clock") - time.time() - off_s) < 3600, "the clock was off"
    assert said == calm
    # and a second run with the right clock, on what the first one left, finds everything done
    assert make(Lake(tmp_path), crawl, LocalEngine(1), block_list_cache) == calm
