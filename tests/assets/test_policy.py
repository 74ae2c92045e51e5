"""Policies: FineWeb's rules are datatrove's, first failing rule wins, bad policies are refused in one line."""

from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import schemas
from assets.policy import POLICIES, PolicyError, columns, decide, load
from kernels.text import quality

FINEWEB = yaml.safe_load((POLICIES / "fineweb.yaml").read_text())
GOOD = """The river rises in the hills above the town and runs for forty miles before it meets the sea.
In spring, when snow has gone from the higher slopes, its water turns brown and takes trees with it.
People who live beside the banks have learned to read these changes, and they move their animals in good time.
A mill stood here until the war; its wheel was broken up for iron, and children now swim where it turned.
Every autumn the schools walk upstream to count fish, a habit that a teacher began without asking anybody.
Last year they found eleven kinds, two of which had not been seen since records were first kept."""
TEXTS = [
    "",
    "too short",
    "The quick brown fox and the lazy dog have met to talk about all of that with the others. " * 12,
    GOOD,
    "\n".join(f"- item {i}" for i in range(80)),
    "lorem ipsum dolor sit amet and the rest of that sentence. " * 3 + "\n" + "It is { not } over to be of use. " * 20,
]


def annotated(texts: list[str], **extra: list) -> pl.LazyFrame:
    rows = [quality.document_statistics(text) for text in texts]
    base = {"doc_id": [str(i) for i in range(len(texts))], "snapshot": ["A"] * len(texts), "shard": ["s"] * len(texts)}
    fixed = {
        "lid176_language": ["en"] * len(texts),
        "lid176_score": [0.9] * len(texts),
        "url_flag": [None] * len(texts),
    }
    frame = pl.DataFrame(rows, schema_overrides={"c4_reason": pl.String}, infer_schema_length=None)
    return frame.with_columns(
        *[pl.Series(name, values, strict=False) for name, values in (base | fixed | extra).items()]
    ).lazy()


def write(path: Path, **changes) -> Path:
    content = {"name": "own", "version": 3, "description": "for a test", "rules": [dict(FINEWEB["rules"][1])]} | changes
    path.write_text(yaml.safe_dump(content))
    return path


def rule(**fields) -> dict:
    return {"rule": "r", "statistic": "n_words", "source": "test"} | fields


def test_fineweb_has_exactly_the_quality_rules_of_datatrove():
    ours = {rule.rule: rule for rule in load("fineweb").rules}
    names = {"empty": ["empty_text", "empty_after_c4"]}
    checked = []
    for theirs in quality.FINEWEB_RULES:
        name = names[theirs.reason].pop(0) if theirs.reason in names else theirs.reason
        mine = ours[name]
        checked.append(name)
        if theirs.comparison == "=":
            assert mine.not_in == [theirs.threshold] or (mine.statistic, mine.min) == ("c4_sentences", 5)
        elif theirs.comparison == "<":
            assert (mine.statistic, mine.min, mine.strict) == (theirs.statistic, theirs.threshold, False)
        else:
            assert (mine.statistic, mine.max, mine.strict) == (theirs.statistic, theirs.threshold, False)
    order = [name for name in ours if name not in ("url", "language", "language_score")]
    assert order == checked
    assert list(ours)[:4] == ["url", "empty_text", "language", "language_score"]
    assert (ours["language_score"].min, ours["language_score"].strict) == (0.65, True)


def test_decisions_are_those_of_the_rules_one_by_one():
    decided = decide(annotated(TEXTS), load("fineweb")).collect()
    for text, row in zip(TEXTS, decided.to_dicts()):
        hit = quality.first_hit(quality.document_statistics(text))
        assert (row["verdict"] == "kept") == (hit is None)
        if hit is not None:
            assert row["reason"].startswith(hit.reason)
            if isinstance(hit.threshold, (int, float)):
                assert row["threshold"] == hit.threshold
                assert row["score"] == quality.document_statistics(text)[hit.statistic]
    assert "kept" in decided["verdict"].to_list()


def test_decisions_have_the_columns_of_their_table_and_keep_the_order_of_rows():
    decided = decide(annotated(TEXTS), load("fineweb")).collect()
    assert decided.columns == schemas.table("decisions").schema.names
    assert decided["doc_id"].to_list() == [str(i) for i in range(len(TEXTS))]
    assert set(decided["policy"]) == {"fineweb@1"}


