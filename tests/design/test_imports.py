"""Imports go one way: orchestration → assets → models → kernels; and each heavy library has one home."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
ROOMS = ["kernels", "models", "assets", "orchestration"]  # each may import those before it

# library: the places (folders or files) that may import it
HOMES = {
    "dagster": ["orchestration", "assets"],
    "mlflow": ["assets/tracking.py"],
    "fastapi": ["orchestration/pages", "orchestration/serving"],
    "torch": ["models", "kernels/device"],
}
# what models and kernels may import at module level, so that they run on a bare GPU image (llvmlite: numba brings it)
BARE = {
    "numpy", "numba", "llvmlite", "torch", "triton", "safetensors", "tokenizers", "pyarrow",
    # text libraries that kernels/text wraps
    "resiliparse", "trafilatura", "lxml", "fasttext", "spacy", "regex", "xxhash", "datatrove", "cchardet",
    "tldextract", "ahocorasick",
}  # fmt: skip
# workers start often: these load neither dagster nor mlflow, at any depth
LIGHT = [
    "assets/steps",
    "assets/crawl_index",
    "assets/dedup_index",
    "assets/lake.py",
    "assets/policy",
    "assets/schemas.py",
]


def modules(room: str) -> list[Path]:
    return sorted((REPO / room).rglob("*.py"))


def imports(path: Path, *, module_level: bool = False) -> Iterator[str]:
    """Top names of every module that the file imports; with module_level only those run at import."""
    tree = ast.parse(path.read_text(), str(path))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if module_level and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_every_room_has_modules():
    for room in ROOMS:
        assert len(modules(room)) > 3, f"{room} is empty: the rules below would hold for nothing"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_downwards(room):
    above = set(ROOMS[ROOMS.index(room) + 1 :]) | {"tests"}
    wrong = [
        f"{path.relative_to(REPO)} imports {name}"
        for path in modules(room)
        for name in imports(path)
        if name.split(".")[0] in above
    ]
    assert wrong == []


@pytest.mark.parametrize("library", sorted(HOMES))
def test_library_is_imported_only_at_home(library):
    wrong = [
        str(path.relative_to(REPO))
        for room in ROOMS
        for path in modules(room)
        if any(name.split(".")[0] == library for name in imports(path))
        and not any((REPO / home) == path or (REPO / home) in path.parents for home in HOMES[library])
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ["kernels", "models"])
def test_models_and_kernels_need_only_what_a_gpu_image_has(room):
    import sys

    allowed = BARE | set(ROOMS) | set(sys.stdlib_module_names)
    wrong = [
        f"{path.relative_to(REPO)} imports {name}"
        for path in modules(room)
        for name in imports(path, module_level=True)
        if name.split(".")[0] not in allowed
    ]
    assert wrong == []


def test_workers_start_without_dagster_and_mlflow():
    files = [p for light in LIGHT for p in ([REPO / light] if light.endswith(".py") else modules(light))]
    wrong = [
        f"{path.relative_to(REPO)} imports {name}"
        for path in files
        for name in imports(path)
        if name.split(".")[0] in {"dagster", "mlflow"}
    ]
    assert wrong == []
