"""A home and its commands, as tests drive them; the crawl that the small demo of the test session is made from."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
STEMMA = [sys.executable, "-m", "orchestration.cli"]
SMOKE = ["demo", "--recipe", "smoke", "--json"]
CRAWL = {
    "web-sample-2024": ["web-sample-2024-00000.warc.gz", "cc-whirlwind.warc.wet.gz"],
    "second": ["dolma-sample-0000.warc.gz"],
}


def copy_home(source: Path, target: Path) -> Path:
    """A copy of a home that others may be reading; returns it. Side files that vanish meanwhile hold nothing."""

    def copy(one: str, to: str) -> str:
        with suppress(FileNotFoundError):
            shutil.copy2(one, to, follow_symlinks=False)
        return to

    return Path(shutil.copytree(source, target, symlinks=True, copy_function=copy))


@dataclass(frozen=True)
class Demo:
    """A home, the crawl it is made from, what the demo reported when it was made, and further variables of its
    environment."""

    home: Path
    crawl: Path
    report: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the caller's Stemma, Dagster or MLflow settings leaks in."""
        ours = ("STEMMA_", "DAGSTER_", "MLFLOW_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return inherited | {"STEMMA_HOME": str(self.home), "STEMMA_CRAWL": str(self.crawl), **self.settings}

    def stemma(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """One command, run to its end, with further environment variables."""
        return subprocess.run(
            [*STEMMA, *arguments],
            cwd=REPO,
            env=self.environment | settings,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self) -> dict[str, Any]:
        """The whole demo; its report."""
        done = self.stemma(*SMOKE)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    def start(self) -> subprocess.Popen[bytes]:
        """The demo in a session of its own, so that it can be killed whole."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*STEMMA, *SMOKE], cwd=REPO, env=self.environment, stdout=quiet, stderr=quiet, start_new_session=True
        )

    def elsewhere(self, *, home: Path | None = None, crawl: Path | None = None) -> "Demo":
        """The same with another home or another crawl."""
        return Demo(home or self.home, crawl or self.crawl)
