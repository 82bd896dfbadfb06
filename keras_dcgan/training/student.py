"""A smaller generator for a run: it learns from the run's own, in minutes and without the images.

    run = Run("runs/imgs")
    game, config = begin(run, load_generator(run), filters=16, kimg=KIMG)
    student = learn(game, config)                                   # float32, of the same latents

How, model/student.py says. The run's settings hold here too, but for those below.
"""

import dataclasses
import functools

import keras
import tensorflow as tf

from keras_dcgan import devices
from keras_dcgan.config import TrainConfig, beta2, penalty
from keras_dcgan.model.gan import statistics_latents
from keras_dcgan.model.student import Student, take_channels
from keras_dcgan.progress import Progress
from keras_dcgan.runs import checkpoints
from keras_dcgan.runs.directory import Run
from keras_dcgan.training.build import compile_for_training, networks

KIMG = 64.0
# The widest layers of a student have at most this share of the run's --max-width: those, near z, hold most of a
# generator's bytes. See tools/experiments/RECIPE.md.
WIDTH = 0.5
LARGEST_BATCH = 32  # of a run in large batches it would have too few steps
DECAY = 0.5  # the last share of it, over which the rates fall
EMA_KIMG = 10.0  # where the run keeps no average


@devices.keras_defaults()
def begin(run: Run, teacher: keras.Model, filters: int, kimg: float) -> tuple[Student, TrainConfig]:
    """A student of so many filters at its start, and the settings with which it learns from `teacher`, a float32
    generator of the run. Raises Refused or Unavailable, naming `run`, where that has no sound checkpoint."""
    own = run.config
    config = dataclasses.replace(
        own,
        kimg=kimg,
        batch=min(own.batch, LARGEST_BATCH),
        decay=DECAY,
        augment="none",  # there is no end to the images
        ema_kimg=own.ema_kimg or EMA_KIMG,
        # In a game without penalties, as of `--preset classic`, a student came out further off than it began.
        loss="relativistic",
        r1=own.r1 or penalty(own.size),
        r2=own.r2 or penalty(own.size),
        beta1=0.0,
        beta2=min(own.beta2, beta2(own.blocks > 0)),  # a run that began before has another
    )
    channels, classes = teacher.output_shape[-1], len(run.classes)
    fast_teacher, discriminator, _ = networks(config, channels, classes)
    max_width = max(1, int(WIDTH * config.max_width))
    student, _, average = networks(config, channels, classes, filters=filters, max_width=max_width)
    fast_teacher.set_weights(teacher.get_weights())
    checkpoints.load_networks(run, discriminator=discriminator)
    z = statistics_latents(config.seed, config.latent_dim)[0]
    take_channels(student, teacher, [z, tf.range(len(z)) % classes] if classes else z)
    game = Student(fast_teacher, student, discriminator, average, config.seed)
    compile_for_training(game, config)
    return game, config


@devices.keras_defaults()
def learn(game: Student, config: TrainConfig) -> keras.Model:
    """-> the student, float32. Its weights follow from the run, the teacher and the number of filters."""
    batch, steps = config.batch, config.total_steps
    step = tf.function(functools.partial(game.learn, batch), autograph=False, jit_compile=game.jit_compile)
    with Progress("learning", steps * batch, "kimg") as progress:
        for number in range(1, steps + 1):
            step()
            progress.update(number * batch)
    game.recompute_statistics()
    return game.ema_generator
