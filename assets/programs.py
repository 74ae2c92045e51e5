"""Runs `python -m models …` under Dagster Pipes: one attempt at a time in a work directory, resumable, tracked.

The work directory is locked, and the program inherits the lock. When the process that started it is killed, the next
attempt waits for the program to end instead of writing beside it, and then finds its finished result.
"""

import fcntl
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from assets import curves
from assets.lake import Commit
from assets.making import Making
from assets.tracking import Record, TrackingResource, flatten, points

POLL_S = 0.5  # how often curves are looked at while a program runs
GRACE_S = 20  # how long an interrupted program may take to end
HEADLINES = ("loss", "bpb_heldout", "accuracy_greedy", "reward_mean")  # curves shown while a program runs
SHARED = {"pretrain"}  # commands that several ranks can do together
REPO = Path(__file__).resolve().parents[1]


class ProgramFailed(RuntimeError):
    """A models command ended with an error; the message is the last of what it said."""


def run_program(made: Making, command: str, config: dict[str, Any], on_curve: Callable[[], None] | None = None) -> Path:
    """Runs one command to its end in the materialization's work directory; returns the finished `final` directory.

    `on_curve` is called now and then while it runs, and once after it. Raises ProgramFailed.
    """
    workdir = made.workdir
    (workdir / "command.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    argv = [sys.executable, *_ranks(command, made.key), "-m", "models", command]
    argv += ["--config", str(workdir / "command.json"), "--out", str(workdir)]
    with ExitStack() as opened:
        lock = opened.enter_context(_exclusive(made, workdir))
        session = opened.enter_context(_pipes(made.context, workdir))
        errors = opened.enter_context((workdir / "stderr.log").open("wb"))
        environment = {**os.environ, **session.get_bootstrap_env_vars()}
        program = subprocess.Popen(
            argv, cwd=REPO, env=environment, stdout=errors, stderr=errors, pass_fds=[lock], start_new_session=True
        )
        opened.enter_context(_watching(made, workdir, on_curve))
        try:
            program.wait()
        except BaseException:  # interrupted: the program must not outlive its materialization
            program.terminate()
            program.wait(GRACE_S)
            raise
    if program.returncode != 0:
        said = (workdir / "stderr.log").read_text(errors="replace").strip().splitlines()[-12:]
        raise ProgramFailed(f"python -m models {command} ended with {program.returncode}: " + "\n".join(said))
    return workdir / "final"


def _ranks(command: str, name: str) -> list[str]:
    """What starts a command on STEMMA_RANKS processes of each of STEMMA_NODES machines, wherever STEMMA_ENGINE says
    (orchestration/engines/ranks.py); nothing where one does it here. name: the same for every attempt."""
    for variable in ("STEMMA_RANKS", "STEMMA_NODES"):
        said = os.environ.get(variable) or "1"
        if not said.isdecimal() or int(said) < 1:
            raise ProgramFailed(f"{variable} must be a number, 1 or more, got {said!r}")
    here = (os.environ.get("STEMMA_ENGINE") or "local") == "local"
    asked = [os.environ.get(name) or "" for name in ("STEMMA_RANKS", "STEMMA_NODES")]
    if command not in SHARED or not any(asked) or (here and set(asked) <= {"", "1"}):
        return []
    return ["-m", "orchestration.engines.ranks", "--name", f"stemma-{name}", "--"]


def build(
    made: Making, command: str, config: dict[str, Any], on_curve: Callable[[], None] | None = None
) -> tuple[Commit, dict[str, Any]]:
    """A program whose finished directory becomes the asset's artifact: its commit and its manifest."""
    final = run_program(made, command, {"recipe": made.recipe, **config}, on_curve)
    return made.lake.commit_dir(made.asset, final), json.loads((final / "manifest.json").read_text())


def train(
    made: Making,
    tracking: TrackingResource,
    command: str,
    config: dict[str, Any],
    *,
    parent: str | None,
    sources: dict[str, Path],
) -> tuple[Commit, dict[str, Any], dict[str, Any]]:
    """A program whose curves, parameters, inputs and checkpoint MLflow shall hold.

    parent: model digest of the checkpoint it starts from. sources: where each input lies, by asset.
    Returns the commit, the checkpoint's manifest and the metadata that links to the MLflow run.
    """
    home = made.home.path
    with tracking.run(home, _record(made, parent, sources), made.workdir) as run:
        final = run_program(made, command, {"recipe": made.recipe, **config}, on_curve=run.deliver)
        manifest = json.loads((final / "manifest.json").read_text())
        commit = made.lake.commit_dir(made.asset, final)
        figures = {key: float(value) for key, value in manifest.items() if type(value) in (int, float)}
        run.finish(commit.data_version, made.lake.artifacts.root / made.asset / commit.data_version, figures)
    picture = curves.draw(points(made.workdir / "metrics.jsonl"))
    drawn = {"curves": dg.MetadataValue.md(curves.inline(picture, "curves"))} if picture else {}
    return commit, manifest, drawn | run.metadata()


def study(
    made: Making, tracking: TrackingResource, command: str, config: dict[str, Any]
) -> tuple[Commit, dict[str, Any], dict[str, Any]]:
    """A program whose figures MLflow shall hold and that leaves no checkpoint: commit, manifest, links to the run."""
    with tracking.run(made.home.path, _record(made, None, {}), made.workdir) as run:
        commit, manifest = build(made, command, config, run.deliver)
        run.end()
    return commit, manifest, run.metadata()


def _record(made: Making, parent: str | None, sources: dict[str, Path]) -> Record:
    identity = json.loads((made.home.path / "home.json").read_text())["id"]
    tags = {
        "dagster.run_id": made.context.run.run_id,
        "dagster.asset_key": made.asset,
        "dagster.partition": made.partition,
        "dagster.job": made.context.run.job_name,
        "stemma.home": identity,
        "stemma.work": made.key,
        "stemma.code_version": made.code_version,
        "stemma.input_versions": json.dumps(made.inputs, sort_keys=True)[:8000],
    }
    inputs = [
        {"name": name, "digest": next(iter(versions.values())), "source": str(sources.get(name, name))}
        for name, versions in made.inputs.items()
    ]
    if (corpus := made.corpus_version) is not None:  # `stemma versions get` gives it again
        tags["stemma.corpus_version"] = corpus
        inputs.append({"name": "corpus", "digest": corpus, "source": "stemma versions get"})
    return Record(
        asset=made.asset,
        name=f"{made.asset}-{made.key}",
        params=flatten(made.config),
        tags=tags | ({"stemma.parent": parent} if parent else {}),
        inputs=inputs,
    )


@contextmanager
def _pipes(context: dg.AssetExecutionContext, workdir: Path) -> Iterator[dg.PipesSession]:
    """The channel for log lines between the program and the run: files of the work directory, which all that work on
    it see, on whatever machine."""
    said, told = workdir / "pipes-context.json", workdir / "pipes-messages.jsonl"
    told.unlink(missing_ok=True)  # of an attempt that was killed
    injector, reader = dg.PipesFileContextInjector(str(said)), dg.PipesFileMessageReader(str(told))
    with ExitStack() as opened:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)  # raised by Dagster's own use of its preview
            session = opened.enter_context(dg.open_pipes_session(context, injector, reader))
        yield session


