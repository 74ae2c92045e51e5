"""`stemma versions`: every version that the corpus ever had, who uses it, and any of them again, byte for byte."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.options import HomeOption, Json, speaks_plainly

if TYPE_CHECKING:
    from assets.lake import Lake
    from assets.versions import CorpusVersion, Versions

app = typer.Typer(help="What the corpus was at any time, which model used which, and how to have it again.")
NOW = "now"
SHARDS_FOLDER = "token_shards"

Version = Annotated[str, typer.Argument(help="A digest or its beginning, now, or a model: champion, base_model, …")]


class ShardsDiffer(RuntimeError):
    """Token shards that were made again are not those that the model was trained on."""


class NoShardsMade(LookupError):
    """No token shards were made of the version, so nobody can say with which tokenizer and how."""


@app.callback(invoke_without_command=True)
@speaks_plainly
def list_versions(context: typer.Context, home: HomeOption = None, as_json: Json = False) -> None:
    """Every version of the corpus, newest first: its rows, what is made of it, whether its bytes are there."""
    if context.invoked_subcommand is not None:
        return
    import dagster as dg

    from assets.resources import LakeResource
    from assets.versions import Versions
    from orchestration.display import emit
    from orchestration.home import locate, require
    from orchestration.model_versions import users

    require(locate(home))
    lake = LakeResource().open()
    with dg.DagsterInstance.get() as instance:
        used = users(lake, instance)
    rows = [row_of(one, used.get(one.digest, [])) for one in reversed(Versions(lake).known)]
    if as_json:
        emit(rows)
    else:
        show(rows)


@app.command()
@speaks_plainly
def get(
    version: Version,
    out: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
    shards: Annotated[bool, typer.Option("--shards", help="Make the token shards of it again, too.")] = False,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Write a version of the corpus as Parquet with its manifest, compared with its digest."""
    import dagster as dg

    from assets.resources import LakeResource
    from assets.restoring import appearing, restore
    from assets.versions import CORPUS, Versions
    from orchestration.display import emit, live_progress
    from orchestration.home import locate, require
    from orchestration.using import remember_export

    require(locate(home))
    lake = LakeResource().open()
    known = Versions(lake)
    with dg.DagsterInstance.get() as instance:
        chosen, made_of = named(known, instance, version)
        if shards and not made_of:
            made_of = shards_of(lake, instance, chosen)
    known.readable(chosen)
    with live_progress(as_json) as progress, appearing(out.absolute()) as folder:
        progress.begin("corpus", None)
        manifest = restore(known, chosen, folder, lambda done, total: progress.advance("corpus", done, total, ""))
        made = {SHARDS_FOLDER: remake_shards(lake, made_of, folder)} if shards else {}
        remember_export(lake.local, out.absolute(), CORPUS, chosen.digest)  # a takedown has to name the folder
    if as_json:
        said = {name: manifest[name] for name in ("corpus_version", "snapshots", "policies", "rows", "bytes")}
        emit({**said, "directory": str(out.absolute()), **made})
        return
    typer.echo(f"{out}: {manifest['rows']:,} documents of the corpus version {chosen.digest}, all files verified")
    if shards:
        typer.echo(f"{out / SHARDS_FOLDER}: token shards {made[SHARDS_FOLDER]}, those that were trained on")


def named(known: Versions, instance: Any, name: str) -> tuple[CorpusVersion, dict[str, Any]]:
    """The version that a name means, and how what was trained on it was made (of a model; else {}).

    Raises UnknownVersion, UnknownModel.
    """
    from orchestration.model_versions import is_model, of_model

    if is_model(name):
        return of_model(known, instance, name)
    return (known.current if name == NOW else known.find(name)), {}


