"""A rule: one condition that a kept page satisfies, over one column of what is known about every page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

CURATED = "curated_quality"


class PolicyError(ValueError):
    """A policy that cannot be used; the message is one line and names the policy and what is wrong."""


@dataclass(frozen=True)
class Column:
    """What a rule may look at; the values of a number lie between `low` and `high`, both included."""

    kind: Literal["number", "string"]
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False  # only whole numbers


class Rule(BaseModel):
    """One condition that a kept page satisfies, over one column of the annotations.

    Exactly one kind of condition: bounds (`min`, `max`, or both; inclusive unless `strict`), `equals`, `in`, `not_in`
    (a null value passes), or `absent: true` (the value is null).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    rule: str = Field(description="name that a dropped page carries as its reason", pattern=r"^[a-z0-9_]+$")
    statistic: str = Field(description="column of the annotations")
    min: float | None = Field(None, description="least value that is kept", allow_inf_nan=False)
    max: float | None = Field(None, description="greatest value that is kept", allow_inf_nan=False)
    strict: bool = Field(False, description="whether a value equal to a bound is dropped")
    equals: str | int | float | None = Field(None, description="the only value that is kept")
    one_of: list[str] | None = Field(None, alias="in", description="the values that are kept")
    not_in: list[str] | None = Field(None, description="the values that are dropped")
    absent: bool = Field(False, description="whether only pages without a value are kept")
    missing: Literal["drop", "pass"] = Field("drop", description="what a page without the statistic (null, NaN) does")
    source: str = Field(description="where the threshold comes from")

    @model_validator(mode="after")
    def _one_condition(self) -> Rule:
        bounds = self.min is not None or self.max is not None
        values = [self.equals, self.one_of, self.not_in]
        if [bounds, self.absent, *(value is not None for value in values)].count(True) != 1:
            raise ValueError("give exactly one of bounds (min, max), equals, in, not_in, absent: true")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    def bounds(self) -> list[tuple[Literal["min", "max"], float]]:
        """The numeric bounds that are set."""
        low: list[tuple[Literal["min", "max"], float]] = [] if self.min is None else [("min", self.min)]
        return low if self.max is None else [*low, ("max", self.max)]

    def meaning(self) -> dict[str, Any]:
        """All that decides: everything but the source, and what is at its default."""
        return self.model_dump(mode="json", exclude={"source"}, exclude_defaults=True)

    def condition(self) -> str:
        """What a kept page satisfies, in words: "n_words >= 50"."""
        if self.absent:
            return f"{self.statistic} is absent"
        if self.one_of is not None or self.not_in is not None:
            shown = ", ".join(self.one_of if self.one_of is not None else self.not_in or [])
            return f"{self.statistic} {'in' if self.one_of is not None else 'not in'} {shown}"
        if self.equals is not None:
            return f"{self.statistic} == {self.equals}"
        signs = {"min": ">" if self.strict else ">=", "max": "<" if self.strict else "<="}
        said = " and ".join(f"{signs[side]} {value:g}" for side, value in self.bounds())
        return f"{self.statistic} {said}" + (" or unmeasured" if self.missing == "pass" else "")


def columns() -> dict[str, Column]:
    """Every column that a rule may name, with the range of its values.

    All are columns of the annotations but `contaminated_by`, the evaluation sets that a page shares a passage with (the
    table contamination), and `curated_quality`, the score by the classifier that labels trained (page_quality).
    """
    from kernels.text.statistics import STATISTICS

    known = {
        name: Column("string") if s.dtype == "string" else Column("number", s.low, s.high, s.dtype == "int64")
        for name, s in STATISTICS.items()
    }
    return known | {
        "url_flag": Column("string"),
        "language": Column("string"),
        "language_score": Column("number", 0.0, 1.0),
        "lid176_language": Column("string"),
        "lid176_score": Column("number", 0.0, 1.0),
        "quality_score": Column("number", 0.0, 1.0),
        "pii_count": Column("number", 0.0, whole=True),
        "contaminated_by": Column("string"),
        CURATED: Column("number", 0.0, 1.0),
    }


def check_rule(rule: Rule, known: dict[str, Column]) -> None:
    """Raises PolicyError for a statistic that is not measured or a threshold that the statistic can never reach."""
    column = known.get(rule.statistic)
    if column is None:
        raise PolicyError(f"rule {rule.rule}: unknown statistic {rule.statistic}")
    if column.kind == "string" and (rule.bounds() or isinstance(rule.equals, int | float)):
        raise PolicyError(f"rule {rule.rule}: {rule.statistic} is text and has no bounds")
    if column.kind == "number" and (rule.one_of or rule.not_in or isinstance(rule.equals, str)):
        raise PolicyError(f"rule {rule.rule}: {rule.statistic} is a number, not text")
    values = rule.bounds() + ([("equals", rule.equals)] if isinstance(rule.equals, int | float) else [])
    for side, value in values:
        if not column.low <= value <= column.high:
            raise PolicyError(
                f"rule {rule.rule}: {side} {value:g} is out of range, "
                f"{rule.statistic} lies in {column.low:g}..{column.high:g}"
            )
