"""The run directory: made, found again, resumed; its checkpoints; the generator that it holds.

    generator = load_generator("runs/imgs")        # z (N, latent_dim) -> images (N, height, width, channels) in [-1, 1]

    with open_run(config, manifest) as run:        # a new directory, or an old one that fits; locked against a second process
        gan = build(config, channels=3, classes=0)
        step = run.restore(gan)                    # 0 for a new run
        run.save(gan)

Every file is written beside its place and renamed into it, so a kill or a power cut leaves the old file or
the new one. A checkpoint is a directory of its own with the checksums of its files: one that a full disk or a
bad one has spoilt is passed over.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

import keras_dcgan
from keras_dcgan import cli, cpu_layers, devices, files, versions
from keras_dcgan.augment import POLICIES
from keras_dcgan.config import (
    ADAPTIVE,
    SCHEMA,
    TrainConfig,
    as_text,
    check_path,
    check_run,
    check_trained,
    checkpoints,
    choices,
    load_config,
    written_with,
)
from keras_dcgan.gan import DCGAN
from keras_dcgan.losses import LOSSES
from keras_dcgan.models import discriminator, generator, plain
from keras_dcgan.optimizers import Adam, Decay

SUMS = "sha256.json"  # in a checkpoint


@devices.keras_defaults()
def load_generator(path: str | Path, last: bool = False) -> keras.Model:
    """The run's best generator or its last, float32: z (N, latent_dim) -> images (N, height, width, channels)
    in [-1, 1]."""
    check_trained(path)
    file = Path(path) / ("generator_last.keras" if last else "generator.keras")
    if not file.is_file():
        raise FileNotFoundError(
            f"--run: expected a run directory that has drawn its first tick, received {path} (no {file})"
        )
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its zip and HDF5 readers raise
        of_file = versions.of_keras_file(file)  # {} of a damaged one, which no version can read
        needed = versions.newer(of_file) or (versions.newer(written_with(path)) if of_file else "")
        why = versions.why_not(error, needed)
        raise ValueError(
            f"--run: expected a generator that Keras can load, received {file} ({why})"
        ) from error


def load_classes(path: str | Path) -> list[str]:
    """The names of the run's classes in the order of their labels; [] where it is not conditional."""
    return of_data(path, "classes")


def of_data(path: str | Path, name: str):
    """What data.json says of the images that the run was begun with."""
    try:
        return json.loads((Path(path) / "data.json").read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"--run: expected the data.json of a run, received {path}/data.json ({error!r})"
        ) from error


@devices.keras_defaults()
def load_discriminator(path: str | Path) -> keras.Model:
    """The run's newest discriminator for use, float32: images in [-1, 1], or [images, label] -> logits."""
    config = load_config(path)
    channels, classes = of_data(path, "channels"), len(load_classes(path))
    network = discriminator(config.size, channels, config.filters, classes, **judging(config))
    load_networks(path, discriminator=network)
    return plain(network)


def judging(config: TrainConfig) -> dict:
    """What the discriminator alone is built with."""
    return {"norm": config.d_norm, "minibatch_std": config.minibatch_std, "stem": config.d_stem}


def load_networks(path: str | Path, **networks: keras.Model):
    """The weights of the run's newest sound checkpoint -> its generator, discriminator or ema_generator,
    built anew."""
    _read(_newest_checkpoint(path), networks, written_with(path))


def _read(checkpoint: Path, objects: dict, written: dict[str, str]):
    """Its content into all of the objects. Raises ValueError where it does not fit them."""
    try:
        # "Partial": a checkpoint may hold more than is wanted, of which TensorFlow would complain in a line
        # for each variable.
        tf.train.Checkpoint(**objects).read(
            str(checkpoint / "state")
        ).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        why = versions.why_not(error, versions.newer(written))
        raise ValueError(
            f"--run: expected a checkpoint of these networks, received {checkpoint} ({why})"
        ) from error


def _newest_checkpoint(path: str | Path) -> Path:
    check_path("--run", Path(path))
    check_trained(path)
    place, _ = Run(Path(path)).newest()
    if place is None:
        raise FileNotFoundError(f"--run: expected a run directory with checkpoints, received {path}")
    return place


def check_source(config: TrainConfig, manifest: dict):
    """Raises ValueError where the networks of --init-from would not fit. A run that has begun needs its
    source no more."""
    path = config.init_from
    if not path or Run(Path(config.run)).checkpoints():
        return
    with cli.on_behalf_of("--init-from", "--run"):
        there = load_config(path).to_json() | {name: of_data(path, name) for name in ("channels", "classes")}
        _newest_checkpoint(path)
    here = config.to_json() | {name: manifest[name] for name in ("channels", "classes")}
    names = (
        "size",
        "channels",
        "latent_dim",
        "filters",
        "upsample",
        "d_norm",
        "d_stem",
        "minibatch_std",
        "classes",
    )
    against = [
        f"{name} {as_text(there[name])}, here {as_text(here[name])}"
        for name in names
        if there[name] != here[name]
    ]
    if against:
        raise ValueError(
            f"--init-from: expected a run of the same networks, received {path} with {'; '.join(against)}"
        )