def test_the_first_failing_rule_is_the_reason_and_a_strict_bound_drops_its_own_value():
    text = TEXTS[3]
    frame = annotated(
        [text] * 5, lid176_language=["en", "de", "en", "en", None], lid176_score=[0.65, 0.3, 0.66, None, 0.9]
    )
    rows = decide(frame, load("fineweb")).collect()
    assert rows["reason"].to_list() == ["language_score", "language", None, "language_score", "language"]
    assert rows["score"].to_list() == [0.65, None, None, None, None]
    assert rows["threshold"].to_list() == [0.65, None, None, 0.65, None]
    flagged = decide(annotated([text], url_flag=["banned_word"], lid176_language=["de"]), load("fineweb")).collect()
    assert flagged["reason"].to_list() == ["url"]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.just(float("nan")), st.floats(-5, 25)), min_size=1, max_size=20))
def test_unmeasured_values_follow_missing_and_never_give_a_null_verdict(tmp_path_factory, values):
    frame = pl.LazyFrame({"doc_id": [str(i) for i in range(len(values))], "mean_word_length": values})
    for missing in ("drop", "pass"):
        path = tmp_path_factory.mktemp("policy") / "own.yaml"
        bounds = {"min": 3, "max": 10, "missing": missing}
        policy = load(write(path, rules=[rule(statistic="mean_word_length", **bounds)]))
        verdicts = decide(frame, policy).collect()["verdict"].to_list()
        for value, verdict in zip(values, verdicts):
            measured = value is not None and value == value
            kept = 3 <= value <= 10 if measured else missing == "pass"
            assert verdict == ("kept" if kept else "dropped")


def test_a_bound_on_each_side_reports_the_one_that_failed(tmp_path):
    policy = load(write(tmp_path / "own.yaml", rules=[rule(statistic="mean_word_length", min=3, max=10)]))
    frame = pl.LazyFrame({"doc_id": ["a", "b", "c"], "mean_word_length": [2.0, 5.0, 11.0]})
    assert decide(frame, policy).collect()["threshold"].to_list() == [3.0, None, 10.0]


def test_identity_follows_meaning_and_not_wording(tmp_path):
    one = load(write(tmp_path / "a.yaml"))
    two = load(write(tmp_path / "b.yaml", description="said otherwise"))
    three = load(write(tmp_path / "c.yaml", rules=[rule(min=3)]))
    assert one.id == "own@3"
    assert one.digest == two.digest != three.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": [rule(statistic="n_wrods", min=1)]}, "rule r: unknown statistic n_wrods"),
        (
            {"rules": [rule(statistic="line_punct_frac", min=1.5)]},
            "min 1.5 is out of range, line_punct_frac lies in 0..1",
        ),
        ({"rules": [rule(statistic="language_score", min=-0.1)]}, "min -0.1 is out of range"),
        ({"rules": [rule(min=float("nan"))]}, "rule r: min: Input should be a finite number"),
        ({"rules": [rule(min=3, max=2)]}, "min 3 is above max 2"),
        ({"rules": [rule()]}, "rule r: give exactly one of"),
        ({"rules": [rule(min=1, absent=True)]}, "rule r: give exactly one of"),
        ({"rules": [rule(statistic="language", min=0.5)]}, "language is text and has no bounds"),
        ({"rules": [rule(**{"in": ["en"]})]}, "n_words is a number"),
        ({"rules": [rule(min=1), rule(min=2)]}, "several rules are called r"),
        ({"rules": [rule(min=1, threshold=4)]}, "rule r: threshold: Extra inputs"),
        ({"rules": []}, "rules: List should have at least 1 item"),
        ({"version": 0}, "version: Input should be greater"),
    ],
)
def test_a_bad_policy_is_refused_in_one_line_that_names_it(tmp_path, changes, message):
    path = write(tmp_path / "own.yaml", **changes)
    with pytest.raises(PolicyError) as caught:
        load(path)
    assert message in str(caught.value) and "\n" not in str(caught.value) and "own" in str(caught.value)


def test_an_unknown_policy_and_a_file_that_is_none_are_named(tmp_path):
    with pytest.raises(PolicyError, match=r"unknown policy finewebb: known are .*fineweb"):
        load("finewebb")
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(PolicyError, match="not readable as YAML"):
        load(tmp_path / "x.yaml")
    (tmp_path / "y.yaml").write_text("- 1")
    with pytest.raises(PolicyError, match="not a mapping"):
        load(tmp_path / "y.yaml")


def test_annotations_without_the_column_are_refused():
    with pytest.raises(PolicyError, match="the annotations have no url_flag"):
        decide(pl.LazyFrame({"doc_id": ["a"]}), load("fineweb"))


def test_every_column_that_a_rule_may_name_is_in_the_annotations():
    assert set(columns()) - {"contaminated_by", "curated_quality"} <= set(schemas.table("annotations").schema.names)
