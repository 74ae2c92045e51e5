"""A real Slurm cluster of one node on private ports: munged, slurmctld and slurmd in a folder of their own.

Needs root and Debian's slurmctld, slurmd, slurm-client and munge. Slurm listens on all interfaces whatever it is told;
every message needs the key that is made here.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
CONFIGURATION = """ClusterName=stemma-test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=2
MessageTimeout=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def missing() -> str | None:
    """Why no cluster can be started here; None where one can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} absent: apt-get install slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "a cluster of our own can be started by root only"


class SlurmCluster:
    """`with SlurmCluster() as cluster`: the environment variable `cluster.variables` makes commands find it."""

    def __enter__(self) -> SlurmCluster:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.chmod(0o755)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o400)
        host = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(host=host, folder=self.folder, ports=_free_ports())
        (self.folder / "slurm.conf").write_text(text)
        self.variables = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._start_munged()
            self.start_controller()
            self._start("slurmd", "-D", "-f", self.variables["SLURM_CONF"])
            self.wait(lambda: "idle" in self.says("sinfo", "-h", "-o", "%T"), "the node to be idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if "slurmctld" in self.daemons:
            self.says("scancel", "--user=root")
        for name in ("slurmd", "slurmctld", "munged"):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_controller(self, *options: str) -> None:
        """Starts slurmctld; with "-c" it has forgotten every job."""
        self._start("slurmctld", "-D", "-f", self.variables["SLURM_CONF"], *options)
        self.wait(lambda: "UP" in self.says("scontrol", "ping"), "slurmctld to answer")

    def stop(self, name: str) -> None:
        """Ends a daemon."""
        if daemon := self.daemons.pop(name, None):
            daemon.terminate()
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def says(self, *words: str) -> str:
        """What a command prints; an empty text when it fails."""
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **self.variables}, check=False)
        return done.stdout if done.returncode == 0 else ""

    def tasks(self, state: str = "RUNNING") -> list[str]:
        """Names of tasks in a state, such as 7_0."""
        return self.says("squeue", "-r", "-h", "-t", state, "-o", "%F_%K").split()

    def batch_process(self, task: str) -> int | None:
        """The process that a running task's batch script is (or became by exec)."""
        job = self.says("squeue", "-h", "-t", "RUNNING", "-j", task, "-o", "%A").strip()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"\0SLURM_JOB_ID={job}\0".encode() in (process / "environ").read_bytes():
                    name = (process / "comm").read_text().strip()
                    if job and not name.startswith("slurm"):
                        return int(process.name)
            except OSError:
                continue
        return None

    def wait(self, what: Callable[[], object], said: str, seconds: float = 300.0) -> None:
        """Until it holds; fails with the daemons' logs when it never does."""
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))
                raise AssertionError(f"waited {seconds:.0f} s for {said}\n{logs}")
            time.sleep(0.05)

    def _start_munged(self) -> None:
        files = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munge.pid", "log-file": "munge.log"}
        options = [f"--{option}={self.folder / name}" for option, name in {**files, "seed-file": "munge.seed"}.items()]
        self._start("munged", "--force", "--foreground", *options)
        self.wait((self.folder / "munge.sock").exists, "munged")

    def _start(self, name: str, *words: str) -> None:
        program = shutil.which(name, path=_path())
        assert program
        with open(self.folder / f"{name}.out.log", "ab") as out:
            self.daemons[name] = subprocess.Popen([program, *words], stdout=out, stderr=out)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
