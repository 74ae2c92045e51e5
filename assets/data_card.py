"""The data card of a corpus version: what it holds, where from, what was left out and why, and how to make it again.

Written from `CorpusFacts` alone. A figure that was not recorded has no line: nothing is filled in by hand.
"""

from __future__ import annotations

from assets.corpus_facts import SIZES, CorpusFacts, Counted
from assets.policy import Policy, Rule
from assets.policy.model import Dedup
from assets.steps.clusters import REASONS
from models.export.card_form import (
    Bullets,
    Card,
    Cell,
    Code,
    Commands,
    Prose,
    Section,
    Share,
    Table,
    present,
    section,
    written,
)

LANGUAGES_WITH_RULES = 8  # whose own rules are listed

LICENCE = (
    "The texts are those of web pages. They belong to their authors and publishers, and no licence to them is granted "
    "or implied here; most pages name none, and none was recorded page by page.",
    "That a page could be fetched does not say what may be done with its text. Whoever trains on this corpus or passes "
    "it on has to settle that for their place and purpose.",
    "Every row names its URL, so a page's terms can be looked up, and every page can be withdrawn "
    "(`stemma takedown add`), from here and from what was made of it.",
)
NOT_FOUND = (
    "Not looked for: names of persons, postal addresses, birthdays, user names, and what only its context betrays.",
)


def data_card(facts: CorpusFacts) -> Card:
    """The card of a version, or of one snapshot of it."""
    version = facts.version
    where = f" of {facts.snapshot}" if facts.snapshot else ""
    if not version.readable:
        return Card(
            f"Corpus{where} {version.digest[:12]}",
            (f"{version.rows:,} documents, made {version.at}. Its bytes are gone: {version.why_gone()}.",),
            present([_identity(facts)]),
        )
    summary = (
        f"{facts.documents:,} documents with {facts.text_bytes:,} bytes of text in {facts.all_languages:,} "
        f"{'language' if facts.all_languages == 1 else 'languages'} from {facts.all_hosts:,} hosts,",
        f"kept of {facts.pages:,} pages that were read from {len(facts.sources):,} "
        f"{'snapshot' if len(facts.sources) == 1 else 'snapshots'} of web crawl.",
    )
    return Card(
        f"Corpus{where} {version.digest[:12]}",
        summary,
        present(
            [
                _identity(facts),
                _size(facts),
                _sources(facts),
                section("Languages", _counts(facts, facts.languages, "language", facts.all_languages)),
                _hosts(facts),
                _funnel(facts),
                _policy(facts),
                _duplicates(facts),
                _personal_data(facts),
                _contamination(facts),
                _refused(facts),
                section("Licences", Bullets(LICENCE)),
                section("Known limits", Bullets(_limits(facts))),
                section("To make it again", Bullets(_remaking(facts)), Commands(_commands(facts), "sh")),
            ]
        ),
    )


def _identity(facts: CorpusFacts) -> Section | None:
    version = facts.version
    rows: list[tuple[Cell, ...]] = [("corpus version", Code(version.digest)), ("first made", version.at)]
    rows += [("in use", "yes" if version.current else "no, a newer version is")]
    rows += [("policy", Code(name)) for name in version.policies]
    if facts.policy is not None:
        rows += [("meaning of the policy", Code(facts.policy.digest))]
        rows += [("it extends", Code(parent)) for parent in facts.policy.parents]
    return section("Identity", Table(("what", "which"), tuple(rows)))


def _size(facts: CorpusFacts) -> Section | None:
    rows: list[tuple[Cell, ...]] = [("documents", facts.documents), ("bytes of text", facts.text_bytes)]
    rows += [("tokens of the shards made of it", facts.tokens)] if facts.tokens is not None else []
    rows += [("bytes on disk", facts.version.bytes)] if facts.snapshot is None else []
    named = {0.5: "bytes of the median document"}
    rows += [
        (named.get(q, f"bytes that {round(100 * q)}% of the documents do not exceed"), size)
        for q, size in zip(SIZES, facts.sizes)
    ]
    return section("Size", Table(("what", "how much"), tuple(rows)))


