"""keras_dcgan: point it at a folder of pictures, get a generator that runs on a phone.

    python -m keras_dcgan.fit --data ./imgs

This file imports nothing heavy, so that `--help` answers at once. It only settles, before anybody imports TensorFlow, the
two environment variables that TensorFlow and Keras read at import; what the user has set wins.
"""

import os

__version__ = "0.1.0"

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # a ~/.keras/keras.json may name another one
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the C++ side's start-up notices; errors still show
