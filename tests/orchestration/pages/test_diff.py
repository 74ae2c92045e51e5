"""`/diff`: figures are those of `stemma diff`, made once and kept, and nothing of a page stays after its takedown."""

import json
import re
import time

import polars as pl
import pytest

from assets.lake import Lake
from assets.occupied import taking_out
from assets.takedowns import sweep
from orchestration.comparing import FOLDER, keep, kept
from orchestration.pages.settings import PageSettings
from tests.small_demo import copy_home

LONGEST_S = 900


def asked(client, address: str):
    """The answer when it is there; every answer before it says how far it is and asks to be asked again."""
    deadline = time.monotonic() + LONGEST_S
    while True:
        answer = client.get(address)
        if "refresh" not in answer.headers:
            return answer
        assert "compared for the first time" in answer.text and time.monotonic() < deadline
        time.sleep(0.2)


def figure(answer, name: str) -> int:
    found = re.search(rf'data-testid="{name}">([\d,]+)<', answer.text)
    assert found, answer.text[:2000]
    return int(found[1].replace(",", ""))


@pytest.fixture
def home(smoke, tmp_path):
    """A copy, for reports are written into it; the cache of others is not."""
    copy = copy_home(smoke.home, tmp_path / "home")
    (copy / "cache").unlink()
    (copy / "cache").mkdir()
    return copy


@pytest.mark.parametrize(("a", "b"), [("now", "strict"), ("fineweb", "fineweb_v1"), ("base_model", "now")])
def test_figures_are_those_of_the_command(pages_of, smoke, home, a, b):
    said = json.loads(smoke.elsewhere(home=home).stemma("diff", a, b, "--json").stdout)
    answer = asked(pages_of(home), f"/diff?a={a}&b={b}")
    assert answer.status_code == 200 and len(answer.content) < 200_000
    assert figure(answer, "common") == said["common"]
    for name, side in (("A", "only_a"), ("B", "only_b")):
        assert figure(answer, f"only-{name}") == said[side]["count"]["documents"]
        for reason in said[side]["reasons"]:
            assert reason in answer.text


def test_pages_of_one_side_are_linked_with_why(pages_of, home):
    answer = asked(pages_of(home), "/diff?a=now&b=strict")
    assert figure(answer, "only-A") > 0
    assert re.search(r'href="/doc/[^"]+\?snapshot=[^"]+">.*?the limit is.*?of strict@', answer.text, re.S)


def test_a_pair_is_compared_once_and_the_report_is_the_same_bytes_again(pages_of, home):
    client = pages_of(home)
    first = asked(client, "/diff?a=fineweb&b=strict")
    (path,) = (home / FOLDER).glob("*.json")
    content, at = path.read_bytes(), path.stat().st_mtime_ns
    again = client.get("/diff?a=fineweb&b=strict")
    assert "refresh" not in again.headers and path.stat().st_mtime_ns == at
    path.unlink()
    assert asked(pages_of(home), "/diff?a=fineweb&b=strict").status_code == first.status_code == 200
    assert path.read_bytes() == content


def test_another_server_reads_what_was_made(pages_of, home):
    asked(pages_of(home), "/diff?a=fineweb&b=strict")
    assert "refresh" not in pages_of(home).get("/diff?a=fineweb&b=strict").headers


def test_a_takedown_empties_the_cache(home):
    keep(home, "0" * 32, {"host": "example.org"})
    assert kept(home, "0" * 32) == {"host": "example.org"}
    with taking_out(home):
        sweep(Lake(home))
    assert kept(home, "0" * 32) is None and list((home / FOLDER).iterdir()) == []


def test_a_damaged_report_is_made_again(pages_of, home):
    asked(pages_of(home), "/diff?a=fineweb&b=strict")
    (path,) = (home / FOLDER).glob("*.json")
    path.write_bytes(path.read_bytes()[:100])
    assert asked(pages_of(home), "/diff?a=fineweb&b=strict").status_code == 200
    assert json.loads(path.read_bytes())["common"] > 0


