"""How far generated images are from real ones, in numbers: arrays -> floats. NumPy only, no network, no download.

    reference = SlicedWasserstein(real)            # uint8 (N, height, width, C); the costly half, once
    reference.distance(fake)                       # {"swd": 21.4, "swd_64": 13.0, "swd_32": 18.2, "swd_16": 33.0}
    spread(fake) / spread(real)                    # near 1; near 0 when the generator answers one image

Everything is a pure function of the arrays and a fixed seed: the same images give the same numbers to the bit.
"""

import numpy as np

PATCH = 7  # pixels a side
SMALLEST = 16  # the coarsest level of the pyramid, pixels of the shorter side
BLUR = np.array([1, 4, 6, 4, 1], np.float32) / 16  # Burt and Adelson's kernel, as in Karras et al.


class SlicedWasserstein:
    """Sliced Wasserstein distance between the patches of two image sets, for each level of a Laplacian pyramid.

    Karras et al., "Progressive growing of GANs", arXiv:1710.10196, 2018, section 5: 7x7 patches, each colour channel of a level's
    patches normalised to mean 0 and deviation 1, distances times 1000. They take 16,384 images, 128 patches of each and 512
    directions; `patches` and `directions` say how much of that is spent here. Lower is better; two halves of one set are not at 0,
    but at what so few images cannot tell apart. Only figures of the same settings can be compared.
    """

    def __init__(self, real: np.ndarray, patches: int = 64, directions: int = 128, seed: int = 0):
        self.shape, self.patches, self.directions, self.seed = real.shape[1:], patches, directions, seed
        self.projected = [self._project(level, number) for number, level in enumerate(laplacian_pyramid(real))]

    def distance(self, fake: np.ndarray) -> dict[str, float]:
        """uint8 (N, height, width, C) -> the mean over the levels as "swd", and each level by its shorter side in pixels."""
        if fake.shape[1:] != self.shape:
            raise ValueError(f"expected images of shape {self.shape}, received {fake.shape[1:]}")
        levels = {}
        for number, (level, real) in enumerate(zip(laplacian_pyramid(fake), self.projected, strict=True)):
            ours = self._project(level, number)
            levels[f"swd_{min(level.shape[1:3])}"] = 1000 * float(np.mean(np.abs(_quantiles(ours, real.shape[1]) - real)))
        return {"swd": float(np.mean(list(levels.values()))), **levels}

    def _project(self, level: np.ndarray, number: int) -> np.ndarray:
        """Patches of a level, normalised, along random directions, each direction sorted: float32 (directions, patches)."""
        count, height, width, channels = level.shape
        rng = np.random.default_rng((self.seed, number))
        directions = rng.standard_normal((self.directions, channels * PATCH * PATCH), np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
        rows = rng.integers(0, height - PATCH + 1, (count, self.patches))
        columns = rng.integers(0, width - PATCH + 1, (count, self.patches))
        found = windows[np.arange(count)[:, None], rows, columns]  # count, patches, channels, PATCH, PATCH
        found = (found - found.mean((0, 1, 3, 4), keepdims=True)) / (found.std((0, 1, 3, 4), keepdims=True) + 1e-8)
        return np.sort(directions @ found.reshape(count * self.patches, -1).T, axis=1)


def laplacian_pyramid(images: np.ndarray) -> list[np.ndarray]:
    """uint8 (N, H, W, C) -> float32 levels in [-1, 1] units, the finest first; the last is what remains, 16 to 31 pixels high."""
    level = images.astype(np.float32) / 127.5 - 1
    levels = []
    while min(level.shape[1:3]) >= 2 * SMALLEST:
        smaller = _blur(_blur(level, 1), 2)[:, ::2, ::2]
        levels.append(level - _enlarge(smaller, level.shape))
        level = smaller
    return [*levels, level]


def _blur(images: np.ndarray, axis: int, gain: float = 1.0) -> np.ndarray:
    padded = np.pad(images, [(2, 2) if number == axis else (0, 0) for number in range(4)], "reflect")
    length = images.shape[axis]
    shifted = [padded[:, shift : shift + length] if axis == 1 else padded[:, :, shift : shift + length] for shift in range(5)]
    return sum(np.float32(gain * weight) * part for weight, part in zip(BLUR, shifted, strict=True))


def _enlarge(images: np.ndarray, shape: tuple) -> np.ndarray:
    spread_out = np.zeros(shape, np.float32)
    spread_out[:, ::2, ::2] = images
    return _blur(_blur(spread_out, 1, 2.0), 2, 2.0)


def _quantiles(ordered: np.ndarray, count: int) -> np.ndarray:
    """Sorted (directions, n) -> the same distributions in `count` sorted columns, for sets of different size."""
    length = ordered.shape[1]
    if length == count:
        return ordered
    return ordered[:, ((np.arange(count) + 0.5) * length / count).astype(int)]


def spread(images: np.ndarray) -> float:
    """Mean distance between two different images of uint8 (N, H, W, C), in root-mean-square grey levels: their diversity.

    Through mean(|a - b|^2) = 2 * variance, exactly, so that no pairs are formed.
    """
    count = len(images)
    if count < 2:
        raise ValueError(f"expected at least 2 images, received {count}")
    return float(np.sqrt(2 * images.reshape(count, -1).astype(np.float64).var(axis=0, ddof=1).mean()))
