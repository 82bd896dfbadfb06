"""Images and runs small enough to test with: 16 pixels, 8 filters, drawn here."""

import importlib
import multiprocessing
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_dcgan import fit, progress
from keras_dcgan.config import TrainConfig

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the same test on every machine
# Networks this small gain nothing from a second thread, and the tests run side by side (-n in setup.cfg).
os.environ |= {name: "1" for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")}


RATE = 0.1  # of small_gan
# A learning rate at which ten steps are enough to draw more than grey.
SMALL = [
    "--size",
    "16",
    "--filters",
    "4",
    "--batch",
    "8",
    "--tick-kimg",
    "0.04",
    "--g-lr",
    "0.01",
    "--decay",
    "0",
    "--penalty-end",
    "1",
]


def from_flags(arguments: list[str], images: int | None = None) -> TrainConfig:
    """The settings of a command line of fit, with so many images once they are counted."""
    return fit.settings_of(fit.read(arguments), images)


def discs(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """uint8 (count, size, size, 3): a coloured disc on a coloured ground each."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    pictures = np.empty((count, size, size, 3), np.uint8)
    for picture in pictures:
        y, x, radius = rng.uniform(0.3, 0.7, 3) * (size, size, size / 2)
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        picture[:] = np.where(inside[..., None], rng.integers(0, 256, 3), rng.integers(0, 256, 3))
    return pictures


def lively_generator(size=(16, 16), channels=3, *, latent_dim: int, classes: int = 0, **options):
    """Untrained, but with settled batch norm and strong last weights, so that its images fill [-1, 1] and
    differ by class. The same weights at every call."""
    import keras

    from keras_dcgan.model.networks import generator
    from keras_dcgan.pictures.latents import latents

    keras.utils.set_random_seed(1)
    model = generator(size, channels, latent_dim=latent_dim, filters=8, classes=classes, **options)
    for layer in model.layers:
        layer.momentum = 0.0  # of batch norm: one batch settles it
        if layer.name.endswith("_out"):  # of a residual block: 0 at the start
            layer.kernel.assign(keras.random.normal(layer.kernel.shape, stddev=0.3))
            layer.bias.assign(keras.random.normal(layer.bias.shape, stddev=0.1))
    z = latents(range(64), latent_dim)
    model([z, np.arange(64) % classes] if classes else z, training=True)
    kernel = model.get_layer("to_image").kernel
    kernel.assign(kernel * 10)
    return model


def small_gan(ema_kimg=0.0, precision="float32", seed=3, classes=0):
    import keras

    from keras_dcgan import devices
    from keras_dcgan.model.gan import DCGAN
    from keras_dcgan.model.losses import LOSSES
    from keras_dcgan.model.networks import discriminator, generator

    devices.settle()
    keras.utils.set_random_seed(1)
    options = {"filters": 4, "precision": precision, "classes": classes}
    gan = DCGAN(
        generator((16, 16), 3, latent_dim=6, **options),
        discriminator((16, 16), 3, **options),
        generator((16, 16), 3, latent_dim=6, filters=4, classes=classes),
        seed=seed,
    )
    gan.compile(keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE), LOSSES["bce"], ema_kimg)
    return gan


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """40 PNG files of 16x16, some in a subfolder."""
    root = tmp_path_factory.mktemp("discs")
    (root / "more").mkdir()
    for index, picture in enumerate(discs(40)):
        Image.fromarray(picture).save(root / ("more" if index % 3 == 0 else "") / f"{index:03d}.png")
    return root


@pytest.fixture(scope="session")
def process():
    """multiprocessing.Process, forked from one that has imported TensorFlow already: seconds less than a new
    one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["keras_dcgan.fit", "keras_dcgan.training.loop", "keras_dcgan.data.prepare"]
    )
    return context.Process


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Prepared images go here, not into the home of whoever runs the tests."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KERAS_DCGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture
def command(capsys, monkeypatch):
    """`python -m module arguments` without the process: stdout, stderr and returncode of a verb's main()."""
    monkeypatch.setattr(progress, "FIRST", 600.0)  # or a busy machine has more to say

    def call(module, *arguments):
        capsys.readouterr()
        try:
            code = importlib.import_module(module).main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return call
