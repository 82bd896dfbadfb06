"""One training step of a DCGAN, by several hands: `python -m tools.bench.peers NAME SIZE FILTERS BATCH PRESET`,
for `tools.bench train`.

Each contestant is a process of its own. It gets ready, says so, and for each line that it reads takes a few
steps and prints the seconds of one. All have the same work: images in memory, D on real and on fake, G through
D, two Adams; of the preset paper its networks and losses, of auto a discriminator without norm, relativistic
losses, R1 and R2 at every step and a moving average. Where there is a GPU, all run on it.
"""

import os
import shutil
import subprocess
import sys
import time

import numpy as np

LATENT, RATE, BETA = 100, 2e-4, 0.5
STEM, GROUP, PENALTY = 16, 4, 2.4  # of auto
STEPS = {"cpu": 3, "cuda": 192}
PEAK_SIDE = 2048  # of the matrices whose product stands for what the cores can do


def ours(precision: str, size: int, filters: int, batch: int, preset: str, as_products=False, in_two=False):
    """`as_products`: all convolutions as matrix products (tools/bench/products.py). `in_two`: real and fake go
    through D in two passes on a GPU too."""
    import contextlib

    import tensorflow as tf

    from keras_dcgan.config import resolve
    from keras_dcgan.training.build import build
    from tools.bench import products

    settings = {
        "data": "",
        "run": "",
        "preset": preset,
        "size": (size, size),
        "filters": filters,
        "max_width": 8,  # as widths has it for the others
        "batch": batch,
    }
    with products.everywhere() if as_products else contextlib.nullcontext():
        gan = build(resolve({**settings, "precision": precision}), channels=3)
    if in_two:
        gan.halves = None
    stream = iter(gan.grouped(tf.data.Dataset.from_tensors(images(size, batch)).repeat()))
    gan.make_train_function()

    def steps(count):
        for _ in range(count // gan.steps_per_execution):
            gan.train_function(stream)
        return gan.steps_taken

    return steps


def keras_as_usual(size: int, filters: int, batch: int, preset: str):
    """As in the examples of Keras and TensorFlow: fresh fakes for each player, one pass over real and fake
    together."""
    import keras
    import tensorflow as tf

    from keras_dcgan.model import networks

    class Usual(keras.Model):
        def __init__(self):
            super().__init__()
            self.generator = networks.generator((size, size), 3, LATENT, filters)
            self.discriminator = networks.discriminator((size, size), 3, filters)
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
                logits = self.discriminator(
                    self.generator(tf.random.normal((count, LATENT)), training=True), training=True
                )
                loss = self.bce(tf.ones((count, 1)), logits)
            weights = self.generator.trainable_weights
            self.g_optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    model = Usual()
    model.compile()
    stream = tf.data.Dataset.from_tensors(images(size, batch) / np.float32(127.5) - 1).repeat()
    return lambda count: model.fit(stream, steps_per_epoch=count, verbose=0)


def torch_networks(size: int, filters: int, preset: str = "paper"):
    """-> generator and discriminator as PyTorch's DCGAN example has them: 4-2-1 convolutions and batch norm. Of
    auto, D has a stem and the spread within groups of images instead of batch norm."""
    import torch
    from torch import nn

    class Spread(nn.Module):
        def forward(self, x):
            grouped = x.float().reshape(GROUP, -1, *x.shape[1:])
            deviation = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(GROUP)
            return torch.cat([x, deviation[:, None, None, None].expand(-1, 1, *x.shape[2:]).to(x.dtype)], 1)

    from keras_dcgan.model.networks import LEAK
    from keras_dcgan.model.shapes import base_grid, widths

    (cells, _), doublings = base_grid((size, size))
    inner = widths(filters, doublings)
    g, d = (
        [
            nn.ConvTranspose2d(LATENT, inner[-1], cells, 1, 0, bias=False),
            nn.BatchNorm2d(inner[-1]),
            nn.ReLU(True),
        ],
        [],
    )
    for wide, narrow in zip(inner[:0:-1], inner[-2::-1]):
        g += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(True)]
    g += [nn.ConvTranspose2d(inner[0], 3, 4, 2, 1), nn.Tanh()]
    if preset == "paper":
        for narrow, wide in zip([3, *inner], inner):
            d += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=narrow == 3)]
            d += [nn.BatchNorm2d(wide)] * (narrow != 3) + [nn.LeakyReLU(LEAK, True)]
        d += [nn.Conv2d(inner[-1], 1, cells, 1, 0), nn.Flatten(0)]
    else:
        d += [nn.Conv2d(3, STEM, 3, 1, 1), nn.LeakyReLU(LEAK)]
        for narrow, wide in zip([STEM, *inner], inner):
            d += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(LEAK)]
        d += [Spread(), nn.Conv2d(inner[-1] + 1, 1, cells, 1, 0), nn.Flatten(0)]
    return nn.Sequential(*g), nn.Sequential(*d)


