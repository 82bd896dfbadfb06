"""Every setting of a training run: one frozen dataclass from which the flags, their help and config.json are
built. Stdlib only.

    config = from_flags(["--data", "./imgs", "--size", "32"])
    config.size, config.batch                      # ((32, 32), 32)

A setting is one row: its group, its default, how its text is read, its help. What a preset says differently
stands in PRESETS; what the user types wins over both.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from keras_dcgan import cli, versions

SCHEMA = 1  # of config.json; a run directory of a later schema is refused
SHOWN_RUNS = 8  # where another one is missing
PATTERN = "[]\\"  # in a path; TensorFlow takes what it reads for a pattern of these
GROUPS = ("Main", "Model", "Optimisation", "Performance", "Logging")


def number(low: float, high: float = math.inf, unit: str = "", kind=float, above: bool = False):
    """A reader of numbers from `low` to `high`; `above` leaves `low` itself out."""
    low_text, high_text = (
        f"{bound:g}" if kind is float or math.isinf(bound) else str(bound) for bound in (low, high)
    )
    bounds = f"{'above' if above else 'from'} {low_text}" + (
        f" to {high_text}" if high < math.inf else "" if above else " up"
    )
    expected = f"expected a {'whole ' if kind is int else ''}number {bounds}{unit and ' ' + unit}"

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (above and value == low) or math.isinf(value):
            raise cli.Expected(f"{expected}, received {text!r}")
        return value

    read.__name__ = "N"  # what --help shows for the value
    return read


def one_of(*choices: str):
    def read(text):
        if text not in choices:
            raise cli.Expected(f"expected one of {', '.join(choices)}, received {text!r}")
        return text

    read.__name__ = "|".join(choices)
    return read


def channels(text: str) -> int | str:
    return int(text) if text in ("1", "3", "4") else one_of("auto", "1", "3", "4")(text)


channels.__name__ = "auto|1|3|4"


def side_lengths(text: str) -> tuple[int, int]:
    """'64' -> (64, 64); '48x64' -> (48, 64), height first."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and 16 <= int(side) <= 512 for side in sides):
        raise cli.Expected(f"expected N or HxW with sides from 16 to 512 pixels, received {text!r}")
    return int(sides[0]), int(sides[-1])


def setting(group: str, default, read, help: str, *, placeholder: str = "", resume: bool = False):
    """A row of TrainConfig. `resume`: the setting may change when a run goes on."""
    return field(
        default=default,
        metadata={"group": group, "read": read, "help": help, "placeholder": placeholder, "resume": resume},
    )


