"""Every setting of a training run: one frozen dataclass from which the flags, their help and config.json are
built, and the presets. Stdlib only; reads no disk.

    config = resolve({"data": "./imgs", "size": (32, 32)}, images=5_000)
    config.size, config.batch, config.augment      # ((32, 32), 32, "translation")

A setting is one row: its group, its default, how its text is read, its help. What a preset says differently
stands in PRESETS; what a run began with and what the user types win over it.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_dcgan.addresses import is_demo
from keras_dcgan.cli import channels, number, one_of, path, setting, side_lengths, source
from keras_dcgan.errors import Refused, argument, counted
from keras_dcgan.model.shapes import MAX_WIDTH, base_grid

GROUPS = ("Main", "Model", "Optimisation", "Performance", "Logging")


@dataclass(frozen=True)
class TrainConfig:
    data: str = setting(
        "Main",
        dataclasses.MISSING,
        source,
        "a folder of images or parquet files, a .zip, .tar ('imgs-{000..009}.tar' too), .npy, .npz, .csv, "
        "'shards/*.tfrecord', or the word demo for the built-in images",
        placeholder="PATH",
        resume=True,  # images that have moved; whether they are the same, their fingerprint says
    )
    run: str = setting(
        "Main", "", path, "the run directory [runs/NAME-OF-THE-DATA]", placeholder="DIR", resume=True
    )
    preset: str = setting(
        "Main",
        "paper",
        one_of("paper", "auto", "modern", "demo", "classic", "classic-demo"),
        "the row of settings to start from; modern: larger networks, for varied images; classic and classic-demo: what "
        "auto and demo were in 0.1",
        resume=True,
    )
    size: tuple = setting(
        "Main", (64, 64), side_lengths, "image side in pixels, or height x width", placeholder="N|HxW"
    )
    crop: str = setting(
        "Main", "center", one_of("center", "none"), "cut the middle out of an image, or squash it to the size"
    )
    channels: int | str = setting("Main", "auto", channels, "grey, RGB or RGBA")
    background: str = setting(
        "Main",
        "white",
        str,
        "the colour behind transparent pixels when there is no alpha",
        placeholder="COLOUR",
    )
    max_pixels: int = setting(
        "Main",
        89_478_485,
        number(1, kind=int),
        "larger images are left out undecoded: some are made to fill the memory",
        resume=True,
    )
    conditional: bool = setting(
        "Main",
        False,
        None,
        "learn classes, to be asked for by name: the labels of the images, else the first level of folders",
    )
    cache: str = setting(
        "Main",
        "",
        path,
        "where prepared images are kept [$KERAS_DCGAN_CACHE, else the user's cache]",
        placeholder="DIR",
        resume=True,
    )
    kimg: float = setting(
        "Main",
        1000.0,
        number(0, 1e9, above=True, unit="(thousands of images)"),
        "how long to train: thousands of real images to show",
        resume=True,
    )
    init_from: str = setting(
        "Main",
        "",
        path,
        "start from another run's networks in place of random ones; it has the same size, channels, classes and model settings",
        placeholder="DIR",
    )
    seed: int = setting(
        "Main", 0, number(0, 2**31 - 1, kind=int), "of weights, latents and the order of the images"
    )
    deterministic: bool = setting(
        "Main", False, None, "the same bits every time, also on a GPU; slower there"
    )
    dry_run: bool = setting(
        "Main",
        False,
        None,
        "prepare, build, take one step, print the plan; write only the cache of prepared images",
        resume=True,
    )

    latent_dim: int = setting("Model", 100, number(1, 4096, kind=int), "length of the latent vector z")
    filters: int = setting(
        "Model",
        64,
        number(1, 1024, kind=int),
        "channels of the layers next to the image; each halving of the grid doubles them",
    )
    max_width: int = setting(
        "Model",
        MAX_WIDTH,
        number(1, 64, kind=int),
        "the widest layers have this times as many channels as those next to the image",
    )
    upsample: str = setting(
        "Model",
        "transpose",
        one_of("transpose", "nearest"),
        "how the generator doubles: Conv2DTranspose, or nearest + Conv2D",
    )
    d_norm: str = setting(
        "Model",
        "batch",
        one_of("batch", "spectral", "none"),
        "normalisation in the discriminator; the generator keeps batch norm",
    )
    blocks: int = setting(
        "Model",
        0,
        number(0, 16, kind=int),
        "residual blocks of two 3x3 convolutions at each resolution up to 16x16, in both networks",
    )
    d_stem: int = setting(
        "Model",
        0,
        number(0, 1024, kind=int),
        "channels of a 3x3 convolution before the discriminator's strided ones, against grain; 0: none",
    )
    minibatch_std: int = setting(
        "Model",
        0,
        number(0, 64, kind=int),
        "images in the groups whose spread the discriminator sees, so that it finds repetition; 0: none",
    )

    batch: int = setting(
        "Optimisation", 64, number(2, 65536, kind=int), "images per step, over all devices together"
    )
    loss: str = setting(
        "Optimisation",
        "bce",
        one_of("bce", "hinge", "least_squares", "wasserstein", "relativistic"),
        "what the two networks play for",
    )
    r1: float = setting(
        "Optimisation",
        0.0,
        number(0),
        "weight of the penalty on D's gradient at real images",
    )
    r2: float = setting("Optimisation", 0.0, number(0), "the same at generated images")
    penalty_every: int = setting(
        "Optimisation",
        8,
        number(1, 1000, kind=int),
        "steps between two penalties, which are that many times as strong",
    )
    penalty_end: float = setting(
        "Optimisation",
        1.0,
        number(0, 1, above=True),
        "what is left of both penalties' weights at the end of the training, to which they fall exponentially",
    )
    g_lr: float = setting("Optimisation", 2e-4, number(0, 10, above=True), "Adam's learning rate, generator")
    d_lr: float = setting(
        "Optimisation", 2e-4, number(0, 10, above=True), "Adam's learning rate, discriminator"
    )
    beta1: float = setting(
        "Optimisation", 0.5, number(0, 0.9999), "how much Adam's mean of the gradients keeps at each step"
    )
    beta2: float = setting(
        "Optimisation",
        0.999,
        number(0, 0.9999),
        "the same for its mean of their squares; auto, modern and demo take 0.99 with residual blocks",
    )
    decay: float = setting(
        "Optimisation",
        0.0,
        number(0, 1),
        f"the last share of the training, over which both learning rates fall to 0; a larger {argument('kimg')} raises them again",
    )
    augment: str = setting(
        "Optimisation",
        "none",
        one_of("none", "colour", "translation", "cutout", "all"),
        "random changes of all that the discriminator sees, so that it does not overfit them",
    )
    ema_kimg: float = setting(
        "Optimisation",
        0.0,
        number(0),
        "half-life of the generator's moving average, in thousands of images; 0 keeps no average",
    )
    flip: bool = setting("Optimisation", False, None, "mirror half of the images at random")

    precision: str = setting(
        "Performance",
        "float32",
        one_of("auto", "float32", "bfloat16", "float16"),
        "arithmetic of the training step; weights stay float32",
        resume=True,  # auto means another one on another machine
    )
    strategy: str = setting(
        "Performance",
        "auto",
        one_of("auto", "single", "mirrored", "multiworker"),
        "one device, all GPUs of this machine, or the machines of TF_CONFIG",
        resume=True,
    )
    jit: str = setting(
        "Performance",
        "auto",
        one_of("auto", "on", "off"),
        "compile the step with XLA; auto: on one GPU",
        resume=True,
    )
    threads: int = setting(
        "Performance", 0, number(0, 4096, kind=int), "CPU threads; 0: as many as there are cores", resume=True
    )

    tick_kimg: float = setting(
        "Logging",
        8.0,
        number(0, above=True, unit="(thousands of images)"),
        "a tick: progress line, metrics row, checkpoint",
    )
    grid_every: int = setting(
        "Logging", 1, number(1, kind=int), "ticks between two sample grids", resume=True
    )
    metrics: str = setting(
        "Logging",
        "swd",
        one_of("swd", "none"),
        "measure samples at each tick; generator.keras is then the last one whose swd is not clearly above the lowest",
    )
    on_nan: str = setting(
        "Logging",
        "stop",
        one_of("stop", "rollback"),
        "when training diverges; rollback: from the last checkpoint with other latents",
        resume=True,
    )
    on_collapse: str = setting(
        "Logging",
        "warn",
        one_of("warn", "stop"),
        "at one of the warnings that docs/bad-images.md explains, such as collapse or quality lost",
        resume=True,
    )
    keep: int = setting(
        "Logging",
        3,
        number(1, kind=int),
        "newest checkpoints to keep, beside that of generator.keras",
        resume=True,
    )

    def __post_init__(self):
        """Raises Refused, naming the setting, for what its flag would not take; a single side is a square."""
        for row in dataclasses.fields(self):
            object.__setattr__(self, row.name, _checked(row, getattr(self, row.name)))

    @property
    def preparation(self) -> dict[str, Any]:
        """What prepare is told of how images are made ready, so that others can be made ready as a run's
        own were."""
        return {
            "crop": self.crop,
            "background": self.background,
            "max_pixels": self.max_pixels,
            "cache": self.cache or None,
        }

    @property
    def generator_options(self) -> dict[str, Any]:
        """What networks.generator is told beside the shape of the images."""
        return {
            "filters": self.filters,
            "latent_dim": self.latent_dim,
            "upsample": self.upsample,
            "max_width": self.max_width,
            "blocks": self.blocks,
        }

    @property
    def discriminator_options(self) -> dict[str, Any]:
        """What networks.discriminator is told beside the shape of the images."""
        return {
            "filters": self.filters,
            "max_width": self.max_width,
            "norm": self.d_norm,
            "minibatch_std": self.minibatch_std,
            "stem": self.d_stem,
            "blocks": self.blocks,
        }

    @property
    def total_steps(self) -> int:
        return max(1, math.ceil(round(1000 * self.kimg / self.batch, 6)))

    def ticks(self, step: int) -> int:
        """Ticks that have ended after `step` steps: tick number n ends with the step that shows image n *
        tick_kimg * 1000."""
        return math.floor(round(step * self.batch / (1000 * self.tick_kimg), 6))

    def to_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, settings: Mapping) -> "TrainConfig":
        """The settings of config.json; ValueError for a name that this version does not know."""
        if settings.get("data") == "demo":
            settings = {**settings, "data": portraits(settings)}
        known = {row.name for row in dataclasses.fields(cls)}
        unknown = sorted(settings.keys() - known)
        if unknown:
            raise ValueError(f"expected settings known to this version, received {', '.join(unknown)}")
        return cls(**settings)


def _checked(row: dataclasses.Field, value):
    """The value of a setting made in Python, read as if it were typed; but a path is not looked for."""
    read = row.metadata["read"]
    kind = bool if read is None else str
    if read in (None, str, path, source):
        if not isinstance(value, kind):
            raise Refused(row.name, f"a {kind.__name__}", repr(value))
        return value
    try:
        text = "x".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
        return read(text)
    except ValueError as error:
        raise Refused(row.name, str(error)) from error


# By measurement: see tools/experiments/RECIPE.md.
AVERAGED = {"ema_kimg": 10.0, "precision": "auto"}
CLASSIC = {**AVERAGED, "batch": 32, "g_lr": 4e-4, "d_lr": 4e-4, "decay": 0.5}
AUTO = {
    **AVERAGED,
    "decay": 0.5,
    "beta1": 0.0,
    "loss": "relativistic",
    "d_norm": "none",
    "d_stem": 16,
    "minibatch_std": 4,
    "penalty_every": 1,
    "penalty_end": 0.1,
}
PRESETS: dict[str, dict[str, Any]] = {
    # Radford et al. 2015 as it stands in TrainConfig's defaults: no moving average, float32, batch 64 (the
    # paper's 128 is a flag).
    "paper": {},
    "auto": AUTO,
    # Residual networks: better than auto's after as many images, and two thirds as fast on a CPU.
    "modern": {**AUTO, "blocks": 1, "beta2": 0.99},
    # For --data demo, where auto chooses it: clean portraits within ten minutes on two CPU cores.
    "demo": {
        **AUTO,
        "batch": 16,
        "minibatch_std": 0,
        "g_lr": 8e-4,
        "d_lr": 8e-4,
        "r1": 6.0,
        "r2": 6.0,
        "penalty_end": 1.0,
        "filters": 32,
        "kimg": 60.0,
        "tick_kimg": 4.0,
    },
    # auto and demo as they were up to 0.1: batch norm in the discriminator too, cross-entropy, no penalties.
    "classic": CLASSIC,
    "classic-demo": {**AVERAGED, "batch": 32, "filters": 32, "kimg": 100.0, "tick_kimg": 4.0},
}
OLD_DEMO = "demo:4000"
BEFORE = {"auto": "classic", "demo": "classic-demo"}
CHOOSING = ("auto", "modern")  # all that stands in CHOSEN
ADAPTIVE = (*CHOOSING, "classic")  # at least the augmentation
PENALTY = {"auto": 1.0, "modern": 1.0, "demo": 2.5}  # times what `penalty` says


# What auto chooses.
CHOSEN = {
    "filters": "64, or half, a quarter and an eighth of it from 97, 193 and 385 px on",
    "max_width": "8, or 2, 4 and 8 times that, likewise",
    "batch": "16 up to 250 kimg, else 32",
    "r1": "by the size",
    "r2": "by the size",
    "g_lr": "by the widest layers",
    "d_lr": "by the widest layers",
    "augment": "by the number of images",
}
BY_SIZE = ("filters", "max_width", "r1", "r2")  # what demo chooses by it, too
FEW = 5_000  # images, for classic
# times, for auto: 4,000 portraits, shown 12 times, came out far better without (distance 20, 52 with shifts)
SELDOM = 15
# times that a training shows each image; at 5 shifts cost quality, at 12 they save it: see tools/experiments/RECIPE.md
OFTEN = 10
# kimg; batches of 16 had 0.6 of the kid of 32 after 110, as good after 120 of few images, and 1.2 after 450
SOON = 250


def deepest(size: tuple[int, int]) -> int:
    """How many times the channels next to the image the widest layers have, where no --max-width is in the way."""
    return 2 ** (base_grid(size)[1] - 1)


def narrowing(size: tuple[int, int]) -> int:
    """How many times narrower than at 64x64 auto makes the layers next to the image: twice for each doubling that
    such an image takes more. The layers behind them are as at 64x64."""
    return max(1, deepest(size) // MAX_WIDTH)


def penalty(size: tuple[int, int]) -> float:
    """The gradient penalties' weight that auto takes: by the pixels, since an image's gradient has a part for
    each of them; above 128x128 as there: at 256x256, under four times as much, one told 68 % of the pairs alone."""
    return float(f"{min(size[0] * size[1], 128 * 128) / 1700:.2g}")


def batch(kimg: float) -> int:
    """Images per step that auto takes for so many thousand images. Small batches learn sooner, large ones end
    better."""
    return 16 if kimg <= SOON else 32


def rate(filters: int, max_width: int, size: tuple[int, int]) -> float:
    """Adam's learning rate that auto takes: the wider the layers, the more a step of it changes what they give.
    8e-4 is best at 32 filters, and tore a discriminator of 48 apart: see tools/experiments/RECIPE.md. Sizes below
    64x64 have fewer layers, and rates as at 64x64."""
    widest = max_width if max_width < deepest(size) else max(MAX_WIDTH, deepest(size))
    return min(8e-4, float(f"{4e-4 * 64 * MAX_WIDTH / (filters * widest):.2g}"))


def beta2(has_blocks: bool) -> float:
    """How much Adam's mean of the squares keeps that auto takes. Where that is a long one, a gradient that grows at once
    makes steps of up to 31 times the rate, with 0.99 of 10: residual networks of 32 filters were torn by those in one seed
    of four."""
    return 0.99 if has_blocks else 0.999


def augmentation(images: int, kimg: float, preset: str = "auto") -> tuple[str, str]:
    """What auto or classic takes for so many images, shown for so long, and why."""
    times = 1000 * kimg / images
    shown = f"each of {images:,} images is shown {f'{times:,.0f}' if times >= 10 else f'{times:.2g}'} times"
    if preset == "classic" and images <= FEW:
        few = f"{images:,} images are few" if images > 1 else "1 image is little"
        return (
            "all",
            f"{few}, and the discriminator would soon overfit {'them' if images > 1 else 'it'}",
        )
    if times > (OFTEN if preset == "classic" else SELDOM):
        return "translation", f"{shown}, and small shifts keep the discriminator from overfitting them"
    return "none", f"{shown}, too seldom to overfit them"


FEWEST = 100  # distinct images: with 500 the generator still draws new ones (docs/evaluation.md)
FEWEST_STEPS = 1_000


def expectations(config: TrainConfig, images: int) -> list[str]:
    """What to expect where there is little to learn from, or little time for it; [] elsewhere. `images`:
    distinct ones."""
    found = []
    if images < FEWEST:
        few = (
            f"{images} different images are few: expect near copies of them"
            if images > 1
            else "1 image: expect copies of it"
        )
        found.append(
            f"note: {few} and little else; a generator that draws new ones needs some hundreds of "
            "one kind of thing"
        )
    if config.total_steps < FEWEST_STEPS:
        few = f"{config.kimg:g} kimg are only {counted(config.total_steps, 'step')}"
        usual = TrainConfig(data="demo", **PRESETS["demo"]).total_steps
        found.append(
            f"note: {few}: expect little more than blurs of colour; the built-in faces take "
            f"{usual:,} ({argument('data')} demo)"
        )
    return found


def resolve(
    typed: Mapping[str, Any], images: int | None = None, begun: Mapping[str, Any] | None = None
) -> TrainConfig:
    """What is typed, the settings that config.json has of a run that has `begun`, and the number of images,
    once it is known -> all settings. What is typed wins over what the run began with, and that over what an
    adaptive preset chooses and the row of PRESETS. A typed preset that the run did not begin with leaves
    nothing of its beginning. Raises Refused."""
    begun, data = begun or {}, typed["data"]
    preset = as_begun(typed.get("preset", begun.get("preset", "demo" if is_demo(data) else "auto")), begun)
    if preset not in PRESETS:
        raise Refused("preset", f"one of {', '.join(PRESETS)}", repr(preset))
    is_resumed = preset == as_begun(begun.get("preset", ""), begun)
    # A run knows all settings that there were when it began. What came later stays at what changes nothing.
    settings = (dict(begun) if is_resumed else PRESETS[preset]) | dict(typed)
    settings |= {"data": portraits(begun) if data == "demo" else data, "preset": preset}
    config = TrainConfig(**settings)
    fixed = set(typed) | (set(begun) if is_resumed else set())

    def choose(config: TrainConfig, **chosen) -> TrainConfig:
        return dataclasses.replace(config, **{name: chosen[name] for name in chosen.keys() - fixed})

    if preset in PENALTY:
        narrower, usual = narrowing(config.size), PRESETS[preset].get("filters", TrainConfig.filters)
        if not is_resumed:
            config = choose(config, filters=usual // narrower)
            as_at_64 = usual * MAX_WIDTH // config.filters
            config = choose(config, max_width=min(max(MAX_WIDTH, as_at_64), MAX_WIDTH * narrower))
        of_size = float(f"{PENALTY[preset] * penalty(config.size):.2g}")
        weight = max(of_size, PRESETS[preset].get("r1", 0.0))  # demo's is that of 64x64 or more
        lr = rate(config.filters, config.max_width, config.size)
        config = choose(config, r1=weight, r2=weight, g_lr=lr, d_lr=lr, beta2=beta2(config.blocks > 0))
    if preset in CHOOSING:
        config = choose(config, batch=batch(config.kimg))
    if preset in ADAPTIVE and images:
        config = choose(config, augment=augmentation(images, config.kimg, preset)[0])
    return config


def unasked(config: TrainConfig, preset: str, images: int) -> TrainConfig:
    """What a preset has where nothing else is typed. What auto chooses it chooses for the size, the networks and
    the length of `config`."""
    typed = {"data": config.data, "preset": preset}
    shape = ("size", "filters", "max_width", "blocks", "kimg")
    plain, of_size = (resolve(typed | more, images) for more in ({}, {"size": config.size}))
    chosen = resolve(typed | {name: getattr(config, name) for name in shape}, images)
    widths = {name: getattr(of_size, name) for name in ("filters", "max_width", "blocks")}
    chosen = dataclasses.replace(chosen, **widths)
    return dataclasses.replace(chosen, size=plain.size, kimg=plain.kimg)


def portraits(begun: Mapping) -> str:
    """What a run whose data are the demo's has to name: those of the last release are fewer."""
    data = begun.get("data")
    return OLD_DEMO if data == OLD_DEMO or (data == "demo" and "penalty_every" not in begun) else "demo"