def torch_loop(
    size: int,
    filters: int,
    batch: int,
    preset: str,
    channels_last=False,
    bfloat16=False,
    compiled=False,
    graphed=False,
):
    """The loop of the same example, with one set of fakes a step. `graphed`: recorded once, and replayed by
    the GPU alone. Of auto the penalties are second derivatives, as PyTorch's users write them."""
    import contextlib

    import torch

    device = accelerator()
    torch.backends.cudnn.benchmark = True
    generator, discriminator = (net.to(device) for net in torch_networks(size, filters, preset))
    given = torch.from_numpy(images(size, batch))
    given = given.pin_memory() if device == "cuda" else given
    brought = given.to(device)
    if channels_last:
        generator, discriminator = (
            net.to(memory_format=torch.channels_last) for net in (generator, discriminator)
        )
    g_optimizer, d_optimizer = (
        torch.optim.Adam(net.parameters(), RATE, (BETA, 0.999), capturable=graphed)
        for net in (generator, discriminator)
    )
    weight = generator[0].weight
    followed = list(generator.parameters())
    averages = [parameter.detach().clone() for parameter in followed]
    if compiled:
        generator, discriminator = torch.compile(generator), torch.compile(discriminator)
    ones, zeros, bce = (
        torch.ones(batch, device=device),
        torch.zeros(batch, device=device),
        torch.nn.BCEWithLogitsLoss(),
    )

    def batch_of_images():
        real = brought.permute(0, 3, 1, 2).float() / 127.5 - 1
        return real.contiguous(
            memory_format=torch.channels_last if channels_last else torch.contiguous_format
        )

    def recipe():
        real = batch_of_images()
        with arithmetic():
            d_optimizer.zero_grad()
            fakes = generator(torch.randn(batch, LATENT, 1, 1, device=device))
            logits, penalty = [], 0.0
            for seen in (real.detach(), fakes.detach().float()):
                seen.requires_grad_()
                logits.append(discriminator(seen).float())
                (slope,) = torch.autograd.grad(logits[-1].sum(), seen, create_graph=True)
                penalty += PENALTY / 2 * slope.float().square().sum((1, 2, 3)).mean()
            loss = torch.nn.functional.softplus(logits[1] - logits[0]).mean() + penalty
        loss.backward()
        d_optimizer.step()
        with arithmetic():
            g_optimizer.zero_grad()
            loss = torch.nn.functional.softplus(logits[0].detach() - discriminator(fakes).float()).mean()
        loss.backward()
        g_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, followed, 1e-3)

    def arithmetic():
        if not bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(device, torch.bfloat16, cache_enabled=not graphed)

    def step():
        real = batch_of_images()
        with arithmetic():
            d_optimizer.zero_grad()
            fakes = generator(torch.randn(batch, LATENT, 1, 1, device=device))
            loss = bce(discriminator(real).float(), ones) + bce(discriminator(fakes.detach()).float(), zeros)
        loss.backward()
        d_optimizer.step()
        with arithmetic():
            g_optimizer.zero_grad()
            loss = bce(discriminator(fakes).float(), ones)
        loss.backward()
        g_optimizer.step()

    if preset == "auto":
        step = recipe
    if graphed:
        step = recorded(step)

    def steps(count):
        for _ in range(count):
            brought.copy_(given, non_blocking=True)
            step()
        return weight[0, 0, 0, 0].item()  # when all of it is done

    return steps


def recorded(step):
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def peak(dtype: str):
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((PEAK_SIDE, PEAK_SIDE)) / PEAK_SIDE**0.5, dtype)

    @tf.function
    def products(count):
        result = matrix
        for _ in tf.range(count):
            result = tf.matmul(result, matrix)
        return result

    return lambda count: products(count)[0, 0].numpy()


def accelerator() -> str:
    """PyTorch's name for what all shall run on."""
    return "cuda" if shutil.which("nvidia-smi") and os.environ.get("CUDA_VISIBLE_DEVICES") != "-1" else "cpu"


def images(size: int, batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)


OF_A_GPU = ("torch_graphed", "ours_auto_products", "ours_auto_two_passes")
CONTESTANTS = {
    "ours_float32": lambda *shape: ours("float32", *shape),
    "ours_auto": lambda *shape: ours("auto", *shape),
    "ours_auto_products": lambda *shape: ours("auto", *shape, as_products=True),
    "ours_auto_two_passes": lambda *shape: ours("auto", *shape, in_two=True),
    "keras_as_usual": keras_as_usual,
    "torch": torch_loop,
    "torch_channels_last": lambda *shape: torch_loop(*shape, channels_last=True),
    "torch_channels_last_bfloat16": lambda *shape: torch_loop(*shape, channels_last=True, bfloat16=True),
    "torch_compiled": lambda *shape: torch_loop(*shape, channels_last=True, compiled=True),
    "torch_compiled_bfloat16": lambda *shape: torch_loop(
        *shape, channels_last=True, bfloat16=True, compiled=True
    ),
    "torch_graphed": lambda *shape: torch_loop(*shape, channels_last=True, bfloat16=True, graphed=True),
    "peak_float32": lambda *_: peak("float32"),
    "peak_bfloat16": lambda *_: peak("bfloat16"),
}


def race(
    names: list[str], size: int, filters: int, batch: int, repeats: int, preset: str = "paper"
) -> dict[str, list[float]]:
    """Seconds of a step of each, in turns: {name: `repeats` figures}. A contestant that fails has none."""
    command = [sys.executable, "-m", "tools.bench.peers"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    pipes["env"] = os.environ | {
        "TF_FORCE_GPU_ALLOW_GROWTH": "true"
    }  # as fit does; else the first takes what the others need
    times = {name: [] for name in names}
    runners = {
        name: subprocess.Popen([*command, name, *map(str, (size, filters, batch)), preset], **pipes)
        for name in names
    }
    for runner in runners.values():
        runner.stdout.readline()  # ready, or gone
    for _ in range(repeats):
        for name, runner in runners.items():
            if runner.poll() is None:
                print(file=runner.stdin, flush=True)
                times[name] += [float(line) for line in [runner.stdout.readline()] if line]
    for runner in runners.values():
        runner.communicate()
    return times


def main():
    name, *shape, preset = sys.argv[1:]
    steps, count = CONTESTANTS[name](*map(int, shape), preset), STEPS[accelerator()]
    steps(count)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        steps(count)
        print((time.perf_counter() - began) / count, flush=True)


if __name__ == "__main__":
    main()
