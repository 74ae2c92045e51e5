"""Curves become a picture that shows what the run has, and never a policy objective as if it were a loss."""

from assets import curves

PRETRAINING = [(10, "loss", 3.0), (5, "loss", 4.0), (10, "bpb_heldout", 2.5), (0, "bpb_uniform", 3.5)]
REINFORCEMENT = [(1, "loss", 0.0), (1, "reward_mean", 0.2), (1, "response_tokens", 4.0), (1, "accuracy_greedy", 0.3)]


def test_curves_are_in_order_of_steps():
    assert curves.curves(PRETRAINING)["loss"] == [(5, 4.0), (10, 3.0)]


def test_a_run_fills_the_panels_of_its_kind():
    assert list(curves.panels(curves.curves(PRETRAINING))) == ["loss (nats a token)", "bits per held-out byte"]
    assert list(curves.panels(curves.curves(REINFORCEMENT))) == [
        "held-out accuracy",
        "reward in training",
        "response length (tokens)",
    ]


def test_same_points_give_the_same_picture_and_none_give_none():
    first = curves.draw(PRETRAINING)
    assert first is not None and first.startswith(b"\x89PNG")
    assert first == curves.draw(list(reversed(PRETRAINING)))
    assert first != curves.draw(REINFORCEMENT)
    assert curves.draw([]) is None
    assert curves.draw([(1, "tokens_per_s", 5.0)]) is None


def test_a_picture_travels_inside_markdown():
    assert curves.inline(b"\x89PNG", "loss") == "![loss](data:image/png;base64,iVBORw==)"