@devices.keras_defaults()
def build(config: TrainConfig, channels: int, classes: int = 0) -> DCGAN:
    """Networks, optimizers and loss of a run; call it in the scope of the strategy that trains. Raises
    ValueError for what cannot be done on several devices."""
    precision = devices.precision(config.precision)
    synchronized = tf.distribute.get_strategy().num_replicas_in_sync > 1
    if synchronized and config.d_norm == "batch" and (config.r1 or config.r2):
        # The second derivative through what replicas tell each other of their batches came out 4 % off
        # (TensorFlow 2.21).
        weight, name = (config.r1, "--r1") if config.r1 else (config.r2, "--r2")
        raise ValueError(
            f"{name}: expected 0, or --d-norm spectral or none, on several devices, received {weight:g}"
        )
    keras.utils.set_random_seed(config.seed)
    pictures = {"size": config.size, "channels": channels, "classes": classes, "filters": config.filters}
    latents = {"latent_dim": config.latent_dim, "upsample": config.upsample}
    kinds = keras.layers if devices.has_gpu() else cpu_layers
    training = {"precision": precision, "synchronized": synchronized, "kinds": kinds}
    gan = DCGAN(
        generator(**pictures, **latents, **training),
        discriminator(**pictures, **judging(config), **training),
        generator(**pictures, **latents),
        seed=config.seed,
    )
    rates = (Decay(rate, config.total_steps, config.decay) for rate in (config.g_lr, config.d_lr))
    optimizers = [Adam(rate, beta_1=config.beta1, beta_2=config.beta2) for rate in rates]
    if precision == "mixed_float16":
        optimizers = [keras.optimizers.LossScaleOptimizer(optimizer) for optimizer in optimizers]
    gan.compile(
        *optimizers,
        LOSSES[config.loss],
        config.ema_kimg,
        r1=config.r1,
        r2=config.r2,
        penalty_every=config.penalty_every,
        augment=POLICIES[config.augment],
        jit_compile=devices.compiles(config.jit),
        steps_per_execution=devices.steps_at_once(),
    )
    return gan


@contextlib.contextmanager
def open_run(config: TrainConfig, manifest: dict):
    """Yields the Run of `config.run`, new or found again, and holds its lock meanwhile.

    Raises ValueError, naming each setting that differs, where a run is there that these settings or images do
    not fit; OSError where the directory is not ours, cannot be written, or is in use by another process.
    """
    path = Path(config.run)
    check_run(config)
    names = "images", "fingerprint"
    # A run with checkpoints has a data.json: without it nobody can tell whether these are its images.
    has_begun = (path / "data.json").is_file() or Run(path).checkpoints()
    before = [of_data(path, name) for name in names] if has_begun else [manifest[name] for name in names]
    if before[1] != manifest["fingerprint"]:
        raise ValueError(
            f"--data: the run has {cli.counted(before[0], 'image')} of fingerprint {before[1]}, "
            f"received {manifest['images']:,} of "
            f"{manifest['fingerprint']} (the run is {path}; give another --run to start anew)"
        )
    path.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        run = Run(path, config.keep, written_with(path))
        run.remove_leftovers()
        here = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy", "pillow")}
        here = {"keras_dcgan": keras_dcgan.__version__, **here}
        about = {"schema": SCHEMA, "settings": config.to_json(), "versions": here}
        if config.preset in ADAPTIVE:
            about["chosen"] = choices(config, manifest["images"])
        reached = [int(place.name.removeprefix("step-")) for place in run.checkpoints()]
        if (
            max(reached, default=0) < config.total_steps
        ):  # else it is finished, and they tell how it was trained
            run.write_json("config.json", about)
            run.write_json("data.json", manifest)
        yield run


