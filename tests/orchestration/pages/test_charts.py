"""Charts are well-formed, say the same for the same figures, and let no name break out of them."""

from xml.etree import ElementTree

from orchestration.pages import charts

NAME = '<script>alert(1)</script>"&'


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{markup}</div>")


def test_names_are_escaped_everywhere():
    drawn = [
        charts.histogram([0, 1, 2], {NAME: [1, 2]}, name=NAME, marks=[charts.Mark(1, NAME)], unit=NAME),
        charts.lines({NAME: [(0, 1), (1, 2)], "b": [(0, 0)]}, name=NAME, levels={NAME: 1.5}),
        charts.intervals([charts.Interval(NAME, 0, 1, 2)], name=NAME),
        charts.bar(0.5, kind=NAME),
        charts.stacked([(0.5, NAME)]),
    ]
    for one in drawn:
        assert not list(parsed(one).iter("script"))
        assert "style=" not in one and "onload" not in one


def test_a_histogram_stacks_its_series_to_the_full_height():
    chart = parsed(charts.histogram([0, 1, 2], {"kept": [3, 0], "dropped": [1, 2]}, name="n"))
    rects = [rect for rect in chart.iter("rect")]
    assert len(rects) == 3
    heights = {(rect.get("class"), rect.get("x")): float(rect.get("height") or 0) for rect in rects}
    assert heights["kept", "0.000%"] == 3 * heights["dropped", "0.000%"]
    assert abs(sum(h for (_, x), h in heights.items() if x == "0.000%") - charts.HEIGHT) < 0.1


def test_a_threshold_outside_the_axis_is_not_drawn():
    inside, outside = (charts.histogram([0, 1], {"kept": [1]}, name="n", marks=[charts.Mark(v, "t")]) for v in (0.5, 7))
    assert 'class="threshold"' in inside and 'class="threshold"' not in outside


def test_empty_and_constant_figures_draw():
    parsed(charts.histogram([0, 1], {"kept": [0]}, name="n"))
    parsed(charts.lines({"a": [(1, 2.0)]}, name="n"))
    parsed(charts.lines({}, name="n"))
    parsed(charts.intervals([], name="n"))
    assert charts.even_edges([]) == charts.even_edges([0.0]) and len(charts.even_edges([1.0, 2.0], 4)) == 5
