"""`stemma diff A B`: any two corpora compared: versions, models' corpora, folders, policies over the same pages."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.options import HomeOption, Json

if TYPE_CHECKING:
    from assets.lake import Lake
    from assets.sides import Side
    from assets.versions import CorpusVersion, Versions

Name = Annotated[
    str,
    typer.Argument(
        help="A corpus version (the beginning of its digest), now, a model, a folder of `stemma corpus` or of `stemma"
        " versions get`, or a policy."
    ),
]


def diff(
    a: Name,
    b: Name,
    out: Annotated[Path | None, typer.Option(help="A new folder for the pages that differ and a report.")] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Folder of `stemma corpus` whose pages two policies are compared over.")
    ] = None,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Compare two corpora: counts, funnels, and each page that only one has, with why the other has it not."""
    from assets.difference_report import write
    from assets.differences import compare
    from assets.restoring import appearing
    from assets.steps.ledger import removals
    from orchestration.diff_tables import show
    from orchestration.display import emit, live_progress
    from orchestration.home import locate

    place = locate(home)
    sides = Sides(place.root, corpus)
    one, two = sides.of(a), sides.of(b)
    tokens, removed = (sides.tokens_of(one), sides.tokens_of(two)), removals(place.root)
    with live_progress(as_json) as progress:
        progress.begin("pages", None)

        def on_range(done: int, total: int) -> None:
            progress.advance("pages", done, total, "")

        if out is None:
            found = compare(one, two, removed=removed, tokens=tokens, on_range=on_range)
        else:
            with appearing(out.absolute()) as folder:
                found = compare(one, two, removed=removed, tokens=tokens, out=folder, on_range=on_range)
                write(found, folder)
    if as_json:
        emit(found.to_json())
    else:
        show(found)
        if out is not None:
            typer.echo(f"{out}: the pages that differ, and a report")


class Sides:
    """What the names of one comparison mean, in a home (which need not be one where no name needs it)."""

    def __init__(self, home: Path, corpus: Path | None) -> None:
        self.home, self.corpus = home, corpus

    def of(self, name: str) -> Side:
        """The side of a name: a model's or a version's corpus, a folder, or a policy. Raises UnknownVersion,
        UnknownModel, VersionGone, NotACorpus, PolicyError, HomeMissing."""
        from assets import sides

        if (folder := self.folder_of(name)) is not None:
            if (folder / "funnel.json").is_file():
                return sides.of_folder(folder)
            return sides.of_restored(folder, self.known if self.is_home else None)
        if self.is_policy(name):
            return self._of_policy(name)
        return sides.of_version(self.known, self.version_of(name))

    def folder_of(self, name: str) -> Path | None:
        """The folder that a name means: one of `stemma corpus` or of `stemma versions get`; None: it means none."""
        from assets.restoring import MANIFEST
        from orchestration.model_versions import is_model

        folder = Path(name)
        there = any((folder / file).is_file() for file in ("funnel.json", MANIFEST))
        return folder if there and not is_model(name) else None

    def is_policy(self, name: str) -> bool:
        """Whether a name means a policy."""
        from orchestration.model_versions import is_model

        return not is_model(name) and is_policy(name, self.home)

    def version_of(self, name: str) -> CorpusVersion:
        """The corpus version that a digest, `now` or a model means. Raises UnknownVersion, UnknownModel."""
        import dagster as dg

        from orchestration.model_versions import is_model
        from orchestration.versions import named

        with dg.DagsterInstance.get() if is_model(name) else nullcontext() as instance:
            version, _ = named(self.known, instance, name)
        return version

    @property
    def is_home(self) -> bool:
        return (self.home / "home.json").is_file()

    @cached_property
    def lake(self) -> Lake:
        from assets.resources import LakeResource
        from orchestration.home import Home, require

        require(Home(self.home))
        return LakeResource().open()

    @cached_property
    def known(self) -> Versions:
        from assets.versions import Versions

        return Versions(self.lake)

    @cached_property
    def _tokens(self) -> dict[str, int]:
        """Tokens of the newest token shards, by corpus version."""
        import dagster as dg

        from orchestration.model_versions import users

        with dg.DagsterInstance.get() as instance:
            made = users(self.lake, instance)
        return {digest: one["tokens"] for digest, of in made.items() for one in reversed(of) if one.get("tokens")}

    def tokens_of(self, side: Side) -> int | None:
        """Tokens of the token shards that were made of a version, where there are any."""
        return self._tokens.get(side.name) if side.kind == "version" else None

    def _of_policy(self, name: str) -> Side:
        import polars as pl

        from assets import policy, sides
        from orchestration.policy_tables import annotations

        chosen = policy.load(name, self.home)
        if self.corpus is not None:
            import polars as pl

            pages = pl.scan_parquet(sorted((self.corpus / "documents").glob("*.parquet")))
            return sides.of_policy(annotations(None, self.corpus), chosen, pages)
        return sides.of_policy(annotations(self.home, None), chosen, self.lake.scan("documents"))


def is_policy(name: str, home: Path) -> bool:
    """Whether the name is of a policy that comes with Stemma, of one of the home's own, or of a YAML file."""
    from assets import policy

    known = {one.partition("@")[0] for one in policy.available(home)}
    return name.endswith((".yaml", ".yml")) or name.partition("@")[0] in known
