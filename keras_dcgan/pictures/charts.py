"""Columns of metrics.jsonl as line charts in HTML: inline SVG, no scripts. NumPy and stdlib only.

    chart("Losses", run.metrics, {"d_loss": "discriminator", "g_loss": "generator"})     # "" where no row has them

A page that shows them has STYLE in its style sheet. The lines scale with the page; the text beside them does not.
"""

import html
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

MOST_POINTS = 400  # of a line: no screen shows more
# Each has a contrast of 3 or more on white and on black.
COLOURS = ("#d9730d", "#3d7fd9", "#2e9d5b", "#a15bd6", "#c2407a", "#7d8a00")
# --now: where a page's script may draw a line across all charts.
STYLE = """
.chart { min-width: 0 }
.chart figcaption { margin-bottom: .5rem }
.chart figcaption b { display: block; font-weight: 600 }
.chart figcaption span { margin-right: .9em; white-space: nowrap; font-variant-numeric: tabular-nums }
.chart figcaption i { display: inline-block; width: 1.1em; margin: 0 .35em .25em 0; border-top: 3px solid }
.chart figcaption span:nth-of-type(even) i { border-top-style: dashed }
.chart .plot { position: relative; height: 9rem; margin-left: 3.2rem; overflow: clip }
.chart .plot::after { content: ""; position: absolute; inset: 0 auto 0 var(--now, -9px); border-left: 1px dashed; opacity: .5 }
.chart svg { position: absolute; inset: 4px 0; width: 100%; height: calc(100% - 8px); overflow: visible }
.chart svg * { vector-effect: non-scaling-stroke; fill: none }
.chart path { stroke: currentColor; opacity: .15 }
.chart polyline { stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.chart polyline:nth-of-type(even) { stroke-dasharray: 5 5 }
.chart ul, .chart ol { margin: 0; padding: 0; list-style: none; font-size: .75rem; opacity: .75 }
.chart ul { position: relative; float: left; width: 2.7rem; height: 9rem; text-align: right }
.chart ul li { position: absolute; right: 0; transform: translateY(-50%) }
.chart ol { display: flex; justify-content: space-between; margin-left: 3.2rem }
"""


def chart(
    title: str,
    rows: Sequence[Mapping],
    names: Mapping[str, str],
    bounds: tuple[float, ...] = (),
    note: str = "",
) -> str:
    """Columns of `rows` over kimg, one line each, with its last value; "" where no row has any of them.
    names: column -> what it is called. bounds: values that the y axis includes in any case. note: what else the
    caption says."""
    lines = {name: points for name in names if len(points := finite(rows, name))}
    if not lines:
        return ""
    every = np.concatenate([points[:, 1] for points in lines.values()])
    marks = round_numbers(min(every.min(), *bounds, math.inf), max(every.max(), *bounds, -math.inf))
    reached = max(points[-1, 0] for points in lines.values()) or 1.0

    def down(value: float) -> float:
        return 100 * (marks[-1] - value) / (marks[-1] - marks[0])

    keys, drawn = "", ""
    for colour, (name, points) in zip(itertools.cycle(COLOURS), lines.items()):
        called = html.escape(names[name])
        keys += f'<span><i style="color:{colour}"></i>{called} {points[-1, 1]:.3g}</span>'
        shown = points[thinned(points[:, 1])]
        shown = shown if len(shown) > 1 else np.repeat(shown, 2, axis=0)  # a dot
        places = " ".join(f"{1000 * x / reached:.1f},{down(y):.2f}" for x, y in shown)
        drawn += f'<polyline stroke="{colour}" points="{places}"/>'
    grid = "".join(f"M0 {down(mark):.2f}H1000" for mark in marks)
    scale = "".join(f'<li style="top:calc(4px + {down(mark):.1f}% * .944)">{mark:.5g}</li>' for mark in marks)
    return (
        f'<figure class="chart"><figcaption><b>{html.escape(title)}</b>{keys}<span>{html.escape(note)}</span></figcaption>'
        f'<ul aria-hidden="true">{scale}</ul><div class="plot"><svg viewBox="0 0 1000 100" '
        f'preserveAspectRatio="none" role="img" aria-label="{html.escape(title)} over kimg">'
        f'<path d="{grid}"/>{drawn}</svg></div><ol><li>0</li><li>{reached:g} kimg</li></ol></figure>\n'
    )


def finite(rows: Sequence[Mapping], name: str) -> np.ndarray:
    """-> (N, 2): kimg and the column's value, of the rows in which both are finite numbers."""
    pairs = [
        (row["kimg"], row[name])
        for row in rows
        if isinstance(row.get(name), int | float) and isinstance(row.get("kimg"), int | float)
    ]
    points = np.array(pairs, np.float64).reshape(-1, 2)
    return points[np.isfinite(points).all(axis=1)]


def thinned(values: np.ndarray) -> list[int]:
    """Indices of at most MOST_POINTS of them: evenly, and the lowest and highest of each stretch, so that no
    spike is lost."""
    if len(values) <= MOST_POINTS:
        return list(range(len(values)))
    stretches = np.array_split(np.arange(len(values)), MOST_POINTS // 2)
    return sorted({int(some[pick(values[some])]) for some in stretches for pick in (np.argmin, np.argmax)})


def round_numbers(low: float, high: float) -> list[float]:
    """3 to 6 evenly spaced round numbers that enclose both: (0.32, 1.25) -> [0, 0.5, 1, 1.5]."""
    span = high - low
    if span <= 1e-9 * abs(high):  # flat, but for rounding
        span = abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span))
    step = next(step * part for part in (0.25, 0.5, 1, 2, 2.5, 5) if span <= 4 * step * part)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{step * count:.12g}") for count in range(first, max(last, first + 1) + 1)]
