"""The store of labels: two at once lose nothing, the newest counts, undo gives back, a takedown leaves no byte."""

import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from assets.judgements.appending import StoreUnreadable
from assets.judgements.said import LabelRefused, Page, Said, labeller_of, tags_of
from assets.judgements.store import Judgements, NothingToUndo


def page(name: str, text: str = "A text of some words.") -> Page:
    return Page(name, "A", f"https://a.org/{name}", f"hash of {text}", text)


def says(store: Judgements, who: str, label: str, *names: str, **said) -> str:
    return store.add([Said(page(name), label, **said) for name in names], who)


def counts(store: Judgements) -> dict[tuple[str, str], str]:
    return {(row["labeller"], row["doc_id"]): row["label"] for row in store.newest()}


@pytest.fixture
def store(tmp_path) -> Judgements:
    return Judgements(tmp_path)


def test_a_home_without_labels_answers_and_stays_without_a_file(store):
    assert store.newest() == [] == store.batches() and store.labelled_by("Ann") == set() and store.state() == ""
    assert not store.path.exists()


def test_the_newest_label_of_each_labeller_counts_and_the_history_stays(store):
    says(store, "Ann", "good", "p")
    says(store, "Bob", "unsure", "p")
    says(store, "Ann", "bad", "p", tags=("Spam", "spam", "ads"), note=" thin ")
    assert counts(store) == {("Ann", "p"): "bad", ("Bob", "p"): "unsure"}
    newest = store.newest()[0]
    assert newest["tags"] == ["ads", "spam"] and newest["note"] == "thin"
    assert [(one["labeller"], one["label"]) for one in store.of_page("p")] == [
        ("Ann", "good"),
        ("Bob", "unsure"),
        ("Ann", "bad"),
    ]


def test_many_who_label_at_once_lose_nothing(tmp_path):
    def label(who: str) -> None:
        for number in range(25):
            says(Judgements(tmp_path), who, random.choice(["good", "bad"]), f"p{number}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(label, [f"labeller {i}" for i in range(4)]))
    store = Judgements(tmp_path)
    assert len(store.batches()) == len(store.newest()) == 100
    assert all(store.labelled_by(f"labeller {i}") == {f"p{n}" for n in range(25)} for i in range(4))


def test_a_bulk_label_is_undone_as_one_and_what_counted_before_counts_again(store):
    says(store, "Ann", "good", "p1")
    before = counts(store)
    batch = store.add([Said(page(f"p{i}"), "bad") for i in range(500)], "Ann", {"rule": "n_words", "q": ""})
    newest = store.batches()[0]
    assert (newest.id, newest.pages, newest.label, newest.source) == (batch, 500, "bad", {"rule": "n_words"})
    says(store, "Bob", "good", "p1")
    undone = store.undo("Ann", batch)
    assert undone.id == batch and undone.undone and undone.pages == 500
    assert counts(store) == before | {("Bob", "p1"): "good"}
    assert [one["undone"] for one in store.of_page("p1")] == [False, True, False]


def test_undo_goes_back_step_by_step_and_never_touches_another_labeller(store):
    first = says(store, "Ann", "good", "p")
    second = says(store, "Ann", "bad", "p")
    says(store, "Bob", "bad", "p")
    assert [store.undo("Ann").id, store.undo("Ann").id] == [second, first]
    assert counts(store) == {("Bob", "p"): "bad"}
    with pytest.raises(NothingToUndo, match="Ann has nothing to undo"):
        store.undo("Ann")
    with pytest.raises(NothingToUndo, match="no batch"):
        store.undo("Bob", first)


def test_a_batch_that_breaks_in_the_middle_leaves_nothing(store):
    says(store, "Ann", "good", "p")
    state = store.state()
    broken = [Said(page("q"), "good"), Said(page("r"), "good")]
    object.__setattr__(broken[1], "label", None)  # what no database column takes
    with pytest.raises(sqlite3.IntegrityError):
        store.add(broken, "Ann")
    assert store.state() == state and counts(store) == {("Ann", "p"): "good"}


def test_whatever_is_said_changes_the_state(store):
    states = [store.state()]
    for step in (
        lambda: says(store, "Ann", "good", "p"),
        lambda: says(store, "Ann", "good", "p"),
        lambda: store.undo("Ann"),
        lambda: store.remove(["p"]),
    ):
        step()
        states.append(store.state())
    assert len(set(states)) == len(states)


def test_what_was_said_cannot_be_changed_in_the_file(store):
    says(store, "Ann", "good", "p")
    with sqlite3.connect(store.path) as db, pytest.raises(sqlite3.IntegrityError, match="never changed"):
        db.execute("UPDATE labels SET label = 'bad'")


def test_a_takedown_leaves_no_byte_of_the_page_nor_of_its_label(store):
    secret, other = "A very private sentence of somebody.", "Another sentence that stays."
    store.add([Said(page("gone-1234", secret), "bad", note="names a private person")], "Ann", {"q": "private person"})
    store.add([Said(page("gone-1234", secret), "good")], "Bob")
    store.undo("Bob")
    store.add([Said(page("stays", other), "good")], "Ann")
    assert b"private" in store.path.read_bytes()
    assert store.held(["gone-1234", "unknown"]) == {"A": 1}
    assert store.remove(["gone-1234", "unknown"]) == 2 and store.remove(["gone-1234"]) == 0
    content = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert b"private" not in content and b"gone-1234" not in content and b"sentence that stays" in content
    assert counts(store) == {("Ann", "stays"): "good"} and [one.pages for one in store.batches()] == [1]


@pytest.mark.parametrize(
    ("label", "tags", "note", "said"),
    [
        ("great", (), "", "the label is 'great'"),
        ("good", ("two words",), "", "the tag 'two words' is none"),
        ("good", tuple(f"t{i}" for i in range(21)), "", "21 tags"),
        ("good", (), "x" * 2001, "the note has 2001"),
    ],
)
def test_anything_else_is_refused_with_a_reason(label, tags, note, said):
    with pytest.raises(LabelRefused, match=said):
        Said(page("p"), label, tags, note)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "<b>", "x" * 65, "\u202eAnn"])
def test_a_name_of_something_else_is_refused(name):
    with pytest.raises(LabelRefused, match="who labels"):
        labeller_of(name)


def test_tags_of_a_text_are_cut_at_commas_and_spaces():
    assert tags_of(" Spam, thin  spam,") == ("spam", "thin") and tags_of("") == ()


def test_a_note_with_a_lone_surrogate_is_kept_without_it(store):
    store.add([Said(page("p"), "bad", note="a \ud800 b")], "Ann", {"q": "\udfff"})
    assert store.newest()[0]["note"] == "a ? b" and store.newest()[0]["source"] == {"q": "?"}


def test_a_damaged_file_is_named(store):
    store.path.parent.mkdir()
    store.path.write_bytes(b"no database" * 200)
    with pytest.raises(StoreUnreadable, match=r"labels\.sqlite cannot be used"):
        store.newest()
