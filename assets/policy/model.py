"""A policy in effect: rules in order, other rules for some languages, the extractor, what dedup and mixing do."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from assets.policy.rules import Rule
from models.data.mixing import repetitions

DEFAULT_SIMILARITY = 0.75  # kernels.text.clusters.THRESHOLD, which says why; a test holds them equal


class Dedup(BaseModel):
    """How duplicates are found among the kept pages, what is cut that recurs, and what must be left of a source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    similarity: float = Field(
        default=DEFAULT_SIMILARITY, gt=0, le=1, description="least Jaccard similarity of 5-gram sets to be one"
    )
    scope: Literal["snapshot", "corpus"] = Field(
        default="snapshot",
        description="among which documents one of a cluster is learned from: those of its snapshot, or all",
    )
    cut_lines: int | None = Field(
        default=None,
        ge=2,
        description="documents in which a line recurs that is cut from all but the first; null: none",
    )
    cut_paragraphs: int | None = Field(
        default=None, ge=2, description="the same of paragraphs: two or more lines without an empty one between"
    )
    cut_line_characters: int = Field(
        default=20, ge=1, description="shorter lines and paragraphs are never cut: brackets, rules of tables, headings"
    )
    cut_substrings_bytes: int | None = Field(
        default=None, ge=50, le=1000, description="bytes from which on an exact repeat is cut; null: none is looked for"
    )
    least_retention: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="share of the kept pages that dedup leaves of the snapshot and each WARC file",
    )
    least_host_retention: float = Field(
        default=0.05, ge=0, le=1, description="the same of each host; a mirror of another host may rightly lose much"
    )
    retention_pages: int = Field(default=100, ge=1, description="kept pages from which on a file or host is looked at")

    @property
    def cuts(self) -> bool:
        """Whether anything that recurs is cut from texts."""
        return bool(self.cut_lines or self.cut_paragraphs or self.cut_substrings_bytes)


class Policy(BaseModel):
    """A named list of rules, all inheritance resolved. `id` ("name@version") is what the decisions table carries.

    `languages` gives, for values of the column `language_column`, the whole list of rules that holds for such pages in
    place of `rules`. `parents` are the ids of the policies that it extends, nearest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_-]+$")
    version: int = Field(ge=1)
    description: str
    extractor: Literal["trafilatura", "stemma"] = Field(
        "trafilatura", description="which extractor the texts come from: another one means other documents"
    )
    opt_outs: Literal["ignored", "honoured"] = Field(
        "ignored",
        description="whether pages whose headers or meta elements refuse training (noai, TDM reservation) are skipped "
        "when they are read; those that come by an index are refused before, whatever stands here",
    )
    line_filter: Literal["c4", "none"] = Field(
        "c4", description="whether C4's line rules rewrite kept texts before they are compared and written"
    )
    rules: list[Rule] = Field(min_length=1)
    language_column: Literal["language", "lid176_language"] = "language"
    languages: dict[str, list[Rule]] = Field(default_factory=dict)
    repetition: dict[int, int] = Field(
        default_factory=dict,
        description="copies of a document in the mix by the size of its duplicate cluster: the weight of the greatest "
        "size that is not above it; empty: every survivor once",
    )
    dedup: Dedup = Dedup()
    parents: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _distinct_names(self) -> Policy:
        for rules in (self.rules, *self.languages.values()):
            names = [rule.rule for rule in rules]
            if doubled := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"several rules are called {', '.join(doubled)}")
        return self

    @field_validator("repetition")
    @classmethod
    def _weights(cls, weights: dict[int, int]) -> dict[int, int]:
        if weights and (min(weights) != 1 or min(weights.values()) < 0):
            raise ValueError("give cluster sizes from 1 on, each with a weight of 0 or more")
        return dict(sorted(weights.items()))

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """32 hex digits that name the policy's meaning: decisions, texts and the mix depend on nothing else of it.

        A setting at its default is left out, so that a setting that is new in the code changes no policy.
        """
        told = {"version", "description", "parents", "rules", "languages"}
        meaning: dict[str, Any] = {
            **self.model_dump(mode="json", exclude=told, exclude_defaults=True),
            "id": self.id,
            "rules": [rule.meaning() for rule in self.rules],
            "languages": {language: [rule.meaning() for rule in rules] for language, rules in self.languages.items()},
        }
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def reasons(self) -> list[str]:
        """Names of all rules, those of languages too, in the order in which they are tried."""
        order = [rule.rule for rule in self.rules]
        for rules in self.languages.values():
            previous = -1
            for rule in rules:
                if rule.rule not in order:
                    order.insert(previous + 1, rule.rule)
                previous = order.index(rule.rule)
        return order

    def weight(self, cluster_size: int) -> int:
        """Copies in the mix of a document whose duplicate cluster has so many documents."""
        return repetitions(cluster_size, self.repetition)
