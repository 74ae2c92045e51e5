"""A checkpoint's curves as charts: loss, bits per byte, accuracy, reward, lengths, optimiser; of one run or several.

They come from the run's work directory, or from MLflow where that is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from assets.curves import BASELINES, NO_LOSS, curves
from orchestration.pages import charts

Curve = list[tuple[int, float]]
MOST_POINTS = 240  # drawn of one curve
MOST_RUNS = 6  # drawn over each other: as many as there are colours

# title, unit, and the curves that are drawn together when one run is shown; baselines are levels
PANELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Loss", "nats a token", ("loss", "nats_per_token")),
    ("Bits per held-out byte", "bits", ("bpb_heldout", *BASELINES)),
    ("Held-out accuracy", "share right", ("accuracy_greedy", "accuracy_sampled")),
    ("Reward in training", "mean", ("reward_mean", "reward_right", "reward_ended")),
    ("Response length", "tokens", ("response_tokens", "rollout_tokens")),
    ("Learning rate", "", ("learning_rate",)),
    ("Gradient norm", "", ("grad_norm",)),
    ("Entropy of the policy", "nats", ("entropy",)),
    ("KL from the parent", "nats", ("kl",)),
    ("Share of clipped ratios", "share", ("clip_fraction",)),
    ("Groups without a signal", "share", ("silent_groups",)),
    ("Speed", "tokens a second", ("tokens_per_s",)),
)


@dataclass(frozen=True)
class Panel:
    """One chart with the figures that it shows, for those who read tables."""

    title: str
    unit: str
    chart: Markup
    rows: tuple[tuple[str, int, float, float, float, float], ...]  # name, points, first, last, least, greatest


def panels(runs: Mapping[str, Sequence[tuple[int, str, float]]]) -> list[Panel]:
    """Charts of the runs' (step, metric, value) points, by the name that each run shall have.

    One run: related curves share a chart. Several: a chart for each metric, a curve for each run that has it.
    """
    found = {name: curves(points) for name, points in runs.items()}
    if any(NO_LOSS in run for run in found.values()):  # a policy-gradient objective is near 0 whatever is learnt
        for run in found.values():
            run.pop("loss", None) if NO_LOSS in run else None
    made = []
    for title, unit, names in PANELS:
        if len(found) == 1:
            [(_, run)] = found.items()
            made.append(_panel(title, unit, {name: run[name] for name in names if name in run}))
            continue
        for name in names:
            if name not in BASELINES:
                own = {run: known.get(name, []) for run, known in found.items()}  # each keeps its colour
                made.append(_panel(title if name == names[0] else f"{title}: {name}", unit, own))
    return [one for one in made if one is not None]


def _panel(title: str, unit: str, shown: Mapping[str, Curve]) -> Panel | None:
    drawn = {name: curve for name, curve in shown.items() if name not in BASELINES}
    if not any(value for curve in drawn.values() for _, value in curve):  # a term that the recipe does not use is 0
        return None
    levels = {name: shown[name][-1][1] for name in BASELINES if name in shown}
    chart = charts.lines(
        {name: thinned(curve) for name, curve in drawn.items()},
        name=f"{title} by step",
        unit="steps",
        levels=levels,
    )
    return Panel(title, unit, chart, tuple(_row(name, curve) for name, curve in shown.items() if curve))


def _row(name: str, curve: Curve) -> tuple[str, int, float, float, float, float]:
    values = [value for _, value in curve]
    return name, len(values), values[0], values[-1], min(values), max(values)


def thinned(curve: Curve) -> list[tuple[float, float]]:
    """At most MOST_POINTS of a curve, evenly spaced, its ends among them."""
    if len(curve) <= MOST_POINTS:
        return [(float(step), value) for step, value in curve]
    places = {round(i * (len(curve) - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)}
    return [(float(curve[place][0]), curve[place][1]) for place in sorted(places)]
