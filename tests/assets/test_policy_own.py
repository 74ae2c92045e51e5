"""A home's own policies: versions that nobody can overwrite, names that are no paths, and the one the home goes by."""

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from assets import policy
from assets.policy import PolicyError, available, choose, chosen, load, located, save, what_if
from assets.policy.own import FOLDER, own_ids
from assets.resources import RecipeResource

ANN: dict[str, Any] = {"by": "Ann", "why": "too many short pages"}
PARENTS = ["fineweb", "fineweb2", "strict"]


def saved(home: Path, *settings: str, parent: str = "fineweb", name: str = "ours", seen: int | None = None):
    return save(home, name, parent, what_if(load(parent, home), settings), **ANN, seen=seen)


def test_a_saved_policy_decides_as_what_was_asked_and_says_who_and_why(tmp_path):
    made = saved(tmp_path, "language_score.min=0.8", "short_line_ratio.max=0.5")
    loaded = load("ours@1", tmp_path)
    assert (
        policy.difference(loaded, what_if(load("fineweb"), ["language_score.min=0.8", "short_line_ratio.max=0.5"]))
        == []
    )
    assert (loaded.id, loaded.parents, made.meanwhile) == ("ours@1", ["fineweb@1"], ())
    changed = {rule.rule: rule.source for rule in loaded.rules if rule.source.startswith("Ann")}
    assert changed == dict.fromkeys(["language_score", "short_line_ratio"], "Ann: too many short pages")
    content = yaml.safe_load((tmp_path / FOLDER / "ours@1.yaml").read_text())
    assert content["rules"] == [{"rule": "language_score", "min": 0.8}, {"rule": "short_line_ratio", "max": 0.5}]


@given(st.data())
def test_any_changes_come_back_from_the_file(tmp_path_factory, data):
    home = tmp_path_factory.mktemp("home")
    parent = load(data.draw(st.sampled_from(PARENTS)))
    bounded = [(rule.rule, side) for rule in parent.rules for side, _ in rule.bounds()]
    name, side = data.draw(st.sampled_from(bounded))
    language = data.draw(st.sampled_from(["", "deu_Latn/", "ces_Latn/"]))
    settings = [f"{language}{name}.{side}={data.draw(st.floats(0.3, 1).map(lambda x: round(x, 3)))}"]
    remove = data.draw(st.lists(st.sampled_from(parent.reasons), max_size=2, unique=True))
    remove = [one for one in remove if one != name]
    try:
        changed = what_if(parent, settings, remove)
    except PolicyError:
        return  # the rule of that language has another shape
    if not policy.difference(parent, changed):
        return
    back = save(home, "ours", parent.name, changed, **ANN).policy
    assert policy.difference(back, changed) == []


def test_versions_follow_each_other_and_are_never_written_again(tmp_path):
    saved(tmp_path, "language_score.min=0.7")
    first = (tmp_path / FOLDER / "ours@1.yaml").read_bytes()
    second = saved(tmp_path, "language_score.min=0.8", parent="ours")
    assert (second.policy.id, second.policy.parents) == ("ours@2", ["ours@1", "fineweb@1"])
    assert (tmp_path / FOLDER / "ours@1.yaml").read_bytes() == first
    assert load("ours", tmp_path).id == "ours@2" and load("ours@1", tmp_path).rules != second.policy.rules
    assert available(tmp_path) == [*available(), "ours@1", "ours@2"]
    assert not [path for path in (tmp_path / FOLDER).iterdir() if path.name.startswith(".")]


def test_two_who_save_at_once_both_succeed_and_one_hears_of_the_other(tmp_path):
    barrier, made = threading.Barrier(6), []

    def one(i: int) -> None:
        changed = what_if(load("fineweb"), [f"language_score.min=0.{i + 1}"])
        barrier.wait()
        made.append((i, save(tmp_path, "ours", "fineweb", changed, by=f"person {i}", why="at once", seen=0)))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.policy.version for _, one in made) == [1, 2, 3, 4, 5, 6]
    for i, one in made:
        assert {rule.rule: rule.min for rule in one.policy.rules}["language_score"] == float(f"0.{i + 1}")
        assert one.meanwhile == tuple(f"ours@{n}" for n in range(1, one.policy.version))


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "Ours", "a" * 41, "ours@1", "ours.yaml", "\u202eours", "fineweb", "a\x00b"]
)
def test_names_that_are_no_names_are_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(PolicyError):
        saved(tmp_path, "language_score.min=0.8", name=name)
    assert not list(tmp_path.rglob("*.yaml"))