def _sources(facts: CorpusFacts) -> Section | None:
    rows = tuple(
        (
            Code(one.snapshot),
            one.origin,
            one.files,
            one.records,
            one.pages,
            one.kept,
            " to ".join(dict.fromkeys(day for day in one.fetched if day)),
            Code(one.data_version[:12]),
        )
        for one in facts.sources
    )
    header = ("snapshot", "how it came", "files", "records", "pages", "kept", "pages fetched", "data version")
    skipped = _listed({name: n for name, n in facts.skipped.items() if name not in facts.opt_outs})
    return section(
        "Sources",
        Table(header, rows),
        Prose(f"Records that are no page, by reason: {skipped}.") if skipped else None,
        Prose(f"Records that could not be read, by reason: {_listed(facts.rejects)}.") if facts.rejects else None,
    )


def _counts(facts: CorpusFacts, rows: tuple[Counted, ...], what: str, of_all: int) -> Table:
    shown: list[tuple[Cell, ...]] = [(Code(r.name), r.documents, r.bytes, Share(r.share)) for r in rows]
    if of_all > len(rows):
        rest = facts.documents - sum(row.documents for row in rows)
        left = facts.text_bytes - sum(row.bytes for row in rows)
        shown.append((f"{of_all - len(rows):,} others", rest, left, Share(rest / max(facts.documents, 1))))
    return Table((what, "documents", "bytes", "share of documents"), tuple(shown))


def _hosts(facts: CorpusFacts) -> Section | None:
    if not facts.hosts:
        return None
    top = sum(host.share for host in facts.hosts[:10])
    said = f"The host with most documents has {_percent(facts.hosts[0].share)} of them, the first ten {_percent(top)}."
    return section("Hosts", Prose(said), _counts(facts, facts.hosts, "host", facts.all_hosts))


def _funnel(facts: CorpusFacts) -> Section | None:
    rows: list[tuple[Cell, ...]] = [("pages read", facts.pages, Share(1.0))]
    rows += [(name, -n, Share(n / max(facts.pages, 1))) for name, n in facts.dropped.items()]
    rows += [("kept", facts.documents, Share(facts.documents / max(facts.pages, 1)))]
    return section("From pages to documents", Table(("step", "pages", "share"), tuple(rows)))


def _policy(facts: CorpusFacts) -> Section | None:
    policy = facts.policy
    if policy is None:
        return None
    own = [one.name for one in facts.languages if one.name in policy.languages][:LANGUAGES_WITH_RULES]
    more = len(policy.languages) - len(own)
    return section(
        "Policy",
        Prose(policy.description),
        Table(("rule", "a kept page has", "dropped", "threshold from"), _rules(policy.rules, facts)),
        *(
            Table(("rule", "a kept page has", "threshold from"), _own_rules(policy, name), f"Other rules for {name}")
            for name in own
        ),
        Prose(f"{more:,} more languages have rules of their own in the policy's file.") if own and more else None,
        Bullets(tuple(_settings(policy))),
    )


def _rules(rules: list[Rule], facts: CorpusFacts) -> tuple[tuple[Cell, ...], ...]:
    return tuple((rule.rule, Code(rule.condition()), facts.dropped.get(rule.rule, 0), rule.source) for rule in rules)


def _own_rules(policy: Policy, language: str) -> tuple[tuple[Cell, ...], ...]:
    """The rules of a language that are not those of all."""
    common = {rule.rule: rule.condition() for rule in policy.rules}
    return tuple(
        (rule.rule, Code(rule.condition()), rule.source)
        for rule in policy.languages[language]
        if common.get(rule.rule) != rule.condition()
    )


def _settings(policy: Policy) -> list[str]:
    said = [f"Main text is extracted by `{policy.extractor}`."]
    if policy.line_filter == "c4":
        said.append("C4's line rules rewrite kept texts: lines without closing punctuation go, for example.")
    if policy.repetition:
        weights = ", ".join(f"{weight} from {size} on" for size, weight in policy.repetition.items())
        said.append(f"In the mix a document comes more than once by the size of its duplicate cluster: {weights}.")
    return said


def _duplicates(facts: CorpusFacts) -> Section | None:
    gone: list[tuple[Cell, ...]] = [(name, n) for name, n in facts.dropped.items() if name in REASONS]
    rows: list[tuple[Cell, ...]] = [*gone, ("clusters of two or more", facts.clusters)]
    rows += [("documents in the largest", facts.largest_cluster)] if facts.clusters else []
    rows += [("documents of which something that recurs was cut", facts.documents_cut)] if facts.documents_cut else []
    return section(
        "Duplicates",
        *([Bullets(tuple(_dedup(facts.policy.dedup)))] if facts.policy else []),
        Table(("what", "how many"), tuple(rows)),
    )


