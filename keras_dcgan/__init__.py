"""keras_dcgan: point it at a folder of pictures, get a generator that runs on a phone.

    python -m keras_dcgan.fit --data ./imgs

This file imports nothing heavy, so that `--help` answers at once. It only settles, before anybody imports TensorFlow, the
environment variables that TensorFlow and Keras read at import; what the user has set wins.
"""

import os
import platform

__version__ = "0.1.0"

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # a ~/.keras/keras.json may name another one
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the C++ side's start-up notices; errors still show
if platform.machine() in ("x86_64", "AMD64"):
    # On by default only where there is AVX512-VNNI or AMX; without them it halves the time of a step as well (TensorFlow 2.21).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
