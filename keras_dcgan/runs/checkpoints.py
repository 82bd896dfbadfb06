"""What of a run needs TensorFlow: its generator and discriminator, and its checkpoints.

    generator = load_generator(Run("runs/imgs"))       # z (N, latent_dim) -> images (N, height, width, channels) in [-1, 1]
    step, corrupt = restore(run, gan)                  # 0 for a new run
    save(run, gan)

A checkpoint is a folder of its own with the checksums of its files: one that a full disk or a bad one has
left corrupt is passed over.
"""

import hashlib
import json
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from keras_dcgan import devices, files, versions
from keras_dcgan.config import TrainConfig, as_text
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.errors import Refused, Unavailable, renamed
from keras_dcgan.model.gan import DCGAN
from keras_dcgan.model.networks import discriminator, plain
from keras_dcgan.model.shapes import base_grid, widths
from keras_dcgan.runs.directory import SUMS, Run


@devices.keras_defaults()
def load_generator(run: Run, last: bool = False) -> keras.Model:
    """The run's generator.keras or its last one, float32: z (N, latent_dim) -> images (N, height, width, channels)
    in [-1, 1]."""
    run.check_trained()
    file = run.generator(last)
    if not file.is_file():
        received = f"{run.path} (no {file})"
        raise Unavailable("run", "a run directory that has drawn its first tick", received)
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its zip and HDF5 readers raise
        of_file = versions.of_keras_file(file)  # {} of a damaged one, which no version can read
        needed = versions.newer(of_file) or (versions.newer(run.written_with) if of_file else "")
        why = versions.why_not(error, needed)
        raise Refused("run", "a generator that Keras can load", f"{file} ({why})") from error


def load_generator_and_sha256(run: Run, last: bool = False) -> tuple[keras.Model, str]:
    """The checksum is of the very file that was loaded: a training may put another one there at any moment."""
    before = run.generator_sha256(last) if run.generator(last).is_file() else ""
    generator, now = load_generator(run, last), run.generator_sha256(last)
    return (generator, now) if now == before else load_generator_and_sha256(run, last)


@devices.keras_defaults()
def load_discriminator(run: Run) -> keras.Model:
    """The run's newest discriminator for use, float32: images in [-1, 1], or [images, label] -> logits."""
    config, manifest = run.config, run.manifest
    network = discriminator(
        config.size, manifest.channels, classes=len(manifest.classes), **config.discriminator_options
    )
    load_networks(run, discriminator=network)
    return plain(network)


def load_networks(run: Run, **networks: keras.Model):
    """The weights of the run's newest sound checkpoint -> its generator, discriminator or ema_generator,
    built anew."""
    _read(_newest(run), networks, run.written_with)


def check_source(config: TrainConfig, manifest: Manifest):
    """Raises Refused where the networks of `config.init_from` would not fit. A run that has begun needs its
    source no more."""
    if not config.init_from or Run(config.run, is_new=True).checkpoints:
        return
    with renamed(run="init_from"):
        source = Run(config.init_from)
        there = _shape_of(source.config, source.manifest)
        _newest(source)
    here = _shape_of(config, manifest)
    against = [
        f"{name} {as_text(there[name])}, here {as_text(here[name])}"
        for name in there
        if there[name] != here[name]
    ]
    if against:
        received = f"{config.init_from} with {'; '.join(against)}"
        raise Refused("init_from", "a run of the same networks", received)


def _shape_of(config: TrainConfig, manifest: Manifest) -> dict:
    names = ("latent_dim", "filters", "upsample", "d_norm", "d_stem", "minibatch_std", "blocks")
    *_, widest = widths(1, base_grid(config.size)[1], config.max_width)
    return {
        "size": config.size,
        "channels": manifest.channels,
        **{name: getattr(config, name) for name in names},
        "max_width": widest,  # where there are levels enough for it
        "classes": manifest.classes,
    }


