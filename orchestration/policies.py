"""`stemma policy`: the thresholds in effect, how two policies differ, what another threshold would do, a home's own.

Effects are computed from annotations alone: those of a home's lake, or of a folder that `stemma corpus` wrote.
"""

from pathlib import Path
from typing import Annotated

import typer

from orchestration.options import HomeOption, Json, speaks_plainly

app = typer.Typer(no_args_is_help=True, help="Thresholds: what is in effect, how two differ, what another would do.")

Name = Annotated[str, typer.Argument(help="Name of a policy, name@version, or a YAML file.")]
Corpus = Annotated[Path | None, typer.Option("--corpus", help="Folder that `stemma corpus` wrote, instead of a home.")]
Snapshot = Annotated[str | None, typer.Option(help="One snapshot of the home (default: all).")]
Statistic = Annotated[str | None, typer.Argument(help="One statistic, by language too; else all, over all pages.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="RULE.FIELD=VALUE or LANGUAGE/RULE.FIELD=VALUE; repeatable.")
]
Removed = Annotated[list[str] | None, typer.Option("--remove", help="A rule that would not hold; repeatable.")]
Samples = Annotated[int, typer.Option(min=0, help="Name at most so many pages of each change.")]


@app.command("list")
@speaks_plainly
def list_policies(home: HomeOption = None, as_json: Json = False) -> None:
    """The policies that come with Stemma, and those that were saved in the home."""
    from assets import policy
    from orchestration import policy_tables
    from orchestration.home import locate

    root = locate(home).root
    policy_tables.show_list([policy.load(name, root) for name in policy.available(root)], as_json)


@app.command()
@speaks_plainly
def show(
    name: Name,
    language: Annotated[str | None, typer.Option(help="The rules for pages of that language: deu_Latn.")] = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """The rules in effect, in the order in which they are tried, with where each threshold comes from."""
    from assets import policy
    from orchestration import policy_tables
    from orchestration.home import locate

    policy_tables.show_policy(policy.load(name, locate(home).root), language, as_json)


@app.command()
@speaks_plainly
def diff(
    before: Name,
    after: Name,
    home: HomeOption = None,
    corpus: Corpus = None,
    snapshot: Snapshot = None,
    samples: Samples = 3,
    as_json: Json = False,
) -> None:
    """How two policies differ by rule; with --home or --corpus, which pages would change sides."""
    from assets import policy
    from orchestration import policy_tables
    from orchestration.home import locate

    root = locate(home).root
    old, new = policy.load(before, root), policy.load(after, root)
    found = None
    if home is not None or corpus is not None:
        found = policy.effect(policy_tables.annotations(home, corpus, snapshot), old, new, samples)
    policy_tables.show_difference(old, new, found, as_json)


@app.command("what-if")
@speaks_plainly
def what_if(
    name: Name,
    other: Annotated[str | None, typer.Argument(help="Another policy, in place of this one with changes.")] = None,
    settings: Settings = None,
    remove: Removed = None,
    home: HomeOption = None,
    corpus: Corpus = None,
    snapshot: Snapshot = None,
    samples: Samples = 3,
    as_json: Json = False,
) -> None:
    """What is kept and dropped now and would be then, by rule and language, from annotations alone."""
    from assets import policy
    from orchestration import policy_tables
    from orchestration.home import locate

    root = locate(home).root
    old = policy.load(name, root)
    new = policy.load(other, root) if other is not None else old
    if settings or remove:
        new = policy.what_if(new, settings or [], remove or [])
    elif other is None:
        raise policy.PolicyError("say what to change: --set RULE.FIELD=VALUE, --remove RULE, or another policy")
    found = policy.effect(policy_tables.annotations(home, corpus, snapshot), old, new, samples)
    policy_tables.show_difference(old, new, found, as_json)


@app.command()
@speaks_plainly
def save(
    name: Annotated[str, typer.Argument(help="Name of the home's own policy; it gets the next version.")],
    by: Annotated[str, typer.Option(help="Who saves it.")],
    why: Annotated[str, typer.Option(help="Why; it stands beside every changed rule as its source.")],
    parent: Annotated[
        str | None, typer.Option("--from", help="The policy that is changed (default: the one the home goes by).")
    ] = None,
    settings: Settings = None,
    remove: Removed = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Keep changed thresholds as a new version of a policy of the home's own. Nothing is decided by it yet."""
    from assets import policy
    from assets.resources import RecipeResource
    from orchestration import policy_tables
    from orchestration.home import locate, require

    root = require(locate(home)).root
    parent = parent or RecipeResource().chosen_policy(root)
    changed = policy.what_if(policy.load(parent, root), settings or [], remove or [])
    policy_tables.show_saved(policy.save(root, name, parent, changed, by=by, why=why), root, as_json)


@app.command()
@speaks_plainly
def use(name: Name, home: HomeOption = None, as_json: Json = False) -> None:
    """Go by that policy in this home from now on; what it decides otherwise is outdated until it is made again."""
    from assets import policy
    from orchestration import policy_tables
    from orchestration.home import locate, require

    root = require(locate(home)).root
    policy_tables.show_use(policy.choose(root, name), root, as_json)


@app.command()
@speaks_plainly
def statistics(
    statistic: Statistic = None,
    home: HomeOption = None,
    corpus: Corpus = None,
    snapshot: Snapshot = None,
    as_json: Json = False,
) -> None:
    """How the values that rules look at spread: count, mean, quantiles, by language and as a histogram."""
    from assets.steps.statistics import summarise
    from orchestration import policy_tables

    found = summarise(policy_tables.annotations(home, corpus, snapshot))
    policy_tables.show_statistics(found, statistic, as_json)
