"""The two-way link between Dagster and MLflow: one MLflow run per training asset, spooled beside the work.

Everything MLflow is told lies in the work directory first: `tracking.json` (parameters, tags, inputs, outcome) and the
trainer's own `metrics.jsonl`. Sending is a replay of these files, so training never waits for MLflow, and `sync` sends
what could not be sent. The Dagster materialization names the run; the run's tags name the Dagster run.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

EXPERIMENT = "stemma"
REGISTERED_MODEL = "stemma"
CHAMPION = "champion"
DIGEST_CHARS = 36  # MLflow refuses a longer dataset digest
METRICS_PER_REQUEST = 500
RECORD = "tracking.json"
FIGURES = "figures-"  # files in the home's mlflow folder: what is to be put on the run of that checkpoint


class TrackingUnreachable(RuntimeError):
    """MLflow could not be reached or refused; the record stays beside the work, `sync` sends it later."""


class NoSuchVersion(LookupError):
    """The registry holds no version with that model digest."""


@dataclass
class Record:
    """What one training attempt tells MLflow. `outcome`: RUNNING, FINISHED, FAILED or KILLED."""

    asset: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    inputs: list[dict[str, str]]  # name, digest (data version), source
    outcome: str = "RUNNING"
    model: dict[str, Any] | None = None  # digest, path, figures of the finished checkpoint
    run_id: str | None = None
    experiment_id: str | None = None
    sent: list[str] = field(default_factory=list)  # "step:metric" of every point MLflow holds
    complete: bool = False  # outcome and model have arrived

    @classmethod
    def read(cls, workdir: Path) -> "Record":
        return cls(**json.loads((workdir / RECORD).read_text()))

    def write(self, workdir: Path) -> None:
        temporary = workdir / f".{RECORD}.tmp"
        temporary.write_text(json.dumps(asdict(self), indent=1, sort_keys=True))
        os.replace(temporary, workdir / RECORD)


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """{"a": {"b": 1}} → {"a.b": "1"}: MLflow parameters are flat strings of at most 6,000 characters."""
    if isinstance(value, dict):
        return {name: item for key in value for name, item in flatten(value[key], f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): (value if isinstance(value, str) else json.dumps(value))[:6000]}


class Mlflow:
    """The only user of the mlflow package. Every method is one request or a bounded few, and may be repeated."""

    def __init__(self, uri: str) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def deliver(self, record: Record, workdir: Path) -> None:
        """Bring MLflow up to what the work directory says; `record` learns what has arrived."""
        if record.run_id is None:
            self._open(record)
            record.write(workdir)
        self._send_metrics(record, workdir)
        if record.outcome != "RUNNING" and not record.complete:
            if record.model is not None:
                self._register(record)
            self.client.set_terminated(str(record.run_id), record.outcome)
            record.complete = True
        record.write(workdir)

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        known = self.client.get_experiment_by_name(EXPERIMENT)
        if known is None:
            try:
                return self.client.create_experiment(EXPERIMENT)
            except MlflowException:  # another process was first
                known = self.client.get_experiment_by_name(EXPERIMENT)
                if known is None:
                    raise
        return known.experiment_id

    def _open(self, record: Record) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        record.experiment_id = self._experiment()
        self._end_killed_attempts(record)
        if parent := record.tags.get("stemma.parent"):
            found = self._runs(record, f"tags.`stemma.data_version` = '{parent}' and attributes.status = 'FINISHED'")
            record.tags["stemma.parent_run"] = found[0].info.run_id if found else "unknown"
        run = self.client.create_run(record.experiment_id, run_name=record.name, tags=record.tags)
        record.run_id = run.info.run_id
        self.client.log_batch(record.run_id, params=[Param(key, value) for key, value in record.params.items()])
        inputs = [
            DatasetInput(
                Dataset(one["name"], one["digest"][:DIGEST_CHARS], "local", json.dumps({"uri": one["source"]})),
                tags=[
                    InputTag("mlflow.data.context", "training"),
                    InputTag("dagster.asset_key", one["name"]),
                    InputTag("dagster.data_version", one["digest"]),
                ],
            )
            for one in record.inputs
        ]
        self.client.log_inputs(record.run_id, datasets=inputs)

    def _runs(self, record: Record, query: str) -> list[Any]:
        return list(self.client.search_runs([str(record.experiment_id)], query, max_results=50))

    def _end_killed_attempts(self, record: Record) -> None:
        """An attempt that was killed left its run RUNNING. Only runs of this home and asset are touched."""
        home, asset = record.tags["stemma.home"], record.tags["dagster.asset_key"]
        query = f"tags.`stemma.home` = '{home}' and tags.`dagster.asset_key` = '{asset}'"
        for run in self._runs(record, f"{query} and attributes.status = 'RUNNING'"):
            self.client.set_terminated(run.info.run_id, "KILLED")

    def _send_metrics(self, record: Record, workdir: Path) -> None:
        from mlflow.entities import Metric

        sent, now = set(record.sent), int(time.time() * 1000)
        fresh = [point for point in points(workdir / "metrics.jsonl") if f"{point[0]}:{point[1]}" not in sent]
        for start in range(0, len(fresh), METRICS_PER_REQUEST):
            batch = fresh[start : start + METRICS_PER_REQUEST]
            self.client.log_batch(str(record.run_id), [Metric(key, value, now, step) for step, key, value in batch])
            record.sent += [f"{step}:{key}" for step, key, _ in batch]

    def _register(self, record: Record) -> None:
        """The checkpoint as a logged model and as a version of the registered model; once per digest."""
        from mlflow.entities import LoggedModelOutput, Metric

        model, run_id, experiment = record.model or {}, str(record.run_id), str(record.experiment_id)
        tags = {"stemma.data_version": model["digest"], "dagster.asset_key": record.asset}
        tags |= {key: record.tags[key] for key in ("stemma.parent", "dagster.run_id") if key in record.tags}
        self.client.set_tag(run_id, "stemma.data_version", model["digest"])
        now = int(time.time() * 1000)
        figures = [Metric(f"final/{key}", value, now, 0) for key, value in model["figures"].items()]
        self.client.log_batch(run_id, figures)
        logged = self.client.create_logged_model(experiment, record.asset, run_id, tags, model_type="checkpoint")
        self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self.client.finalize_logged_model(logged.model_id, "READY")
        model["model_id"] = logged.model_id
        if self._version(model["digest"]) is None:
            source = Path(model["path"]).absolute().as_uri()
            self.client.create_model_version(REGISTERED_MODEL, source, run_id, tags=tags, model_id=logged.model_id)

    def _version(self, digest: str) -> str | None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(REGISTERED_MODEL)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self.client.create_registered_model(REGISTERED_MODEL, description="Checkpoints made by Stemma")
        for version in self.client.search_model_versions(f"name = '{REGISTERED_MODEL}'"):
            if version.tags.get("stemma.data_version") == digest:
                return str(version.version)
        return None

    def promote(self, digest: str) -> str:
        """Point the alias `champion` at the version with this model digest; returns the version. NoSuchVersion."""
        version = self._version(digest)
        if version is None:
            raise NoSuchVersion(f"the registered model {REGISTERED_MODEL} has no version with digest {digest}")
        self.client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION, version)
        return version

    def annotate(self, digest: str, figures: dict[str, float]) -> str:
        """Puts figures on the finished run that made the checkpoint; returns the run's id. Raises NoSuchVersion."""
        from mlflow.entities import Metric

        query = f"tags.`stemma.data_version` = '{digest}' and attributes.status = 'FINISHED'"
        found = self.client.search_runs([self._experiment()], query, max_results=1)
        if not found:
            raise NoSuchVersion(f"no run made the checkpoint {digest}")
        run_id, now = found[0].info.run_id, int(time.time() * 1000)
        metrics = [Metric(name, value, now, 0) for name, value in sorted(figures.items())]
        for start in range(0, len(metrics), METRICS_PER_REQUEST):
            self.client.log_batch(run_id, metrics[start : start + METRICS_PER_REQUEST])
        return run_id

    def points(self, run_id: str) -> list[tuple[int, str, float]]:
        """(step, metric, value) of every point of a run's curves, by metric and step."""
        names = sorted(self.client.get_run(run_id).data.metrics)
        found = [point for name in names for point in self.client.get_metric_history(run_id, name)]
        return [(point.step, point.key, point.value) for point in sorted(found, key=lambda one: (one.key, one.step))]

    def champion(self) -> dict[str, str] | None:
        """Version, model digest and run id behind the alias, or None before the first promotion."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_model_version_by_alias(REGISTERED_MODEL, CHAMPION)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        return {"version": str(found.version), "digest": found.tags["stemma.data_version"], "run_id": str(found.run_id)}


def points(path: Path) -> Iterator[tuple[int, str, float]]:
    """(step, metric, value) of every whole line of a metrics.jsonl; a torn last line is left for later."""
    if not path.is_file():
        return
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            row = json.loads(line)
            yield from ((row["step"], key, value) for key, value in row["metrics"].items())


def recorded_points(uri: str, run_id: str) -> list[tuple[int, str, float]]:
    """(step, metric, value) of a run's curves as MLflow holds them. Raises TrackingUnreachable."""
    try:
        return Mlflow(uri).points(run_id)
    except unreachable() as error:
        raise TrackingUnreachable(
            f"MLflow did not give the run {run_id}: {str(error).splitlines()[0][:200]}"
        ) from error


