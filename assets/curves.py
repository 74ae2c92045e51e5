"""A training run's curves as one picture, for the asset's page in Dagster."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# one panel each: its title and the curves that it holds, of those that a run has
PANELS = {
    "loss (nats a token)": ("loss", "nats_per_token"),
    "bits per held-out byte": ("bpb_heldout", "bpb_uniform", "bpb_unigram"),
    "held-out accuracy": ("accuracy_greedy", "accuracy_sampled"),
    "reward in training": ("reward_mean",),
    "response length (tokens)": ("response_tokens", "rollout_tokens"),
    "gradient norm": ("grad_norm",),
    "tokens a second": ("tokens_per_s",),
    "share of the matrix peak (MFU)": ("mfu",),
    "memory (GiB)": ("memory_gib",),
}
LEARNING = ("loss", "nats_per_token", "bpb_heldout", "accuracy_greedy", "reward_mean")  # without any nothing is shown
COLUMNS = 4  # panels in a row
BASELINES = ("bpb_uniform", "bpb_unigram")  # single figures, drawn as lines to stay below
NO_LOSS = "reward_mean"  # a policy-gradient objective is near 0 whatever is learnt: its curve would only mislead


def curves(points: Iterable[tuple[int, str, float]]) -> dict[str, list[tuple[int, float]]]:
    """(step, value) pairs by name, in order of steps."""
    found: dict[str, list[tuple[int, float]]] = {}
    for step, name, value in points:
        found.setdefault(name, []).append((step, value))
    return {name: sorted(pairs) for name, pairs in found.items()}


def panels(found: dict[str, list[tuple[int, float]]]) -> dict[str, list[str]]:
    """The panels that a run with these curves fills, and what each shows."""
    if not any(name in found for name in LEARNING):
        return {}
    shown = {title: [name for name in names if name in found] for title, names in PANELS.items()}
    if NO_LOSS in found:
        shown["loss (nats a token)"] = []
    return {title: names for title, names in shown.items() if names}


def draw(points: Iterable[tuple[int, str, float]]) -> bytes | None:
    """A PNG with one panel a kind of curve; None when there is nothing to show. Same points, same bytes."""
    found = curves(points)
    shown = panels(found)
    if not shown:
        return None
    return _panels(found, shown, "step")


def against_compute(
    points: Iterable[tuple[int, str, float]], flops_a_token: float, tokens_a_step: float
) -> bytes | None:
    """A PNG of what was learned against the compute spent; None without curves.

    flops_a_token: of a forward and a backward pass (models/nets/flops.py).
    """
    found = curves(points)
    shown = {title: names for title, names in panels(found).items() if set(names) & {"loss", "bpb_heldout"}}
    if not shown:
        return None
    each = flops_a_token * tokens_a_step
    spent = {name: [(step * each, value) for step, value in pairs] for name, pairs in found.items()}
    arithmetic = f"FLOPs = {flops_a_token:,.0f} a token x {tokens_a_step:,.0f} tokens x steps"
    return _panels(spent, shown, arithmetic)


def _panels(found: Mapping[str, Sequence[tuple[float, float]]], shown: Mapping[str, list[str]], unit: str) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    fixed: Any = {"font.family": "DejaVu Sans", "font.size": 9}
    across = min(len(shown), COLUMNS)
    down = -(-len(shown) // across)
    with matplotlib.rc_context(fixed):
        figure = Figure(figsize=(4 * across, 2.8 * down), dpi=100, layout="constrained")
        for place, (title, names) in enumerate(shown.items(), start=1):
            axes = figure.add_subplot(down, across, place)
            for name in names:
                steps, values = zip(*found[name])
                if name in BASELINES:
                    axes.axhline(values[-1], linestyle="--", linewidth=1, color="#888888")
                    axes.annotate(name, (0, values[-1]), fontsize=7, va="bottom", color="#666666")
                else:
                    axes.plot(steps, values, linewidth=1.2, label=name, marker="o" if len(steps) < 20 else None)
            axes.set_title(title, fontsize=9)
            axes.set_xlabel(unit, fontsize=9 if len(unit) < 20 else 7)
            axes.spines[["top", "right"]].set_visible(False)
            if len(set(names) - set(BASELINES)) > 1:
                axes.legend(fontsize=7, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def inline(png: bytes, title: str) -> str:
    """A picture as markdown that needs no server."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"
