"""Is what ships the same function as the Keras generator? The same inputs go through both, the artefact as it
lies on disk.

    z = latents(SEEDS, latent_dim)
    parity = check(Path("export/generator_fp16.tflite"), {"z": z}, generator.predict(z), least_psnr=60)
    parity.faults                      # () if it may ship, else sentences that say why not

The .tflite files run in the interpreter that devices use, the SavedModel is loaded back; all signatures of
each are compared.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_dcgan.pictures.images import to_uint8

SIGNATURES = ("sample", "sample_rgb", "sample_rgba")
SEEDS = range(64)
TIMED_RUNS = 50
PEAK_TO_PEAK = 2.0  # of images in [-1, 1]
LEAST_MSE = 1e-20  # stands for equality to the bit: 206 dB, where rounding alone gives some 150
LEAST_SPREAD = 1e-6  # between the images of different latents; less is rounding


@dataclass(frozen=True)
class Parity:
    psnr: float  # dB against Keras, over all images
    max_error: float  # the worst value of any image, of [-1, 1]
    ms: float | None  # median milliseconds an image on one thread; None for the SavedModel
    faults: tuple[str, ...]

    @property
    def decibels(self) -> str:
        return f"{self.psnr:.1f}" if self.max_error else "equal"


def check(
    artefact: Path,
    inputs: dict[str, np.ndarray],
    reference: np.ndarray,
    least_psnr: float,
    tolerance: int = 0,
) -> Parity:
    """Runs z (N, latent_dim), and label (N,) of a conditional generator, through the signatures of a .tflite
    file or a SavedModel and holds the results against Keras' images (N, H, W, C) in [-1, 1]; its pixels may
    be `tolerance` grey levels off its own images."""
    run = run_saved_model if artefact.is_dir() else run_tflite
    (images, pixels, rgba), ms, *others = run(artefact, inputs)
    shapes, expected = (
        [images.shape, pixels.shape, rgba.shape],
        [reference.shape] * 2 + [(*reference.shape[:3], 4)],
    )
    if shapes != expected:
        return Parity(-np.inf, np.inf, ms, (f"draws images of shapes {shapes}, not {expected}",))
    decibels = psnr(reference, images)
    faults = (
        *broken(images),
        *too_far(decibels, least_psnr),
        *pixels_differ("sample_rgb", images, pixels, tolerance),
    )
    faults += (*pixels_differ("sample_rgba", with_alpha(images), rgba, tolerance),)
    for compiled in others:
        faults += (*pixels_differ("CompiledModel's sample_rgb", images[:1], compiled, tolerance + 1),)
    return Parity(decibels, float(np.max(np.abs(images - reference))), ms, faults)


def run_tflite(file: Path, inputs: dict[str, np.ndarray]) -> tuple[list[np.ndarray], float, np.ndarray]:
    """-> the images of each of SIGNATURES, drawn one at a time by the script that runs on devices; the
    milliseconds of one; and the first image's `sample_rgb` through LiteRT's other way of running a file,
    CompiledModel."""
    from keras_dcgan.export import edge_sample

    runners = {signature: edge_sample.load(file, signature=signature)[0] for signature in SIGNATURES}
    drawn = [np.stack(list(edge_sample.draw(runner, inputs))) for runner in runners.values()]
    ms = float(np.median(edge_sample.milliseconds(runners["sample_rgb"], inputs, TIMED_RUNS)))
    return drawn, ms, next(edge_sample.draw(edge_sample.compiled(file, "CPU"), inputs))[None]


def run_saved_model(
    folder: Path, inputs: dict[str, np.ndarray], batch: int = 8
) -> tuple[list[np.ndarray], None]:
    """-> the images of each of SIGNATURES, as TensorFlow Serving would run them."""
    import tensorflow as tf

    saved = tf.saved_model.load(str(folder))  # named, since the signatures do not keep their variables alive
    rows = [slice(start, start + batch) for start in range(0, len(inputs["z"]), batch)]
    batches = [{name: tf.constant(values[some]) for name, values in inputs.items()} for some in rows]
    drawn = [[next(iter(saved.signatures[name](**part).values())) for part in batches] for name in SIGNATURES]
    return [np.concatenate(parts) for parts in drawn], None


def psnr(reference: np.ndarray, images: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1]; NaN where either has a NaN."""
    error = np.mean(np.square(np.subtract(images, reference, dtype=np.float64)))
    return float(10 * np.log10(PEAK_TO_PEAK**2 / np.maximum(error, LEAST_MSE)))


def too_far(decibels: float, least: float) -> list[str]:
    # "not at least" rather than "less", so that NaN is too far as well.
    return [] if decibels >= least else [f"{decibels:.1f} dB against Keras, expected at least {least:.0f} dB"]


def broken(images: np.ndarray) -> list[str]:
    """What no generator draws, whatever Keras says: a file whose weights were lost answers NaN, or always the
    same."""
    if not np.isfinite(images).all():
        return ["draws NaN or infinity"]
    spread = np.ptp(images, axis=0).max()
    return [] if spread > LEAST_SPREAD else ["draws the same image for every latent"]


def with_alpha(images: np.ndarray) -> np.ndarray:
    """What `sample_rgba` should be: grey thrice, opaque where there is no alpha."""
    if images.shape[-1] == 4:
        return images
    colours = np.broadcast_to(images, (*images.shape[:3], 3))
    return np.concatenate([colours, np.ones_like(images[..., :1])], axis=-1)


def pixels_differ(signature: str, images: np.ndarray, pixels: np.ndarray, tolerance: int = 0) -> list[str]:
    """Whether a signature of uint8 is `sample` in grey levels, by the arithmetic that `keras_dcgan.sample`
    uses."""
    if pixels.dtype != np.uint8:
        return [f"{signature} answers {pixels.dtype}, expected uint8"]
    levels = np.abs(pixels.astype(np.int16) - to_uint8(np.nan_to_num(images))).max()
    return (
        []
        if levels <= tolerance
        else [f"{signature} is {levels} grey levels off its own sample, expected at most {tolerance}"]
    )
