"""Policies: named, versioned lists of rules over the annotations, and the decision they give for every page.

A rule says what a page must satisfy to be kept. Rules are tried in order; the first that a page fails is its reason,
with the statistic's value as score and the bound as threshold. A page that fails none is kept. Deciding is one query of
polars expressions over annotations: no text is read again. A policy may extend another and may hold other rules for
pages of some languages (files.py); it also names the extractor and what dedup and mixing do. Beside the policies that
come with Stemma a home has its own, saved version by version, and goes by one of them (own.py, saving.py).
"""

from assets.policy.changing import RuleChange, difference, settings_difference, what_if
from assets.policy.deciding import decide, looked_at
from assets.policy.effects import Effect, effect
from assets.policy.files import POLICIES, available, check, load
from assets.policy.model import Dedup, Policy
from assets.policy.own import choose, chosen, located
from assets.policy.rules import Column, PolicyError, Rule, columns
from assets.policy.saving import Saved, save, suggested_name

__all__ = [
    "POLICIES",
    "Column",
    "Dedup",
    "Effect",
    "Policy",
    "PolicyError",
    "Rule",
    "RuleChange",
    "Saved",
    "available",
    "check",
    "choose",
    "chosen",
    "columns",
    "decide",
    "difference",
    "effect",
    "load",
    "located",
    "looked_at",
    "save",
    "settings_difference",
    "suggested_name",
    "what_if",
]
