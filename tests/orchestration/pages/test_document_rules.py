"""What a page's rules say one by one is what the policy decides in one query, for every real page and every policy."""

import polars as pl
import pytest

from assets import policy as policies
from orchestration.pages.document_rules import passes, verdicts
from orchestration.pages.shelf import Shelf


@pytest.fixture(scope="module")
def rows(smoke) -> pl.DataFrame:
    return Shelf(smoke.home).rows()


@pytest.mark.parametrize("name", policies.available())
def test_the_first_failed_rule_is_the_reason_that_the_policy_gives(rows, name):
    policy = policies.load(name)
    reasons = policies.decide(rows.lazy(), policy).collect()["reason"].to_list()
    for row, reason in zip(rows.iter_rows(named=True), reasons, strict=True):
        found = verdicts(row, policy)
        assert next((one.rule.rule for one in found if one.state == "failed"), None) == reason
        assert all(one.state == "passed" for one in found) == (reason is None)


def test_every_rule_by_itself_says_what_a_policy_of_that_rule_alone_decides(rows):
    policy = policies.load("fineweb")
    some = rows.gather_every(7)
    for rule in policy.rules:
        alone = policy.model_copy(update={"rules": [rule], "languages": {}})
        kept = policies.decide(some.lazy(), alone).collect()["verdict"] == "kept"
        assert [passes(rule, value) for value in some[rule.statistic]] == kept.to_list()


BOUNDS = [
    {"min": 1.0},
    {"max": 1.0},
    {"min": 1.0, "strict": True},
    {"max": 1.0, "strict": True},
    {"equals": 1.0},
    {"min": 0.5, "max": 1.0, "missing": "pass"},
]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_bounds_and_missing_values_are_as_in_the_query(rows, bounds):
    rule = policies.Rule(rule="r", statistic="language_score", source="test", **bounds)
    alone = policies.load("fineweb").model_copy(update={"rules": [rule], "languages": {}})
    values = [None, float("nan"), 0.0, 0.5, 0.75, 1.0, 1.5]
    frame = pl.DataFrame({"doc_id": [str(i) for i in range(len(values))], "language_score": values})
    kept = policies.decide(frame.lazy(), alone).collect()["verdict"] == "kept"
    assert [passes(rule, value) for value in values] == kept.to_list()
