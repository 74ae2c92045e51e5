"""/probe shows the figures of a direct pass, at the place that is asked for, and anybody's text safely."""

import math
import re
from html import unescape
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from models.data.tokenizer import END_OF_TEXT_ID, load_tokenizer
from models.training.checkpoint import load_model
from orchestration.pages import probe
from orchestration.pages.speaking import NAME
from orchestration.pages.voices import UnknownVoice, Voice, find, tokenizers, voices
from tests.orchestration.pages.voices_home import CONTEXT, HOSTILE

TEXT = "The river carries ünser bread."


def shown(client: TestClient, **parameters) -> str:
    answer = client.get("/probe", params=parameters)
    assert answer.status_code == 200, answer.text
    assert len(answer.content) < 200_000
    return answer.text


def figures(html: str, name: str) -> list[float]:
    return [float(one) for one in re.findall(rf'data-testid="{name}">([\d.]+)<', html)]


def test_a_place_shows_what_a_direct_pass_gives(asking, speaking_lake):
    directory = speaking_lake.open_dir("base_model")
    model, _ = load_model(directory)
    ids = [END_OF_TEXT_ID, *load_tokenizer(directory).encode(TEXT).ids]
    direct = model(torch.tensor([ids]))[0].detach().double().softmax(-1)
    for place in (1, 4):
        html = shown(asking, text=TEXT, model="base_model", position=place)
        exact = direct[place - 1]
        entropy = -sum(p * math.log2(p) for p in exact.tolist())
        assert figures(html, "entropy") == [pytest.approx(entropy, abs=0.006)]
        assert figures(html, "loss") == [pytest.approx(-math.log2(exact[ids[place]]), abs=0.006)]
        shares = [float(one) for one in re.findall(r'<td class="num">([\d.]+)%</td>', html)]
        assert shares[:12] == [pytest.approx(100 * float(p), abs=0.006) for p in exact.topk(12).values]
        assert sum(shares) == pytest.approx(100, abs=0.2)


def test_after_the_text_nothing_stands_and_the_distribution_is_still_shown(asking):
    html = shown(asking, text="The river", model="base_model")
    assert figures(html, "entropy") and not figures(html, "loss")
    assert shown(asking, text="The river", model="base_model", position=99).count("<b>?</b>") == 1
    assert figures(shown(asking, text="The river", model="base_model", position=0), "loss")


def test_keys_and_links_lead_from_place_to_place_and_keep_the_address(asking):
    html = shown(asking, text="The river", model="base_model", bars=3, position=2)
    links = {key: unescape(href) for key, href in re.findall(r'data-key="(Arrow\w+)" href="([^"]+)"', html)}
    assert set(links) == {"ArrowLeft", "ArrowRight"}
    assert "position=1" in links["ArrowLeft"] and "position=3" in links["ArrowRight"]
    assert all("bars=3" in link and "model=base_model" in link for link in links.values())
    stepped = asking.get(links["ArrowRight"])
    assert stepped.status_code == 200 and "at place 3" in stepped.text
    assert 'data-key="ArrowLeft"' not in shown(asking, text="The river", model="base_model", position=1)


def test_two_checkpoints_are_read_at_the_same_place_of_the_text(asking):
    html = shown(asking, text=TEXT, model="base_model", other="sft_model", position=3)
    assert len(figures(html, "entropy")) == 2 and html.count("at place 3") == 2
    assert html.count('aria-current="true"') == 2
    assert "loss of base" in html and "loss of sft" in html


@pytest.mark.parametrize("hostile", [HOSTILE, "a\u202eb\x00\x1b[31m", "<|im_end|><b>&amp;", "\ufeff\u200b", "{{7*7}}"])
def test_hostile_text_is_shown_and_nothing_of_it_is_run(asking, hostile):
    html = shown(asking, text=hostile, model="sft_model", tokenizer="tokenizer")
    assert "<script>alert" not in html and "<img" not in html.split("<main")[1]
    assert "\u202e" not in re.sub(r"<textarea.*?</textarea>", "", html, flags=re.DOTALL)
    assert 'id="place"' in html and "49" not in re.findall(r'class="token[^>]*>([^<]*)<', html)


def test_a_text_that_is_too_long_is_told_the_limit(asking):
    html = shown(asking, text="word " * 3000, model="base_model")
    assert 'role="alert"' in html and f"{CONTEXT:,}" in html and 'id="place"' not in html


def test_a_long_text_stays_under_the_weight_of_a_page(asking):
    text = "The river carries a story about bread. " * 200
    html = shown(asking, text=text, model="base_model", other="sft_model", position=900)
    assert "at place 900" in html and html.count('aria-current="true"') == 2
    assert "240 of" in html and "100 of" in html


