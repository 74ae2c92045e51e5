"""`stemma bench` runs the checkout's benches, and says in one line what to do where it cannot."""

import subprocess
import sys

import pytest

from orchestration.bench import BenchUnavailable, bench_command


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestration.cli", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_outside_of_a_checkout_the_error_says_what_to_do(tmp_path):
    with pytest.raises(BenchUnavailable, match="clone the repository"):
        bench_command([], [], False, root=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nope"], "no bench nope"),
        (["parity", "--pages", "missing.warc.gz"], "missing.warc.gz"),
        (["diversity", "--pages", __file__], "takes no --pages"),
        (["diversity", "--documents", "1000"], "takes no --documents"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(arguments, named):
    done = bench(*arguments)
    assert done.returncode == 2 and named in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
