"""The program beside the pages: asked from many threads, dying, hanging, cancelled, full; and no torch in the pages."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.config import TransformerConfig
from models.data.tokenizer import save, train
from models.inference.generate import generate_text
from models.nets.transformer import Transformer
from models.training.checkpoint import save_final
from orchestration.pages import speaking
from orchestration.pages.speaking import Refused, Speaker, Unanswered

REPO = Path(__file__).resolve().parents[3]
TEXTS = ["The river carries a story about bread.", "Our teacher explains the road to the harbour."] * 20


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """An untrained model with a long context, so that it speaks as long as one lets it."""
    root = tmp_path_factory.mktemp("model")
    tokenizer = train(TEXTS, 300)
    (root / "tokenizer").mkdir()
    save(tokenizer, root / "tokenizer")
    config = TransformerConfig(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=16, d_ff=64,
        max_seq_len=4096, tie_embeddings=True,
    )  # fmt: skip
    save_final(root / "final", Transformer(config, seed=1), root / "tokenizer", {"recipe": "test"})
    return root / "final"


@pytest.fixture
def speaker(tmp_path):
    made = Speaker(tmp_path / "models.log", {"max_streams": 2})
    yield made
    made.close()


def complete(model: Path, seed: int = 1, **controls) -> dict:
    return {"ask": "complete", "model": str(model), "prompt": "The", "seed": seed, "max_new_tokens": 8} | controls


def until(holds, timeout_s: float = 300.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_many_ask_at_once_and_each_gets_its_own_answer(speaker, model):
    def one(seed: int) -> str:
        return speaker.ask(complete(model, seed))["text"]

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(one, range(10)))
        probed = pool.submit(speaker.ask, {"ask": "probe", "model": str(model), "text": "The river"})
    assert said == [generate_text(model, ["The"], max_new_tokens=8, seed=seed)[0] for seed in range(10)]
    assert len(probed.result()["tokens"]) > 2 and speaker.under_way == 0


def test_a_text_comes_as_it_is_drawn_and_its_last_event_holds_it_whole(speaker, model):
    async def follow() -> list[dict]:
        return [event async for event in speaker.speak(complete(model))]

    events = asyncio.run(follow())
    assert [event["event"] for event in events] == ["start", *["token"] * 8, "done"]
    whole = speaker.ask(complete(model))
    assert events[-1]["text"] == whole["text"]
    assert [one["token"] for one in whole["drawn"]] == [one["token"] for one in events[1:-1]]


def test_a_text_that_nobody_follows_any_more_ends(speaker, model):
    async def leave() -> None:
        events = speaker.speak(complete(model, max_new_tokens=4000))
        async for event in events:
            if event["event"] == "token":
                break
        await events.aclose()

    asyncio.run(leave())
    assert until(lambda: speaker.ask({"ask": "status"})["speaking"] == 0, 10)
    assert speaker.under_way == 0


def test_a_refusal_is_the_programs_own(speaker, model):
    with pytest.raises(Refused, match="shorten it") as refused:
        speaker.ask({"ask": "probe", "model": str(model), "text": "x" * 100_000})
    assert (refused.value.kind, refused.value.limit) == ("TooLong", 4096)
    with pytest.raises(Refused, match="temperature"):
        speaker.ask(complete(model, temperature=-1))
    assert speaker.ask(complete(model))["event"] == "done"


def test_a_program_that_was_killed_is_started_anew(speaker, model):
    speaker.ask(complete(model))
    first = speaker.pid
    os.kill(first, signal.SIGSTOP)  # or the text might be done before one has looked
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(speaker.ask, complete(model))
        assert until(lambda: speaker.under_way == 1)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(Unanswered, match="started anew"):
            lost.result()
    assert until(lambda: speaker.pid is None)
    assert speaker.ask(complete(model))["event"] == "done" and speaker.pid != first


def test_one_that_dies_again_and_again_is_let_rest(speaker, model):
    for _ in range(speaking.DEATHS):
        speaker.ask({"ask": "status"})
        os.kill(speaker.pid, signal.SIGKILL)
        assert until(lambda: speaker.pid is None)
    assert until(lambda: len(speaker._deaths) == speaking.DEATHS)
    with pytest.raises(Unanswered, match=r"died 3 times.*models\.log"):
        speaker.ask({"ask": "status"})


def test_an_answer_that_is_late_is_not_waited_for_and_a_program_that_hangs_is_ended(tmp_path, model):
    speaker = Speaker(tmp_path / "models.log", stall_s=0.2)
    try:
        speaker.ask({"ask": "status"})
        os.kill(speaker.pid, signal.SIGSTOP)
        with pytest.raises(Unanswered, match=r"no answer for 0\.5 s"):
            speaker.ask(complete(model), timeout_s=0.5)
        assert until(lambda: speaker.pid is None)
        assert speaker.ask({"ask": "status"})["event"] == "answer"
    finally:
        speaker.close()


def test_more_than_may_wait_are_told_so(speaker, model):
    speaker.most_texts = 2
    speaker.ask({"ask": "status"})
    os.kill(speaker.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(speaker.ask, complete(model)) for _ in range(2)]
        assert until(lambda: speaker.under_way == 2)
        with pytest.raises(Unanswered, match="too many"):
            speaker.ask(complete(model))
        status = pool.submit(speaker.ask, {"ask": "status"})
        os.kill(speaker.pid, signal.SIGCONT)
        assert status.result()["event"] == "answer"
        assert {one.result()["event"] for one in waiting} == {"done"}


def test_the_program_ends_with_who_asks_it(tmp_path, model):
    script = (
        "import sys, time; from pathlib import Path; from orchestration.pages.speaking import Speaker\n"
        f"s = Speaker(Path({str(tmp_path / 'models.log')!r})); s.ask({{'ask': 'status'}}); print(s.pid, flush=True)\n"
        "assert 'torch' not in sys.modules; time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=REPO, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert until(
        lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]
    )


def test_nothing_is_asked_of_a_speaker_that_was_closed(speaker):
    speaker.ask({"ask": "status"})
    speaker.close()
    with pytest.raises(Unanswered, match="ended"):
        speaker.ask({"ask": "status"})