def _dedup(dedup: Dedup) -> list[str]:
    among = "of its snapshot" if dedup.scope == "snapshot" else "of all snapshots"
    said = [
        f"Of documents {among} whose sets of word 5-grams have a Jaccard similarity of {dedup.similarity:g} or more, "
        "verified exactly, one is kept."
    ]
    cuts = {
        "lines": (dedup.cut_lines, "documents"),
        "paragraphs": (dedup.cut_paragraphs, "documents"),
        "exact repeats": (dedup.cut_substrings_bytes, "bytes"),
    }
    return said + [
        f"Cut from all but the first: {what} in {n} {unit} or more." for what, (n, unit) in cuts.items() if n
    ]


def _personal_data(facts: CorpusFacts) -> Section | None:
    from kernels.text.pii import TYPES

    rows = tuple((name, TYPES.get(name, ""), n) for name, n in facts.personal_data.items())
    said = f"{facts.documents_with_personal_data:,} of the documents had personal data in them; it is replaced."
    return section(
        "Personal data",
        Prose(said) if rows else Prose("The finder found none in the documents."),
        Table(("type", "what it is", "found"), rows),
        Bullets(NOT_FOUND),
    )


def _contamination(facts: CorpusFacts) -> Section | None:
    if facts.contamination is None:
        return None
    rows = tuple((name, n) for name, n in facts.contamination.items())
    if not rows:
        said = "No document shares a passage of 13 words with an item of the evaluation sets that were looked for."
    else:
        said = "Documents that share a passage of 13 words with an item of an evaluation set, and are kept:"
    also = (
        f"{facts.contaminated_dropped:,} other pages that share one are not kept." if facts.contaminated_dropped else ""
    )
    return section("Evaluation sets", Prose(said), Table(("set", "documents"), rows), Prose(also) if also else None)


def _refused(facts: CorpusFacts) -> Section | None:
    rows: list[tuple[Cell, ...]] = [(name, n) for name, n in facts.opt_outs.items()]
    rows += [(f"not fetched: {name}", n) for name, n in facts.left_out.items() if name not in facts.opt_outs]
    honoured = facts.policy is not None and facts.policy.opt_outs == "honoured"
    said = [
        "Pages whose headers or meta elements refuse training are left out when they are read."
        if honoured
        else "Pages that come through an index are left out where they refuse training; headers and meta elements of "
        "files that were simply there are not asked under this policy."
    ]
    if facts.taken_down:
        said.append(f"{facts.taken_down:,} pages of these snapshots were removed because somebody asked for it.")
    return section("Refusals and withdrawals", Bullets(tuple(said)), Table(("why", "records"), tuple(rows)))


def _limits(facts: CorpusFacts) -> tuple[str, ...]:
    said = ["It is what crawlers met and could read: no sample of what people write, in any language."]
    if facts.hosts and facts.hosts[0].share >= 0.05:
        said.append(f"One host wrote {_percent(facts.hosts[0].share)} of the documents.")
    if facts.languages and facts.languages[0].share >= 0.9:
        said.append(f"{_percent(facts.languages[0].share)} of it is in one language, {facts.languages[0].name}.")
    said += [
        "Rules look at form and statistics; what is false, hateful or stolen passes them when it is well formed.",
        "Languages are told apart by a model that errs, most often on short texts and among close relatives.",
    ]
    if facts.policy is not None and facts.policy.dedup.scope == "snapshot" and len(facts.sources) > 1:
        said.append("Duplicates are looked for within each snapshot, so a page of two snapshots is in it twice.")
    return tuple(said)


def _remaking(facts: CorpusFacts) -> tuple[str, ...]:
    """What decides the bytes beside the commands."""
    said = [
        f"The files of {one.snapshot} by their sha256: version `{one.files_version}` of `crawl_manifest`."
        for one in facts.sources
        if one.files_version
    ]
    if facts.policy is not None:
        said.append(f"The policy `{facts.policy.id}`, whose meaning has the digest `{facts.policy.digest}`.")
    return (*said, "The same files under the same policy and code give the same bytes, on any engine.")


def _commands(facts: CorpusFacts) -> str:
    name = facts.version.policies[0] if len(facts.version.policies) == 1 else "POLICY"
    return "\n".join(
        [
            f"stemma versions get {facts.version.digest} --out DIR   # a copy of these rows",
            f"STEMMA_CRAWL=DIR STEMMA_POLICY={name} stemma demo   # made again from the crawl's files",
            f"stemma corpus WARC… --out DIR --policy {name}   # the same rules on other files",
        ]
    )


def _percent(share: float) -> str:
    return written(Share(share))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())
