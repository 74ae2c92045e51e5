"""What is said to Slurm and heard from it: the settings of a site, and the commands sbatch, squeue and scancel.

Every command has a time limit. A controller that does not answer raises SlurmAway, which passes; a refusal raises
SlurmRefused, which does not. No accounting database is needed: squeue tells of ended jobs for MinJobAge (5 minutes
unless a site changed it), and the engine looks far more often.
"""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

COMMAND_S = 60.0
PASSING = (
    "unable to contact",
    "timed out",
    "connection refused",
    "communication connection failure",
    "zero bytes were transmitted",
    "transport endpoint",
    "slurmctld is in standby mode",
    "backup controller",
    "temporarily unable",
    "temporarily unavailable",
    "unexpected message received",
    "authentication error",  # as munge restarts
    "munged",
)
COLUMNS = ("Comment", "ArrayTaskID", "State", "exit_code", "Reason", "ArrayJobID")


class SlurmAway(RuntimeError):
    """The controller does not answer now."""


class SlurmRefused(RuntimeError):
    """Slurm refuses what was asked: a partition, an account, a limit."""


class Seen(NamedTuple):
    """One task as squeue shows it. `status` is a wait status: the signal in its low 7 bits, the exit code above 8."""

    state: str
    status: int
    reason: str
    name: str


@dataclass(frozen=True)
class SlurmSettings:
    """What a site asks of jobs; None leaves it to the site's defaults.

    `partition`, `account`, `time` (as sbatch reads it: minutes or D-HH:MM:SS, for one task of several shards),
    `memory` (of one task: 4G), `options` (further words for sbatch), `tasks` (most of a run in the queue at once).
    """

    partition: str | None = None
    account: str | None = None
    time: str | None = None
    memory: str | None = None
    options: tuple[str, ...] = ()
    tasks: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.tasks <= 1000:
            raise ValueError(f"tasks must be from 1 to 1000 (Slurm's usual MaxArraySize), not {self.tasks}")

    @classmethod
    def from_environment(cls, width: int | None = None) -> SlurmSettings:
        """From STEMMA_SLURM_PARTITION, _ACCOUNT, _TIME, _MEMORY, _OPTIONS, _TASKS (else `width`, else 100).

        Raises ValueError.
        """
        said = {name: os.environ.get(f"STEMMA_SLURM_{name.upper()}") or None for name in cls.__dataclass_fields__}
        tasks = said["tasks"] or str(width or 100)
        if not tasks.isdigit():
            raise ValueError(f"STEMMA_SLURM_TASKS must be a number of tasks, not {tasks!r}")
        options = tuple(shlex.split(said["options"] or ""))
        return cls(said["partition"], said["account"], said["time"], said["memory"], options, int(tasks))

    def words(self) -> list[str]:
        """Options for sbatch."""
        named = {"partition": self.partition, "account": self.account, "time": self.time, "mem": self.memory}
        return [*(f"--{name}={value}" for name, value in named.items() if value), *self.options]


@dataclass
class Queue:
    """The jobs of one run: they share the job name `name`; the comment of each array is its number."""

    name: str
    settings: SlurmSettings
    user: str = field(default_factory=getpass.getuser)

    def submit(self, number: int, script: str, tasks: int, folder: str, environment: Mapping[str, str]) -> None:
        """Submits an array of so many tasks, which run in `folder`. Raises SlurmAway (it may have been taken all the
        same: look), SlurmRefused."""
        # --requeue: after a node failure Slurm may start a task again itself, at most MaxBatchRequeue (5) times
        fixed = [f"--job-name={self.name}", f"--comment={number}", f"--array=0-{tasks - 1}", f"--chdir={folder}"]
        once = ["--parsable", "--requeue", "--ntasks=1", "--cpus-per-task=1", "--output=/dev/null"]
        # variables of a job that this process itself may run in are not those of the new one
        mine = {k: v for k, v in environment.items() if not k.startswith("SLURM_") or k == "SLURM_CONF"}
        _said(["sbatch", *once, *fixed, *self.settings.words()], script, mine)

    def look(self) -> dict[tuple[int, int], Seen]:
        """What Slurm knows of the run's tasks, by array number and index. Raises as `submit`."""
        columns = ",".join(f"{column}:|" for column in COLUMNS)
        text = _said(["squeue", "-r", "-h", "-t", "all", f"--user={self.user}", f"--name={self.name}", "-O", columns])
        seen = {}
        for line in text.splitlines():
            number, index, state, status, reason, array = line.split("|")[:6]
            if number.isdigit() and index.isdigit():
                name = f"{array}_{index}"
                seen[int(number), int(index)] = Seen(state, int(status) if status.isdigit() else 0, reason, name)
        return seen

    def cancel(self, seen: Seen) -> None:
        """Cancels one task. Raises SlurmAway."""
        _said(["scancel", "--quiet", seen.name])


def _said(words: Sequence[str], text: str = "", environment: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, timeout=COMMAND_S, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise SlurmRefused(f"the command {words[0]} is not here any more") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmAway(f"{words[0]} gave no answer in {COMMAND_S:.0f} s") from error
    if done.returncode == 0:
        return done.stdout
    words_of_refusal = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    if done.returncode < 0 or any(sign in words_of_refusal.lower() for sign in PASSING):
        raise SlurmAway(words_of_refusal)
    raise SlurmRefused(f"{words[0]}: {words_of_refusal}")
