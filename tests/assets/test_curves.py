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


def test_what_a_run_cost_its_machine_is_shown_beside_what_it_learned():
    machine = [(10, "grad_norm", 1.0), (10, "tokens_per_s", 9.0), (10, "mfu", 0.4), (10, "memory_gib", 2.0)]
    shown = list(curves.panels(curves.curves([*PRETRAINING, *machine])))
    assert shown[2:] == [
        "gradient norm",
        "tokens a second",
        "share of the matrix peak (MFU)",
        "memory (GiB)",
    ]
    assert curves.draw([*PRETRAINING, *machine]) != curves.draw(PRETRAINING)


def test_learning_is_drawn_against_compute_with_its_arithmetic():
    small, large = (curves.against_compute(PRETRAINING, params, 256.0) for params in (1_000, 9_000))
    assert small is not None and small.startswith(b"\x89PNG") and small != large
    assert small == curves.against_compute(PRETRAINING, 1_000, 256.0)
    assert curves.against_compute(REINFORCEMENT, 1_000, 256.0) is None
    assert curves.against_compute([], 1_000, 256.0) is None


def test_a_picture_travels_inside_markdown():
    assert curves.inline(b"\x89PNG", "loss") == "![loss](data:image/png;base64,iVBORw==)"