def as_begun(preset: str, begun: Mapping) -> str:
    """The row of PRESETS that a run is resumed with: one of the last release began with what `preset` was
    then."""
    is_older = begun and "penalty_every" not in begun and begun.get("preset") == preset
    return BEFORE.get(preset, preset) if is_older or begun.get("preset") == BEFORE.get(preset) else preset


def choices(config: TrainConfig, images: int) -> str:
    """What an adaptive preset chose, each setting as it would be typed, and why."""
    augment, why = augmentation(images, config.kimg, config.preset)
    if config.augment != augment:  # typed, or chosen when the run began
        why += f"; by itself it would take {argument('augment')} {augment}"
    if config.preset in CHOOSING and config.batch == batch(config.kimg):
        why += f"; {'up to' if config.kimg <= SOON else 'above'} {SOON} kimg batches of {config.batch} learn more"
    of_blocks = ["beta2"] if config.blocks and config.preset in CHOOSING else []
    names = dict.fromkeys(
        [*PRESETS[config.preset], *of_blocks, *(CHOSEN if config.preset in CHOOSING else ["augment"])]
    )
    chosen = [f"{argument(name)} {as_text(getattr(config, name))}" for name in names]
    return f"{argument('preset')} {config.preset}: {' '.join(chosen)} ({why})"


def as_text(value) -> str:
    """A setting as it would be typed: (64, 64) -> '64x64', 10.0 -> '10', '' -> 'none'."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def default_text(row: dataclasses.Field) -> str:
    """What auto has of a setting, and where others say otherwise: '32; paper: 64; demo: 16'."""
    if row.name == "preset":
        return "auto, for the built-in images demo"
    if row.default in (dataclasses.MISSING, "") or isinstance(row.default, bool):
        return ""
    named = ("paper", "modern", "demo")
    usual, *others = (as_text(PRESETS[name].get(row.name, row.default)) for name in ("auto", *named))
    usual = CHOSEN.get(row.name, usual)
    others = [
        f"{text} at 64x64" if name == "demo" and row.name in BY_SIZE else text
        for name, text in zip(named, others)
    ]
    is_chosen = row.name in CHOSEN
    differing = [
        f"{name}: {text}"
        for name, text in zip(named, others)
        if text != usual and not (is_chosen and name in CHOOSING)
    ]
    return "; ".join([usual, *differing])