@contextmanager
def _exclusive(made: Making, workdir: Path) -> Iterator[int]:
    """The work directory's lock, as a file descriptor; waits while another attempt's program holds it."""
    handle = os.open(workdir / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            made.context.log.info("an earlier attempt's program is still at work here: waiting for it to end")
            made.advance(0, note="waiting for an earlier attempt to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _watching(made: Making, workdir: Path, on_curve: Callable[[], None] | None) -> Iterator[None]:
    """Shows the newest point of the curves and hands them on, from a thread, until the block ends."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(POLL_S):
            show(made, workdir)
            if on_curve is not None:
                on_curve()

    thread = threading.Thread(target=look, name="curves", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def show(made: Making, workdir: Path) -> None:
    """The last step of metrics.jsonl on the progress display."""
    newest: dict[str, float] = {}
    last = 0
    for step, key, value in points(workdir / "metrics.jsonl"):
        last, newest[key] = step, value
    if newest:
        shown = [f"{key} {newest[key]:.3g}" for key in HEADLINES if key in newest]
        made.advance(last, _steps(made.config), " · ".join(shown))


def _steps(config: dict[str, Any]) -> int | None:
    """Optimizer steps of the stage, where it has any."""
    return next((part["steps"] for part in config.values() if isinstance(part, dict) and "steps" in part), None)