def test_tokenizers_cut_the_text_side_by_side(asking):
    html = shown(asking, text="The river", tokenizer="tokenizer")
    assert "Cut by tokenizer" in html and "bytes a token" in html


def test_a_conversation_is_read_as_the_model_was_taught(asking):
    first = re.compile(r'<p class="tokens"[^>]*><span[^>]*>([^<]*)</span>')
    assert first.findall(shown(asking, text="The river", form="conversation")) == ["&lt;|im_start|&gt;"]
    assert first.findall(shown(asking, text="The river", form="document")) == ["&lt;|endoftext|&gt;"]


def test_unknown_models_and_empty_homes_say_where_to_go(asking, empty):
    answer = asking.get("/probe", params={"text": "a", "model": "<b>nobody"})
    assert answer.status_code == 404 and "choose one of rl_model" in answer.text and "<b>nobody" not in answer.text
    answer = empty.get("/probe")
    assert answer.status_code == 200 and "stemma demo" in answer.text


def test_models_are_found_by_name_and_by_the_beginning_of_their_digest(speaking_lake):
    known = voices(speaking_lake)
    assert [voice.asset for voice in known] == ["rl_model", "sft_model", "base_model"]
    assert find(known, "base_model").digest == speaking_lake.artifacts.version_of("base_model")
    assert find(known, known[1].digest[:8]) is known[1]
    assert [voice.asset for voice in tokenizers(speaking_lake)] == ["tokenizer"]
    for name in ("", "nobody", known[0].digest[:3], "champion"):
        with pytest.raises(UnknownVoice):
            find(known, name, speaking_lake)


TOKENS = [
    {"token": 0, "text": "<|endoftext|>", "bytes": "", "special": True},
    {"token": 9, "text": "ab", "bytes": "6162", "special": False},
    {"token": 8, "text": None, "bytes": "c3", "special": False},
    {"token": 7, "text": None, "bytes": "bc", "special": False},
]


def test_places_are_found_by_their_bytes():
    assert [probe.start_byte(TOKENS, place) for place in (0, 1, 2, 4)] == [0, 0, 2, 4]
    assert [probe.at_byte(TOKENS, offset) for offset in (0, 1, 2, 3, 4)] == [1, 1, 2, 3, 4]


def test_tokens_are_labelled_so_that_they_can_be_seen():
    assert [probe.label(token) for token in TOKENS] == ["<|endoftext|>", "ab", "⟨c3⟩", "⟨bc⟩"]
    odd = {"token": 5, "bytes": "", "special": False}
    assert probe.label(odd | {"text": "\n\t\u202e"}) == "⏎⇥\\u202e"
    assert len(probe.label(odd | {"text": "x" * 500})) == probe.SHOWN_LENGTH


def test_long_texts_are_cut_around_the_place_and_curves_thinned_to_means():
    boxes = [probe.Box(i, "x", "", "l0") for i in range(10)]
    assert [box.place for box in probe.around(boxes, 5, 4)] == [3, 4, 5, 6]
    assert [probe.around(boxes, place, 4)[0].place for place in (0, 9, 10)] == [0, 6, 6]
    assert probe.around(boxes, 5, 20) == boxes
    assert probe.thinned([(1.0, 2.0), (2.0, 4.0), (3.0, 9.0)], 2) == [(1.5, 3.0), (3.0, 9.0)]
    assert probe.thinned([(1.0, 2.0)], 2) == [(1.0, 2.0)] and probe.thinned([]) == []


def test_colours_follow_the_loss():
    assert [probe.level(bits) for bits in (0, 0.5, 3.9, 4, 30)] == ["l0", "l1", "l2", "l3", "l5"]


def test_models_of_a_whole_demo_are_read(pages, smoke):
    html = shown(pages, text="The weather", model="base_model", other="rl_model", position=1)
    pages.app.state.site.kept[NAME].close()
    assert len(figures(html, "loss")) == 2 and all(0 < bits < 30 for bits in figures(html, "loss"))


def test_checkpoints_with_other_tokens_are_compared_along_the_share_of_the_text():
    def reading(tokens: int) -> probe.Reading:
        boxes = [probe.Box(i, "x", "", "l0", 1.0 if i else None, 1.0 if i else None, 1) for i in range(tokens)]
        voice = Voice("base_model", "0" * 32, Path(), True)
        return probe.Reading(voice, boxes, probe.Place(1, "", 0.0, [], None, 0.0), 1.0, 3, 300)

    assert "% of the text" in str(probe.chart([reading(4), reading(9)]))
    assert "tokens" in str(probe.chart([reading(4), reading(4)]))
