"""The tree looks as its user fixed it, and every room says what it is."""

import re
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
TOP = {"orchestration", "assets", "models", "kernels", "tests", "workspace.yaml", "pyproject.toml", "README.md",
       "LICENSE", "LOG.md", "Makefile", "constraints.txt"}  # fmt: skip
MODULES = sorted(p for room in ("orchestration", "assets", "models", "kernels") for p in (REPO / room).rglob("*.py"))


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: the list of tracked files is not to be had")
    return listed.stdout.splitlines()


def test_top_level_holds_only_what_the_layout_names():
    top = {path.split("/")[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} - TOP == set()


def test_bundled_data_stays_under_8_megabytes():
    sizes = [(REPO / p).stat().st_size for p in tracked() if p.startswith("tests/data/") and (REPO / p).exists()]
    assert 0 < sum(sizes) <= 8_000_000


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(REPO)))
def test_module_says_what_it_is_and_fits_a_room(path):
    source = path.read_text()
    assert re.match(r'(#!.*\n)?r?"""\S', source), "the first line of a module says what it makes"
    assert source.count("\n") <= 400, "over 400 lines it wants to be two rooms"


def test_readme_names_only_commands_that_exist():
    readme = (REPO / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z]+)", readme))
    assert {"demo", "test"} <= named <= targets
    from typer.main import get_command

    from orchestration.cli import app

    commands = set(getattr(get_command(app), "commands", {}))
    named = set(re.findall(r"^(?:\$ )?stemma ([a-z]+)", readme, re.M))
    assert named and named <= commands


def test_readme_draws_the_graph_as_it_is():
    from orchestration.definitions import defs
    from orchestration.picture import mermaid

    readme = (REPO / "README.md").read_text()
    drawn = readme.split("<!-- lineage -->")[1].split("<!-- /lineage -->")[0].strip()
    assert drawn == f"```mermaid\n{mermaid(defs)}```"
