"""Training of the quality classifier: it learns what labels say, scores texts unseen, refuses what it cannot read."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from kernels.text.quality_model import QualityModel, features
from models.config import InputError, QualityConfig
from models.text import quality
from models.text.quality import Labelled

GOOD = ["the river rose because the snow melted", "engineers explained why a wider bed costs less", "people asked how"]
BAD = ["click here to buy cheap watches", "login register cart checkout", "no comments post a comment subscribe"]
ROWS = [Labelled(f"{text} {i}", label) for label, texts in ((1, GOOD), (0, BAD)) for text in texts for i in "abcdefgh"]


def write(path, rows) -> str:
    path.write_text("".join(json.dumps({"text": row.text, "label": row.label}) + "\n" for row in rows))
    return str(path)


def test_what_labels_tell_apart_is_told_apart_and_the_file_says_how_well(tmp_path):
    said = quality.run({"labels": write(tmp_path / "l.jsonl", ROWS)}, tmp_path / "out", lambda _: None)
    assert said["texts"] == len(ROWS) and said["cross_validation"]["auc_mean"] > 0.95
    arrays = load_file(tmp_path / "out" / "final" / "quality.safetensors")
    model = QualityModel(arrays["weights"], *arrays["calibration"].tolist())
    scores = []
    for text in ("engineers explained how the river rose", "click to subscribe, register, comment"):
        buckets, values = features(text)
        scores.append(quality_score(model, buckets, values))
    assert scores[0] > 0.5 > scores[1]


def quality_score(model: QualityModel, buckets: np.ndarray, values: np.ndarray) -> float:
    from kernels.text.quality_model import calibrated

    return calibrated(model, float(values @ model.weights[buckets]))


def test_the_fit_is_the_optimum_that_gradient_steps_over_the_buckets_find():
    rows = ROWS[:8] + ROWS[-8:]
    found, y = [features(row.text) for row in rows], np.array([row.label for row in rows], float)
    share, bias = quality.fit(quality.gram(found), y, 10.0)
    dense = np.zeros((len(rows), 2**14))
    for row, (buckets, values) in zip(dense, found, strict=True):
        row[buckets] = values
    used = np.flatnonzero(dense.any(0))
    weights = quality.weights_of(found, share)
    assert not np.delete(weights, used).any()
    errors = 1 / (1 + np.exp(-(dense @ weights + bias))) - y
    assert np.abs(10 * dense.T @ errors + weights).max() < 1e-3 and abs(10 * errors.sum()) < 1e-3  # the gradient is 0


def test_labels_that_say_nothing_give_no_skill():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(60)]
    rows = [Labelled(" ".join(rng.choice(words, 30)), int(i % 2)) for i in range(200)]
    found, y = [features(row.text) for row in rows], np.array([row.label for row in rows], float)
    found = quality.gram(found)
    areas = [quality.area_under_curve(quality.held_out(found, y, rows, QualityConfig(), seed), y) for seed in range(3)]
    assert 0.35 < np.mean(areas) < 0.65


def test_equal_texts_are_never_on_both_sides_of_a_fold():
    rows = ROWS + ROWS
    found, y = [features(row.text) for row in rows], np.array([row.label for row in rows], float)
    y[len(ROWS) :] = 1 - y[len(ROWS) :]  # each text once with either label: whoever saw one would err on the other
    sums = quality.held_out(quality.gram(found), y, rows, QualityConfig(), 0)
    assert np.allclose(sums[: len(ROWS)], sums[len(ROWS) :], atol=1e-4)


def test_the_same_labels_give_the_same_bytes(tmp_path):
    labels = write(tmp_path / "l.jsonl", ROWS)
    for name in ("a", "b"):
        quality.run({"labels": labels}, tmp_path / name, lambda _: None)
    files = [tmp_path / name / "final" / "quality.safetensors" for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_more_texts_than_are_taken_leave_out_the_same_ones_whatever_their_order():
    kept = quality.sampled(ROWS, 10)
    assert [sum(row.label == label for row in kept) for label in (0, 1)] == [10, 10]
    assert {row.text for row in quality.sampled(ROWS[::-1], 10)} == {row.text for row in kept}
    assert quality.sampled(ROWS, len(ROWS)) == ROWS


def test_area_under_curve_is_the_share_of_ordered_pairs():
    scores, y = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.0, 1.0, 0.0, 1.0])
    assert quality.area_under_curve(scores, y) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


@pytest.mark.parametrize(
    "line", ["no json", "[1]", '{"text": "a"}', '{"text": 3, "label": 1}', '{"text": "a", "label": 2}']
)
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"text": "a", "label": 1}\n' + line + "\n")
    with pytest.raises(InputError, match="line 2"):
        quality.read_labels(path)


def test_too_few_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match="either label"):
        quality.run({"labels": write(tmp_path / "l.jsonl", ROWS[:3])}, tmp_path / "out", lambda _: None)