class Run:
    """What is written into one run directory."""

    def __init__(self, path: Path, keep: int = 1, written: dict[str, str] | None = None):
        self.path = path
        self.keep = keep
        self.written = written or {}  # with what, when it was opened

    def write_json(self, name: str, content: dict):
        files.write(self.path / name, json.dumps(content, indent=1) + "\n")

    def remove_leftovers(self):
        """Unfinished files of a training that was killed: hidden, and named so. Not those in export/: another
        may be at work."""
        folders = [self.path, *(self.path / name for name in ("checkpoints", "samples", "logs"))]
        for leftover in [leftover for folder in folders for leftover in folder.glob(".*.part")]:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def checkpoints(self) -> list[Path]:
        """Finished checkpoints, oldest first."""
        return checkpoints(self.path)

    def seconds(self, step: int) -> float | None:
        """How long the run had been trained at the checkpoint of that step; None where that does not tell."""
        try:
            return json.loads((self.checkpoint(step) / SUMS).read_text(encoding="utf-8"))["seconds"]
        except (OSError, ValueError, KeyError):  # an older version's
            return None

    def checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:09d}"

    def save(self, gan: DCGAN, best_step: int | None = None, seconds: float = 0.0):
        """generator_last.keras, and generator.keras if this step is the best or none is; then a checkpoint of
        everything that a step reads, and of how many seconds it took to get there. Of the older checkpoints
        the newest few stay, and the best."""
        step = gan.steps_taken
        place = self.checkpoint(step)
        work = [
            lambda: self._save_generators(gan, best_step in (None, step)),
            lambda: self._save_checkpoint(gan, place, seconds),
        ]
        if not self.checkpoints():
            # so that a generator without any checkpoint is a run that has lost them: see config.check_run
            work.reverse()
        for save in work:
            save()
        reached = [
            old for old in self.checkpoints() if old.name <= place.name
        ]  # beyond lie spoilt ones at most
        for old in reached[: -self.keep]:
            if best_step is None or old.name != f"step-{best_step:09d}":
                shutil.rmtree(old)

    def _save_generators(self, gan: DCGAN, is_best: bool):
        last = self.path / "generator_last.keras"
        self._write(last.name, gan.ema_generator.save)
        if is_best or not (self.path / "generator.keras").exists():
            self._write("generator.keras", lambda file: shutil.copyfile(last, file))

    def _save_checkpoint(self, gan: DCGAN, place: Path, seconds: float):
        if place.exists() and _is_sound(place):
            return
        beside = place.with_name(f".{place.name}.part")
        beside.mkdir(parents=True, exist_ok=True)
        tf.train.Checkpoint(**_state(gan), **_loss_scales(gan)).write(str(beside / "state"))
        sums = {file.name: _sha256(file) for file in sorted(beside.iterdir())}
        about = {"step": gan.steps_taken, "seconds": seconds, "sha256": sums}
        (beside / SUMS).write_text(json.dumps(about), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)  # a spoilt one
        files.replace(beside, place)  # on the disk, before older ones are removed

    def _write(self, name: str, write: Callable[[Path], object]):
        beside = self.path / ".generator.part"
        beside.mkdir(exist_ok=True)
        write(beside / name)  # a directory of its own, since Keras insists on how the name ends
        files.replace(beside / name, self.path / name)
        beside.rmdir()

    def newest(self) -> tuple[Path | None, list[str]]:
        """The newest sound checkpoint, None where there is none yet, and the names of unsound ones that were
        passed over. Raises ValueError where there are checkpoints, and none is sound."""
        spoilt = []
        for place in reversed(self.checkpoints()):
            if _is_sound(place):
                return place, spoilt
            spoilt.append(place.name)
        if spoilt:
            raise ValueError(
                f"--run: expected a sound checkpoint in {self.path}, received only spoilt ones: "
                f"{', '.join(spoilt)}"
            )
        return None, []

    def restore(self, gan: DCGAN) -> tuple[int, list[str]]:
        """Loads that checkpoint into a built model, if there is one -> (its step, the names of those that
        were passed over)."""
        place, spoilt = self.newest()
        if place is None:
            return 0, []
        _read(place, _state(gan), self.written)
        tf.train.Checkpoint(**_loss_scales(gan)).read(str(place / "state")).expect_partial()
        return gan.steps_taken, spoilt


def _state(gan: DCGAN) -> dict:
    return {
        "generator": gan.generator,
        "discriminator": gan.discriminator,
        "ema_generator": gan.ema_generator,
        "g_optimizer": getattr(gan.g_optimizer, "inner_optimizer", gan.g_optimizer),
        "d_optimizer": getattr(gan.d_optimizer, "inner_optimizer", gan.d_optimizer),
        "sums": gan.sums,  # of a tick that goes on
        "step": gan.step,
        "stream": gan.stream,
    }


def _loss_scales(gan: DCGAN) -> dict:
    """float16's loss scales, apart from the rest: a run may go on in another arithmetic, which has none."""
    optimizers = {"g_loss_scale": gan.g_optimizer, "d_loss_scale": gan.d_optimizer}
    return {
        name: [optimizer.step_counter, optimizer.dynamic_scale]
        for name, optimizer in optimizers.items()
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    }


def _is_sound(place: Path) -> bool:
    try:
        sums = json.loads((place / SUMS).read_text(encoding="utf-8"))["sha256"]
        return bool(sums) and all(_sha256(place / name) == value for name, value in sums.items())
    except (OSError, ValueError, KeyError):
        return False


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _locked(path: Path):
    """One process at a time. The system drops the lock with the process, however that ends."""
    with open(path / ".lock", "wb") as file:
        try:
            _lock(file)
        except OSError as error:
            if error.errno not in (
                errno.ENOSYS,
                errno.ENOLCK,
                errno.EOPNOTSUPP,
            ):  # these on Lustre, and some FUSE
                raise BlockingIOError(
                    f"--run: expected a run that nobody trains at the moment, received {path}"
                ) from error
            print(
                f"warning: {path} lies where nothing can be locked: see to it that nobody else trains it",
                file=sys.stderr,
            )
        yield


def _lock(file):
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
