"""Accuracy: what counts, that order and batch decide nothing, and that a subset is fair to families."""

from collections import Counter

import pytest
import torch

from models.config import InputError
from models.data.tokenizer import load_tokenizer
from models.evaluation.accuracy import load_tasks, measure, subset, summarise
from models.evaluation.intervals import wilson
from models.tasks.families import Problem
from models.training.checkpoint import load_model

PROBLEMS = [Problem(f"p{i}", ("one", "two", "three")[i % 3], 1, f"Count {i}", str(i)) for i in range(12)]


@pytest.fixture(scope="module")
def policy(base_model_dir):
    return load_model(base_model_dir)[0], load_tokenizer(base_model_dir)


def test_an_answer_counts_when_it_ended_and_is_right(policy):
    """Taking each greedy answer as the gold one makes exactly the ended answers right."""
    model, tokenizer = policy
    with torch.no_grad():
        model.head.weight[2] = model.head.weight[2] * 8  # <|im_end|> gets likely after some tokens
    first = measure(model, tokenizer, PROBLEMS, max_new_tokens=12, samples=0, seed=0)
    gold = [Problem(r.problem.problem_id, r.problem.family, 1, r.problem.question, r.text) for r in first]
    again = measure(model, tokenizer, gold, max_new_tokens=12, samples=0, seed=0)
    assert [r.text for r in again] == [r.text for r in first]
    for result in again:
        if result.greedy_tokens == 12:
            assert result.greedy == 0.0
    cut = measure(model, tokenizer, gold, max_new_tokens=1, samples=0, seed=0)
    assert all(r.greedy == 0.0 for r in cut if r.text.strip())


def test_order_and_batch_size_decide_nothing(policy):
    model, tokenizer = policy
    settings = {"max_new_tokens": 6, "samples": 3, "seed": 5}
    whole = measure(model, tokenizer, PROBLEMS, **settings)
    turned = measure(model, tokenizer, PROBLEMS[::-1], rows=5, **settings)
    assert [r.text for r in whole] == [r.text for r in turned[::-1]]
    assert [r.sampled_tokens for r in whole] == [r.sampled_tokens for r in turned[::-1]]


def test_summary_has_every_family_and_the_whole(policy):
    results = measure(*policy, PROBLEMS, max_new_tokens=4, samples=2, seed=0)
    figures = summarise(results)
    assert {f"accuracy_greedy{s}" for s in ("", "/one", "/two", "/three")} <= set(figures)
    assert (figures["accuracy_greedy"].n, figures["accuracy_greedy/one"].n) == (12, 4)
    assert figures["accuracy_greedy"] == wilson(int(sum(r.greedy for r in results)), 12)


def test_subset_is_spread_over_families_and_ignores_the_order():
    chosen = subset(PROBLEMS, 7)
    assert sorted(Counter(p.family for p in chosen).values()) == [2, 2, 3]
    assert subset(PROBLEMS[::-1], 7) == chosen
    assert subset(PROBLEMS, 5) == chosen[:5], "a smaller subset is the beginning of a larger one"
    assert len(subset(PROBLEMS, 99)) == 12


def test_task_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.parquet"):
        load_tasks([tmp_path / "nowhere.parquet"], "train")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(InputError, match=r"text\.parquet is not Parquet"):
        load_tasks([tmp_path / "text.parquet"], "train")


def test_measuring_nothing_is_refused(policy):
    with pytest.raises(InputError, match="at least one"):
        measure(*policy, [], max_new_tokens=4, samples=1, seed=0)
