"""How long each of the pages takes and how large it is, over a home of any size: `stemma bench pages --documents N`.

The home is the one that the bench `scale` builds (STEMMA_SCALE keeps it); `python -m tests.benchmarks.pages HOME` asks
the pages of a home that is there, with its models. The server is the one that `stemma ui` starts, a process of its own;
each address is asked for ROUNDS times after once that does not count. On the clock counts what a reader waits for, CPU
what it costs; the floor is the page that reads nothing. What a page loads after it is shown is an address of its own.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import polars as pl
import psutil

from assets.lake import Lake
from tests.benchmarks import scale
from tests.benchmarks.timing import row

REPO = Path(__file__).resolve().parents[2]
ROUNDS = 9
ASKED_MS, ASKED_KB = 300, 200  # what a page may take and weigh
EMPTY = "/login"
UP_S = 120


def rows(documents: int = 10_000) -> list[dict]:
    """documents: of the generated crawl that the pages show."""
    with scale.place(documents) as folder:
        scale.build(folder, "warc", documents)
        return measured(folder / "home", folder / "crawl", str(scale.POLICY), documents)


def measured(home: Path, crawl: Path | None, policy: str | None, documents: int) -> list[dict]:
    """Three rows an address: milliseconds on the clock and of CPU, and kilobytes."""
    made = []
    with served(home, crawl, policy) as (client, process):
        floor, floor_cpu, size = ask(client, process, EMPTY)
        for name, path in addresses(home).items():
            clock, cpu, size = ask(client, process, path)
            what = f"{name}, {documents:,} documents"
            made.append(
                row("pages", f"{what}: on the clock", "ms", clock, None, "", floor, "a page that reads nothing")
            )
            made.append(row("pages", f"{what}: CPU", "ms", cpu, None, "", floor_cpu, "a page that reads nothing"))
            made.append(row("pages", f"{what}: size", "kB", size))
    return made


def addresses(home: Path) -> dict[str, str]:
    """What is asked for: every page, and of each kind one with its parameters."""
    lake = Lake(home)
    dropped = pl.col("reason").is_not_null()
    decided = lake.scan("decisions").select("doc_id", "snapshot", "reason").sort("doc_id")
    kept = lake.scan("corpus").select("doc_id", "snapshot", "host").sort("doc_id").head(1).collect().row(0)
    gone = decided.filter(dropped).head(1).collect().row(0)
    found = {
        "funnel": "/",
        "funnel by language": "/?by=language",
        "funnel by host": "/?by=host",
        "funnel under another policy": "/?policy=strict",
        "filters": "/filter",
        "a filter": "/filter/language_score",
        "a filter, threshold moved": "/filter/language_score?min=0.8",
        "a kept document": f"/doc/{kept[0]}?snapshot={quote(kept[1])}",
        "a dropped document": f"/doc/{gone[0]}?snapshot={quote(gone[1])}",
        "search, no text": "/search",
        "search, words": "/search?q=water",
        "search, slice by score": "/search?column=n_words&from=50&to=200&verdict=dropped",
        "labels": "/labels?by=Ann",
        "diff, choose": "/diff",
        "diff of two policies": "/diff?a=fineweb&b=strict",
        "takedown": "/takedown",
        "takedown, a host": f"/takedown?host={quote(kept[2])}",
        "cards": "/cards",
        "corpus card": "/cards/corpus",
        "models": "/models",
        "probe": "/probe",
        "chat": "/chat",
        "arena": "/arena",
    }
    if (lake.local / "artifacts" / "base_model").is_dir():
        found["a model"] = f"/models/{lake.open_dir('base_model').name}"
        found["probe of a text"] = "/probe?model=base_model&text=" + quote("The water of the river is cold in winter.")
    return found


def ask(client: httpx.Client, process: psutil.Process, path: str) -> tuple[float, float, float]:
    """Median milliseconds on the clock, CPU milliseconds a request, kilobytes. What is no page of ours raises."""
    while "refresh" in client.get(path).raise_for_status().headers:  # still being counted: not the page itself
        time.sleep(0.2)
    times, size, before = [], 0, cpu_of(process)
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = client.get(path)
        times.append(1000 * (time.perf_counter() - began))
        size = len(answer.content)
    return statistics.median(times), 1000 * (cpu_of(process) - before) / ROUNDS, size / 1000


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds so far of a process."""
    used = process.cpu_times()
    return used.user + used.system


@contextmanager
def served(home: Path, crawl: Path | None, policy: str | None) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """The pages of a home as a process of their own, once they have read their rows."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = {"STEMMA_CRAWL": str(crawl) if crawl else None, "STEMMA_POLICY": policy}
    environment = os.environ | {name: value for name, value in ours.items() if value}
    words = [sys.executable, "-m", "orchestration.pages", "--home", str(home), "--port", str(port)]
    server = subprocess.Popen(words, cwd=REPO, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=UP_S, follow_redirects=True) as client:
            deadline = time.monotonic() + UP_S
            while True:
                try:
                    client.get("/")
                    break
                except httpx.TransportError:
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            yield client, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(300)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    count = Lake(place).scan("documents").select(pl.len()).collect().item()
    print(json.dumps(measured(place, None, os.environ.get("STEMMA_POLICY"), count), indent=1))
