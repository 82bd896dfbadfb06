"""From a run to files for devices: `python -m keras_dcgan.export --run runs/imgs`. See `export/__main__.py`. Imports
nothing heavy."""

import keras_dcgan  # noqa: F401 (which sees to Ctrl-C, and to what TensorFlow reads of the environment)
