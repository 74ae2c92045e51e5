"""An ablation is ranked on Dagster's page, leaves no text behind, and its controls are looked at."""

import polars as pl
import pytest

from assets.ablations import forest, objections, tables, trained


def row(heldout: str, variant: str, difference: float, half: float, verdict: str) -> dict:
    return {
        "heldout": heldout, "variant": variant, "bits_per_byte": 3 + difference, "difference": difference,
        "seeds_low": difference - half, "seeds_high": difference + half, "texts_low": difference - half / 2,
        "texts_high": difference + half / 2, "verdict": verdict, "tokens_trained": 1000, "seeds": 5,
    }  # fmt: skip


@pytest.fixture
def rows():
    return pl.DataFrame(
        [
            row(heldout, *one)
            for heldout in ("news", "pages")
            for one in (
                ("fineweb", -0.2, 0.1, "better"),
                ("random_half", 0.01, 0.1, "no difference shown"),
                ("no_filter", 0.0, 0.0, "reference"),
                ("shuffled", 0.6, 0.1, "worse"),
            )
        ]
    )


def test_the_page_has_a_table_for_each_held_out_set_and_one_plot(rows):
    said = tables(rows)
    assert set(said) == {"ranking", "ranking/news", "ranking/pages"}
    assert next(one.data["variant"] for one in said["ranking/news"].records) == "fineweb"
    assert said["ranking"].value.startswith("![bits per byte minus those of no filter](data:image/png;base64,")


def test_the_plot_is_a_function_of_the_rows(rows):
    assert forest(rows) == forest(rows) != forest(rows.with_columns(pl.col("difference") + 0.1))


def test_controls_that_come_out_otherwise_are_objected_to(rows):
    assert objections(rows) == []
    half = rows.with_columns(
        verdict=pl.when(pl.col("variant") == "random_half").then(pl.lit("better")).otherwise("verdict")
    )
    assert len(objections(half)) == 2 and "a random half" in objections(half)[0]
    broken = rows.with_columns(
        verdict=pl.when(pl.col("variant") == "shuffled").then(pl.lit("better")).otherwise("verdict")
    )
    assert all("shuffled words" in one for one in objections(broken)) and len(objections(broken)) == 2


def test_all_trainings_are_counted(rows):
    assert trained(rows) == 4 * 5 * 1000
