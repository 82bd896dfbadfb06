"""keras_dcgan: point it at a folder of images, get a generator that runs on a phone.

    python -m keras_dcgan.fit --data ./imgs

This file imports nothing heavy, so that `--help` answers at once. It only settles, before anybody imports
TensorFlow, the environment variables that TensorFlow and Keras read at import; but for the backend, what the
user has set wins.
"""

import os
import signal
import sys

__version__ = "0.1.0"


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
if platform.machine() in ("x86_64", "AMD64"):
    # On by default only where there is AVX512-VNNI or AMX; without them it halves the time of a step as well
    # (TensorFlow 2.21).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
