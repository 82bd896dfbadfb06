"""Every exported file in tflite-runtime 2.14, the last of that name and the oldest that still installs (Python 3.9
to 3.11).

.ci/run makes build/tflite-2.14, where that Python and the package are to be had; else this is skipped."""

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import lively_generator

from keras_dcgan.export import convert
from tools import arm

OLD_PYTHON = Path(__file__).parents[2] / "build" / "tflite-2.14" / "bin" / "python"
# The mean over images in [-1, 1]: kernels of two times and of any CPU round otherwise, and where steps of int8
# activations meet in one pixel, that one may be a tenth off. Residual sums of such steps are some two grey levels off.
MOST_ERROR = {"fp32": 1e-5, "fp16": 1e-5, "int8": 0.005, "int8_full": 0.005}
pytestmark = pytest.mark.skipif(not OLD_PYTHON.is_file(), reason=f"no {OLD_PYTHON}: see .ci/run")


@pytest.mark.parametrize("options", [{}, {"upsample": "nearest", "classes": 2, "blocks": 1}])
def test_every_file_loads_and_draws_as_in_litert(options, tmp_path):
    classes = ["blue", "red"][: options.get("classes", 0)]
    convert.export(lively_generator(latent_dim=9, **options), MOST_ERROR, tmp_path, "tiny", classes)
    most_error = MOST_ERROR | ({"int8_full": 0.02} if options.get("blocks") else {})
    for name, most in most_error.items():
        file = tmp_path / f"generator_{name}.tflite"
        (theirs, _), (ours, _) = arm.draw([str(OLD_PYTHON)], file), arm.draw([sys.executable], file)
        assert np.ptp(ours) > 1 and np.abs(theirs - ours).mean() <= most, name
