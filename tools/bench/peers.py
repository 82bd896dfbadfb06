"""One training step of a DCGAN, by several hands: `python -m tools.bench.peers NAME SIZE FILTERS BATCH`, for `tools.bench train`.

Each contestant is a process of its own. It gets ready, says so, and for each line that it reads takes STEPS steps and prints their
seconds. All have the same work: images in memory, the paper's networks and losses, D on real and on fake, G through D, two Adams.
"""

import subprocess
import sys
import time

import numpy as np

LATENT, RATE, BETA = 100, 2e-4, 0.5
STEPS = 3
PEAK_SIDE = 2048  # of the matrices whose product stands for what the cores can do


def ours(precision: str, size: int, filters: int, batch: int):
    import tensorflow as tf

    from keras_dcgan import runs
    from keras_dcgan.config import TrainConfig

    gan = runs.build(TrainConfig("", "", size=(size, size), filters=filters, batch=batch, precision=precision), channels=3)
    stream = iter(tf.data.Dataset.from_tensors(images(size, batch)).repeat())
    gan.make_train_function()
    return lambda: gan.train_function(stream)


def keras_as_usual(size: int, filters: int, batch: int):
    """As in the examples of Keras and TensorFlow: fresh fakes for each player, one pass over real and fake together."""
    import keras
    import tensorflow as tf

    from keras_dcgan import models

    class Usual(keras.Model):
        def __init__(self):
            super().__init__()
            self.generator = models.generator((size, size), 3, LATENT, filters)
            self.discriminator = models.discriminator((size, size), 3, filters)
            self.g_optimizer, self.d_optimizer = (keras.optimizers.Adam(RATE, beta_1=BETA) for _ in range(2))
            self.bce = keras.losses.BinaryCrossentropy(from_logits=True)

        def train_step(self, real):
            count = tf.shape(real)[0]
            fakes = self.generator(tf.random.normal((count, LATENT)), training=True)
            labels = tf.concat([tf.ones((count, 1)), tf.zeros((count, 1))], 0)
            with tf.GradientTape() as tape:
                loss = self.bce(labels, self.discriminator(tf.concat([real, fakes], 0), training=True))
            weights = self.discriminator.trainable_weights
            self.d_optimizer.apply(tape.gradient(loss, weights), weights)
            with tf.GradientTape() as tape:
                logits = self.discriminator(self.generator(tf.random.normal((count, LATENT)), training=True), training=True)
                loss = self.bce(tf.ones((count, 1)), logits)
            weights = self.generator.trainable_weights
            self.g_optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    model = Usual()
    model.compile()
    stream = tf.data.Dataset.from_tensors(images(size, batch) / np.float32(127.5) - 1).repeat()
    return lambda: model.fit(stream, steps_per_epoch=1, verbose=0)


def torch_networks(size: int, filters: int):
    """-> generator and discriminator as PyTorch's DCGAN example has them: 4-2-1 convolutions and batch norm."""
    from torch import nn

    from keras_dcgan.models import LEAK, base_grid, widths

    (cells, _), doublings = base_grid((size, size))
    inner = widths(filters, doublings)
    g, d = [nn.ConvTranspose2d(LATENT, inner[-1], cells, 1, 0, bias=False), nn.BatchNorm2d(inner[-1]), nn.ReLU(True)], []
    for wide, narrow in zip(inner[:0:-1], inner[-2::-1]):
        g += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(True)]
    g += [nn.ConvTranspose2d(inner[0], 3, 4, 2, 1), nn.Tanh()]
    for narrow, wide in zip([3, *inner], inner):
        d += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=narrow == 3)]
        d += [nn.BatchNorm2d(wide)] * (narrow != 3) + [nn.LeakyReLU(LEAK, True)]
    d += [nn.Conv2d(inner[-1], 1, cells, 1, 0), nn.Flatten(0)]
    return nn.Sequential(*g), nn.Sequential(*d)


def torch_loop(size: int, filters: int, batch: int, channels_last=False, bfloat16=False, compiled=False):
    """The loop of the same example, with one set of fakes a step."""
    import contextlib

    import torch

    generator, discriminator = torch_networks(size, filters)
    real = torch.from_numpy(images(size, batch)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if channels_last:
        real = real.contiguous(memory_format=torch.channels_last)
        generator, discriminator = (net.to(memory_format=torch.channels_last) for net in (generator, discriminator))
    g_optimizer, d_optimizer = (torch.optim.Adam(net.parameters(), RATE, (BETA, 0.999)) for net in (generator, discriminator))
    if compiled:
        generator, discriminator = torch.compile(generator), torch.compile(discriminator)
    ones, zeros, bce = torch.ones(batch), torch.zeros(batch), torch.nn.BCEWithLogitsLoss()

    def step():
        with torch.autocast("cpu", torch.bfloat16) if bfloat16 else contextlib.nullcontext():
            d_optimizer.zero_grad()
            fakes = generator(torch.randn(batch, LATENT, 1, 1))
            loss = bce(discriminator(real).float(), ones) + bce(discriminator(fakes.detach()).float(), zeros)
        loss.backward()
        d_optimizer.step()
        with torch.autocast("cpu", torch.bfloat16) if bfloat16 else contextlib.nullcontext():
            g_optimizer.zero_grad()
            loss = bce(discriminator(fakes).float(), ones)
        loss.backward()
        g_optimizer.step()

    return step


def peak(dtype: str, *_):
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((PEAK_SIDE, PEAK_SIDE)), dtype)
    product = tf.function(lambda: tf.matmul(matrix, matrix))
    return lambda: product()


def images(size: int, batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)


CONTESTANTS = {
    "ours_float32": lambda *shape: ours("float32", *shape),
    "ours_auto": lambda *shape: ours("auto", *shape),
    "keras_as_usual": keras_as_usual,
    "torch": torch_loop,
    "torch_channels_last": lambda *shape: torch_loop(*shape, channels_last=True),
    "torch_channels_last_bfloat16": lambda *shape: torch_loop(*shape, channels_last=True, bfloat16=True),
    "torch_compiled": lambda *shape: torch_loop(*shape, channels_last=True, compiled=True),
    "peak_float32": lambda *shape: peak("float32"),
    "peak_bfloat16": lambda *shape: peak("bfloat16"),
}


def race(names: list[str], size: int, filters: int, batch: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of a step of each, in turns: {name: `repeats` figures}. A contestant that fails has none."""
    command = [sys.executable, "-m", "tools.bench.peers"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    times = {name: [] for name in names}
    runners = {}
    for name in names:
        runners[name] = subprocess.Popen([*command, name, *map(str, (size, filters, batch))], **pipes)
        runners[name].stdout.readline()  # ready, or gone
    for _ in range(repeats):
        for name, runner in runners.items():
            if runner.poll() is None:
                print(file=runner.stdin, flush=True)
                times[name] += [float(line) / STEPS for line in [runner.stdout.readline()] if line]
    for runner in runners.values():
        runner.communicate()
    return times


def main():
    step = CONTESTANTS[sys.argv[1]](*map(int, sys.argv[2:]))
    step(), step()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(STEPS):
            step()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
