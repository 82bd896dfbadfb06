"""How far generated images are from real ones, and what features are worth, in numbers: arrays -> floats. No
network, no download.

    reference = SlicedWasserstein(real)            # of pixels, uint8 (N, height, width, C); the costly half, once
    reference.distance(fake)                       # {"swd": 21.4, "swd_64": 13.0, "swd_32": 18.2, "swd_16": 33.0}
    spread(fake) / spread(real)                    # near 1; near 0 when the generator answers one image
    sharpness(fake, detail(real))                  # {"sharpness": 1.3, ...}: near 1; above it grainy, below it blurred
    ms_ssim(fake)                                  # near 1 then, and lower the more varied they are

    frechet_distance(Moments(a), Moments(b))       # of features (N, dim), from embeddings.py: FID
    kernel_distance(a, b)                          # KID and its confidence interval
    neighbourhoods(a, b)                           # precision, recall, density, coverage
    memorisation(a, b)                             # are generated images copies?
    linear_probe(a, labels, held_out)              # how often a linear classifier is right

Everything is a pure function of the arrays and a fixed seed: the same images give the same numbers.
"""

import collections
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

METRICS = ("swd", "sharpness", "fid", "kid", "prdc", "msssim", "memorisation")
OF_FEATURES = {"fid", "kid", "prdc", "memorisation"}  # the others are of pixels
FEW = 10_000  # images: below it fid is too high by chance
FEWEST = 16
PATCH = 7  # pixels a side
CHUNK = 512  # images at once, and
CHUNK_BYTES = 2**25  # of them at most: a pyramid and its patches take some 24 times as many
BLOCK_SIZE = 2**25  # numbers along directions at once
ROWS = 500  # of features at once
USUAL = 4_000  # images that tell how near a new image usually is
# of the features' own length: nearer rows are one image, rounded otherwise in another batch; others are at
# 0.1
ALIKE = 1e-5
SMALLEST = 16  # the coarsest level of the pyramid, pixels of the shorter side