def folder_of(place, texts: dict[str, str], url: str):
    """What `stemma corpus` would have written: these documents kept, all others unknown."""
    for name in ("corpus", "documents"):
        (place / name).mkdir(parents=True)
    (place / "funnel.json").write_text("{}")
    page = {"url": url, "host": url, "language": "eng_Latn", "content_hash": "a", "policy": "fineweb@1"}
    page |= dict.fromkeys(("reason", "cluster_id")) | {"score": None, "threshold": None, "warc_path": url}
    rows = [{**page, "doc_id": name, "text": text, "text_bytes": len(text)} for name, text in texts.items()]
    schema = {"score": pl.Float64, "threshold": pl.Float64, "reason": pl.String, "cluster_id": pl.String}
    for name in ("corpus", "documents"):
        pl.DataFrame(rows, schema_overrides=schema).write_parquet(place / name / "part-00000.parquet")
    return place


def test_folders_are_compared_their_words_told_and_what_strangers_wrote_is_escaped(pages_of, home, tmp_path):
    attack = 'javascript:alert(1)//"><script>alert(1)</script>\u202e'
    apples = {f"apple{i}": f"we sell apples {i}" for i in range(40)}
    pears = {f"pear{i}": f"we sell pears {i}" for i in range(40)}
    a, b = folder_of(tmp_path / "a", apples, attack), folder_of(tmp_path / "b", pears | {"apple0": "x"}, attack)
    text = asked(pages_of(home), f"/diff?a={a}&b={b}").text
    assert re.search(r"<bdi>apples</bdi>.*<bdi>pears</bdi>", text, re.S) and "<bdi>sell</bdi>" not in text
    assert "<script>alert" not in text and "\u202e" not in text and 'href="javascript' not in text
    before = set((home / FOLDER).iterdir())
    (b / "documents" / "part-00000.parquet").touch()  # as if it were written again
    asked(pages_of(home), f"/diff?a={a}&b={b}")
    assert set((home / FOLDER).iterdir()) > before


def test_what_can_be_compared_is_offered(pages):
    answer = pages.get("/diff")
    assert answer.status_code == 200
    for name in ("now", "base_model", "champion", "fineweb", "strict"):
        assert f'<option value="{name}">' in answer.text
    assert len(re.findall(r'<th scope="row"><code>[0-9a-f]{12}</code>', answer.text)) >= 1
    one_alone = pages.get("/diff?a=now")
    assert one_alone.status_code == 200 and 'value="now"' in one_alone.text


@pytest.mark.parametrize(
    ("a", "status"),
    [("ffff0000", 404), ("zz", 404), ("/etc/passwd", 404), ("none.yaml", 422), ("<script>alert(1)</script>", 404),
     ("\u202e\x00", 404), ("x" * 501, 422)],
)  # fmt: skip
def test_what_nobody_knows_is_told(pages, a, status):
    answer = pages.get("/diff", params={"a": a, "b": "now"})
    assert answer.status_code == status
    assert "<script>alert" not in answer.text and "\u202e" not in answer.text and "Traceback" not in answer.text


def test_pages_that_others_reach_read_no_paths(smoke, monkeypatch):
    from fastapi.testclient import TestClient

    from orchestration.pages.app import build
    from orchestration.pages.security import ACCESS, access_of

    monkeypatch.setenv("STEMMA_HOME", str(smoke.home))
    app = build(PageSettings(smoke.home, host="0.0.0.0", token="a token that is long enough"))
    client = TestClient(app, cookies={ACCESS: access_of(app.state.secret, "a token that is long enough")})
    for name in ("/etc/hosts", "../x", "policy.yaml", str(smoke.home)):
        answer = client.get("/diff", params={"a": name, "b": "now"})
        assert answer.status_code == 403 and "is a path" in answer.text


def test_a_home_without_anything_says_what_makes_it(empty):
    answer = empty.get("/diff")
    assert answer.status_code == 200 and "stemma demo" in answer.text
