"""Latents: which z and which class a seed stands for, paths between latents, directions that mean something.
NumPy only.

    z = latents([0, 1, 2], latent_dim=100)      # float32 (3, 100); seed 0 is the same image on every machine

An image is named by its seed, so the seed must mean the same z in Python, JavaScript, Kotlin and Swift, for
ever. Therefore the random numbers are not NumPy's: they are Threefry-2x32 with 20 rounds (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011), which needs only 32-bit add, rotate and xor, followed
by Box and Muller's transform in double precision. `export/edge_sample.py` holds the same few lines once more,
since it must run where this package is not; a test compares them.
"""

from pathlib import Path

import numpy as np

from keras_dcgan import files
from keras_dcgan.errors import Refused, argument

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # Threefry-2x32, Salmon et al., table 2
PARITY = 0x1BD11BDA


def threefry(key: tuple, counter: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32-20: two uint32 key words and two uint32 counter words (arrays that broadcast) -> two
    uint32 arrays."""
    k0, k1, x0, x1 = (
        np.atleast_1d(np.asarray(word, np.uint32)) for word in (*key, *counter)
    )  # arrays wrap without a warning
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(PARITY))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(rotation) | x1 >> np.uint32(32 - rotation)) ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def latents(seeds, latent_dim: int) -> np.ndarray:
    """Seeds, each from 0 to 2**32 - 1, -> z ~ N(0, I), float32 (len(seeds), latent_dim). Raises Refused.

    Pair number i of a seed's components is Box and Muller's transform of threefry(key=(seed, 0), counter=(i,
    0)).
    """
    chosen = np.asarray(seeds).reshape(-1, 1)
    if chosen.size and chosen.dtype.kind not in "iu":
        raise Refused("seeds", "whole numbers", repr(chosen[:4].ravel().tolist()))
    if chosen.size and (chosen.min() < 0 or chosen.max() >= 2**32):
        raise Refused("seeds", f"numbers from 0 to {2**32 - 1}", f"{chosen.min()} to {chosen.max()}")
    seeds = chosen.astype(np.uint32)
    pairs = np.arange((latent_dim + 1) // 2, dtype=np.uint32)
    first, second = threefry((seeds, 0), (pairs, 0))
    radius = np.sqrt(-2 * np.log((first + 0.5) / 2**32))  # the half keeps the logarithm finite
    angle = 2 * np.pi * ((second + 0.5) / 2**32)
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return z.reshape(len(seeds), -1)[:, :latent_dim].astype(np.float32)


def chosen_classes(wanted: str | None, classes: list[str]) -> list[str] | None:
    """ "cat,dog" -> both, if the run knows them; None of None. Raises Refused."""
    if wanted is None:
        return None
    if wanted in classes:  # a name may have a comma of its own
        return [wanted]
    if not classes:
        expected = f"a run that was trained with {argument('conditional')}"
        raise Refused("wanted", expected, f"{argument('wanted')} {wanted}")
    chosen = wanted.split(",")
    if unknown := [name for name in chosen if name not in classes]:
        raise Refused("wanted", f"one of {', '.join(classes)}", repr(unknown[0]))
    return chosen


def labels(seeds, chosen: list[str] | None, classes: list[str]) -> np.ndarray | None:
    """A label for each seed, int32 (N,): of the chosen classes one after the other; of all of them that which
    the seed's own number says. None where the run knows no classes."""
    if not classes:
        return None
    if chosen is None:
        return np.array([seed % len(classes) for seed in seeds], np.int32)
    return np.array([classes.index(chosen[place % len(chosen)]) for place in range(len(seeds))], np.int32)


def truncate(z: np.ndarray, truncation: float) -> np.ndarray:
    """Pulls latents towards 0: at 1 they stay as they are, towards 0 images grow more typical and less
    varied."""
    return (z * np.float32(truncation)).astype(np.float32)


def slerp(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    """Spherical interpolation between two latents of shape (latent_dim,), t in [0, 1] (White,
    arXiv:1609.04468, 2016).

    A straight line would pass nearer to the origin than any latent seen in training; the arc keeps its
    length.
    """
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    cosine = np.clip(np.dot(a, b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12), -1, 1)
    omega = np.arccos(cosine)
    if np.sin(omega) < 1e-6:  # parallel: the arc is the line
        return ((1 - t) * a + t * b).astype(np.float32)
    return ((np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)).astype(np.float32)


def walk(stops: np.ndarray, frames_per_leg: int) -> np.ndarray:
    """A closed path through latents (N, latent_dim) and back to the first: float32 (N * frames_per_leg,
    latent_dim)."""
    if len(stops) < 2:
        raise ValueError(f"expected at least 2 latents to walk between, received {len(stops)}")
    following = np.roll(stops, -1, axis=0)
    steps = [frame / frames_per_leg for frame in range(frames_per_leg)]
    return np.stack([slerp(a, b, t) for a, b in zip(stops, following) for t in steps])


def directions(generator, count: int = 6) -> np.ndarray:
    """Unit vectors in z along which the first layer's output changes most, the strongest first: float64
    (count, latent_dim), to six decimals, as the exported files tell them.

    The principal components of that layer's activations (GANSpace: Harkonen et al., arXiv:2004.02546, 2020).
    Since the layer is linear and z ~ N(0, I), no samples are needed: they are the eigenvectors of the squares
    of its weights (Shen and Zhou, "Closed-form factorization of latent semantics in GANs", arXiv:2007.06600,
    2021).
    """
    weights = np.asarray(generator.get_layer("project").kernel, np.float64)  # (latent_dim, units)
    found = np.linalg.eigh(weights @ weights.T)[1].T[::-1][:count]
    found *= np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])[
        :, None
    ]  # an eigenvector has no sign of its own
    return found.round(6)


def save(z: np.ndarray, path: str | Path):
    """Writes latents as a .npy that `load` reads."""
    with files.replacing(Path(path), is_synced=False) as beside:
        np.save(beside, z)


def load(latent: str | Path, latent_dim: int) -> np.ndarray:
    """A .npy of latents, (N, latent_dim) or a single one -> float32 (N, latent_dim). Raises OSError or
    Refused."""
    expected = f"a .npy of float latents of length {latent_dim}"
    with open(latent, "rb") as file:
        try:
            z = np.atleast_2d(np.lib.format.read_array(file))
        except Exception as error:  # of a damaged file NumPy raises whatever its parsers raise
            raise Refused("latent", expected, f"{latent} ({error})") from error
    received = f"{latent} with {z.dtype} of shape {z.shape}"
    if z.dtype.kind != "f" or z.ndim != 2 or z.shape[1] != latent_dim or not len(z):
        raise Refused("latent", expected, received)
    with np.errstate(over="ignore"):
        z = z.astype(np.float32)
    if not np.isfinite(z).all():
        raise Refused("latent", expected, f"{received}, not all of them numbers that float32 has")
    return z