class SlicedWasserstein:
    """Sliced Wasserstein distance between the patches of two image sets, for each level of a Laplacian
    pyramid.

    Karras et al., "Progressive growing of GANs", arXiv:1710.10196, 2018, section 5: 7x7 patches, each colour
    channel of a level's patches normalised to mean 0 and deviation 1, distances times 1000. They take 16,384
    images, 128 patches of each and 512 directions; `patches` and `directions` say how much of that is spent
    here. Lower is better; two halves of one set are not at 0, but at what so few images cannot tell apart.
    Only figures of the same settings can be compared.
    """

    def __init__(
        self, real: np.ndarray, patches: int = 64, directions: int = 128, seed: int = 0, keep: bool = True
    ):
        """`keep`: the real half, for more than one distance; of 10,000 images it is a gigabyte."""
        self.shape, self.patches, self.directions, self.seed = real.shape[1:], patches, directions, seed
        self.at_once = max(1, min(directions, BLOCK_SIZE // (len(real) * patches)))
        self.of_real = (
            functools.partial(iter, list(self._project(real)))
            if keep
            else functools.partial(self._project, real)
        )

    def distance(
        self, fake: np.ndarray, show: Callable[[float], None] = lambda share: None
    ) -> dict[str, float]:
        """uint8 (N, height, width, C) -> the mean over the levels as "swd", and each level by its shorter
        side in pixels. `show` is told the share that is done."""
        if fake.shape[1:] != self.shape:
            raise ValueError(f"expected images of shape {self.shape}, received {fake.shape[1:]}")
        levels, done, total = (
            collections.defaultdict(float),
            0,
            self.directions * len(laplacian_pyramid(fake[:1])),
        )
        for (side, real), (_, drawn) in zip(self.of_real(), self._project(fake), strict=True):
            apart = np.abs(_quantiles(drawn, real.shape[1]) - real).sum(dtype=np.float64)
            levels[f"swd_{side}"] += 1000 * float(apart) / real.shape[1] / self.directions
            done += len(real)
            show(done / total)
        return {"swd": float(np.mean(list(levels.values()))), **levels}

    def _project(self, images: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The patches along random directions, `at_once` of those, each sorted: (the level's shorter side,
        float32 (directions, patches)), the finest level first."""
        levels, length = laplacian_pyramid(images[:1]), images.shape[3] * PATCH**2
        together = None
        if len(levels) * len(images) * self.patches * length <= BLOCK_SIZE:
            together = list(self._patches(images, range(len(levels))))
        for number, level in enumerate(levels):
            side = min(level.shape[1:3])

            held = together
            if not held and len(images) * self.patches * length <= BLOCK_SIZE:
                held = list(self._patches(images, [number]))

            def chunks(number=number, held=held):
                for first, patches in held or self._patches(images, [number]):
                    yield first, patches[number]

            mean, deviation = _moments(patches for _, patches in chunks())
            directions = np.random.default_rng((self.seed, side)).standard_normal(
                (self.directions, length), np.float32
            )
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            by_channel = directions.reshape(self.directions, -1, PATCH**2) / deviation[:, None]
            for start in range(0, self.directions, self.at_once):
                some = by_channel[start : start + self.at_once]
                projected = np.empty((len(some), len(images) * self.patches), np.float32)
                for first, patches in chunks():
                    columns = slice(first, first + patches.shape[1])
                    projected[:, columns] = sum(
                        some[:, c] @ (patches[c] - mean[c]).T for c in range(len(patches))
                    )
                projected.sort(axis=1)
                yield side, projected

    def _patches(
        self, images: np.ndarray, numbers: Iterable[int]
    ) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
        """Of those levels, a chunk of images at a time: (number of the first, by level float32 (channels, patches,
        PATCH * PATCH)). All at once they are a hundred times as large as the images: of many of those they
        are made anew for each level and each block of directions."""
        at_once = max(1, min(CHUNK, CHUNK_BYTES // images[0].size))
        dice = {number: np.random.default_rng((self.seed, number, 1)) for number in numbers}
        for start in range(0, len(images), at_once):
            pyramid, found = laplacian_pyramid(images[start : start + at_once]), {}
            for number, rng in dice.items():
                count, height, width, channels = pyramid[number].shape
                places = rng.integers(0, (height - PATCH + 1, width - PATCH + 1), (count, self.patches, 2))
                windows = np.lib.stride_tricks.sliding_window_view(
                    pyramid[number], (PATCH, PATCH), axis=(1, 2)
                )
                patches = windows[
                    np.arange(count)[:, None], places[..., 0], places[..., 1]
                ]  # count, patches, channels, PATCH, PATCH
                found[number] = np.moveaxis(patches, 2, 0).reshape(channels, -1, PATCH**2)
            yield start * self.patches, found


def _moments(chunks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel, (channels,), of float32 (channels, patches, PATCH * PATCH), some
    patches at a time."""
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for patches in chunks:
        count += patches[0].size
        total = total + patches.sum(axis=(1, 2), dtype=np.float64)
        squares = squares + (patches.astype(np.float64) ** 2).sum(axis=(1, 2))
    mean = total / count
    return mean.astype(np.float32), (np.sqrt(np.maximum(squares / count - mean**2, 0)) + 1e-8).astype(
        np.float32
    )


def laplacian_pyramid(images: np.ndarray) -> list[np.ndarray]:
    """uint8 (N, H, W, C) -> float32 levels in [-1, 1] units, the finest first; the last is what remains, its
    shorter side of 16 to 31 pixels."""
    level = images.astype(np.float32) / 127.5 - 1
    levels = []
    while min(level.shape[1:3]) >= 2 * SMALLEST:
        finest, level = _apart(level)
        levels.append(finest)
    return [*levels, level]


def _apart(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-> what half of its pixels cannot hold, and that half."""
    smaller = _blur(_blur(level, 1, step=2), 2, step=2)
    return level - _enlarge(smaller, level.shape), smaller


def _blur(images: np.ndarray, axis: int, step: int = 1) -> np.ndarray:
    """Burt and Adelson's kernel, as in Karras et al.: 1 4 6 4 1; of the result every `step`-th row or
    column."""
    padded = np.pad(images, [(2, 2) if number == axis else (0, 0) for number in range(4)], "reflect")
    length = images.shape[axis]
    outer, inner, middle, right, last = (
        padded[:, shift : shift + length : step] if axis == 1 else padded[:, :, shift : shift + length : step]
        for shift in range(5)
    )
    total = inner + right
    total *= 4
    total += outer
    total += last
    total += 6 * middle
    total /= 16
    return total


def _enlarge(images: np.ndarray, shape: tuple) -> np.ndarray:
    """Zeros between the rows, then between the columns, blurred; twice, since half of each are zeros."""
    for axis in (1, 2):
        apart = np.zeros((*images.shape[:axis], shape[axis], *images.shape[axis + 1 :]), np.float32)
        apart[(slice(None),) * axis + (slice(None, None, 2),)] = images
        images = 2 * _blur(apart, axis)
    return images


def _quantiles(ordered: np.ndarray, count: int) -> np.ndarray:
    """Sorted (directions, n) -> the same distributions in `count` sorted columns, for sets of different
    size."""
    length = ordered.shape[1]
    if length == count:
        return ordered
    return ordered[:, ((np.arange(count) + 0.5) * length / count).astype(int)]


def spread(images: np.ndarray) -> float:
    """Mean distance between two different images of uint8 (N, H, W, C), in root-mean-square grey levels:
    their diversity.

    Through mean(|a - b|^2) = 2 * variance, exactly, so that no pairs are formed.
    """
    count = len(images)
    if count < 2:
        raise ValueError(f"expected at least 2 images, received {count}")
    pixels = images.reshape(count, -1)
    at_once = max(1, CHUNK_BYTES // (8 * count))  # as float64
    columns = (pixels[:, start : start + at_once] for start in range(0, pixels.shape[1], at_once))
    return float(
        np.sqrt(
            2 * np.concatenate([column.astype(np.float64).var(axis=0, ddof=1) for column in columns]).mean()
        )
    )


def detail(images: np.ndarray) -> dict[int, float]:
    """How much there is to see at each scale of uint8 (N, H, W, C): the mean absolute value of each level of
    a Laplacian pyramid but the last, which holds no detail, by the level's shorter side in pixels."""
    at_once = max(1, CHUNK_BYTES // (8 * images[0].size))
    totals = collections.defaultdict(float)
    for start in range(0, len(images), at_once):
        *levels, last = laplacian_pyramid(images[start : start + at_once])
        for level in levels or [_apart(last)[0]]:  # of images below 2 * SMALLEST
            totals[min(level.shape[1:3])] += float(np.abs(level).mean(axis=(1, 2, 3)).sum(dtype=np.float64))
    return {side: total / len(images) for side, total in totals.items()}


def sharpness(fake: np.ndarray, real: dict[int, float]) -> dict[str, float]:
    """The `detail` of uint8 images (N, H, W, C) over that of real ones, for each level, the finest as
    "sharpness": 1 is as sharp as they are, more is grain, less is blur. {} where real images have none."""
    if not all(real.values()):
        return {}
    ratios = {side: found / real[side] for side, found in detail(fake).items()}
    return {
        "sharpness": ratios[max(ratios)],
        **{f"sharpness_{side}": ratio for side, ratio in ratios.items()},
    }


def ms_ssim(images: np.ndarray, pairs: int = 500, seed: int = 0) -> float:
    """Mean multi-scale structural similarity of random pairs of uint8 (N, H, W, C), by TensorFlow: 1 when all
    are the same image, lower the more varied (Odena et al., arXiv:1610.09585, 2017). As many scales as the
    size allows, five at most.

    Of two sets compare only figures at the same size: a generator should be no higher than the real images.
    """
    import tensorflow as tf

    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]  # Wang et al. 2003
    scales = 1 + int(np.clip(np.log2(min(images.shape[1:3]) / 11), 0, 4))  # the window is 11 pixels wide
    factors = np.array(weights[:scales]) / sum(weights[:scales])
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(images), pairs)
    second = (first + rng.integers(1, len(images), pairs)) % len(images)
    found = [
        tf.image.ssim_multiscale(
            images[first[i : i + 100]], images[second[i : i + 100]], 255, factors
        ).numpy()
        for i in range(0, pairs, 100)
    ]
    return float(np.mean(np.concatenate(found)))


# ------------------------------------------------------------------------
# of features


class Moments:
    """Mean and covariance of features, streamed in float64: any number of rows in constant memory."""

    def __init__(self, *chunks: np.ndarray):
        self.count, self.sum, self.products = 0, np.zeros(()), np.zeros(())
        for chunk in chunks:
            for start in range(0, len(chunk), ROWS):
                self.add(chunk[start : start + ROWS])

    def add(self, features: np.ndarray):
        """(n, dim), added to what came before."""
        self.__dict__.pop("root", None)
        features = np.asarray(features, np.float64)
        self.count += len(features)
        self.sum = self.sum + features.sum(axis=0)
        self.products = self.products + features.T @ features

    @property
    def mean(self) -> np.ndarray:
        return self.sum / self.count

    @property
    def covariance(self) -> np.ndarray:
        """(dim, dim), unbiased."""
        return (self.products - self.count * np.outer(self.mean, self.mean)) / (self.count - 1)

    @functools.cached_property
    def root(self) -> np.ndarray:
        """The symmetric square root of the covariance: the costly half of a Frechet distance, once where many
        sets are compared with one."""
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(values.clip(0)) @ vectors.T


def frechet_distance(real: Moments, fake: Moments) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)): FID, if the features are Inception's (Heusel et al.,
    arXiv:1706.08500, 2017).

    Biased upwards for few images: below about 10,000 of each compare only figures of the same counts, or take
    `kernel_distance`.
    """
    # (C C')^(1/2) has the eigenvalues of the symmetric (C^(1/2) C' C^(1/2))^(1/2), which need no square root
    # of a matrix.
    crossed = np.sqrt(np.linalg.eigvalsh(real.root @ fake.covariance @ real.root).clip(0)).sum()
    spreads = np.trace(real.covariance) + np.trace(fake.covariance) - 2 * crossed
    return float(np.sum((real.mean - fake.mean) ** 2) + spreads)


T975 = (3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # Student's t for the mean of 4, 5, ... 10 values


def kernel_distance(
    real: np.ndarray, fake: np.ndarray, block: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """KID, unbiased: the squared maximum mean discrepancy with the kernel (x.y / dim + 1)^3 (Binkowski et
    al., arXiv:1801.01401, 2018) -> (mean over disjoint blocks of `block` images of each set, half the width
    of its 95 % confidence interval).

    With few images the blocks are smaller, four of them. Needs at least 8 images of each.
    """
    count = min(len(real), len(fake))
    if count < 8:
        raise ValueError(f"expected at least 8 images of each set, received {count}")
    blocks = max(4, count // block)
    length = count // blocks
    rng = np.random.default_rng(seed)
    rows = [
        rng.permutation(len(features))[: blocks * length].reshape(blocks, length) for features in (real, fake)
    ]
    values = [_mmd(real[a].astype(np.float64), fake[b].astype(np.float64)) for a, b in zip(*rows)]
    return float(np.mean(values)), float(T975[min(blocks, 10) - 4] * np.std(values, ddof=1) / np.sqrt(blocks))


def _mmd(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased estimate: of a set with itself without the pairs of an image with itself."""
    count, dim = a.shape
    within = [((c @ c.T / dim + 1) ** 3 * (1 - np.eye(count))).sum() / (count * (count - 1)) for c in (a, b)]
    return sum(within) - 2 * ((a @ b.T / dim + 1) ** 3).mean()


