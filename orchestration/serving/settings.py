"""What the server is told when it starts: where it listens, who may ask, which models, how much of the machine."""

from dataclasses import dataclass
from pathlib import Path

from orchestration.pages.settings import LOOPBACK, TokenNeeded


@dataclass(frozen=True)
class ServeSettings:
    """Everything that does not change while it serves. Raises TokenNeeded for an open door."""

    home: Path
    model: str | None = None  # a name of this home's, or the directory of a checkpoint; None: all of the home
    host: str = "127.0.0.1"
    port: int = 8001
    token: str | None = None  # who asks must show it; None: this machine alone can ask
    threads: int = 1  # that compute
    texts: int = 64  # drawn at once; more wait
    waiting: int = 256  # texts that may wait; more are refused
    cache_bytes: int = 1 << 30  # keys and values of each model

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.token:
            raise TokenNeeded(f"{self.host} can be reached by others: give --token, or leave --host out")
        if self.token is not None and (len(self.token) < 16 or not self.token.isascii()):
            raise TokenNeeded("the token must have 16 ASCII characters or more: take that of `openssl rand -hex 16`")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can ask."""
        return self.host in LOOPBACK

    def limits(self) -> dict[str, int]:
        """Of the models' program: fields of models.inference.lines.Limits."""
        return {
            "threads": self.threads,
            "max_streams": self.texts,
            "max_waiting": self.waiting,
            "cache_bytes": self.cache_bytes,
            "niceness": 0,
        }
