"""A real server over a home with small real models, on a free port of this machine."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch
import uvicorn

from assets.lake import Lake
from models.artifacts import seal
from models.config import TransformerConfig
from models.data.tokenizer import save, train
from models.inference.pieces import token_spellings
from models.nets.transformer import Transformer
from models.training.checkpoint import save_final
from orchestration.home import prepare
from orchestration.serving.app import build
from orchestration.serving.settings import ServeSettings
from tests.orchestration.pages.serving import free_port
from tests.orchestration.pages.voices_home import parrot

TEXTS = ["The river carries a story about bread.", "Our teacher explains the road to the harbour."] * 20
CALL = 'So: <tool_call>\n{"name":"add","arguments":{"a":1,"b":[2]}}\n</tool_call>'
BROKEN = "<tool_call>\nnot json</tool_call>"
CONTEXT = 512


@pytest.fixture(scope="session")
def served_home(tmp_path_factory) -> Path:
    """base_model draws at random; sft_model says CALL, rl_model BROKEN, whatever it is told. Not to be changed."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("served") / "home"
    prepare(home)
    lake, work = Lake(home), home / "making"
    (work / "tokenizer").mkdir(parents=True)
    tokenizer = train([*TEXTS, *[CALL, BROKEN] * 50], 700)
    save(tokenizer, work / "tokenizer")
    seal(work / "tokenizer", "tokenizer", {"vocab_size": tokenizer.get_vocab_size()})
    lake.commit_dir("tokenizer", work / "tokenizer")
    size = tokenizer.get_vocab_size()
    config = TransformerConfig(
        vocab_size=size, d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=16, d_ff=64, max_seq_len=CONTEXT,
    )  # fmt: skip
    random = Transformer(config, seed=1)
    with torch.no_grad():
        random.head.weight.mul_(40)
    spellings = token_spellings(tokenizer, work / "tokenizer")
    speaking = [("sft_model", parrot(size, distinct(CALL.encode(), spellings)))]
    speaking += [("rl_model", parrot(size, distinct(BROKEN.encode(), spellings))), ("base_model", random)]
    for asset, model in speaking:
        save_final(work / asset, model, work / "tokenizer", {"recipe": "test", "asset": asset})
        lake.commit_dir(asset, work / asset)
    return home


def distinct(text: bytes, spellings: list[bytes], used: tuple[int, ...] = ()) -> list[int]:
    """Ids that spell a text, none of them twice; empty where there are none."""
    if not text:
        return [*used]
    fitting = [token for token, own in enumerate(spellings) if own and text.startswith(own) and token not in used]
    for token in sorted(fitting, key=lambda token: -len(spellings[token])):
        if found := distinct(text[len(spellings[token]) :], spellings, (*used, token)):
            return found
    return []


@contextmanager
def serving(home: Path, **settings) -> Iterator[httpx.Client]:
    """A client of a server that runs until the block ends."""
    port = free_port()
    made = ServeSettings(home, port=port, **settings)
    before = os.environ.get("STEMMA_HOME")
    os.environ["STEMMA_HOME"] = str(home)
    app = build(made)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 300
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    headers = {"authorization": f"Bearer {made.token}"} if made.token else {}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, headers=headers, trust_env=False) as client:
            client.app = app  # type: ignore[attr-defined]
            yield client
    finally:
        server.should_exit = True
        thread.join(300)
        os.environ.pop("STEMMA_HOME") if before is None else os.environ.update(STEMMA_HOME=before)


@pytest.fixture(scope="session")
def server(served_home) -> Iterator[httpx.Client]:
    """A server of all models of the home, as it is without options."""
    with serving(served_home) as client:
        yield client


@pytest.fixture
def serve() -> Callable:
    """`serving`, for a server of one's own."""
    return serving