@pytest.mark.parametrize(
    "given", ["../../etc/passwd@1", "..@1", "ours@0", "ours@-1", "ours@01", "ours@1/../x", "ours@x"]
)
def test_a_name_that_is_asked_for_never_leaves_the_folder(tmp_path, given):
    with pytest.raises(PolicyError):
        load(given, tmp_path)


@pytest.mark.parametrize("extends", ["../secret.yaml", "/etc/hosts.yaml", "a/b", "ours@1.yaml"])
def test_an_own_policy_extends_names_alone(tmp_path, extends):
    (tmp_path / "secret.yaml").write_text("name: s\nversion: 1\ndescription: x\nextends: fineweb\n")
    folder = tmp_path / FOLDER
    folder.mkdir()
    content = {"name": "ours", "version": 2, "description": "x", "extends": extends}
    (folder / "ours@2.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(PolicyError):
        load("ours@2", tmp_path)


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path):
    saved(tmp_path, "language_score.min=0.8")
    (tmp_path / FOLDER / "ours@2.yaml").write_bytes((tmp_path / FOLDER / "ours@1.yaml").read_bytes())
    with pytest.raises(PolicyError, match="version 1"):
        load("ours@2", tmp_path)


@pytest.mark.parametrize(
    "setting", ["language_score.min=.nan", "language_score.min=.inf", "language_score.min=7", "language_score.min=a"]
)
def test_a_threshold_that_cannot_be_is_refused(tmp_path, setting):
    with pytest.raises(PolicyError):
        saved(tmp_path, setting)


def test_nothing_changed_no_name_and_no_reason_are_refused(tmp_path):
    with pytest.raises(PolicyError, match="nothing differs"):
        saved(tmp_path, "language_score.min=0.65")
    changed = what_if(load("fineweb"), ["language_score.min=0.8"])
    refused: list[dict[str, Any]] = [{"by": " ", "why": "x"}, {"by": "x", "why": ""}, {"by": "x", "why": "y" * 501}]
    for told in refused:
        with pytest.raises(PolicyError):
            save(tmp_path, "ours", "fineweb", changed, **told)
    assert own_ids(tmp_path) == []


def test_a_policy_that_is_a_file_cannot_be_the_parent_of_a_version(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nversion: 1\ndescription: x\nextends: fineweb\n")
    with pytest.raises(PolicyError, match="file of its own"):
        saved(tmp_path, "language_score.min=0.8", parent=str(file))


def test_the_home_goes_by_what_was_chosen_unless_more_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("STEMMA_POLICY", raising=False)
    assert chosen(tmp_path) == "fineweb" == RecipeResource().chosen_policy(tmp_path)
    saved(tmp_path, "language_score.min=0.8")
    assert choose(tmp_path, "ours") == "ours@1" == chosen(tmp_path)
    saved(tmp_path, "language_score.min=0.9", parent="ours")
    assert chosen(tmp_path) == "ours@1", "a newer version is another choice"
    resolved = RecipeResource().chosen_policy(tmp_path)
    assert load(resolved).id == "ours@1", "found without being told the home"
    monkeypatch.setenv("STEMMA_POLICY", "strict")
    assert RecipeResource().chosen_policy(tmp_path) == "strict"
    assert load(RecipeResource(policy="ours@2").chosen_policy(tmp_path)).id == "ours@2"


def test_a_choice_that_is_none_is_refused_and_changes_nothing(tmp_path):
    for name in ("nobody", "../x.yaml", "ours@7", ""):
        with pytest.raises(PolicyError):
            choose(tmp_path, name)
    assert not (tmp_path / "policy").exists()
    (tmp_path / "policy").write_text("x\n" * 9000)
    with pytest.raises(PolicyError, match="stemma policy use"):
        chosen(tmp_path)


def test_a_file_may_be_chosen_and_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("name: mine\nversion: 1\ndescription: x\nextends: fineweb\n")
    monkeypatch.chdir(tmp_path)
    assert choose(tmp_path, "mine.yaml") == str(tmp_path / "mine.yaml")
    assert located(chosen(tmp_path), tmp_path) == str(tmp_path / "mine.yaml")
