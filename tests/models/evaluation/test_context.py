"""Places cover a context once; a model that looks back gains by it; recall is chance without the pairs."""

import numpy as np
import pytest
import torch

from models.evaluation.context import PAIRS, Place, by_place, gain, places, recall, recall_probe
from models.evaluation.scoring import Scored
from models.nets.transformer import Transformer


class LooksBack(torch.nn.Module):
    """Knows one rule: what followed the last token before follows it again."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab_size, 1)

    def forward(self, ids_BT):
        vocab_size = self.embedding.weight.shape[0]
        logits_BTV = torch.zeros(*ids_BT.shape, vocab_size)
        for row, ids in enumerate(ids_BT.tolist()):
            for place, token in enumerate(ids):
                earlier = [at for at in range(place) if ids[at] == token]
                if earlier:
                    logits_BTV[row, place, ids[earlier[-1] + 1]] = 9.0
        return logits_BTV


@pytest.mark.parametrize("context", [32, 100, 256, 512, 1000])
def test_places_cover_the_context_once(context):
    covered = [token for place in places(context) for token in range(place.first, place.last + 1)]
    assert covered == list(range(1, context + 1))


def windows(late_nats: float, n: int = 20) -> list[Scored]:
    """Documents that cost 2 nats a token early and `late_nats` in the last half, two bytes a token."""
    rng, ones = np.random.default_rng(0), np.ones(64, dtype=np.int64)
    base = np.array([2.0] * 32 + [late_nats] * 32)
    return [Scored(base + rng.normal(0, 0.1, 64), 2 * ones, ones > 0) for _ in range(n)]


def test_what_late_tokens_save_is_the_gain():
    flat = windows(2.0)
    found = gain(windows(1.5), flat, 64)
    assert found.value == pytest.approx(0.5 / np.log(2) / 2, abs=0.03) and found.low > 0
    assert gain(flat, flat, 64).value == 0


def test_text_that_is_merely_harder_late_is_no_loss():
    """Both predictors pay more for it: the model saves the same as early."""
    assert gain(windows(2.5), windows(2.5), 64).value == pytest.approx(0)


def test_bits_by_place_are_those_of_the_tokens_there():
    found = by_place(windows(1.0), 64)
    assert found[Place(32, 64)].value == pytest.approx((2.0 + 32 * 1.0) / 33 / np.log(2) / 2, abs=0.02)
    assert found[Place(8, 31)].value == pytest.approx(2.0 / np.log(2) / 2, abs=0.02)


@pytest.mark.parametrize("shots", [1, 3])
def test_a_probe_shows_each_pair_so_often_and_then_asks_one(shots):
    ids, answers, asked = recall_probe(400, shots, seed=7)
    shown = ids[1:-1].reshape(-1, 2).tolist()
    cues = {answer: cue for cue, answer in shown}
    assert len(shown) == shots * PAIRS and len(cues) == PAIRS == len({*cues.values()})
    assert cues[answers[asked]] == ids[-1] and min(ids[1:]) >= 4
    assert all(shown.count([cue, answer]) == shots for answer, cue in cues.items())


def test_who_looks_back_recalls_everything_and_who_does_not_by_chance(tiny):
    assert recall(LooksBack(300), 300, 1, 60, seed=0).value == 1.0
    blind = Transformer(tiny).eval()
    with torch.no_grad():
        for name, weight in blind.named_parameters():
            if "embedding" not in name and "head" not in name:
                weight.zero_()  # every block adds nothing: the next token depends on the last alone
    found = recall(blind, tiny.vocab_size, 2, 600, seed=0)
    assert found.low < 1 / PAIRS < found.high
