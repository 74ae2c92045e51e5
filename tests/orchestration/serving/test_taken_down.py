"""A model that read what is to be taken down is served no longer from the moment that somebody asks for it."""

import polars as pl

from assets.lake import Lake
from assets.steps.ledger import Ledger
from assets.steps.scopes import scope
from models.training.checkpoint import load_model, save_final
from tests.small_demo import copy_home

READ = "00000001-0000-4000-8000-000000000001"
BASE = {"model": "base_model", "prompt": "The river", "max_tokens": 3}


def test_a_running_server_refuses_it_and_serves_the_others(served_home, tmp_path, serve):
    home = copy_home(served_home, tmp_path / "home")
    lake, consumed, made = Lake(home), tmp_path / "consumed.parquet", tmp_path / "base_model"
    pl.DataFrame({"doc_id": [READ], "tokens": [3], "times": [1]}).write_parquet(consumed)
    before = lake.open_dir("base_model")
    files = {"consumed.parquet": consumed}
    save_final(made, load_model(before)[0], before, {"recipe": "test", "asset": "base_model"}, files=files)
    lake.commit_dir("base_model", made)
    with serve(home) as client:
        assert client.post("/v1/completions", json=BASE).status_code == 200
        Ledger(home).add(scope("document", "00000002-0000-4000-8000-000000000002"), "Ann", "another page")
        assert client.post("/v1/completions", json=BASE).status_code == 200
        Ledger(home).add(scope("document", READ), "Ann", "my own page")
        answer = client.post("/v1/completions", json=BASE)
        assert answer.status_code == 403
        error = answer.json()["error"]
        assert error["code"] == "taken_down" and error["param"] == "model"
        assert "takedown 2" in error["message"] and "stemma demo" in error["message"]
        assert client.get("/v1/models/base_model").status_code == 403
        listed = {one["id"] for one in client.get("/v1/models").json()["data"]}
        assert "base_model" not in listed and "sft_model" in listed
        assert client.post("/v1/completions", json=BASE | {"model": "sft_model"}).status_code == 200
