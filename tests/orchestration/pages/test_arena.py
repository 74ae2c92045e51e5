"""/arena is blind until the vote, keeps what it drew, counts every vote once, and rates by all of them."""

import json
import re
import shutil
from urllib.parse import urlencode

import pytest

from assets.judgements.votes import Side, Votes, drawn
from orchestration.pages import arena
from orchestration.pages.speaking import NAME
from orchestration.pages.voices import voices
from tests.orchestration.pages.conftest import token_in
from tests.orchestration.pages.voices_home import CALL, HOSTILE

SAMPLING = {"max_new_tokens": 8, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


@pytest.fixture
def voting(pages_of, speaking_lake, models_program, tmp_path):
    """The pages of a copy of that home, in which people may vote."""
    home = tmp_path / "home"
    shutil.copytree(speaking_lake.local, home, symlinks=True)
    client = pages_of(home)
    client.app.state.site.kept[NAME] = models_program
    return client


def home_of(client):
    return client.app.state.site.home


def draw(client, prompt: str = "2 + 2?", **query) -> str:
    token = token_in(client.get("/arena").text)
    answer = client.post(f"/arena?{urlencode(query, doseq=True)}", data={"token": token, "prompt": prompt})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def vote(client, address: str, verdict: str, voter: str = "Ada"):
    token = token_in(client.get(address).text)
    return client.post(address, data={"token": token, "verdict": verdict, "voter": voter})


def test_names_are_hidden_until_the_vote_and_shown_after_it(voting):
    address = draw(voting)
    before = voting.get(address).text
    known = voices(voting.app.state.site.lake())
    for secret in [one for voice in known for one in (voice.digest, voice.digest[:8])]:
        assert secret not in before
    assert not any(voice.asset.removesuffix("_model") + " " in before for voice in known)
    assert [before.count(f'data-key="{key}"') for key in "1234"] == [1, 1, 1, 1]
    answer = vote(voting, address, "b")
    assert answer.status_code == 303 and answer.headers["location"].endswith("voter=Ada")
    after = voting.get(answer.headers["location"]).text
    match = Votes(home_of(voting)).voted()[0]
    assert all(side.model in after for side in (match.a, match.b)) and "B is better" in after
    assert str(match.draw) in after and 'data-key="1"' not in after


def test_what_is_kept_can_be_drawn_again_from_its_number(voting):
    draw(voting)
    match = Votes(home_of(voting)).match(draw(voting, temperature=0.5, max_new_tokens=16).split("/")[2].split("?")[0])
    lake = voting.app.state.site.lake()
    pool = arena.pool(voices(lake), [], lake)
    again = drawn([voice.digest for voice in pool], match.draw)
    assert (again.a, again.b, again.seed_a, again.seed_b) == (
        match.a.model, match.b.model, match.a.seed, match.b.seed,
    )  # fmt: skip
    assert match.sampling == SAMPLING | {"temperature": 0.5, "max_new_tokens": 16}
    texts = {"sft_model": HOSTILE, "rl_model": CALL}
    assert all(side.text == texts[side.asset] or match.sampling["max_new_tokens"] == 16 for side in (match.a, match.b))
    assert all(texts[side.asset].startswith(side.text) for side in (match.a, match.b))


def test_without_a_question_one_of_the_homes_is_drawn(voting):
    token = token_in(voting.get("/arena").text)
    answer = voting.post("/arena", data={"token": token, "prompt": " "})
    assert answer.status_code == 422 and "write one" in answer.text


def test_a_vote_is_counted_once_and_only_from_our_own_pages(voting):
    address = draw(voting)
    assert voting.post(address, data={"verdict": "a", "voter": "Ada"}).status_code == 403
    assert vote(voting, address, "best").status_code == 422
    assert vote(voting, address, "a", voter="").status_code == 422
    assert vote(voting, address, "a").status_code == 303
    again = vote(voting, address, "b", voter="Bob")
    assert again.status_code == 422 and "final" in again.text
    assert [(one.verdict, one.voter) for one in Votes(home_of(voting)).voted()] == [("a", "Ada")]


def test_unknown_matches_and_models_say_where_to_go(voting):
    answer = voting.get("/arena/<script>")
    assert answer.status_code == 404 and "/arena" in answer.text and "<script>" not in answer.text.split("<main")[1]
    assert voting.get("/arena", params={"model": "nobody"}).status_code == 404
    token = token_in(voting.get("/arena").text)
    alone = voting.post("/arena?model=sft_model", data={"token": token, "prompt": "a"})
    assert alone.status_code == 422 and "two different models" in alone.text


def test_hostile_answers_and_questions_are_shown_and_not_run(voting):
    html = voting.get(draw(voting, prompt=HOSTILE)).text.split("<main")[1]
    assert "<script>alert" not in html and "<img" not in html and "\u202e" not in html
    assert html.count("&lt;script") == 2 and "Tool call: rm (it was not run)" in html


def test_ratings_follow_the_votes(voting):
    assert "Nobody has voted yet" in voting.get("/arena").text
    lake = voting.app.state.site.lake()
    digests = {asset: lake.artifacts.version_of(asset) for asset in ("sft_model", "rl_model", "base_model")}
    votes = Votes(home_of(voting))
    for winner, loser, times in (("sft_model", "rl_model", 6), ("rl_model", "base_model", 4)):
        for number in range(times):
            a, b = (Side(asset, digests[asset], number, asset) for asset in (winner, loser))
            votes.vote(votes.add_match([{"role": "user", "content": "?"}], a, b, SAMPLING, number), "a", "Ada")
    html = voting.get("/arena").text
    table = html.split("the best first")[1].split("</table>")[0]
    assert re.findall(r'href="/models/(\w+)"', table) == list(digests.values())
    rows = re.findall(
        r'<td class="num">(\d+)</td><td class="num">([\d-]+) to (\d+)</td><td class="num">(\d+)</td>', html
    )
    assert [int(row[3]) for row in rows] == [6, 10, 4]
    assert all(int(low) < int(value) < int(high) for value, low, high, _ in rows)
    assert "<svg" in html and "cannot be compared" not in html


def test_groups_that_no_vote_connects_are_told(voting):
    votes = Votes(home_of(voting))
    for pair in ("ab", "cd"):
        a, b = (Side("sft_model", name * 32, 1, name) for name in pair)
        votes.vote(votes.add_match([{"role": "user", "content": "?"}], a, b, SAMPLING, 1), "tie", "Ada")
    assert "cannot be compared" in voting.get("/arena").text


def test_votes_leave_as_preference_data(voting):
    assert voting.get("/arena/preferences.jsonl").text == ""
    vote(voting, draw(voting), "a")
    vote(voting, draw(voting), "both_bad")
    answer = voting.get("/arena/preferences.jsonl")
    (line,) = [json.loads(one) for one in answer.text.splitlines()]
    match = next(one for one in Votes(home_of(voting)).voted() if one.verdict == "a")
    assert line["chosen"][0]["content"] == match.a.text and line["rejected_model"] == match.b.model
    assert line["prompt"] == [{"role": "user", "content": "2 + 2?"}]


def test_the_home_of_a_whole_demo_draws_a_problem_of_its_own(pages, smoke):
    lake = pages.app.state.site.lake()
    questions = {arena.task(lake, number) for number in range(20)}
    assert len(questions) > 5 and all(questions)
    assert [voice.asset for voice in arena.pool(voices(lake), [], lake)] == ["rl_model", "sft_model"]


def test_a_home_without_models_says_what_makes_one(empty):
    assert "stemma demo" in empty.get("/arena").text