def curves_at(home: Path, asset: str, digest: str) -> list[tuple[int, str, float]] | None:
    """The curves of the run that made a checkpoint, from its work directory; None where that is gone."""
    for path in sorted((home / "work" / asset).glob(f"*/{RECORD}")):
        record = json.loads(path.read_text())
        if (record.get("model") or {}).get("digest") == digest and (path.parent / "metrics.jsonl").is_file():
            return list(points(path.parent / "metrics.jsonl"))
    return None


def unreachable() -> tuple[type[Exception], ...]:
    """What counts as MLflow not answering: its own errors, the network's, the database's."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, OSError, SQLAlchemyError)


class TrackedRun:
    """One training attempt. `deliver` never raises for an absent MLflow: it notes the reason and keeps the spool."""

    def __init__(self, uri: str, ui_url: str, record: Record, workdir: Path) -> None:
        self.uri, self.ui_url, self.record, self.workdir = uri, ui_url, record, workdir
        self.mlflow: Mlflow | None = None
        self.trouble: str | None = None

    def deliver(self) -> None:
        """Send what is new; after a failure nothing is tried again before the run ends."""
        if self.trouble is not None and self.record.outcome == "RUNNING":
            return
        self.trouble = None
        try:
            self.mlflow = self.mlflow or Mlflow(self.uri)
            self.mlflow.deliver(self.record, self.workdir)
        except unreachable() as error:
            self.trouble = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            self.record.write(self.workdir)

    def finish(self, digest: str, path: Path, figures: dict[str, float]) -> None:
        """The checkpoint is committed: its digest, place and final figures go to MLflow and the run ends."""
        if self.record.complete:
            return
        self.record.model = {"digest": digest, "path": str(path), "figures": figures}
        self.record.outcome = "FINISHED"
        self.deliver()

    def end(self) -> None:
        """The work is done and made no checkpoint: the run ends, with the points that lie in the work directory."""
        if not self.record.complete:
            self.record.outcome = "FINISHED"
            self.deliver()

    def metadata(self) -> dict[str, Any]:
        """What the Dagster materialization says about the run."""
        record = self.record
        if self.trouble is not None or record.run_id is None:
            return {"mlflow/state": f"spooled, send with `stemma status --sync` ({self.trouble})"}
        address = f"{self.ui_url}/#/experiments/{record.experiment_id}/runs/{record.run_id}"
        return {
            "mlflow/state": "sent",
            "mlflow/run_id": record.run_id,
            "mlflow/experiment_id": str(record.experiment_id),
            "mlflow/model_id": (record.model or {}).get("model_id", ""),
            "mlflow/run": dg.MetadataValue.url(address),
        }


class TrackingResource(dg.ConfigurableResource):
    """Where MLflow is. Empty fields mean MLFLOW_TRACKING_URI, else the SQLite store in the home directory."""

    uri: str = ""
    ui_url: str = "http://127.0.0.1:5000"

    def address(self, home: Path) -> str:
        """The tracking URI to use for this home."""
        return self.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.absolute()}/mlflow/mlflow.db"

    @contextmanager
    def run(self, home: Path, record: Record, workdir: Path) -> Iterator[TrackedRun]:
        """One attempt: opened now, ended as FINISHED by `finish`, as FAILED by an exception.

        A finished attempt of the same work directory is taken up again instead of tracked twice; its tag
        `dagster.run_id` then moves to the present Dagster run.
        """
        if (workdir / RECORD).is_file() and (workdir / "final").is_dir():
            earlier = Record.read(workdir)
            if earlier.outcome == "FINISHED":
                earlier.tags["dagster.run_id"] = record.tags["dagster.run_id"]
                record = earlier
        run = TrackedRun(self.address(home), self.ui_url, record, workdir)
        record.write(workdir)
        run.deliver()
        if run.mlflow is not None and run.trouble is None and record.complete:
            run.mlflow.client.set_tag(str(record.run_id), "dagster.run_id", record.tags["dagster.run_id"])
        try:
            yield run
        except BaseException as error:
            if record.outcome == "RUNNING":
                record.outcome = "FAILED" if isinstance(error, Exception) else "KILLED"
                run.deliver()
            raise


def sync(home: Path, uri: str) -> list[Record]:
    """Send every record that MLflow does not hold completely; returns those sent. Raises TrackingUnreachable."""
    waiting = [path.parent for path in sorted((home / "work").glob(f"*/*/{RECORD}"))]
    pending = [(Record.read(workdir), workdir) for workdir in waiting]
    pending = [(record, workdir) for record, workdir in pending if not record.complete and record.outcome != "RUNNING"]
    if pending:
        try:
            mlflow = Mlflow(uri)
            for record, workdir in pending:
                mlflow.deliver(record, workdir)
        except unreachable() as error:
            raise TrackingUnreachable(f"MLflow at {uri} did not answer: {str(error).splitlines()[0][:200]}") from error
    for waits in sorted((home / "mlflow").glob(f"{FIGURES}*.json")):
        annotate(home, uri, waits.stem.removeprefix(FIGURES), json.loads(waits.read_text()))
    if (note := home / "mlflow" / "promote").is_file():
        promote(home, uri, note.read_text())
    return [record for record, _ in pending]


def annotate(home: Path, uri: str, digest: str, figures: dict[str, float]) -> str:
    """Puts figures on the run that made a checkpoint; says what happened, in words.

    An unreachable MLflow, or one that does not hold the run yet, leaves them in the home, and `sync` sends them.
    """
    note = home / "mlflow" / f"{FIGURES}{digest}.json"
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps(figures, sort_keys=True))
    try:
        run_id = Mlflow(uri).annotate(digest, figures)
    except (*unreachable(), NoSuchVersion) as error:
        return f"waits for `stemma status --sync`: {str(error).splitlines()[0][:200]}"
    note.unlink()
    return f"{len(figures)} figures on the run {run_id}"


def promote(home: Path, uri: str, digest: str) -> str:
    """Moves the alias `champion` to the version with this model digest; says what happened, in words.

    An unreachable MLflow leaves a note in the home, which `sync` honours.
    """
    note = home / "mlflow" / "promote"
    note.write_text(digest)
    try:
        version = Mlflow(uri).promote(digest)
    except (*unreachable(), NoSuchVersion) as error:
        return f"waits for `stemma status --sync`: {str(error).splitlines()[0][:200]}"
    note.unlink()
    return f"version {version} of {REGISTERED_MODEL} (model digest {digest})"
