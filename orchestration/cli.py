"""The command `stemma`. Heavy imports wait until a command needs them; every command speaks JSON when asked.

Exit codes: 0 success; 1 a run failed; 2 the input cannot be used (one line that names it, nothing written).
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestration import ablating, crawl, diff, labels, policies, search, takedowns, versions
from orchestration.collecting import ending_uncollected, seldom_collecting
from orchestration.options import HomeOption, Json, speaks_plainly
from orchestration.serving import command as serving

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From web crawl to RL checkpoint, every model traceable to its pages.",
)
Model = Annotated[str, typer.Argument(help="champion, base_model, sft_model or rl_model.")]


app.add_typer(policies.app, name="policy")
app.add_typer(crawl.app, name="crawl")
app.add_typer(takedowns.app, name="takedown")
app.add_typer(labels.app, name="labels")
app.add_typer(versions.app, name="versions")


@app.command()
@speaks_plainly
def demo(
    recipe: Annotated[str, typer.Option(help="Recipe of models/recipes.py: demo, or smoke for the smallest.")] = "demo",
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Make what is missing or outdated of the whole graph, on the bundled crawl (or $STEMMA_CRAWL)."""
    from assets.resources import LakeResource
    from orchestration import display, summary
    from orchestration.demo import run_demo

    watch = display.Stopwatch()
    with display.live_progress(as_json) as progress:
        outcome = run_demo(home, recipe, progress)
    rows, figures = summary.table(outcome.states), summary.figures(LakeResource().open())
    if as_json:
        versions = {str(node): state.data_version for node, state in outcome.states.items()}
        made = [str(node) for node in outcome.made]
        display.emit(
            {"recipe": recipe, "seconds": watch.seconds, "made": made, "assets": rows, "versions": versions, **figures}
        )
        return
    from rich.console import Console

    console = Console()
    console.print(display.assets_table(rows))
    console.print(display.figures_table(figures))
    made = f"{len(outcome.made)} made" if outcome.made else "nothing was outdated"
    console.print(f"{made}, {watch.seconds:.0f} s, everything is in {outcome.home.root}", highlight=False)
    console.print("Look next: [bold]make ui[/] (the graph and the runs), [bold]stemma trace champion --sample 5[/]")


@app.command()
@speaks_plainly
def corpus(
    warc: Annotated[list[Path], typer.Argument(help="WARC or WET files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for documents/, corpus/ and funnel.json.")],
    policy: Annotated[str, typer.Option(help="Name of a policy, or a YAML file.")] = "fineweb",
    workers: Annotated[int | None, typer.Option(min=1, help="Shards at once (default: the CPUs).")] = None,
    as_json: Json = False,
) -> None:
    """Clean text from anyone's WARC files, with a reason for every dropped page. No Dagster involved."""
    from orchestration.corpus import corpus_command

    corpus_command(warc, out, policy, workers, as_json)


