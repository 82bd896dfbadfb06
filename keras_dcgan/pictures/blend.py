"""Blends the observed part of an image with what a generator has drawn. NumPy and Pillow; no TensorFlow.

    seamless(image, drawn, hole)          # the image, its hole filled
    sharpened(small, drawn)                 # the small image, enlarged, with the details of the drawn one
    denoised(noisy, drawn, noise=0.2)       # the drawn one, with what the noisy one shows beside it

Images are float32 (height, width, C) in [-1, 1]; the results may reach beyond.
"""

import numpy as np
from PIL import Image


def seamless(image: np.ndarray, drawn: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """`image`, and in its hole, bool (height, width), the gradients of `drawn`: no seam where the two
    differ in brightness.

    Poisson blending (Perez et al., SIGGRAPH 2003) in its equal form: `drawn` plus a membrane that is harmonic
    in the hole and meets the difference of the two around it. By conjugate gradients; the membrane is free
    where the hole meets the image's edge.
    """
    inside = hole[..., np.newaxis].astype(np.float32)

    def laplacian(x):
        x = np.pad(x, ((1, 1), (1, 1), (0, 0)), "edge")
        return inside * (4 * x[1:-1, 1:-1] - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:])

    membrane = (1 - inside) * (image - drawn)
    rest = direction = -laplacian(membrane)
    size = np.sum(rest**2)
    while size > 1e-6:
        curved = laplacian(direction)
        length = size / np.sum(direction * curved)
        membrane, rest = membrane + length * direction, rest - length * curved
        before, size = size, np.sum(rest**2)
        direction = rest + size / before * direction
    return drawn + membrane


def sharpened(small: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """`drawn` plus, enlarged, what it lacks of `small` when reduced: the coarse from the one, the fine from
    the other."""
    lacking = small - resized(drawn, small.shape[:2], Image.Resampling.LANCZOS)
    return drawn + resized(lacking, drawn.shape[:2], Image.Resampling.BICUBIC)


def denoised(noisy: np.ndarray, drawn: np.ndarray, noise: float) -> np.ndarray:
    """`drawn` plus, of what it lacks of `noisy`, as much as stands out from white noise of that standard
    deviation.

    Wiener's filter: of each spatial frequency the share of its power, averaged over all directions, that is
    not the noise's.
    """
    lacking = np.fft.fft2(noisy - drawn, axes=(0, 1), norm="ortho")
    down, across = (np.fft.fftfreq(side) * max(noisy.shape[:2]) for side in noisy.shape[:2])
    ring = np.hypot(down[:, np.newaxis], across).round().astype(int)
    power = np.bincount(ring.ravel(), np.mean(np.abs(lacking) ** 2, axis=-1).ravel()) / np.maximum(
        np.bincount(ring.ravel()), 1
    )
    share = np.maximum(0, 1 - noise**2 / np.maximum(power, 1e-12))
    return drawn + np.fft.ifft2(
        lacking * share[ring][..., np.newaxis], axes=(0, 1), norm="ortho"
    ).real.astype(np.float32)


def resized(image: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    return np.stack(
        [
            np.asarray(Image.fromarray(channel).resize(size[::-1], how))
            for channel in np.moveaxis(image, -1, 0)
        ],
        axis=-1,
    )
