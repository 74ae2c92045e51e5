"""A sealed directory is whole, unchanged and published once, or it is not used."""

import pytest

from models.artifacts import ArtifactConflict, CorruptArtifact, building, digest, publish, seal, verify
from models.config import InputError


def make(final, content="weights", **identity):
    with building(final) as temporary:
        (temporary / "part").mkdir()
        (temporary / "part" / "model.bin").write_text(content)
        seal(temporary, "thing", identity)
        publish(temporary, final)
    return final


def test_sealed_directory_verifies_and_names_its_files(tmp_path):
    manifest = verify(make(tmp_path / "final", parent="p"))
    assert manifest["kind"] == "thing" and manifest["parent"] == "p"
    assert list(manifest["files"]) == ["part/model.bin"]


def test_digest_depends_on_content_and_not_on_place(tmp_path):
    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    assert digest(first) == digest(second) != digest(make(tmp_path / "c", "other"))
    assert len(digest(first)) == 32


@pytest.mark.parametrize("damage", [lambda file: file.write_text("weightz"), lambda file: file.unlink()])
def test_damage_is_found_and_named(tmp_path, damage):
    final = make(tmp_path / "final")
    damage(final / "part" / "model.bin")
    with pytest.raises(CorruptArtifact, match=r"model\.bin"):
        verify(final)


def test_publishing_the_same_twice_changes_nothing_and_other_content_is_refused(tmp_path):
    final = make(tmp_path / "final")
    make(final)
    with pytest.raises(ArtifactConflict):
        make(final, "other")
    assert (final / "part" / "model.bin").read_text() == "weights"


def test_a_failure_while_building_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), building(tmp_path / "final") as temporary:
        (temporary / "half").write_text("torso")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_unsealed_directory_cannot_be_published(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json"), building(tmp_path / "final") as temporary:
        publish(temporary, tmp_path / "final")
    assert not (tmp_path / "final").exists()