@dataclass(frozen=True)
class TrainConfig:
    data: str = setting(
        "Main",
        dataclasses.MISSING,
        cli.source,
        "a folder of images, a .zip, .npy, .npz, 'shards/*.tfrecord', or the word demo for the built-in pictures",
        placeholder="PATH",
        resume=True,  # images that have moved; whether they are the same, their fingerprint says
    )
    run: str = setting(
        "Main", "", cli.path, "the run directory [runs/NAME-OF-THE-DATA]", placeholder="DIR", resume=True
    )
    preset: str = setting(
        "Main",
        "auto",
        one_of("paper", "auto", "demo", "classic", "classic-demo"),
        "the row of settings to start from: auto, demo and paper, or what auto and demo were up to 0.1: classic, classic-demo",
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
        "Main", False, None, "the first level of folders are classes, to be asked for by name"
    )
    cache: str = setting(
        "Main",
        "",
        cli.path,
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
        cli.path,
        "start from another run's networks, of the same sizes and classes, in place of random ones",
        placeholder="DIR",
    )
    seed: int = setting(
        "Main", 0, number(0, 2**31 - 1, kind=int), "of weights, latents and the order of the images"
    )
    deterministic: bool = setting(
        "Main", False, None, "the same bits every time, also on a GPU; slower there"
    )
    dry_run: bool = setting(
        "Main", False, None, "prepare, build, take one step, print the plan; write nothing", resume=True
    )

    latent_dim: int = setting("Model", 100, number(1, 4096, kind=int), "length of the latent vector z")
    filters: int = setting(
        "Model",
        64,
        number(1, 1024, kind=int),
        "channels of the layers next to the image; at most 8 times as many inside",
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
        "weight of the penalty on D's gradient at real images; the preset auto goes by the size",
    )
    r2: float = setting("Optimisation", 0.0, number(0), "the same at generated images")
    penalty_every: int = setting(
        "Optimisation",
        8,
        number(1, 1000, kind=int),
        "steps between two penalties, which are that many times as strong",
    )
    g_lr: float = setting("Optimisation", 2e-4, number(0, 10, above=True), "Adam's learning rate, generator")
    d_lr: float = setting(
        "Optimisation", 2e-4, number(0, 10, above=True), "Adam's learning rate, discriminator"
    )
    beta1: float = setting(
        "Optimisation", 0.5, number(0, 0.9999), "how much Adam's mean of the gradients keeps at each step"
    )
    beta2: float = setting("Optimisation", 0.999, number(0, 0.9999), "the same for its mean of their squares")
    decay: float = setting(
        "Optimisation",
        0.0,
        number(0, 1),
        "the last share of the training, over which both learning rates fall to 0; a longer --kimg raises them again",
    )
    augment: str = setting(
        "Optimisation",
        "none",
        one_of("none", "colour", "translation", "cutout", "all"),
        "random changes of all that the discriminator sees, lest it learn the images by heart; "
        "the preset auto goes by their number and --kimg",
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
        "compile the step with XLA; auto: on a GPU",
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
        "measure samples at each tick; generator.keras is then the best so far, not the last",
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
        "when the samples fall apart or stop improving",
        resume=True,
    )
    keep: int = setting(
        "Logging", 3, number(1, kind=int), "newest checkpoints to keep, beside the best", resume=True
    )

    @property
    def preparation(self) -> dict:
        """What data.prepare is told of how images are made ready, so that others can be made ready as a run's
        own were."""
        return {
            "crop": self.crop,
            "background": self.background,
            "max_pixels": self.max_pixels,
            "cache": self.cache or None,
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
    def from_json(cls, settings: dict) -> "TrainConfig":
        """The settings of config.json; ValueError for a name that this version does not know."""
        if settings.get("data") == "demo":
            settings = {**settings, "data": portraits(settings)}
        known = {row.name for row in dataclasses.fields(cls)}
        unknown = sorted(settings.keys() - known)
        if unknown:
            raise ValueError(f"expected settings known to this version, received {', '.join(unknown)}")
        return cls(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        )


# By measurement: see tools/RECIPE.md.
AVERAGED = {"ema_kimg": 10.0, "precision": "auto", "batch": 32}
CLASSIC = {**AVERAGED, "g_lr": 4e-4, "d_lr": 4e-4, "decay": 0.5}
AUTO = {
    **CLASSIC,
    "beta1": 0.0,
    "loss": "relativistic",
    "d_norm": "none",
    "d_stem": 16,
    "minibatch_std": 4,
    "penalty_every": 1,
}
PRESETS = {
    # Radford et al. 2015 as it stands in TrainConfig's defaults: no moving average, float32, batch 64 (the
    # paper's 128 is a flag).
    "paper": {},
    "auto": AUTO,
    # For --data demo, where auto chooses it: clean portraits within ten minutes on two CPU cores.
    "demo": {
        **AUTO,
        "g_lr": 8e-4,
        "d_lr": 8e-4,
        "r1": 6.0,
        "r2": 6.0,
        "filters": 32,
        "kimg": 50.0,
        "tick_kimg": 4.0,
    },
    # auto and demo as they were up to 0.1: batch norm in the discriminator too, cross-entropy, no penalties.
    "classic": CLASSIC,
    "classic-demo": {**AVERAGED, "filters": 32, "kimg": 100.0, "tick_kimg": 4.0},
}
OLD_DEMO = "demo:4000"
BEFORE = {"auto": "classic", "demo": "classic-demo"}
ADAPTIVE = ("auto", "classic")


FEW = 5_000  # images
# times, for auto: 4,000 portraits, shown 12 times, came out far better without (distance 20, 52 with shifts)
SELDOM = 15
# times that a training shows each image; at 5 shifts cost quality, at 12 they save it: see tools/RECIPE.md
OFTEN = 10


def penalty(size: tuple[int, int]) -> float:
    """The gradient penalties' weight that auto takes: by the pixels, since an image's gradient has a part for
    each of them."""
    return float(f"{size[0] * size[1] / 1700:.2g}")


def augmentation(images: int, kimg: float, preset: str = "auto") -> tuple[str, str]:
    """What auto or classic takes for so many images, shown for so long, and why."""
    times = 1000 * kimg / images
    shown = f"each of {images:,} images is shown {f'{times:,.0f}' if times >= 10 else f'{times:.2g}'} times"
    seldom = "none", f"{shown}, too seldom to be learned by heart"
    if preset == "auto" and times <= SELDOM:
        return seldom
    if images <= FEW:
        few = f"{images:,} images are few" if images > 1 else "1 image is little"
        return (
            "all",
            f"{few}, and the discriminator would soon know {'them' if images > 1 else 'it'} by heart",
        )
    if times > OFTEN:
        return "translation", f"{shown}, and small shifts keep the discriminator from learning them by heart"
    return seldom


FEWEST = 100  # distinct images: with 500 the generator still draws new ones (README)
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
        few = f"{config.kimg:g} kimg are only {cli.counted(config.total_steps, 'step')}"
        usual = TrainConfig(data="demo", **PRESETS["demo"]).total_steps
        found.append(
            f"note: {few}: expect little more than blurs of colour; the built-in faces take "
            f"{usual:,} (--data demo)"
        )
    return found


def from_flags(arguments: list[str] | None = None, images: int | None = None) -> TrainConfig:
    """The command line (sys.argv without arguments) -> settings. A mistake is one line on stderr and exit
    status 2. `images`: their number, once it is known; auto adapts to it."""
    typed = vars(parser().parse_args(arguments))
    run = typed.get("run", default_run(typed["data"]))
    begun = settings_of(run)
    if typed["data"] == "demo":
        typed["data"] = portraits(begun)
    preset = as_begun(typed.get("preset", "demo" if cli.is_demo(typed["data"]) else "auto"), begun)
    settings = {"run": run, **PRESETS[preset], **typed, "preset": preset}
    # What was chosen at the beginning stays, also when a longer --kimg would choose otherwise.
    kept = begun if begun.get("preset") in ADAPTIVE else {}
    if preset == "auto":
        usual = penalty(settings.get("size", TrainConfig.size))
        settings = {name: kept.get(name, usual) for name in ("r1", "r2")} | settings
    if preset in ADAPTIVE:
        chosen = kept.get("augment")
        if images and not chosen:
            chosen, _ = augmentation(images, settings.get("kimg", TrainConfig.kimg), preset)
        settings = {"augment": chosen or TrainConfig.augment} | settings
    return TrainConfig(**settings)


def settings_of(run: str) -> dict:
    """What config.json says, of whatever version; {} where there is no run yet, or not one of ours, as
    opening it will say."""
    try:
        settings = json.loads((Path(run) / "config.json").read_text(encoding="utf-8"))["settings"]
        return settings if isinstance(settings, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def portraits(begun: dict) -> str:
    """What a run whose data are the demo's has to name: those of the last release are fewer."""
    data = begun.get("data")
    return OLD_DEMO if data == OLD_DEMO or (data == "demo" and "penalty_every" not in begun) else "demo"


def as_begun(preset: str, begun: dict) -> str:
    """The row of PRESETS that a run goes on with: one of the last release began with what `preset` was
    then."""
    is_older = begun and "penalty_every" not in begun and begun.get("preset") == preset
    return BEFORE.get(preset, preset) if is_older or begun.get("preset") == BEFORE.get(preset) else preset


def choices(config: TrainConfig, images: int) -> str:
    """What an adaptive preset settled on, as flags, and why."""
    augment, why = augmentation(images, config.kimg, config.preset)
    if config.augment != augment:  # typed, or chosen when the run began
        why += f"; by itself it would take --augment {augment}"
    names = [*PRESETS[config.preset], *(("r1", "r2") if config.preset == "auto" else ()), "augment"]
    chosen = [f"{flag(name)} {as_text(getattr(config, name))}" for name in names]
    return f"--preset {config.preset}: {' '.join(chosen)} ({why})"


def default_run(data: str) -> str:
    """runs/NAME-OF-THE-DATA: './imgs/' -> 'runs/imgs', 'cats.zip' -> 'runs/cats', 'shards/*.tfrecord' ->
    'runs/shards'."""
    # Not pathlib's: those raise where a folder may not be entered, a name is too long or a link leads to
    # itself.
    path = Path(os.path.realpath(data.rpartition("/")[0] if data.endswith(".tfrecord") else data))
    name = (
        os.fsencode(path.name if os.path.isdir(path) else path.stem)
        .decode(errors="replace")
        .replace("\ufffd", "_")
    )
    return str(Path("runs") / (name.translate(dict.fromkeys(map(ord, PATTERN), "_")) or "images"))


def load_config(path: str | Path) -> TrainConfig:
    """The settings of a run directory. Raises OSError where there is none, ValueError where it belongs to
    another version."""
    file = Path(path) / "config.json"
    if not file.is_file():
        raise _no_run("--run", Path(path))
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        schema, settings = content["schema"], content["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--run: expected the config.json of a run, received {file} ({error!r})") from error
    if schema != SCHEMA:
        raise ValueError(
            f"--run: expected a run directory of schema {SCHEMA}, received schema {schema} in {file}"
        )
    try:
        return TrainConfig.from_json(settings)
    except ValueError as error:
        why = versions.why_not(error, versions.newer(written_with(path)))
        raise ValueError(
            f"--run: expected a run that this version can read, received {file} ({why})"
        ) from error


def written_with(path: str | Path) -> dict[str, str]:
    """{package: version} of what a run was last trained with and is read with; {} where it does not tell."""
    try:
        there = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))["versions"]
        return {name: there[name] for name in ("keras_dcgan", "tensorflow", "keras") if name in there}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def check_trained(path: str | Path, flag: str = "--run"):
    """Raises OSError where there is no run, ValueError where it is untrained: at once, since TensorFlow's
    import takes seconds. Who has nothing but a generator has a trained one."""
    path = Path(path)
    has_generator, rows = (path / "generator.keras").is_file(), path / "metrics.jsonl"
    if not (path / "config.json").is_file():
        if not has_generator:
            raise _no_run(flag, path)
        return
    is_without_ticks = not rows.read_text(encoding="utf-8").strip() if rows.is_file() else not has_generator
    has_steps = any(place.name > "step-000000000" for place in checkpoints(path))
    if is_without_ticks and not has_steps and not load_config(path).init_from:
        raise ValueError(
            f"{flag}: expected a trained run, received {path}, which is untrained: it has not ended "
            "its first tick"
        )


