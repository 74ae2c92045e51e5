"""Applies takedowns in processes of their own, each a fork of this one, and kills them at a given moment.

Reads orders from stdin, one JSON object a line: {home, after: steps to wait for, seconds: to wait then}; `after` null
lets it end. Answers each with {died: whether SIGKILL ended it, steps: [[name, second at which it was announced]],
seconds, code}. This process only imports: the pools of polars and deltalake start with their first use, in the forks,
so a fork is as good as a new process, and starts at once.
"""

import json
import os
import select
import signal
import sys
import time
import traceback
from importlib import import_module

USED = (
    "assets.steps.clusters assets.steps.corpus assets.steps.repeats assets.withdrawal assets.versions deltalake "
    "models.data.tokenizer models.artifacts polars pyarrow.dataset pyarrow.parquet spacy tantivy"
)


def apply_here(home: str, say: int) -> None:
    """The takedowns of a home, each step announced on a pipe."""
    from assets import policy
    from assets.lake import Lake
    from assets.takedowns import apply
    from tests.assets.conftest import HereEngine

    def announce(step: str) -> None:
        os.write(say, f"{step}\n".encode())

    apply(Lake(home), HereEngine(), policy.load("fineweb"), announce)


def one(home: str, after: int | None, seconds: float) -> dict:
    """One apply, killed or not."""
    hear, say = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            apply_here(home, say)
            code = 0
        finally:  # nothing of the parent's is to be ended here
            if code:
                traceback.print_exc()
            os._exit(code)
    os.close(say)
    steps, rest, due = [], b"", None
    while True:
        if due is None and after is not None and len(steps) >= after:
            due = time.monotonic() + seconds
        ready, _, _ = select.select([hear], [], [], None if due is None else max(0.0, due - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            break
        if not (read := os.read(hear, 65536)):
            break
        *names, rest = (rest + read).split(b"\n")
        steps += [[name.decode(), time.monotonic() - began] for name in names]
    _, status = os.waitpid(child, 0)
    os.close(hear)
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return {"died": died, "code": code, "steps": steps, "seconds": time.monotonic() - began}


def main() -> None:
    import tests.assets.conftest  # noqa: F401
    from assets import policy, takedowns  # noqa: F401
    from assets.steps import signatures

    for name in USED.split():
        import_module(name)
    policy.load("fineweb")
    signatures.cleaned_shingles("The words of a text whose signature is made, so that its tables are loaded.")
    for line in sys.stdin:
        print(json.dumps(one(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
