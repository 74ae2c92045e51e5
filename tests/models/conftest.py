"""Small real things that the models' tests share: a corpus in Parquet, its tokenizer, its shards, a tiny model."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.config import TransformerConfig

TINY = TransformerConfig(
    vocab_size=300, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=64, max_seq_len=64
)
TINY_OVERRIDES = {
    "threads": 1,
    "vocab_size": 400,
    "model": {
        "d_model": 32,
        "n_layers": 2,
        "n_heads": 2,
        "n_kv_heads": 1,
        "head_dim": 16,
        "d_ff": 64,
        "max_seq_len": 64,
    },
    "pretrain": {
        "steps": 12,
        "batch_size": 4,
        "seq_len": 32,
        "warmup_steps": 2,
        "eval_every": 5,
        "sample_every": 4,
        "sample_tokens": 8,
        "checkpoint_every": 4,
        "log_every": 2,
    },
}
SUBJECTS = ("The river", "A small town", "Her letter", "The engine", "An old map", "The winter", "Our teacher")
VERBS = ("carries", "remembers", "explains", "follows", "hides", "repeats", "changes")
OBJECTS = (
    "the road to the harbour",
    "a story about bread",
    "what the miller said",
    "numbers like 1,024",
    "über Öl — naïve",
)


def sentences(document: int) -> str:
    """A text that differs between documents, by arithmetic alone."""
    return " ".join(
        f"{SUBJECTS[(document + 3 * i) % 7]} {VERBS[(2 * document + i) % 7]} {OBJECTS[(document * i) % 5]}."
        for i in range(20)
    )


@pytest.fixture(scope="session")
def tiny() -> TransformerConfig:
    """An architecture with grouped heads whose head size is not d_model / n_heads."""
    return TINY


@pytest.fixture(scope="session")
def silent():
    """A report function for commands called in a test."""
    return lambda line: None


@pytest.fixture(scope="session")
def write_corpus():
    """Writes rows (doc_id, cluster_id, text) to a Parquet file and returns its path."""

    def write(path: Path, documents: list[tuple[str, str, str]]) -> Path:
        columns = map(list, zip(*documents, strict=True))
        pq.write_table(pa.table(dict(zip(("doc_id", "cluster_id", "text"), columns, strict=True))), path)
        return path

    return write


@pytest.fixture(scope="session")
def corpus_documents() -> list[tuple[str, str, str]]:
    """60 documents; every third one is the near-duplicate of the one before and shares its cluster."""
    return [(f"doc-{i:03d}", f"doc-{i - (i % 3 == 2):03d}", sentences(i - (i % 3 == 2))) for i in range(60)]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, corpus_documents, write_corpus, silent) -> dict[str, Path]:
    """corpus, tokenizer_dir and shards_dir, made by the commands themselves."""
    from models.data import tokenize, tokenizer

    root = tmp_path_factory.mktemp("trained")
    corpus = write_corpus(root / "corpus.parquet", corpus_documents)
    config = {"recipe": "smoke", "overrides": TINY_OVERRIDES, "corpus_files": [str(corpus)]}
    tokenizer.run(config, root / "tokenizer", silent)
    config |= {"tokenizer_dir": str(root / "tokenizer" / "final"), "heldout_fraction": 0.2}
    tokenize.run(config, root / "shards", silent)
    return {
        "corpus": corpus,
        "tokenizer_dir": root / "tokenizer" / "final",
        "shards_dir": root / "shards" / "final",
    }


@pytest.fixture(scope="session")
def pretrain_config(trained) -> dict:
    """Configuration of a twelve-step pretraining run on the tiny corpus."""
    return {
        "recipe": "smoke",
        "seed": 3,
        "overrides": TINY_OVERRIDES,
        "shards_dir": str(trained["shards_dir"]),
        "tokenizer_dir": str(trained["tokenizer_dir"]),
    }


@pytest.fixture(scope="session")
def base_model_dir(tmp_path_factory, pretrain_config, silent) -> Path:
    """The published result of an uninterrupted run of `pretrain_config`."""
    from models.training import pretrain

    out = tmp_path_factory.mktemp("base")
    pretrain.run(pretrain_config, out, silent)
    return out / "final"


@pytest.fixture
def config_file(tmp_path):
    """Writes a command's configuration to a JSON file and returns its path."""

    def write(config: dict, name: str = "config.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(config))
        return path

    return write
