"""`python -m tools.pack` is `python -m keras_dcgan.pack`, as it was called up to 0.1."""

from keras_dcgan.pack import main
from keras_dcgan.process import run

if __name__ == "__main__":
    raise SystemExit(run(main))
