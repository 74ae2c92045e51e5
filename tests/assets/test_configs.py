"""A changed policy outdates exactly the stages whose bytes it decides: reading and measuring pages stay as they are."""

import pytest

from assets.configs import config_of
from tests.assets.test_graph import STAGES

HEAD = "name: other\nversion: 1\ndescription: a child of fineweb\nextends: fineweb\nsource: a test\n"
CASES = {
    "rules:\n  - {rule: language_score, min: 0.8}\n": set(),
    "extractor: stemma\n": {"documents"},
    "line_filter: none\n": {"signatures", "duplicate_clusters", "corpus", "corpus_clusters"},
    "dedup: {similarity: 0.9}\n": {"duplicate_clusters", "corpus_clusters"},
    "dedup: {scope: corpus}\n": {"tokenizer", "token_shards"},
    "repetition: {1: 1, 2: 2}\n": {"token_shards"},
}
ALWAYS = {"decisions", "corpus_card", "annotation_statistics"}  # they carry the policy's name


@pytest.mark.parametrize("change", CASES)
def test_a_changed_policy_outdates_the_stages_whose_bytes_it_decides(change, tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(HEAD + change)

    def configs(policy: str) -> dict[str, dict]:
        return {stage: config_of(stage, recipe="smoke", policy=policy) for stage in STAGES}

    before, after = configs("fineweb"), configs(str(path))
    assert {stage for stage in STAGES if before[stage] != after[stage]} == CASES[change] | ALWAYS
