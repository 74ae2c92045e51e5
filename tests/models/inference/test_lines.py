"""The program that answers lines: right figures, the same text whatever else runs, errors that end nothing."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.data.chat import prompt_ids
from models.data.tokenizer import END_OF_TEXT_ID, IM_END_ID, load_tokenizer
from models.inference.generate import generate_text
from models.inference.lines import LONGEST_LINE, Desk, Limits, serve
from models.inference.sampler import generate
from models.training.checkpoint import load_model

REPO = Path(__file__).resolve().parents[3]


def ask(*requests: dict | bytes, **limits: int) -> list[dict]:
    """The events that answer these lines."""
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in requests]
    sink = io.BytesIO()
    serve(io.BytesIO(b"\n".join(lines) + b"\n"), sink, Limits(**limits))
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def of(events: list[dict], identity: str) -> list[dict]:
    return [event for event in events if event["id"] == identity]


@pytest.fixture(scope="module")
def speak(base_model_dir):
    def request(identity: str, seed: int, **more) -> dict:
        wanted = {"prompt": "The river", "max_new_tokens": 16, "temperature": 1.1, "seed": seed} | more
        return {"id": identity, "ask": "complete", "model": str(base_model_dir)} | wanted

    return request


def test_probabilities_and_losses_are_those_of_a_direct_pass(base_model_dir):
    text = "The river carries über Öl — \u4e2d."
    (answer,) = ask({"id": "1", "ask": "probe", "model": str(base_model_dir), "text": text, "top_k": 150})
    model, _ = load_model(base_model_dir)
    ids = [END_OF_TEXT_ID, *load_tokenizer(base_model_dir).encode(text).ids]
    direct = model(torch.tensor([ids]))[0].detach().double().softmax(-1)
    assert [token["token"] for token in answer["tokens"]] == ids
    assert b"".join(bytes.fromhex(token["bytes"]) for token in answer["tokens"]).decode() == text
    for place, expected in enumerate([*answer["tokens"][1:], answer["next"]]):
        for entry in expected["top"]:
            assert entry["probability"] == pytest.approx(float(direct[place, entry["token"]]), abs=1e-5)
    for place, token in enumerate(answer["tokens"][1:]):
        assert token["loss_bits"] == pytest.approx(-float(direct[place, token["token"]].log2()), abs=1e-5)
        assert token["rank"] == 1 + int((direct[place] > direct[place, token["token"]]).sum())


def test_ids_and_conversations_are_probed_as_they_would_be_read(base_model_dir):
    messages = [{"role": "user", "content": "Hi"}]
    common = {"ask": "probe", "model": str(base_model_dir), "places": [-1, 2], "top_k": 2}
    by_ids, by_messages = ask({"id": "1", "ids": [0, 9, 8], **common}, {"id": "2", "messages": messages, **common})
    assert [token["token"] for token in by_ids["tokens"]] == [0, 9, 8]
    assert [len(token.get("top", ())) for token in by_ids["tokens"]] == [0, 0, 2] and len(by_ids["next"]["top"]) == 2
    (beyond,) = ask({"id": "1", "ids": [0, 9, 8], **common, "places": [70]})
    assert [beyond["next"], *beyond["tokens"][2:]] == [by_ids["next"], by_ids["tokens"][2] | {"top": []}]
    assert by_messages["tokens"][0]["special"] and by_messages["tokens"][0]["text"] == "<|im_start|>"


def test_a_streamed_text_is_that_of_the_generate_command(base_model_dir, speak):
    events = ask(speak("1", 5))
    (expected,) = generate_text(base_model_dir, ["The river"], max_new_tokens=16, temperature=1.1, seed=5)
    start, *drawn, done = events
    assert (start["event"], done["event"]) == ("start", "done") and {event["event"] for event in drawn} == {"token"}
    assert done["text"] == expected == "".join(event["shown"] for event in drawn) + done["rest"]
    assert done["tokens"] == len(drawn) and done["reason"] in ("length", "end")


def test_the_log_probabilities_are_the_samplers_own(base_model_dir, speak):
    model, _ = load_model(base_model_dir)
    prompt = [END_OF_TEXT_ID, *load_tokenizer(base_model_dir).encode("The river").ids]
    settings = {"max_new_tokens": 16, "temperature": 1.1, "seeds": [5], "stop_ids": {END_OF_TEXT_ID, IM_END_ID}}
    (expected,) = generate(model, [prompt], **settings)
    drawn = [event for event in ask(speak("1", 5)) if event["event"] == "token"]
    assert [event["token"] for event in drawn] == expected.ids
    assert [event["logprob"] for event in drawn] == pytest.approx(expected.logprobs, abs=1e-6)


def test_the_same_seed_says_the_same_whatever_else_runs(base_model_dir, speak):
    alone = {seed: of(ask(speak("1", seed)), "1") for seed in range(6)}
    others = [
        {"id": f"p{i}", "ask": "probe", "model": str(base_model_dir), "text": "A story " * i} for i in range(1, 6)
    ]
    crowd = ask(*others[:3], *(speak(str(seed), seed) for seed in range(6)), *others[3:], max_streams=4)
    for seed in range(6):
        said = [{**event, "id": "1"} for event in of(crowd, str(seed))]
        assert said == alone[seed]
    order = [event["id"] for event in crowd if event["event"] == "token"]
    assert order != sorted(order), "texts were said one after the other"


def test_chat_says_the_assistants_turn(base_model_dir):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    request = {"id": "1", "ask": "chat", "model": str(base_model_dir), "messages": messages, "temperature": 0}
    done = ask(request | {"max_new_tokens": 8})[-1]
    tokenizer, (model, _) = load_tokenizer(base_model_dir), load_model(base_model_dir)
    ids = prompt_ids(messages, tokenizer)
    (expected,) = generate(model, [ids], max_new_tokens=8, temperature=0, seeds=[0], stop_ids={0, 2})
    assert done["text"] == tokenizer.decode(expected.ids)


def test_a_stop_string_ends_the_text_before_it(speak):
    whole = ask(speak("1", 5))[-1]["text"]
    middle = whole[len(whole) // 2 : len(whole) // 2 + 3]
    events = ask(speak("1", 5, stop=[middle]))
    assert events[-1]["reason"] == "stop_string"
    assert events[-1]["text"] == whole[: whole.index(middle)]
    assert "".join(event.get("shown", "") for event in events) + events[-1]["rest"] == events[-1]["text"]


def test_what_is_shown_is_whole_characters_and_all_of_the_text(speak):
    for seed in range(30):
        *events, done = ask(speak("1", seed, temperature=3.0, max_new_tokens=40))
        shown = "".join(event.get("shown", "") for event in events)
        spelled = b"".join(bytes.fromhex(event["bytes"]) for event in events if event["event"] == "token")
        assert shown + done["rest"] == done["text"] == spelled.decode(errors="replace")


def test_cancelling_ends_a_text_and_nothing_else(speak):
    events: list[dict] = []
    desk = Desk(Limits(max_streams=2), events.append)
    for identity in "abc":
        desk.accept(json.dumps(speak(identity, 1)).encode())
    desk.turn()
    for identity in "ac":
        desk.accept(json.dumps({"id": f"stop {identity}", "ask": "cancel", "of": identity}).encode())
    while desk.busy:
        desk.turn()
    assert of(events, "a")[-1]["reason"] == of(events, "c")[-1]["reason"] == "cancelled"
    assert [event["event"] for event in of(events, "a")] == ["start", "token", "done"]
    assert of(events, "stop a")[0]["found"] and of(events, "stop c")[0]["found"]
    assert of(events, "b")[-1]["reason"] != "cancelled"
    desk.accept(json.dumps({"id": "late", "ask": "cancel", "of": "a"}).encode())
    assert events[-1] == {"id": "late", "event": "answer", "found": False}


def test_bad_requests_get_an_error_and_the_program_lives_on(base_model_dir, speak, tmp_path):
    model = str(base_model_dir)
    bad = [
        b"nonsense",
        b'{"id": "9", "ask": "complete", "model": "' + b"x" * (LONGEST_LINE + 9) + b'"}',
        {"id": "1", "ask": "probe", "model": str(tmp_path), "text": "a"},
        {"id": "2", "ask": "probe", "model": model, "text": "a \ud800"},
        {"id": "3", "ask": "probe", "model": model, "ids": [400_000]},
        {"id": "4", "ask": "chat", "model": model, "messages": []},
        {"id": "5", "ask": "tokenize", "tokenizer": str(tmp_path), "text": "a"},
        {"id": "6", "ask": "probe", "model": "\0", "text": "a"},
    ]
    events = ask(*bad, speak("good", 1))
    errors = {event["id"]: event for event in events if event["event"] == "error"}
    assert set(errors) == {None, "1", "2", "3", "4", "5", "6"}
    assert sum(event["event"] == "error" for event in events) == len(bad)
    assert "manifest.json" in errors["1"]["message"] and "surrogate" in errors["2"]["message"]
    assert "vocabulary" in errors["3"]["message"]
    assert of(events, "good")[-1]["event"] == "done"


@pytest.mark.parametrize("words", [70, 2_000_000 // 5])
def test_a_text_that_is_too_long_is_told_the_limit(base_model_dir, words):
    common = {"model": str(base_model_dir)}
    text = "word " * words
    events = ask(
        {"id": "1", "ask": "probe", "text": text, **common},
        {"id": "2", "ask": "complete", "prompt": text, **common},
        {"id": "3", "ask": "chat", "messages": [{"role": "user", "content": text}], **common},
    )
    assert [(event["id"], event["error"], event["limit"]) for event in events] == [
        ("1", "TooLong", 64),
        ("2", "TooLong", 63),
        ("3", "TooLong", 63),
    ]
    assert all(event["got"] > event["limit"] for event in events)


def test_tokens_of_any_tokenizer_spell_the_text(trained):
    text = "naïve <|im_end|> \u202e\x00 \U0001f9ed"
    (answer,) = ask({"id": "1", "ask": "tokenize", "tokenizer": str(trained["tokenizer_dir"]), "text": text})
    assert b"".join(bytes.fromhex(token["bytes"]) for token in answer["tokens"]).decode() == text
    assert not any(token["special"] for token in answer["tokens"]) and answer["bytes"] == len(text.encode())
    assert any(token["text"] is None for token in answer["tokens"]), "no token is a part of a character"


def test_more_questions_than_may_wait_are_refused(speak):
    events = ask(*(speak(str(i), i) for i in range(5)), max_waiting=2, max_streams=1)
    assert {event["id"] for event in events if event.get("error") == "Busy"} >= {"4"}
    assert sum(event["event"] == "done" for event in events) + sum(event["event"] == "error" for event in events) == 5


def test_an_id_that_is_still_being_answered_is_refused(speak):
    events = ask(speak("1", 1), speak("1", 2))
    assert [event["error"] for event in of(events, None)] == ["BadRequest"]
    assert of(events, "1")[-1]["event"] == "done"


def test_models_are_seen_and_let_go(base_model_dir, speak):
    events: list[dict] = []
    desk = Desk(Limits(), events.append)
    desk.accept(json.dumps(speak("1", 1)).encode())
    while desk.busy:
        desk.turn()
    for request in ({"ask": "status"}, {"ask": "unload", "model": str(base_model_dir)}, {"ask": "status"}):
        desk.accept(json.dumps({"id": "2", **request}).encode())
    before, gone, after = events[-3:]
    assert [one["model"] for one in before["models"]] == [str(base_model_dir)] and before["models"][0]["bytes"] > 0
    assert gone["found"] and after["models"] == []


def test_the_command_answers_on_its_pipes_alone(speak, config_file):
    command = [sys.executable, "-m", "models", "serve-lines", "--config", str(config_file({"threads": 1}))]
    lines = "".join(json.dumps(one) + "\n" for one in (speak("1", 5), {"id": "2", "ask": "status"}))
    done = subprocess.run(command, cwd=REPO, input=lines, capture_output=True, text=True, check=True, timeout=300)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert of(events, "1") == ask(speak("1", 5))
    assert of(events, "2")[0]["event"] == "answer"


def test_the_command_ends_when_nobody_reads(speak, config_file):
    command = [sys.executable, "-m", "models", "serve-lines", "--config", str(config_file({}))]
    with subprocess.Popen(
        command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdin and program.stdout
        program.stdout.close()
        program.stdin.write(json.dumps(speak("1", 5)).encode() + b"\n")
        program.stdin.flush()
        assert program.wait(300) == 0


def test_a_model_whose_copy_has_no_room_says_the_same_without_an_engine(base_model_dir, speak):
    taken = sum(weight.nbytes for weight in load_model(base_model_dir)[0].parameters())
    requests = [speak(str(seed), seed, top_logprobs=3, temperature=seed / 4) for seed in range(5)]
    with_engine, without = ask(*requests), ask(*requests, max_bytes=2 * taken)
    for seed in range(5):
        one, other = of(with_engine, str(seed)), of(without, str(seed))
        assert [event.get("token") for event in one] == [event.get("token") for event in other]
        assert one[-1] == other[-1]
        for event, twin in zip(one[1:-1], other[1:-1], strict=True):
            assert event["logprob"] == pytest.approx(twin["logprob"], abs=1e-5)
            assert [top["token"] for top in event["top"]] == [top["token"] for top in twin["top"]]
            shares = [top["logprob"] for top in event["top"]]
            assert shares == pytest.approx([top["logprob"] for top in twin["top"]], abs=1e-5)
            assert shares == sorted(shares, reverse=True)


def test_texts_of_one_model_are_drawn_in_the_same_steps(base_model_dir, speak):
    events: list[dict] = []
    desk = Desk(Limits(), events.append)
    for seed in range(6):
        desk.accept(json.dumps(speak(str(seed), seed)).encode())
    desk.turn()
    engine = desk.models.engine(desk.models.get(base_model_dir))
    assert engine is not None and engine.running + engine.waiting == 6
    while desk.busy:
        desk.turn()
    assert engine.idle and engine.pages.held == 0 and sum(event["event"] == "done" for event in events) == 6


def test_ids_are_taken_as_they_are_and_ids_can_stop(base_model_dir, speak):
    ids = [END_OF_TEXT_ID, *load_tokenizer(base_model_dir).encode("The river").ids]
    by_text, by_ids = ask(speak("1", 5)), ask({**speak("1", 5), "prompt": None} | {"ids": ids})
    assert by_ids == [by_ids[0]] and "prompt must be a string" in by_ids[0]["message"]
    request = {name: value for name, value in speak("1", 5).items() if name != "prompt"} | {"ids": ids}
    assert ask(request) == by_text
    third = by_text[3]["token"]
    stopped = ask(request | {"stop_ids": [third]})
    place = [event.get("token") for event in by_text].index(third)
    assert stopped[:-1] == by_text[: place + 1] and stopped[-1]["reason"] == "end"
    bad = ask(request | {"id": "2", "ids": []}, request | {"id": "3", "ids": [1] * 64}, request | {"prompt": "a"})
    assert "1 to 63" in of(bad, "2")[0]["message"] and of(bad, "3")[0]["error"] == "TooLong"
    assert "one of prompt and ids" in of(bad, "1")[0]["message"]


def test_which_stop_string_came_is_told(speak):
    whole = ask(speak("1", 5))[-1]["text"]
    middle = whole[5:9]
    assert ask(speak("1", 5, stop=["\x07", middle]))[-1]["stop"] == middle
    assert "stop" not in ask(speak("1", 5))[-1]


def test_a_text_that_can_never_have_its_pages_is_told_the_arithmetic(speak):
    (event,) = ask(speak("1", 5, max_new_tokens=40), cache_bytes=13_000)
    assert event["error"] == "PoolTooSmall" and "the pool has 1 pages" in event["message"]
