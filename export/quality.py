"""What rounding the weights costs in images: how far a file's are from those that Keras draws of the same seeds.

    keras_images = KerasImages(generator, {"z": latents(range(2000), 100)})      # the costly half, once
    keras_images.cost_of(Path("export/generator_int8.tflite"))
    # {"samples": 2000, "swd": 0.768, "fid": 0.00223, "features": "random-1"}

Two sets of images are compared, where parity.py compares image with image: a shift that all images share
counts, and so do blur and grain, whatever the pixels of one image say.
"""

import os
from pathlib import Path

import numpy as np

from keras_dcgan.export import edge_sample
from keras_dcgan.measure import embeddings, metrics
from keras_dcgan.pictures.images import to_uint8

BATCH = 64
PATCHES = 32  # of an image, for swd: half of what `evaluate` takes, in half the time


def drawn(generator, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """-> uint8 (N, height, width, C)."""
    values = list(inputs.values())
    batches = ([part[start : start + BATCH] for part in values] for start in range(0, len(values[0]), BATCH))
    return np.concatenate(
        [to_uint8(generator(some if len(some) > 1 else some[0], training=False)) for some in batches]
    )


class KerasImages:
    """`inputs`: {"z": (N, latent_dim)}, and "label": (N,) of a conditional generator."""

    def __init__(self, generator, inputs: dict[str, np.ndarray]):
        self.inputs = inputs
        images = drawn(generator, inputs)
        self.embed = embeddings.load("random")
        self.pixels = metrics.SlicedWasserstein(images, patches=PATCHES)
        self.features = metrics.Moments(self.embed(images))

    def cost_of(self, file: Path) -> dict:
        """The sliced Wasserstein distance of the pixels and the Frechet distance of random features between a
        .tflite file's images and Keras' own; 0 is equal. With other seeds in place of another file Keras
        itself is further off (6.6 and 0.77 for 2,000 portraits of 64x64)."""
        runner, *_ = edge_sample.load(file, threads=min(8, os.cpu_count() or 1))
        return self.distances(np.stack(list(edge_sample.draw(runner, self.inputs))))

    def distances(self, images: np.ndarray) -> dict:
        """The same of uint8 images (N, height, width, C) of these inputs."""
        found = {
            "swd": self.pixels.distance(images)["swd"],
            "fid": max(0.0, metrics.frechet_distance(self.features, metrics.Moments(self.embed(images)))),
        }
        figures = {name: float(f"{value:.3g}") for name, value in found.items()}
        return {"samples": len(images), **figures, "features": self.embed.name}
