"""The page of an evaluation: one HTML file with its figures, images and curves inside."""

import base64
import html
from collections.abc import Sequence

import numpy as np

from keras_dcgan.data.rows import even_rows
from keras_dcgan.measure.evaluation import Measured
from keras_dcgan.pictures import images
from keras_dcgan.pictures.charts import STYLE as CHART_STYLE
from keras_dcgan.pictures.charts import chart

SHOWN = 64  # images of each kind
STYLE = (
    ":root{color-scheme:light dark}body{font:16px system-ui;max-width:960px;margin:2em auto;padding:0 1em}"
    "img{image-rendering:pixelated;max-width:100%}figure{margin:1em 0}"
) + CHART_STYLE


def page(title: str, table: str, measured: Measured, rows: Sequence[dict]) -> str:
    """`table`: the figures as text. `rows`: of the run's metrics.jsonl."""
    real, fakes, title = measured.training, measured.fakes, html.escape(title)
    parts = [f"<h1>{title}</h1><pre>{html.escape(table)}</pre>"]
    for name, some in (("Generated", fakes), ("Real", real)):
        parts.append(figure(name, images.grid(some[even_rows(len(some), min(SHOWN, len(some)))], 8)))
    if measured.pairs:
        both = np.stack(
            [fakes[[i for i, _ in measured.pairs]], real[np.array([j for _, j in measured.pairs])]]
        )
        name = "The generated images nearest to a training image (above), and that image (below)"
        parts.append(figure(name, images.grid(both.reshape(-1, *both.shape[2:]), len(measured.pairs))))
    parts.append(chart("swd (lower is better)", rows, {"swd": "swd"}, (0,)))
    parts.append(chart("Losses", rows, {"d_loss": "discriminator", "g_loss": "generator"}))
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    )
    return f"{head}{''.join(parts)}</html>\n"


def figure(title: str, image: np.ndarray) -> str:
    source = base64.b64encode(images.png_bytes(image)).decode()
    img = f'<img alt="{title}" src="data:image/png;base64,{source}">'
    return f"<figure><figcaption>{title}</figcaption>{img}</figure>"
