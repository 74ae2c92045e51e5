"""A home's own policies and which policy it goes by: `<home>/policies/<name>@<version>.yaml` and `<home>/policy`.

A saved policy is never edited: another thought is another version. Names come from people, so each is held against a
pattern before it becomes part of a path. Saving is in saving.py.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from assets.policy.rules import PolicyError
from assets.temporary import write_whole

SHIPPED = Path(__file__).parents[1] / "policies"
FOLDER, CHOICE, DEFAULT = "policies", "policy", "fineweb"
NAME = re.compile(r"[a-z0-9_-]{1,40}")
IDENTITY = re.compile(r"([a-z0-9_-]{1,40})@([1-9][0-9]{0,5})")
LONGEST_CHOICE = 4096  # bytes of the file `policy`: a name, or the path of a YAML file


def own_ids(home: Path) -> list[str]:
    """name@version of every policy that was saved in the home, by name and rising version."""
    try:
        names = [entry.name for entry in os.scandir(home / FOLDER)]
    except FileNotFoundError:
        return []
    found = [match for name in names if (match := IDENTITY.fullmatch(name.removesuffix(".yaml")))]
    return [match[0] for match in sorted(found, key=lambda match: (match[1], int(match[2])))]


def newest_version(home: Path, name: str) -> int:
    """The greatest version of that name in the home; 0 where there is none."""
    versions = [int(version) for own, _, version in (one.partition("@") for one in own_ids(home)) if own == name]
    return max(versions, default=0)


def own_path(folder: Path, identity: str) -> Path:
    """The file of name@version in a folder of own policies. Raises PolicyError for what is no such name."""
    if not IDENTITY.fullmatch(identity):
        raise PolicyError(
            f"policy {identity[:80]!r}: names are lower case letters, digits, _ and -, then @ and a version, as ours@3"
        )
    return folder / f"{identity}.yaml"


def located(given: str, home: Path | None) -> str:
    """What `load` finds a policy by, whoever asks: the path of the file for one that is the home's own.

    Names of shipped policies, paths, and names that nobody knows come back as they are.
    """
    if home is None or is_file_name(given) or (SHIPPED / f"{given.partition('@')[0]}.yaml").is_file():
        return given
    identity = given if "@" in given else f"{given}@{newest_version(home, given)}"
    known = IDENTITY.fullmatch(identity) and (home / FOLDER / f"{identity}.yaml").is_file()
    return str((home / FOLDER / f"{identity}.yaml").absolute()) if known else given


def is_file_name(given: str) -> bool:
    """Whether a file is meant, not a name."""
    return given.endswith((".yaml", ".yml")) or "/" in given


def chosen(home: Path) -> str:
    """What the home goes by where nothing else is said: name@version, or a file. Raises PolicyError."""
    try:
        with (home / CHOICE).open("rb") as file:
            said = file.read(LONGEST_CHOICE + 1)
        name = said.decode().strip()
    except FileNotFoundError:
        return DEFAULT
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{home / CHOICE} is not readable: say `stemma policy use NAME` again") from error
    if not name or len(said) > LONGEST_CHOICE or "\n" in name:
        raise PolicyError(f"{home / CHOICE} names no policy: say `stemma policy use NAME` again")
    return name


def choose(home: Path, name: str) -> str:
    """From now on the home goes by that policy, and what it decides otherwise is outdated. Raises PolicyError.

    Returns what was written: the full id, for "the newest of that name" would change by itself.
    """
    from assets.policy.files import load

    policy = load(name, home)
    said = str(Path(name).absolute()) if is_file_name(name) else policy.id
    write_whole(home / CHOICE, f"{said}\n".encode())
    return said