def neighbourhoods(real: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    """Precision, recall (Kynkaanniemi et al., arXiv:1904.06991, 2019), density, coverage (Naeem et al.,
    arXiv:2002.09797, 2020).

    An image's neighbourhood is the ball to its k-th nearest distinct image of its own set: an image that is
    there k times over would else have a ball of no size. precision: the share of fakes inside of some real
    neighbourhood; density: the same, counting how many, over k; recall: real images inside of some fake's;
    coverage: real images whose own neighbourhood holds a fake. All are near 1 for two samples of one
    distribution (coverage 0.97 for k = 5); density can be above. The two sets should have the same number of
    distinct images: more fakes raise recall and coverage. Raises ValueError where one has k or fewer.
    """
    (real, real_times), (fake, fake_times) = map(_distinct_and_times, (real, fake))
    if min(len(real), len(fake)) <= k:
        raise ValueError(
            f"expected more than {k} images of each set, received {len(real)} and {len(fake)} distinct ones"
        )
    real_radii, fake_radii = (
        nearest(each, each, k, np.arange(len(each)))[0][:, -1] ** 2 for each in (real, fake)
    )
    holders, is_covered = np.zeros(len(fake)), np.zeros(len(real), bool)
    is_recalled = np.zeros(len(real), bool)
    for start, squares in _squared_distances(fake, real):
        inside = squares < real_radii
        holders[start : start + len(squares)] = inside.sum(axis=1)
        is_covered |= inside.any(axis=0)
        is_recalled |= (squares < fake_radii[start : start + len(squares), None]).any(axis=0)
    of_fakes, of_reals = (
        {"precision": holders > 0, "density": holders / k},
        {"recall": is_recalled, "coverage": is_covered},
    )
    found = {name: np.average(np.float64(values), weights=fake_times) for name, values in of_fakes.items()}
    found |= {name: np.average(np.float64(values), weights=real_times) for name, values in of_reals.items()}
    return {name: float(found[name]) for name in ("precision", "recall", "density", "coverage")}


def memorisation(
    real: np.ndarray, fake: np.ndarray, held_out: np.ndarray | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """Are generated images nearer to training images than new images would be? -> (share, nearest training
    image of each fake, distance to it over the median of the same distance for new images).

    `share` of the fakes are nearer to a training image than 95 % of the new images are: about 0.05 without
    copying, 1 if all are copies. New images are `held_out`, without those that were trained on after all, or
    USUAL training images in their turn. Of images that are there more than once all but one are passed over:
    an image's own duplicate says nothing of new ones. Raises ValueError where no new image is left.
    """
    rows = distinct(real)
    unique = real if len(rows) == len(real) else real[rows]
    if held_out is not None:
        usual = nearest(held_out[distinct(held_out)], unique, 1)[0][:, 0]
        usual = usual[usual > _alike(unique)]
        if not len(usual):
            raise ValueError(
                f"expected held-out images that are new, received {len(held_out)} that were all trained on"
            )
    elif len(unique) < 2:
        raise ValueError(f"expected at least 2 distinct images, received {len(unique)} among {len(real)}")
    else:
        own = np.arange(len(unique))[:: -(-len(unique) // USUAL)]
        usual = nearest(unique[own], unique, 1, own)[0][:, 0]
    distances, numbers = nearest(fake, unique, 1)
    share = float((distances[:, 0] < np.quantile(usual, 0.05)).mean())
    return share, rows[numbers[:, 0]], distances[:, 0] / float(np.median(usual))


def distinct(features: np.ndarray) -> np.ndarray:
    """(N, dim) -> the numbers, ascending, of the rows that are no copy of an earlier one (see ALIKE)."""
    first = {}
    for start in range(0, len(features), ROWS):
        for number, row in enumerate(np.ascontiguousarray(features[start : start + ROWS]), start):
            first.setdefault(hashlib.blake2b(row, digest_size=16).digest(), number)
    return _not_alike(features, np.fromiter(first.values(), int, len(first)))


def _not_alike(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of `rows` that lie apart from all earlier ones. Copies are neighbours along any direction: only
    rows that are so along eight of them are looked at."""
    tolerance = _alike(features)
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((features.shape[1], 8)))[0]
    places = np.empty((len(features), directions.shape[1]))
    for start in range(0, len(features), ROWS):
        places[start : start + ROWS] = features[start : start + ROWS] @ directions
    order = rows[places[rows, 0].argsort(kind="stable")]
    apart = 1
    while True:
        before, after = order[:-apart], order[apart:]
        near = np.flatnonzero(places[after, 0] - places[before, 0] <= tolerance)
        if not len(near):
            return np.sort(order)
        near = near[(np.abs(places[after[near]] - places[before[near]]) <= tolerance).all(axis=1)]
        copies = []
        for start in range(0, len(near), ROWS):
            one, other = before[near[start : start + ROWS]], after[near[start : start + ROWS]]
            gaps = np.linalg.norm(features[one].astype(np.float64) - features[other], axis=1)
            copies.append(np.maximum(one, other)[gaps <= tolerance])
        found = np.concatenate([*copies, []])
        order = order[~np.isin(order, found)]
        apart = 1 if len(found) else apart + 1  # without them others have become neighbours


def _alike(features: np.ndarray) -> float:
    """The distance up to which two rows are the same image."""
    chunks = (features[start : start + ROWS] for start in range(0, len(features), ROWS))
    squares = sum(float(np.square(chunk, dtype=np.float64).sum()) for chunk in chunks)
    return ALIKE * (squares / len(features)) ** 0.5


def _distinct_and_times(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, and how often each is there."""
    rows = distinct(features)
    if len(rows) == len(features):
        return features, np.ones(len(features))
    owners = nearest(features, features[rows], 1)[1][:, 0]
    return features[rows], np.bincount(owners, minlength=len(rows))


def nearest(
    a: np.ndarray, b: np.ndarray, k: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of b for each row of a -> distances (len(a), k), ascending, and their numbers.
    `own`: the number of each row of a in b, where a row is not its own neighbour."""
    found, numbers = np.empty((len(a), k)), np.empty((len(a), k), int)
    for start, squares in _squared_distances(a, b):
        rows = slice(start, start + len(squares))
        if own is not None:
            squares[np.arange(len(squares)), own[rows]] = np.inf
        chosen = squares.argmin(axis=1)[:, None] if k == 1 else np.argpartition(squares, k - 1, axis=1)[:, :k]
        differences = np.asarray(a[rows], np.float64)[:, None] - b[chosen]  # an exact copy is at 0
        distances = np.sqrt((differences**2).sum(axis=2))
        order = distances.argsort(axis=1)
        found[rows], numbers[rows] = (np.take_along_axis(each, order, 1) for each in (distances, chosen))
    return found, numbers


def _squared_distances(a: np.ndarray, b: np.ndarray, chunk: int = ROWS):
    """Of all rows of a to all rows of b, Euclidean, a chunk of a's rows at a time: (first row, squared
    distances float32)."""
    centre = b.mean(axis=0).astype(
        a.dtype
    )  # differences of large numbers are rounded more than those of small ones

    def chunks(features):  # centred anew each time: a whole copy would be as large as all that is held
        for start in range(0, len(features), chunk):
            yield start, (features[start : start + chunk] - centre).astype(np.float32, copy=False)

    for start, rows in chunks(a):
        squares = np.empty((len(rows), len(b)), np.float32)
        for first, columns in chunks(b):
            some = squares[:, first : first + len(columns)]
            np.matmul(-2 * rows, columns.T, out=some)
            some += np.einsum("ij,ij->i", columns, columns)
        squares += (rows**2).sum(axis=1)[:, None]
        yield start, np.maximum(squares, 0, out=squares)


# ------------------------------------------------------------------------
# linear probe

PENALTIES = 10.0 ** np.arange(-3, 4)


def linear_probe(vectors: np.ndarray, labels: np.ndarray, held_out: int) -> float:
    """float32 (N, dim) and int (N,), both in random order -> the share of the first `held_out` vectors whose
    class a linear classifier tells: ridge regression onto the classes, one-hot. It learns from all but the
    first 2 * held_out, and the second half of those chooses the penalty. Standardises the vectors, in
    place."""
    choosing, rest = slice(held_out, 2 * held_out), slice(2 * held_out, None)
    deviation = vectors[rest].std(axis=0)
    deviation[deviation < 1e-5] = 1  # always the same
    vectors -= vectors[rest].mean(axis=0)
    vectors /= deviation

    def right(model, part):
        weights, bias = model
        return float(np.mean(np.argmax(vectors[part] @ weights + bias, axis=1) == labels[part]))

    targets = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    # The very model that was chosen: one that learns from more as well would want another penalty.
    best = max(ridge(vectors[rest], targets[rest], PENALTIES), key=lambda model: right(model, choosing))
    return right(best, slice(held_out))


def ridge(x: np.ndarray, y: np.ndarray, penalties: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each penalty the weights (dim, targets) and the bias that make the least of the mean of |x weights
    + bias - y|^2 over the rows plus the penalty times |weights|^2."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    is_wide = x.shape[1] > len(x)  # then as many equations as rows have the same solution
    gram, right = (x @ x.T, y) if is_wide else (x.T @ x, x.T @ y)
    for penalty in penalties:
        matrix = gram.astype(np.float64)
        matrix.flat[:: len(gram) + 1] += penalty * len(x)
        found = np.linalg.solve(matrix, right)
        weights = (x.T @ found if is_wide else found).astype(np.float32)
        yield weights, mean_y - mean_x @ weights
