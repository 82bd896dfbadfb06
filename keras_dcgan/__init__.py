"""keras_dcgan: point it at a folder of images, get a generator that runs on a phone.

    python -m keras_dcgan.fit --data ./imgs

or, in Python:

    import keras_dcgan as kd
    pets = kd.prepare("./pets", size=64)
    gan = kd.DCGAN.of(pets, filters=32)
    gan.compile(ema_kimg=10)
    gan.fit(pets, batch_size=32, steps_per_epoch=250, epochs=4)
    kd.show(gan.draw(seeds=range(64)))

`__all__` is what is public. Each name is imported when it is first asked for: this file imports nothing heavy, so
that `--help` answers at once. It only settles, before anybody imports TensorFlow, the environment variables that
TensorFlow and Keras read at import; but for the backend, what the user has set wins.
"""

import os
import signal
import sys

__version__ = "0.2.0"


class _Clone:
    """Finds keras_dcgan.export in a clone, where it lies beside this folder; a wheel has it inside."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != f"{__name__}.export":
            return None
        from importlib.util import spec_from_file_location

        folder = os.path.join(os.path.dirname(__path__[0]), "export")
        file = os.path.join(folder, "__init__.py")
        return spec_from_file_location(name, file, submodule_search_locations=[folder])


if not os.path.isdir(os.path.join(__path__[0], "export")):
    sys.meta_path.insert(0, _Clone)  # before the finder of an editable install of another clone


def _leave(number, frame):
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(130)


if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # `python -m keras_dcgan.VERB`: until cli.run begins, and after it has ended, there is nothing to put
    # away, but much to import.
    signal.signal(signal.SIGINT, _leave)

import platform  # noqa: E402

os.environ["KERAS_BACKEND"] = (
    "tensorflow"  # whatever ~/.keras/keras.json or the environment name: nothing here runs on another
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the C++ side's start-up notices; errors still show
# TensorFlow (2.21) reads it while it is imported, and by default has oneDNN only where there is VNNI, AVX512-BF16 or AMX;
# elsewhere a step without oneDNN takes 1.4 to 1.7 times as long.
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
IS_LATE = ONEDNN not in os.environ and "tensorflow" in sys.modules
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault(ONEDNN, "1")

# What is public, and the module that has it.
_HOME = {
    "prepare": "keras_dcgan.data.prepare",
    "ImageSet": "keras_dcgan.data.sets",
    "batches": "keras_dcgan.data.feed",
    "train": "keras_dcgan.library",
    "DCGAN": "keras_dcgan.library",
    "Loss": "keras_dcgan.model.losses",
    "generator": "keras_dcgan.model.networks",
    "discriminator": "keras_dcgan.model.networks",
    "latents": "keras_dcgan.pictures.latents",
    "show": "keras_dcgan.pictures.images",
    "measure": "keras_dcgan.measure",  # the folder itself, which can be called
    "export_generator": "keras_dcgan.export.convert",
    "Run": "keras_dcgan.library",
    "Refused": "keras_dcgan.errors",
    "Unavailable": "keras_dcgan.errors",
}
__all__ = list(_HOME)

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:  # what a type checker or an editor is told of them
    from keras_dcgan.data.feed import batches as batches
    from keras_dcgan.data.prepare import prepare as prepare
    from keras_dcgan.data.sets import ImageSet as ImageSet
    from keras_dcgan.errors import Refused as Refused
    from keras_dcgan.errors import Unavailable as Unavailable
    from keras_dcgan.export.convert import export_generator as export_generator
    from keras_dcgan.library import DCGAN as DCGAN
    from keras_dcgan.library import Run as Run
    from keras_dcgan.library import train as train
    from keras_dcgan.measure import measure as measure
    from keras_dcgan.model.losses import Loss as Loss
    from keras_dcgan.model.networks import discriminator as discriminator
    from keras_dcgan.model.networks import generator as generator
    from keras_dcgan.pictures.images import show as show
    from keras_dcgan.pictures.latents import latents as latents


def __getattr__(name: str):
    import importlib

    if name not in _HOME:
        raise AttributeError(f"module 'keras_dcgan' has no attribute {name!r}")
    from keras_dcgan import process

    with process.importing():  # TensorFlow, most of the time
        home = importlib.import_module(_HOME[name])
    found = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
