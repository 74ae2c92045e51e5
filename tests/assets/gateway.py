"""An S3 gateway of Ceph on this machine: monitor, manager, a store in memory and the gateway; some 12 s to start.

Ceph refuses what moto lets pass: a wrong secret, a signature that does not fit, a body that is not the one announced.
Debian's packages radosgw, ceph-mon, ceph-osd and ceph-mgr bring it. Everything lies in one folder and ends with the
context.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mgr", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
PACKAGES = "radosgw ceph-mon ceph-osd ceph-mgr"
KEY, SECRET = "stemma-key", "stemma-secret"
START_S = 300
CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
run dir = {root}/run
admin socket = {root}/run/$name.asok
log file = {root}/$name.log
pid file = {root}/run/$name.pid
keyring = {root}/keyring
mon data = {root}/mon
mgr data = {root}/mgr
osd data = {root}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd crush chooseleaf type = 0
osd numa auto affinity = false
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 0
auth allow insecure global id reclaim = false
rgw frontends = beast endpoint=127.0.0.1:{gateway}
"""


def missing() -> list[str]:
    """The programs that are not installed here."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def gateway(root: Path) -> Iterator[str]:
    """The address of a running gateway with one user, KEY and SECRET. root: a new folder for all it writes."""
    monitor, address = _free_port(), _free_port()
    for name in ("mon", "mgr", "osd", "run"):
        (root / name).mkdir(parents=True)
    fsid = str(uuid.uuid4())
    (root / "ceph.conf").write_text(
        CONFIGURATION.format(fsid=fsid, monitor=monitor, gateway=address, root=root), encoding="utf-8"
    )
    ring = str(root / "keyring")
    everything = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"]

    def run(program: str, *arguments: str) -> None:
        command = [program, "--conf", str(root / "ceph.conf"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, cwd=root)
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr.strip()[-500:]}")

    try:
        for name in ("mon.", "client.admin", "mgr.x", "osd.0"):
            create = ["--create-keyring"] if name == "mon." else []
            subprocess.run(
                ["ceph-authtool", *create, ring, "--gen-key", "-n", name, *everything], check=True, capture_output=True
            )
        where = ["--addv", "a", f"[v2:127.0.0.1:{monitor}]", str(root / "monmap")]
        subprocess.run(["monmaptool", "--create", "--fsid", fsid, *where], check=True, capture_output=True)
        run("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(root / "monmap"), "--keyring", ring)
        run("ceph-mon", "-i", "a")
        run("ceph-mgr", "-i", "x")
        run("ceph", "osd", "new", fsid, "0")
        run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", fsid)
        run("ceph-osd", "-i", "0")
        run("radosgw", "-n", "client.admin")
        keys = ["--access-key", KEY, "--secret", SECRET]
        run("radosgw-admin", "user", "create", "--uid", "stemma", "--display-name", "stemma", *keys)
        yield f"http://127.0.0.1:{address}"
    finally:
        for path in (root / "run").glob("*.pid"):
            if (said := path.read_text().strip()).isdigit():
                _kill(int(said))


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
