"""The numbers that score a generator. As `keras_dcgan.measure(...)` it is also the function that gives them."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from keras_dcgan.data.sets import ImageSet
    from keras_dcgan.data.shards import ShardSet


def measure(
    generator: keras.Model,
    images: ImageSet | ShardSet,
    *,
    metrics: Sequence[str] = ("swd", "sharpness", "kid", "prdc"),
    samples: int = 10_000,
    features: str = "random",
    held_out: ImageSet | ShardSet | None = None,
) -> dict[str, float]:
    """The figures of a generator, or of a DCGAN, against real images: {"kid": 0.01, "kid_ci95": 0.002, "precision": 0.8, ...}.

    It draws seeds 0 to samples - 1. `metrics`: some of swd, sharpness, fid, kid, prdc, msssim, memorisation.
    `features`: what images are compared by: random, inception, or the path of a MODEL.keras; figures of different
    features, sizes or numbers of images cannot be compared. `held_out`: real images that were not trained on, for
    memorisation, of the same shape. What is to be said of the figures comes as a warning. Raises Refused or Unavailable."""
    from keras_dcgan.errors import Refused
    from keras_dcgan.measure import embeddings, evaluation
    from keras_dcgan.measure.metrics import FEWEST, OF_FEATURES
    from keras_dcgan.model.networks import class_count
    from keras_dcgan.progress import Progress

    if hasattr(generator, "ema_generator"):  # a DCGAN
        generator.settle()
        generator = generator.ema_generator
    for name, given in (("images", images), ("held_out", held_out)):
        if given is not None and not hasattr(given, "manifest"):
            raise Refused(name, "what prepare returns", type(given).__name__)
    wanted = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    if samples < FEWEST:
        raise Refused("samples", f"{FEWEST} or more", samples)
    drawn, real = tuple(generator.output_shape[1:]), tuple(images.manifest.shape)
    if drawn != real:
        raise Refused("images", f"images of {drawn}, as the generator draws them", real)
    classes = class_count(generator)
    if classes and images.classes and len(images.classes) != classes:
        raise Refused("images", f"the generator's {classes} classes", len(images.classes))
    if held_out and "memorisation" not in wanted:
        raise Refused("held_out", "memorisation among metrics", ", ".join(wanted))
    if held_out and tuple(held_out.manifest.shape) != real:
        raise Refused("held_out", f"images of {real}, as the others", tuple(held_out.manifest.shape))
    with Progress() as progress:
        measured = evaluation.measure(
            generator,
            images,
            metrics=wanted,
            samples=samples,
            embed=embeddings.load(features) if OF_FEATURES & set(wanted) else None,
            held_out=held_out,
            progress=progress,
        )
    notes = list(measured.notes)
    if "fid" in wanted and features == "random":
        notes.append("fid of random features is not that of papers, which is of features='inception'")
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return measured.figures


class _Callable(types.ModuleType):
    """The import of any module in here puts this one in the place of the function of its name."""

    def __call__(self, *arguments, **options) -> dict[str, float]:
        return measure(*arguments, **options)

    __call__.__doc__ = measure.__doc__


sys.modules[__name__].__class__ = _Callable