def save(run: Run, gan: DCGAN, best_step: int | None = None, seconds: float = 0.0, keep: int = 1):
    """generator_last.keras, and generator.keras if `best_step` is this one or None; then a checkpoint of
    everything that a step reads, and of how many seconds it took to get there. Of the older checkpoints the
    newest `keep` stay, and that of `best_step`."""
    step = gan.steps_taken
    place = run.checkpoint(step)
    is_best = best_step in (None, step)
    if run.checkpoints:
        _save_generators(run, gan, is_best)
        _save_checkpoint(gan, place, seconds)
    else:  # the other way round: a generator without any checkpoint is a run that has lost them
        _save_checkpoint(gan, place, seconds)
        _save_generators(run, gan, is_best)
    reached = [old for old in run.checkpoints if old.name <= place.name]  # beyond lie corrupt ones at most
    for old in reached[:-keep]:
        if best_step is None or old != run.checkpoint(best_step):
            shutil.rmtree(old)


def _save_generators(run: Run, gan: DCGAN, is_best: bool):
    last, best = run.generator(last=True), run.generator()
    with files.replacing(last) as beside:
        gan.ema_generator.save(beside)
    if is_best or not best.exists():
        with files.replacing(best) as beside:
            shutil.copyfile(last, beside)


def _save_checkpoint(gan: DCGAN, place: Path, seconds: float):
    if place.exists() and is_sound(place):
        return
    shutil.rmtree(place, ignore_errors=True)  # a corrupt one
    with files.replacing(place) as beside:  # on the disk, before older ones are removed
        beside.mkdir()
        tf.train.Checkpoint(**_state(gan), **_loss_scales(gan)).write(str(beside / "state"))
        sums = {file.name: _sha256(file) for file in sorted(beside.iterdir())}
        about = {"step": gan.steps_taken, "seconds": seconds, "sha256": sums}
        (beside / SUMS).write_text(json.dumps(about), encoding="utf-8")


def restore(run: Run, gan: DCGAN) -> tuple[int, list[str]]:
    """Loads the newest sound checkpoint into a built model, if there is one -> (its step, the names of corrupt
    ones that were passed over)."""
    place, corrupt = newest(run)
    if place is None:
        return 0, []
    _read(place, _state(gan), run.written_with)
    tf.train.Checkpoint(**_loss_scales(gan)).read(str(place / "state")).expect_partial()
    return gan.steps_taken, corrupt


def newest(run: Run) -> tuple[Path | None, list[str]]:
    """The newest sound checkpoint, None where there is none yet, and the names of corrupt ones that were passed
    over. Raises Refused where there are checkpoints, and none is sound."""
    corrupt = []
    for place in reversed(run.checkpoints):
        if is_sound(place):
            return place, corrupt
        corrupt.append(place.name)
    if corrupt:
        received = f"only corrupt ones: {', '.join(corrupt)}"
        raise Refused("run", f"a sound checkpoint in {run.path}", received)
    return None, []


def _newest(run: Run) -> Path:
    files.check_path(run.path, "run")
    run.check_trained()
    place, _ = newest(run)
    if place is None:
        raise Unavailable("run", "a run directory with checkpoints", run.path)
    return place


def _read(checkpoint: Path, objects: dict, written: dict[str, str]):
    """Its content into all of the objects. Raises Refused where it does not fit them."""
    try:
        # "Partial": a checkpoint may hold more than is wanted, of which TensorFlow would complain in a line
        # for each variable.
        found = tf.train.Checkpoint(**objects).read(str(checkpoint / "state"))
        found.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        why = versions.why_not(error, versions.newer(written))
        raise Refused("run", "a checkpoint of these networks", f"{checkpoint} ({why})") from error


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
    """float16's loss scales, apart from the rest: a run may be resumed in another arithmetic, which has
    none."""
    optimizers = {"g_loss_scale": gan.g_optimizer, "d_loss_scale": gan.d_optimizer}
    return {
        name: [optimizer.step_counter, optimizer.dynamic_scale]
        for name, optimizer in optimizers.items()
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    }


def is_sound(checkpoint: Path) -> bool:
    """Whether its files are what their checksums say."""
    try:
        sums = json.loads((checkpoint / SUMS).read_text(encoding="utf-8"))["sha256"]
        return bool(sums) and all(_sha256(checkpoint / name) == value for name, value in sums.items())
    except (OSError, ValueError, KeyError):
        return False


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
