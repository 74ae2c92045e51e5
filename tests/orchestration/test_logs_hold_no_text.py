"""What Dagster and MLflow keep of a demo, logs and stores, holds no text of a page: a takedown need not go there."""

import re
from pathlib import Path

from assets.lake import Lake
from tests.assets.byte_search import contents

LEAST, MOST = 40, 80  # characters of a sentence that is looked for
PER_PAGE = 5


def sentences(home: Path) -> dict[bytes, str]:
    """Sentences that only one page of the home has, with that page's doc_id; such as JSON and SQL leave as they are."""
    pages = Lake(home).scan("documents").select("doc_id", "text").collect()
    found: dict[bytes, set[str]] = {}
    for doc_id, text in pages.iter_rows():
        plain = re.findall(rf"(?<![\w ,])[A-Z][\w ,;:()-]{{{LEAST},{MOST}}}", text, re.ASCII)
        for sentence in sorted(set(plain), key=len, reverse=True)[:PER_PAGE]:
            found.setdefault(sentence.encode(), set()).add(doc_id)
    return {sentence: min(of) for sentence, of in found.items() if len(of) == 1}


def told(folder: Path) -> dict[Path, bytes]:
    """All that the files of a folder say."""
    return {path: b"\0".join(contents(path)) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_neither_dagster_nor_mlflow_keeps_text_of_a_page(smoke):
    wanted = sentences(smoke.home)
    kept = Lake(smoke.home).scan("corpus").select("doc_id").collect()["doc_id"]
    assert len(set(wanted.values()) & set(kept)) > len(kept) / 2, "the sentences are of most pages that are kept"
    tables = b"\0".join(told(smoke.home / "lake" / "documents").values())
    assert all(sentence in tables for sentence in wanted), "the search finds them where they are"
    for name, said in (("dagster", b"stemma/config_digest"), ("mlflow", b"stemma.data_version")):
        kept_there = told(smoke.home / name)
        assert any(said in one for one in kept_there.values()), f"{name} has been told of the runs"
        assert any(path.stat().st_size > 100_000 for path in kept_there)
        assert name == "mlflow" or any("compute_logs" in path.parts for path in kept_there)
        holding = {(str(path), of) for path, one in kept_there.items() for text, of in wanted.items() if text in one}
        assert holding == set()
