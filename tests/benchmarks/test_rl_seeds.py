"""Reinforcement beats instruction tuning on held-out problems in 3 of 3 seeds, and a coin for a reward does not."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.benchmarks.rl_seeds import METRICS, measure_seed, shared_inputs, table

SEEDS = (0, 1, 2)
LEAST_GAIN = 15.0  # percentage points, true reward
MOST_CONTROL_GAIN = 5.0  # percentage points, random reward; it may lose


@pytest.mark.slow
def test_reward_teaches_and_the_coin_does_not(tmp_path, shared_data):
    """The demo's own recipes on English pages of the reference corpus, from tokenizer to policy."""
    with gzip.open(shared_data / "pages" / "webpages.gold.jsonl.gz", "rt") as lines:
        pages = [page for page in map(json.loads, lines) if page["lang"] == "en" and page["text"]]
    ids = [page["record_id"] for page in pages]
    corpus = pa.table({"doc_id": ids, "cluster_id": ids, "text": [page["text"] for page in pages]})
    pq.write_table(corpus, tmp_path / "corpus.parquet")
    recipe = {"recipe": "demo"}
    base, examples = shared_inputs(tmp_path, recipe, tmp_path / "corpus.parquet")
    rows = [row for seed in SEEDS for row in measure_seed(tmp_path, recipe, base, examples, seed)]
    print(table(rows))
    for metric in METRICS:
        assert min(row.gain for row in rows if (row.reward, row.metric) == ("true", metric)) >= LEAST_GAIN
        assert max(row.gain for row in rows if (row.reward, row.metric) == ("random", metric)) <= MOST_CONTROL_GAIN
