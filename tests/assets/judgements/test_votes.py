"""Votes are added by many at once and none is lost or changed; what was drawn follows from one number."""

import multiprocessing
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from assets.judgements.appending import AppendingFile, StoreUnreadable
from assets.judgements.votes import FILE, VERDICTS, AlreadyVoted, Side, UnknownMatch, VoteRefused, Votes, drawn

MESSAGES = [{"role": "user", "content": "2 + 2? \u202e<b>"}]
SAMPLING = {"max_new_tokens": 8, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
MODELS = ["a" * 32, "b" * 32, "c" * 32]


def match(home: Path, number: int = 5) -> str:
    draw = drawn(MODELS, number)
    a, b = Side("sft_model", draw.a, draw.seed_a, "4"), Side("rl_model", draw.b, draw.seed_b, "five")
    return Votes(home).add_match(MESSAGES, a, b, SAMPLING, number)


def _vote(home: Path, voter: int) -> None:
    for number in range(5):
        Votes(home).vote(match(home, 100 * voter + number), "tie", f"voter {voter}")


def test_a_match_comes_back_as_it_was_kept(tmp_path):
    identity = match(tmp_path)
    kept = Votes(tmp_path).match(identity)
    draw = drawn(MODELS, 5)
    assert (kept.messages, kept.sampling, kept.draw, kept.verdict) == (MESSAGES, SAMPLING, 5, None)
    assert (kept.a.model, kept.b.model, kept.a.seed, kept.b.text) == (draw.a, draw.b, draw.seed_a, "five")
    vote = Votes(tmp_path).vote(identity, "b", " Ada L. ")
    (voted,) = Votes(tmp_path).voted()
    assert (voted.vote_id, voted.verdict, voted.voter) == (vote, "b", "Ada L.")


def test_people_who_vote_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    voters = [context.Process(target=_vote, args=(tmp_path, voter)) for voter in range(4)]
    for voter in voters:
        voter.start()
    for voter in voters:
        voter.join()
    assert Counter(one.voter for one in Votes(tmp_path).voted()) == {f"voter {n}": 5 for n in range(4)}


def test_a_vote_is_final_and_names_a_match_that_is_there(tmp_path):
    identity = match(tmp_path)
    votes = Votes(tmp_path)
    with pytest.raises(VoteRefused, match="one of a, b, tie, both_bad"):
        votes.vote(identity, "c", "Ada")
    with pytest.raises(VoteRefused, match="who votes"):
        votes.vote(identity, "a", "<script>")
    with pytest.raises(UnknownMatch, match="/arena"):
        votes.vote("0" * 32, "a", "Ada")
    before = votes.digest()
    votes.vote(identity, "a", "Ada")
    with pytest.raises(AlreadyVoted):
        votes.vote(identity, "b", "Bob")
    assert [one.verdict for one in votes.voted()] == ["a"] and before == "" != votes.digest()


def test_a_tally_counts_every_vote_once(tmp_path):
    votes = Votes(tmp_path)
    assert votes.tally() == []
    for number in range(12):
        votes.vote(match(tmp_path, number), VERDICTS[number % 4], "Ada")
    match(tmp_path)  # nobody votes on it
    voted = Counter((one.a.asset, one.a.model, one.b.asset, one.b.model, one.verdict) for one in votes.voted())
    assert {(t.asset_a, t.model_a, t.asset_b, t.model_b, t.verdict): t.votes for t in votes.tally()} == voted


@pytest.mark.parametrize("statement", ["UPDATE votes SET verdict = 'b'", "DELETE FROM votes", "DELETE FROM matches"])
def test_the_file_itself_refuses_a_change(tmp_path, statement):
    Votes(tmp_path).vote(match(tmp_path), "a", "Ada")
    with sqlite3.connect(tmp_path / FILE) as db, pytest.raises(sqlite3.IntegrityError, match="never"):
        db.execute(statement)
    db.close()


def test_a_draw_follows_from_its_number_and_favours_nobody():
    draws = [drawn(MODELS, number) for number in range(6000)]
    assert draws[7] == drawn(reversed(MODELS), 7) and len({one.seed_a for one in draws}) == 6000
    pairs = Counter(frozenset((one.a, one.b)) for one in draws)
    left = Counter(one.a for one in draws)
    assert len(pairs) == 3 and all(1850 < count < 2150 for count in [*pairs.values(), *left.values()])
    assert all(one.a != one.b and one.seed_a != one.seed_b for one in draws)
    with pytest.raises(VoteRefused, match="two different models"):
        drawn([MODELS[0], MODELS[0]], 1)


def test_a_transaction_that_fails_leaves_nothing(tmp_path):
    file = AppendingFile(tmp_path / "one.sqlite", "CREATE TABLE said (word TEXT NOT NULL);", 1)
    with pytest.raises(ZeroDivisionError), file.writing() as db:
        db.execute("INSERT INTO said VALUES ('lost')")
        _ = 1 / 0
    assert file.rows("SELECT * FROM said") == []
    with file.writing() as db:
        db.execute("INSERT INTO said VALUES ('kept')")
    assert file.rows("SELECT word FROM said") == [("kept",)]


def test_files_that_cannot_be_read_say_what_to_do(tmp_path):
    Votes(tmp_path).vote(match(tmp_path), "a", "Ada")
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(StoreUnreadable, match="newer Stemma"):
        Votes(tmp_path).voted()
    (tmp_path / FILE).write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(StoreUnreadable, match="backup"):
        Votes(tmp_path).voted()