def checkpoints(run: str | Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted((Path(run) / "checkpoints").glob("step-*"))


def _no_run(flag: str, path: Path) -> FileNotFoundError:
    """Says also which runs there are: beside it, inside it, and where fit makes them."""
    places = {
        file.parent for root in (path.parent, path, Path("runs")) for file in root.glob("*/config.json")
    }
    found = [str(place) for place in sorted(places) if (place / "data.json").is_file()]
    there = f"; there are {', '.join(found[:SHOWN_RUNS])}" if found else ""
    there += f" and {len(found) - SHOWN_RUNS} more" if len(found) > SHOWN_RUNS else ""
    return FileNotFoundError(
        f"{flag}: expected a run directory, received {path} (no {path / 'config.json'}{there})"
    )


def check_path(flag: str, path: Path):
    """Raises ValueError where `path` is none of this machine, and where TensorFlow (2.21) could write and not
    read, or neither."""
    if cli.OF_ANOTHER_MACHINE.match(path.as_posix()):  # gs://bucket is gs:/bucket by now
        raise ValueError(f"{flag}: expected a path of this machine, received {path}")
    name = str(path)
    if name.encode(errors="replace") != os.fsencode(
        name
    ):  # TensorFlow writes names in UTF-8, Python in the locale's encoding
        raise ValueError(
            f"{flag}: expected a path in UTF-8, or a locale of UTF-8 (LC_ALL=C.UTF-8), received {path}"
        )
    if set(PATTERN) & set(path.as_posix()):
        raise ValueError(
            f"{flag}: expected a path without any of {' '.join(PATTERN)}, which TensorFlow cannot "
            f"read, received {path}"
        )


def check_place(flag: str, path: Path):
    """Raises also OSError where `path` is no folder, and none can be made there, or nothing be written into
    it."""
    check_path(flag, path)
    check_folder(flag, path)


def check_file(flag: str, path: Path):
    """Raises OSError where no file can be written as `path`: before the work, and not after it."""
    if path.is_dir():
        raise IsADirectoryError(f"{flag}: expected the name of a file, received the directory {path}")
    check_folder(flag, path.parent)


def check_folder(flag: str, path: Path):
    """Raises OSError where no files can be written into `path`, nor it be made."""
    there = next(folder for folder in (path, *path.absolute().parents) if os.path.exists(folder))
    if not os.path.isdir(there):
        raise NotADirectoryError(f"{flag}: expected a directory, received the file {there}")
    if not os.access(there, os.W_OK):
        raise PermissionError(f"{flag}: expected a directory that can be written, received {path}")


def check_run(config: TrainConfig):
    """Raises ValueError, naming each setting that differs and may not, where `config.run` is a run that has
    begun with others; OSError where there is something else."""
    path = Path(config.run)
    check_place("--run", path)
    if (path / "config.json").is_file():
        before = load_config(path)
        fixed = [row.name for row in dataclasses.fields(TrainConfig) if not row.metadata["resume"]]
        against = [
            f"{flag(name)}: the run has {as_text(getattr(before, name))}, received {as_text(getattr(config, name))}"
            for name in fixed
            if getattr(before, name) != getattr(config, name)
        ]
        if against:
            raise ValueError(f"{'; '.join(against)} (the run is {path}; give another --run to start anew)")
        check_nothing_is_lost(path)
    elif path.is_dir() and any(
        not entry.name.startswith(".") for entry in path.iterdir()
    ):  # a kill may have left a lock
        raise FileExistsError(
            f"--run: expected a new or empty directory, or a run of this program, received {path}"
        )


def check_nothing_is_lost(path: Path):
    """Raises FileNotFoundError where a run has been trained and its checkpoints are gone: their disk may be
    away, and to begin anew would replace all that is left. What a run killed before its first checkpoint has
    written is nothing to lose."""
    if any((path / "checkpoints").glob("step-*")):
        return
    rows = [row for row in read_rows(path / "metrics.jsonl") if row["step"] > 0]
    names = [name for name in ("generator.keras", "generator_last.keras") if (path / name).exists()]
    if rows or names:
        left = f"{rows[-1]['kimg']:g} kimg in metrics.jsonl" if rows else names[0]
        raise FileNotFoundError(
            f"--run: expected checkpoints to resume from, received {path} with {left} and nothing "
            f"in {path / 'checkpoints'}: "
            "put them back, or give another --run to start anew"
        )


def read_rows(file: Path) -> list[dict]:
    """The rows of a metrics.jsonl; [] where there is none. A row that a kill has torn is left out."""
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            rows += [row] if isinstance(row, dict) and {"step", "kimg"} <= row.keys() else []
    return rows


def parser() -> cli.Parser:
    result = cli.Parser(
        "keras_dcgan.fit", "Trains a DCGAN on a folder of images. Run the same command again to resume."
    )
    groups = {name: result.add_argument_group(name) for name in GROUPS}
    for row in dataclasses.fields(TrainConfig):
        add_flag(groups[row.metadata["group"]], row.name)
    return result


def add_flag(group, name: str):
    """The flag of a setting, to a parser or to a group of one."""
    row = TrainConfig.__dataclass_fields__[name]
    # Absent unless typed, so that a preset can tell what the user said from what is only the default.
    common = {"default": argparse.SUPPRESS, "help": row.metadata["help"] + default_text(row)}
    if row.metadata["read"] is None:
        common["action"] = argparse.BooleanOptionalAction if row.name == "flip" else "store_true"
    else:
        common["type"] = row.metadata["read"]
        common["metavar"] = row.metadata["placeholder"] or row.metadata["read"].__name__
        common["required"] = row.default is dataclasses.MISSING
    group.add_argument(flag(name), **common)


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def as_text(value) -> str:
    """A setting as it would be typed: (64, 64) -> '64x64', 10.0 -> '10', '' -> 'none'."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def default_text(row) -> str:
    """' [paper: 64; demo: 32]': the default, and the presets that say otherwise."""
    if row.default in (dataclasses.MISSING, "") or isinstance(row.default, bool):
        return ""
    others = [
        f"{name}: {as_text(preset[row.name])}" for name, preset in PRESETS.items() if row.name in preset
    ]
    usual = f"{'paper: ' if others else ''}{as_text(row.default)}"
    return f" [{'; '.join([usual, *others])}]".replace("%", "%%")
