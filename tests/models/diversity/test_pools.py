"""Ten pools, real gradients of a pretrained proxy: the selection beats random, the shuffled control does not."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "diversity.py"


@pytest.mark.slow
def test_selection_beats_random_in_at_least_9_of_10_pools_and_shuffled_gradients_do_not(tmp_path):
    spec = importlib.util.spec_from_file_location("diversity_benchmark", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    found = benchmark.experiment(benchmark.proxy(tmp_path, steps=60), n_problems=300)
    selected, shuffled = benchmark.wins(found)
    assert selected >= 9
    assert shuffled <= 8
    gap = np.mean([row["g_vendi"] - row["g_vendi_random_mean"] for row in found])
    control = np.mean([row["g_vendi_shuffled"] - row["g_vendi_shuffled_random_mean"] for row in found])
    assert gap > 0 and abs(control) < gap / 3
