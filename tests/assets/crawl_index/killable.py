"""A process that carries out a plan in children which it kills: imports are paid once, a kill costs a fork.

Reads lines `seconds` from its standard input: forks a fetch, kills it after so long (a negative number: never), and
answers with the child's exit code. Nothing runs a thread before the fork.
"""

import os
import signal
import sys
import time
from pathlib import Path

from assets.crawl_index.fetch import fetch
from assets.crawl_index.moving import Limits


def main(plan: str, out: str, source: str) -> None:
    for line in sys.stdin:
        after = float(line)
        child = os.fork()
        if not child:
            fetch(Path(plan), Path(out), source=source, limits=Limits(concurrency=4))
            os._exit(0)
        if after >= 0:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
