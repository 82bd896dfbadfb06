"""Joins what was seen of a picture with what a generator has drawn in its place. NumPy and Pillow; no
TensorFlow.

    seamless(picture, drawn, hole)          # the picture, its hole filled
    sharpened(small, drawn)                 # the small picture, enlarged, with the details of the drawn one
    denoised(noisy, drawn, noise=0.2)       # the drawn one, with what the noisy one shows beside it

Pictures are float32 (height, width, C) in [-1, 1]; the results may reach beyond.
"""

import numpy as np
from PIL import Image


def seamless(picture: np.ndarray, drawn: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """`picture`, and in its hole, bool (height, width), the gradients of `drawn`: no seam where the two
    differ in brightness.

    Poisson blending (Perez et al., SIGGRAPH 2003) in its equal form: `drawn` plus a membrane that is harmonic
    in the hole and meets the difference of the two around it. By conjugate gradients; the membrane is free
    where the hole meets the picture's edge.
    """
    inside = hole[..., np.newaxis].astype(np.float32)

    def laplacian(x):
        x = np.pad(x, ((1, 1), (1, 1), (0, 0)), "edge")
        return inside * (4 * x[1:-1, 1:-1] - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:])

    membrane = (1 - inside) * (picture - drawn)
    rest = direction = -laplacian(membrane)
    size = np.sum(rest**2)
    while size > 1e-6:
        image = laplacian(direction)
        length = size / np.sum(direction * image)
        membrane, rest = membrane + length * direction, rest - length * image
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


def resized(picture: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    return np.stack(
        [
            np.asarray(Image.fromarray(channel).resize(size[::-1], how))
            for channel in np.moveaxis(picture, -1, 0)
        ],
        axis=-1,
    )
