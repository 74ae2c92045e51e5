"""Curves survive a restart: what came after the checkpoint is cut, torn lines are dropped."""

import math

import pytest

from models.training.recorder import NonFiniteMetric, Recorder, read_metrics


def test_resuming_cuts_curves_and_samples_to_the_step(tmp_path):
    first = Recorder(tmp_path, 0)
    for step in range(1, 6):
        first.log(step, loss=1 / step)
        first.sample(step, "", f"line\u2028{step}")
    Recorder(tmp_path, 3)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]
    assert (tmp_path / "samples.jsonl").read_text().count("\n") == 3


def test_a_torn_last_line_is_dropped(tmp_path):
    Recorder(tmp_path, 0).log(1, loss=1.0)
    with (tmp_path / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 2, "metr')
    Recorder(tmp_path, 2).log(2, loss=0.5)
    assert read_metrics(tmp_path) == [{"step": 1, "metrics": {"loss": 1.0}}, {"step": 2, "metrics": {"loss": 0.5}}]


def test_a_fresh_start_leaves_nothing_of_an_older_run(tmp_path):
    Recorder(tmp_path, 0).log(1, loss=1.0)
    Recorder(tmp_path, 0)
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_figures_are_refused(tmp_path, value):
    recorder = Recorder(tmp_path, 0)
    with pytest.raises(NonFiniteMetric, match="loss"):
        recorder.log(1, loss=value, other=1.0)
    assert read_metrics(tmp_path) == []
