"""The DCGAN of a notebook: the training step of model/gan.py with defaults, names in place of objects, and what
Keras' own methods should do. `keras_dcgan.DCGAN` is this one.

    gan = DCGAN.of(prepare("./imgs"), filters=32)
    gan.compile(ema_kimg=10)                           # the rest as the preset auto has it
    gan.fit(batches(images, 32), steps_per_epoch=250, epochs=4)
    gan.draw(seeds=range(64))                          # uint8 (64, height, width, channels)

    run = train(images, "runs/imgs", kimg=100)         # what the verb `fit` does; the same again resumes
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from keras_dcgan import devices, process
from keras_dcgan.config import ADAPTIVE, PRESETS, TrainConfig, as_text, beta2, choices, penalty, rate, resolve
from keras_dcgan.data.feed import batches
from keras_dcgan.errors import Refused, renamed, spelled
from keras_dcgan.model import augment as augmentation
from keras_dcgan.model import gan
from keras_dcgan.model.losses import LOSSES, Loss
from keras_dcgan.model.networks import class_count, has_blocks
from keras_dcgan.model.optimizers import Adam
from keras_dcgan.pictures.draw import draw
from keras_dcgan.pictures.latents import latents
from keras_dcgan.runs import checkpoints, directory
from keras_dcgan.training import forecast, loop
from keras_dcgan.training.build import check_penalties, networks

if TYPE_CHECKING:
    from keras_dcgan.data.manifest import Manifest
    from keras_dcgan.data.sets import ImageSet
    from keras_dcgan.data.shards import ShardSet

AUTO = PRESETS["auto"]
ENDLESS = 2**40  # batches: more than anybody counts
NO_VALIDATION = "the loss of a GAN on other images says nothing of what it draws"
SAVED_APART = (
    "expected gan.ema_generator.save('x.keras'), which is what draws, or "
    "gan.save_weights('x.weights.h5'), from which training can continue"
)
ONE_OF_TWO = "a schedule of keras.optimizers.schedules in compile: there are two optimizers, and it knows one"


# Of fit's settings, those that the images or `run` tell.
PREPARATION = ("size", "channels", "conditional", "crop", "background", "max_pixels", "cache")
SETTLED = ("data", "run", *PREPARATION, "dry_run")
USUAL_BATCH = 32  # Keras' own
SETTINGS = [row.name for row in dataclasses.fields(TrainConfig) if row.name not in SETTLED]


def _named(argument: str, wanted, table: dict, kind: type):
    """The row of that name, or an object of the kind as it is."""
    if isinstance(wanted, kind):
        return wanted
    if not isinstance(wanted, str) or wanted not in table:
        raise Refused(argument, f"one of {', '.join(table)}, or a {kind.__name__}", repr(wanted))
    return table[wanted]


def _usual_rate(generator: keras.Model) -> float:
    """auto's, by the widest layers."""
    made = {layer.name: layer for layer in generator.layers}
    if not made.keys() >= {"project", "reshape", "to_image"}:  # another's
        return rate(TrainConfig.filters, TrainConfig.max_width, TrainConfig.size)
    filters, base = made["to_image"].input.shape[-1], made["reshape"].output.shape[-1]
    return rate(filters, base // filters, generator.output_shape[1:3])


def _check_number(argument: str, value: float, least: int, kind: type):
    if not isinstance(value, kind) or not least <= value < math.inf:  # type: ignore[operator]
        words = "a whole number" if kind is numbers.Integral else "a number"
        raise Refused(argument, f"{words} from {least} up", repr(value))


def _check_callback(callback: keras.callbacks.Callback):
    """Raises Refused for one of Keras' own that would fail after an epoch, or do half of what it says."""
    if isinstance(callback, keras.callbacks.ModelCheckpoint) and not callback.save_weights_only:
        raise Refused("callbacks", "ModelCheckpoint(..., save_weights_only=True)", "one that saves a model")
    kind = type(callback).__name__
    two = keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau
    if isinstance(callback, two):
        raise Refused("callbacks", ONE_OF_TWO, kind)
    if isinstance(callback, keras.callbacks.TerminateOnNaN):
        raise Refused("callbacks", "one that reads d_loss or g_loss, since there is no loss", kind)
    is_checkpoint = isinstance(callback, keras.callbacks.ModelCheckpoint)
    if is_checkpoint and not callback.save_best_only and callback.monitor in ("val_loss", "loss"):
        return  # at which it does not look then
    if is_checkpoint or isinstance(callback, keras.callbacks.EarlyStopping):
        mode = getattr(callback, "mode", "auto")
        if callback.monitor not in gan.MEANS or mode not in ("min", "max"):
            expected = f"monitor, one of {', '.join(gan.MEANS)}, and mode, min or max"
            raise Refused("callbacks", expected, f"{kind} of {callback.monitor}, {mode}")


def _inner(optimizer: keras.Optimizer) -> keras.Optimizer:
    """Within a LossScaleOptimizer."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _check_network(argument: str, network: keras.Model, end: str):
    """Raises Refused for a network of one's own that ends so that it would train without a word, and wrongly."""
    for output in (getattr(network, "outputs", None) or ())[:1]:
        last = output._keras_history.operation
        of_layer = getattr(last, "activation", None) is keras.activations.sigmoid
        if of_layer or type(last).__name__ == "Sigmoid":  # keras.ops
            raise Refused(argument, f"one that ends in {end}", "a sigmoid")


def _average_of(generator: keras.Model) -> keras.Model:
    """A generator of the same layers, in float32."""

    def clone(part):  # a layer, or what an operator has made
        precision = {"dtype": "float32"} if isinstance(part, keras.Layer) else {}
        return part.__class__.from_config(part.get_config() | precision)

    with devices.keras_defaults():
        return keras.models.clone_model(generator, clone_function=clone, recursive=True)


class Epochs(keras.callbacks.Callback):
    """Makes an epoch's means its own, and settles the averaged generator when it ends."""

    model: DCGAN

    def on_epoch_begin(self, epoch, logs=None):
        self.model.sums_before.assign(self.model.sums)

    def on_epoch_end(self, epoch, logs=None):
        self.model.settle()


class DCGAN(gan.DCGAN):
    """Trains a generator (z -> images in [-1, 1]) against a discriminator (images -> logits). Conditional ones
    take a label too, which the generator looks up in a layer named meaning.

    Networks of your own are functional or Sequential models; `discriminator` ends without a sigmoid, `generator` in
    tanh or the like. R1 and R2 at every step, which `compile` has by default, cost them second derivatives.

    `ema_generator`, by default a copy of `generator` in float32, holds the exponential moving average of its weights. It
    is what draws, and what is saved and exported. Its batch-norm statistics are recomputed at the end of each epoch, and
    by `draw`; who calls it or saves it in the middle of an epoch calls `recompute_statistics` first.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        ema_generator: keras.Model | None = None,
        seed: int = 0,
    ):
        if not getattr(generator, "inputs", None):
            expected = "a functional model, or a Sequential one with an Input"
            raise Refused("generator", expected, type(generator).__name__)
        _check_network("generator", generator, "images in [-1, 1], such as tanh's")
        _check_network("discriminator", discriminator, "logits: the loss has the sigmoid")
        if ema_generator is generator:
            raise Refused(
                "ema_generator", "another model of the same layers, or None", "the generator itself"
            )
        average = _average_of(generator) if ema_generator is None else ema_generator
        super().__init__(generator, discriminator, average, seed)
        # What `sums` were when the epoch began: an epoch's means, and a tick's, come of the same sums.
        self.sums_before = self.add_weight(
            self.sums.shape,
            "zeros",
            "float32",
            trainable=False,
            aggregation="only_first_replica",
            name="sums_before",
        )
        self.ema_kimg = AUTO["ema_kimg"]  # until compile says otherwise
        self.statistics_step: int | None = None  # the step whose weights they were computed for
        # Where the last `fit` of prepared images began: images, steps, and its batch.
        self.begun: tuple[int, int, int] | None = None

    @classmethod
    def of(
        cls,
        images: ImageSet | ShardSet,
        filters: int | None = None,
        *,
        max_width: int | None = None,
        latent_dim: int = 100,
        upsample: str = "transpose",
        d_norm: str = AUTO["d_norm"],
        d_stem: int = AUTO["d_stem"],
        minibatch_std: int = AUTO["minibatch_std"],
        blocks: int = 0,
        precision: str = "auto",
        seed: int = 0,
    ) -> DCGAN:
        """Three networks for prepared images, of the layers and in the arithmetic that are fast on this
        machine. The arguments are the settings of `fit` of the same names, and its preset auto has their
        defaults, of which `filters` and `max_width` go by the size. `seed`: of weights and latents, and TensorFlow's and
        Keras' global one from here on. Raises Refused."""
        if not hasattr(images, "manifest"):
            raise Refused("images", "what prepare returns", type(images).__name__)
        height, width, channels = images.manifest.shape
        by_size = {"filters": filters, "max_width": max_width}
        typed = {
            "data": images.manifest.source,
            "preset": "auto",
            "size": (height, width),
            "latent_dim": latent_dim,
            "upsample": upsample,
            "d_norm": d_norm,
            "d_stem": d_stem,
            "minibatch_std": minibatch_std,
            "blocks": blocks,
            "precision": precision,
            "seed": seed,
        }
        config = resolve(typed | {name: value for name, value in by_size.items() if value is not None})
        with process.quiet():  # TensorFlow's first look at the devices
            devices.settle()
            slowed = devices.slowed()
        for why in slowed:
            warnings.warn(why, stacklevel=2)
        with devices.seeds_kept():
            return cls(*networks(config, channels, len(images.classes)), seed=config.seed)

    def compile(
        self,
        g_optimizer: str | keras.Optimizer | None = None,
        d_optimizer: str | keras.Optimizer | None = None,
        loss: str | Loss = AUTO["loss"],
        ema_kimg: float = AUTO["ema_kimg"],
        r1: gan.Weight | None = None,
        r2: gan.Weight | None = None,
        penalty_every: int = AUTO["penalty_every"],
        augment: str | tuple[Callable, ...] = (),
        jit_compile: bool | None = None,
        steps_per_execution: int = 1,
        merged: bool | None = None,
    ):
        """The defaults are those of the preset auto of `fit`, except for what depends on the length of the
        training: neither learning rates nor penalties fall, and nothing is augmented.

        `g_optimizer`, `d_optimizer`: a name or an object of keras.optimizers, one for each network; by default Adam of
        auto's rate (4e-4 for a generator that `generator` has not made), with a beta_2 of 0.99 where there are residual
        blocks. In float16 Keras' LossScaleOptimizer is put around it. Between two calls of `fit`
        gan.g_optimizer.learning_rate and gan.d_optimizer.learning_rate may be changed. A schedule of
        keras.optimizers.schedules may be their learning rate. `loss`: a name as `fit --loss` takes, or a
        Loss. `ema_kimg`: half-life of the generator's average, in thousands of real images; 0 follows the
        generator at once. `r1`, `r2`: weights of the gradient penalty on real and on generated images, or
        functions of the step; by default by the images' size; it is taken on every `penalty_every`-th step, and is
        that many times as strong (lazy regularisation: Karras et al., arXiv:1912.04958, 2020). `augment`: a name of
        augment.POLICIES, or a row of it; "translation" for images that are shown more than 15 times each.
        `jit_compile`: by default on a GPU. `steps_per_execution`: steps between two looks at the figures; `fit` takes
        16 on one GPU. `merged`: D looks at real images and fakes in one pass, the same but for rounding; by default on
        a GPU. Penalties at every step merge them anyway where D has no norm; spectral norm keeps them apart. Raises Refused."""
        _check_number("ema_kimg", ema_kimg, 0, numbers.Real)
        _check_number("penalty_every", penalty_every, 1, numbers.Integral)
        _check_number("steps_per_execution", steps_per_execution, 1, numbers.Integral)
        for name, weight in (("r1", r1), ("r2", r2)):
            if weight is not None and not callable(weight):
                _check_number(name, weight, 0, numbers.Real)
        of_g = self._optimizer("g_optimizer", g_optimizer)
        of_d = self._optimizer("d_optimizer", d_optimizer)
        if _inner(of_d) is _inner(of_g):
            raise Refused("d_optimizer", "an optimizer of its own", "the generator's")
        objective = _named("loss", loss, LOSSES, Loss)
        changes = _named("augment", augment, augmentation.POLICIES, tuple)
        of_size = penalty(self.generator.output_shape[1:3])
        r1, r2 = (of_size if weight is None else weight for weight in (r1, r2))
        of_batches = keras.layers.BatchNormalization
        has_norm = any(isinstance(layer, of_batches) for layer in self.discriminator.layers)
        check_penalties(has_norm, r1, r2)
        super().compile(
            of_g,
            of_d,
            objective,
            ema_kimg,
            r1=r1,
            r2=r2,
            penalty_every=penalty_every,
            augment=changes,
            jit_compile=devices.compiles("auto") if jit_compile is None else jit_compile,
            steps_per_execution=steps_per_execution,
            merged=devices.has_gpu() if merged is None else merged,
        )

    def _usual_adam(self) -> Adam:
        is_residual = has_blocks(self.generator) or has_blocks(self.discriminator)
        return Adam(_usual_rate(self.generator), AUTO["beta1"], beta2(is_residual))

    def _optimizer(self, argument: str, wanted: str | keras.Optimizer | None) -> keras.Optimizer:
        if isinstance(wanted, keras.Optimizer):
            if getattr(_inner(wanted), "use_ema", False):
                raise Refused(
                    argument, "an optimizer without use_ema: ema_kimg is the average here", wanted.name
                )
        try:
            found = self._usual_adam() if wanted is None else keras.optimizers.get(wanted)
        except ValueError as error:
            raise Refused(argument, "a name or an object of keras.optimizers", repr(wanted)) from error
        is_scaled = isinstance(found, keras.optimizers.LossScaleOptimizer)
        is_float16 = any(layer.compute_dtype == "float16" for layer in self.generator.layers)
        return keras.optimizers.LossScaleOptimizer(found) if is_float16 and not is_scaled else found

    def reset_means(self):
        """Those of `current_means`. `fit` does not do it: they run over a tick, which may begin in one
        process and end in another. Those that `fit` returns run over an epoch all the same."""
        self.sums_before.assign(self.sums_before - self.sums)
        super().reset_means()

    def recompute_statistics(self, batches: int = gan.STATISTICS_BATCHES):
        """Takes the averaged generator's batch-norm statistics anew, over `batches` of latents that are always the
        same. `draw`, `predict` and the end of each epoch do it; call it before you use or save `ema_generator` in the
        middle of one."""
        super().recompute_statistics(batches)
        self.statistics_step = self.steps_taken if batches >= gan.STATISTICS_BATCHES else None

    def settle(self):
        """`recompute_statistics`, unless it has been done at this step."""
        if self.statistics_step != self.steps_taken:
            self.recompute_statistics()

    def draw(self, seeds: Sequence[int] = range(64), labels: Sequence[int] | None = None) -> np.ndarray:
        """What the averaged generator draws of these seeds, each from 0 to 2**32 - 1: uint8 (len(seeds),
        height, width, channels). The verb `sample` draws the same of the same weights. `labels`: the classes
        of a conditional one, by default by the seeds in turn. Raises Refused."""
        chosen = np.atleast_1d(np.asarray(seeds))
        if chosen.ndim > 1 or not len(chosen):
            raise Refused("seeds", "a row of whole numbers", repr(chosen.tolist()))
        z, of_class = latents(chosen, self.latent_dim), None
        if classes := class_count(self.generator):
            of_class = np.asarray(chosen % classes if labels is None else labels)
            is_row = of_class.shape == chosen.shape and of_class.dtype.kind in "iu"
            if not is_row or of_class.min() < 0 or of_class.max() >= classes:
                raise Refused("labels", f"a whole number below {classes} for each seed", of_class.tolist())
            of_class = of_class.astype(np.int32)
        elif labels is not None:
            raise Refused("labels", "none: the images have no classes", repr(labels))
        self.settle()
        return np.stack(list(draw(self.ema_generator, z, of_class)))

    def seen(self, batch: int) -> int:
        """How many prepared images `fit` has shown; after `load_weights` as if all were in batches of `batch`."""
        before, steps, batch = self.begun or (0, 0, batch)
        return before + (self.steps_taken - steps) * batch

    def call(self, inputs, training=False):
        """z (N, latent_dim), or [z, labels] -> what the averaged generator draws, float32 in [-1, 1]; the
        same while training."""
        if tf.executing_eagerly():
            self.settle()
        return self.ema_generator(inputs, training=False)

    def predict(self, x, *args, **kwargs) -> np.ndarray:
        """keras.Model.predict of the averaged generator: latents -> images in [-1, 1]."""
        self.settle()
        return super().predict(x, *args, **kwargs)

    def test_step(self, data):
        """There is nothing for `evaluate` to compute: raises Refused."""
        raise Refused("evaluate", f"expected measure(gan.ema_generator, images) instead: {NO_VALIDATION}")

    def save(self, filepath, *args, **kwargs):
        """Raises Refused: what draws is one model, what trains are three with two optimizers."""
        raise Refused("save", SAVED_APART)

    def fit(self, x=None, *args, callbacks: Sequence[keras.callbacks.Callback] | None = None, **kwargs):
        """keras.Model.fit -> its History: d_loss, g_loss, real_acc, fake_acc, means over each epoch. `x`: what
        `prepare` returns, of which an epoch is `steps_per_epoch` batches of `batch_size` [all images; 32]; or what
        keras.Model.fit takes, such as `batches`. A second call goes on from there, with the next of prepared images;
        so does `load_weights` of what `save_weights` has kept, after `of` and `compile`. `steps_taken` counts on. (With
        BackupAndRestore the weights go on, and the images begin anew.)

        Raises Refused where there are no steps to count an epoch by, or `steps_per_epoch` is no multiple of
        steps_per_execution, for validation data, and for callbacks that would not do what they say; ValueError where images
        are floats in [-1, 1] or [0, 1], which would be trained on as black."""
        wanted = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks or ())
        for callback in wanted:
            _check_callback(callback)
        if kwargs.get("validation_data") is not None or kwargs.get("validation_split"):
            raise Refused("validation_data", f"expected none: {NO_VALIDATION}; see measure")
        for name in ("sample_weight", "class_weight"):
            if kwargs.get(name) is not None:
                raise Refused(name, "none: every image counts the same", type(kwargs[name]).__name__)
        if hasattr(x, "manifest"):
            batch = kwargs.pop("batch_size", None) or USUAL_BATCH
            if not kwargs.get("steps_per_epoch"):
                whole = len(x) // batch
                kwargs["steps_per_epoch"] = (
                    max(1, whole // self.steps_per_execution) * self.steps_per_execution
                )
            if args:
                raise Refused("batch_size", "it by name, as all but the images", repr(args))
            seen = self.seen(batch)
            self.begun = (seen, self.steps_taken, batch)
            x = batches(x, batch, seed=self.seed, start_step=-(-seen // batch))
        steps = kwargs.get("steps_per_epoch") or 0
        if steps % self.steps_per_execution:
            at_once = self.steps_per_execution
            raise Refused("steps_per_epoch", f"a multiple of steps_per_execution, {at_once}", steps)
        if isinstance(x, tf.data.Dataset):
            length = int(x.cardinality())
            if not steps and (length == tf.data.INFINITE_CARDINALITY or length > ENDLESS):
                raise Refused("steps_per_epoch", "a number, since these batches are endless", None)
            kwargs.setdefault("shuffle", False)  # Keras 3.15 would, and warns that it cannot
        try:
            # First: the other callbacks may save and draw when an epoch ends.
            return super().fit(x, *args, callbacks=[Epochs(), *wanted], **kwargs)
        except KeyboardInterrupt:  # in a notebook, which then draws and saves
            self.settle()
            raise

    def _means_so_far(self) -> dict[str, tf.Tensor]:
        """Of the epoch."""
        *sums, steps = tf.unstack(tf.convert_to_tensor(self.sums) - tf.convert_to_tensor(self.sums_before))
        return {name: total / steps for name, total in zip(gan.MEANS, sums)}


class Run(directory.Run):
    """One run directory, as `fit` leaves it: .config, .classes, .manifest, .metrics (the rows of metrics.jsonl),
    .checkpoints."""

    def load_generator(self, last: bool = False) -> keras.Model:
        """The run's generator.keras, or generator_last.keras, float32: z (N, latent_dim), or [z, labels] -> images
        (N, height, width, channels) in [-1, 1]. Raises Refused or Unavailable."""
        return checkpoints.load_generator(self, last)


def _prepared(about: Manifest) -> dict:
    """The settings with which `fit` would prepare these images."""
    return {
        "data": about.source,
        "size": about.size,
        "channels": about.channels,
        "conditional": bool(about.classes),  # of shards with classes they may have been left aside
        "crop": about.crop,
        "background": "white"
        if about.background == (255, 255, 255)
        else "#{:02x}{:02x}{:02x}".format(*about.background),
        **({"max_pixels": about.max_pixels} if about.max_pixels else {}),
    }


def _check_alike(begun: Run, manifest: Manifest):
    """Raises Refused where these images were prepared otherwise than those of the run."""
    if not (begun.path / directory.MANIFEST).is_file():
        return
    there, here = _prepared(begun.manifest), _prepared(manifest)
    for name in ("size", "channels", "conditional"):
        if there[name] != here[name]:
            expected = f"{name} {as_text(there[name])}, as the run has it"
            raise Refused("images", expected, as_text(here[name]))


def train(images: ImageSet | ShardSet, run: str | os.PathLike, **settings) -> Run:
    """Trains on prepared images, as `python -m keras_dcgan.fit` does, and writes all that it does into the
    directory `run`: sample grids, metrics.jsonl, TensorBoard's logs, checkpoints, the generator. The same
    call again resumes, on a CPU to the same bits; a larger `kimg` continues it.

    `settings`: the flags of `fit` with underscores, with its defaults and its check of each: preset, kimg, filters,
    batch, seed, augment, metrics, on_nan and others (docs/cli.md), none of `prepare`'s. What the run began with need not be
    repeated.

    Raises Refused or Unavailable, naming the argument; RuntimeError with the reason where the training fails,
    and KeyboardInterrupt after an interrupt. All that was trained until then is in the run."""
    if not hasattr(images, "manifest"):
        raise Refused("images", "what prepare returns", type(images).__name__)
    unknown = sorted(settings.keys() - set(SETTINGS))
    if unknown:
        raise Refused(unknown[0], f"one of {', '.join(SETTINGS)}", repr(settings[unknown[0]]))
    typed = {"run": os.fspath(run), **_prepared(images.manifest), **settings}
    begun = Run(typed["run"], is_new=True)
    if begun.has_begun:  # whether these are its images, their fingerprint tells
        _check_alike(begun, images.manifest)
        typed = {name: value for name, value in typed.items() if name not in PREPARATION}
        if images.manifest.kind == "array" and not os.path.exists(typed["data"]):  # in memory: it has no name
            typed["data"] = begun.config.data
    with contextlib.ExitStack() as stack:
        for each in (renamed(data="images"), devices.seeds_kept(), devices.keras_defaults()):
            stack.enter_context(each)
        directory.check_fits(directory.settings_of(typed))
        config = directory.settings_of(typed, len(images))
        with process.quiet():
            warning = devices.settle(config.threads, config.deterministic)
            strategy = loop.strategy_for(config, images)
        if warning:
            print(f"warning: {spelled(warning)}", file=sys.stderr)
        if config.preset in ADAPTIVE:
            print(spelled(choices(config, len(images))), flush=True)
        training, step = stack.enter_context(loop.opened(config, images, strategy, ends_process=False))
        if not loop.is_finished(training, step):
            training.tell(forecast.plan(config, training.gan, strategy))
            end = loop.train(training, step)
            if end.signal:
                raise KeyboardInterrupt(end.problem or f"{config.run} is saved at step {end.step}")
            if end.failure:
                raise RuntimeError(f"{config.run}: {end.problem}")
    return Run(config.run)