@app.command()
@speaks_plainly
def trace(
    model: Model,
    sample: Annotated[int | None, typer.Option(min=0, help="Show at most so many records of each stage.")] = None,
    step: Annotated[int | None, typer.Option(min=1, help="Only what this step of its training read.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Re-read every shown record from its WARC file.")] = False,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Name the crawl records behind a model, by stage, with WARC file and offset."""
    import dagster as dg

    from assets.resources import CrawlResource, LakeResource
    from orchestration import display, tracing
    from orchestration.home import locate, require

    tracing.known(model)
    require(locate(home))
    if step is not None:
        from orchestration import batch

        held = batch.trace_step(LakeResource().open(), model, step)
        (display.emit if as_json else batch.show)(held)
        return
    with dg.DagsterInstance.get() as instance:
        found = tracing.trace(LakeResource().open(), instance, model, sample if as_json or sample is not None else 10)
    if verify:
        records = [row for stage in found["stages"] for row in stage.get("records", [])]
        found["verified"], found["wrong"] = len(records), tracing.verify(CrawlResource().place, records)
    if as_json:
        display.emit(found)
    else:
        tracing.show(found)
    if verify and found["wrong"]:
        raise typer.Exit(1)


app.command("reach")(speaks_plainly(seldom_collecting()(takedowns.reach)))
app.command("diff")(speaks_plainly(diff.diff))
app.command("ablate")(speaks_plainly(ablating.ablate))
app.command("search")(speaks_plainly(search.search))
app.command("serve")(serving.serve)


@app.command()
@speaks_plainly
@seldom_collecting()
def status(
    sync: Annotated[bool, typer.Option("--sync", help="Send what MLflow missed while it was away.")] = False,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """What is missing or outdated, and because of what, all the way up the graph."""
    from orchestration.home import locate, require
    from orchestration.options import emit
    from orchestration.standing import standing

    place, sent = require(locate(home)), None
    if sync:
        import dagster as dg

        from orchestration.demo import send_spooled

        with dg.DagsterInstance.get() as instance:
            sent = send_spooled(instance, place, strict=True)
    states = standing(place)
    from orchestration.lineage import to_json

    if as_json:
        emit({"home": str(place.root), "sent_to_mlflow": sent, "nodes": to_json(states)})
        return
    from orchestration.display import show_states

    show_states(states, sent)


@app.command()
@speaks_plainly
def nightly(home: HomeOption = None, as_json: Json = False) -> None:
    """One night: discover, apply takedowns, fetch, refresh what is outdated of the data plane, report. For cron."""
    from orchestration import display
    from orchestration.nightly import run_night

    with display.live_progress(as_json) as progress:
        done = run_night(home, progress)
    if as_json:
        made = [str(node) for node in done.made]
        display.emit({"folder": str(done.folder), "made": made, "report": done.report, "cost": done.cost})
    else:
        display.show_night(done.report, done.cost, done.folder)
    if not done.succeeded:
        raise typer.Exit(1)


@app.command()
@speaks_plainly
def generate(
    model: Model,
    prompt: str,
    tokens: Annotated[int, typer.Option(min=1, help="At most so many new tokens.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")] = 0.0,
    seed: int = 0,
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Let a model continue a prompt (base_model) or answer it (the others)."""
    from orchestration.using import generate_text

    generate_text(home, model, prompt, tokens, temperature, seed, as_json)


@app.command()
@speaks_plainly
def export(
    model: Model,
    directory: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    form: Annotated[
        str, typer.Option("--format", help="hf: a Hugging Face directory. gguf: one file for llama.cpp and LM Studio.")
    ] = "hf",
    weights: Annotated[
        str, typer.Option(help="Of a GGUF file: f32, f16, bf16, q8_0 (8 bits) or q4_0 (4 bits).")
    ] = "f32",
    home: HomeOption = None,
    as_json: Json = False,
) -> None:
    """Write a model in another engine's format, after comparing it with ours."""
    from orchestration.using import export_model

    export_model(home, model, directory, form, as_json, weights)


@app.command()
@speaks_plainly
def bench(
    name: Annotated[list[str] | None, typer.Argument(help="Which, as parity or corpus (default: all).")] = None,
    pages: Annotated[list[Path] | None, typer.Option(help="A WARC file to measure on; may be given again.")] = None,
    documents: Annotated[int | None, typer.Option(help="Size of the crawl that scale generates.", min=1000)] = None,
    as_json: Json = False,
) -> None:
    """Measure ours against the peers on this machine, beside what no implementation could beat."""
    from orchestration.bench import bench_command

    sys.exit(bench_command(name or [], pages or [], as_json, documents=documents))


@app.command()
@speaks_plainly
def ui(
    port: Annotated[int, typer.Option(help="Dagster's port.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="MLflow's port.")] = 5000,
    pages_port: Annotated[int, typer.Option(help="The pages' port.")] = 8000,
    host: Annotated[str, typer.Option(help="Where the pages listen; any but this machine's own needs --token.")] = (
        "127.0.0.1"
    ),
    token: Annotated[
        str | None, typer.Option(envvar="STEMMA_PAGES_TOKEN", help="Who opens the pages must show it.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Open the pages, Dagster (with its daemon) and MLflow on this machine; Ctrl-C ends all three."""
    from orchestration.servers import serve

    sys.exit(serve(home, port, mlflow_port, pages_port, host=host, token=token or None))


def main() -> None:
    """Entry point of the `stemma` script."""
    with ending_uncollected():
        app()


if __name__ == "__main__":
    main()
