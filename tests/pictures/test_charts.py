import re

import numpy as np
import pytest

from keras_dcgan.pictures.charts import MOST_POINTS, chart, round_numbers, thinned


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0.32, 1.25, [0.25, 0.5, 0.75, 1, 1.25]),
        (0, 223, [0, 100, 200, 300]),
        (-3, 3e5, [-1e5, 0, 1e5, 2e5, 3e5]),
        (5, 5, [4, 6]),
        (0, 0, [0, 0.25]),
        (1e-14, 1e-14, [0.75e-14, 1e-14]),
        (1e6, 1e6 + 1e-9, [1e6, 1.5e6]),
        (0, 3e38, [0, 1e38, 2e38, 3e38]),
    ],
)
def test_an_axis_has_few_round_numbers_that_enclose_all(low, high, expected):
    assert round_numbers(low, high) == pytest.approx(expected, rel=1e-9)


def test_a_long_line_is_thinned_and_loses_no_spike():
    values = np.sin(np.arange(10_000) / 100)
    values[[4321, 7777]] = 9, -9
    kept = thinned(values)
    assert {4321, 7777} <= set(kept) and len(kept) <= MOST_POINTS and kept == sorted(kept)
    assert np.diff(kept).max() < 100
    assert thinned(values[:3]) == [0, 1, 2]


def test_a_chart_draws_the_columns_that_are_there_over_kimg():
    rows = [
        {"kimg": 0.0, "a": 2},
        {"kimg": 2.0, "a": float("nan"), "b": 1.0},
        {"kimg": 4.0, "a": 1.5, "b": "no"},
    ]
    drawn = chart("<Losses>", rows, {"a": "one & all", "b": "b", "c": "absent"}, (0,))
    # The y axis goes from 0 to 2: a is at its top, then a quarter below.
    assert re.findall('points="(.*?)"', drawn) == ["0.0,0.00 1000.0,25.00", "500.0,50.00 500.0,50.00"]
    assert "one &amp; all 1.5" in drawn and "<b>&lt;Losses&gt;</b>" in drawn and "4 kimg" in drawn
    assert "absent" not in drawn and "http" not in drawn
    assert chart("x", rows, {"c": "absent"}) == chart("x", [], {"a": "a"}) == ""
