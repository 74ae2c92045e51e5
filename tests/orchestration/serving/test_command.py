"""`stemma serve` as a process: it says where it listens, answers, and ends with all that it started."""

import signal
import subprocess
import sys
import time

import httpx

from tests.orchestration.pages.serving import free_port

STEMMA = [sys.executable, "-m", "orchestration.cli", "serve"]


def test_it_serves_until_it_is_told_to_end(served_home):
    port = free_port()
    arguments = ["base_model", "--port", str(port), "--home", str(served_home), "--threads", "1"]
    with subprocess.Popen([*STEMMA, *arguments], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "Serving base_model\n"
            address = server.stdout.readline().split(";")[0]
            assert address == f"http://127.0.0.1:{port}/v1"
            deadline = time.monotonic() + 300
            while not _answers(address) and time.monotonic() < deadline:
                time.sleep(0.1)
            body = {"model": "base_model", "prompt": "The", "max_tokens": 3, "seed": 1}
            answer = httpx.post(f"{address}/completions", json=body, timeout=300, trust_env=False)
            assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == 3
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(300) in (0, -signal.SIGTERM)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/models", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_what_cannot_be_served_is_said_in_one_line(served_home):
    for arguments, word in ((["nobody"], "no model 'nobody'"), (["--host", "0.0.0.0"], "--token")):
        done = subprocess.run([*STEMMA, *arguments, "--home", str(served_home)], capture_output=True, text=True)
        assert done.returncode == 2 and word in done.stderr and done.stderr.count("\n") == 1