def shards_of(lake: Lake, instance: Any, version: CorpusVersion) -> dict[str, Any]:
    """How the newest token shards of a version were made. Raises NoShardsMade."""
    from orchestration.model_versions import SHARDS, behind, users

    made = [one for one in users(lake, instance).get(version.digest, []) if one["asset"] == SHARDS]
    if not made:
        raise NoShardsMade(f"no token shards were made of the corpus version {version.digest}: leave --shards out")
    return behind(instance, SHARDS, made[0]["digest"])


def remake_shards(lake: Lake, made_of: dict[str, Any], folder: Path) -> str:
    """Makes the token shards of the restored corpus in `folder` as they were made; the digest, which must be the same.

    Raises ArtifactMissing where the tokenizer is gone, TableMissing where what chose among snapshots is, ShardsDiffer.
    """
    from assets.history import rows_at
    from assets.restoring import copy_rows
    from models.artifacts import digest
    from orchestration.lineage import WHOLE
    from orchestration.using import run_model_program

    tokenizer = lake.artifacts.open("tokenizer", digest=made_of["inputs"]["tokenizer"][WHOLE])
    files = sorted((folder / "corpus").rglob("*.parquet"))
    config: dict[str, Any] = {
        "corpus_files": [str(path) for path in files],
        "tokenizer_dir": str(tokenizer),
        **{name: made_of["config"][name] for name in ("heldout_fraction", "repetition") if name in made_of["config"]},
    }
    if made_of["config"].get("dedup_scope") == "corpus":  # one document of all snapshots: the shards say which with
        chosen = rows_at(lake, "corpus_clusters", made_of["inputs"]["corpus_clusters"][WHOLE])
        copied, where = copy_rows(lake, chosen, folder), folder / "corpus_clusters"
        of = {snapshot: [str(where / part.path) for part in parts] for snapshot, parts in copied.items()}
        snapshots = [path.relative_to(folder / "corpus").parts[0].removeprefix("snapshot=") for path in files]
        config |= {"clusters": of, "corpus_snapshots": snapshots}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        run_model_program("tokenize", config, Path(scratch), out=Path(scratch) / "work")
        found = digest(Path(scratch) / "work" / "final")
        if found != made_of["shards"]:
            raise ShardsDiffer(
                f"the token shards made again are {found}, not {made_of['shards']}: other code made those"
            )
        (Path(scratch) / "work" / "final").rename(folder / SHARDS_FOLDER)
    return found


def row_of(version: CorpusVersion, used: list[dict[str, Any]]) -> dict[str, Any]:
    """A version for machines; `tokens` of the newest token shards made of it."""
    tokens = next((one["tokens"] for one in used if one.get("tokens") is not None), None)
    return {**version.to_json(), "tokens": tokens, "used_by": used}


def show(rows: list[dict[str, Any]]) -> None:
    """The list for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from orchestration.display import number

    table = Table(title=f"{len(rows)} versions of the corpus", title_justify="left")
    for column in ("version", "documents", "bytes", "tokens", "policy", "used by"):
        figures = column in ("documents", "bytes", "tokens")
        table.add_column(
            column, overflow="fold", no_wrap=column in ("version", "used by"), justify="right" if figures else "left"
        )
    for row in rows:
        there = "now" if row["current"] else "" if row["readable"] else "gone"
        snapshots = f"{len(row['snapshots'])} snapshots" if len(row["snapshots"]) > 1 else next(iter(row["snapshots"]))
        name = "\n".join(filter(None, [row["digest"][:12], row["at"][:16].replace("T", " "), snapshots, there]))
        used = [one["asset"] + ("" if one["current"] else f" {one['digest'][:8]}") for one in row["used_by"]]
        where = (", ".join(row["policies"]), "\n".join(used))
        table.add_row(name, *(number(row[key]) for key in ("rows", "bytes", "tokens")), *map(escape, where))
    console = Console()
    console.print(table)
    for row in rows:
        if not row["readable"]:
            console.print(f"{row['digest'][:12]}: {row['why_gone']}", highlight=False, soft_wrap=True)
