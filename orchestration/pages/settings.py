"""What the pages are told when they start: the home, where Dagster and MLflow answer, and who may come in."""

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class TokenNeeded(ValueError):
    """The pages would listen where others can reach them, and no token keeps them out."""


@dataclass(frozen=True)
class PageSettings:
    """Everything that does not change while the pages run. Raises TokenNeeded for an open door."""

    home: Path
    dagster: str = "http://127.0.0.1:3000"
    mlflow: str = "http://127.0.0.1:5000"
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None  # who shows it may come in; None: this machine alone can

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.token:
            raise TokenNeeded(f"{self.host} can be reached by others: give --token, or leave --host out")
        if self.token is not None and len(self.token) < 16:
            raise TokenNeeded("the token is shorter than 16 characters: take the output of `openssl rand -hex 16`")

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK
