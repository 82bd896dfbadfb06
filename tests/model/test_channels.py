import conftest
import keras
import numpy as np
import pytest

from keras_dcgan.model.networks import generator
from keras_dcgan.model.student import take_channels
from keras_dcgan.pictures.latents import latents

LATENT_DIM, FILTERS, CLASSES = 6, 8, 3  # of conftest.lively_generator


@pytest.mark.parametrize(
    ("upsample", "classes", "blocks"),
    [
        ("transpose", 0, 0),
        ("nearest", 0, 1),
        ("transpose", CLASSES, 0),
        ("transpose", CLASSES, 2),
    ],
)
def test_channels_that_nothing_reads_are_not_taken(upsample, classes, blocks):
    options = {"classes": classes, "upsample": upsample, "blocks": blocks}
    teacher = conftest.lively_generator(latent_dim=LATENT_DIM, **options)
    for layer in teacher.layers:
        if layer.name in ("up_0", "to_image", "up_0_meaning") or layer.name.endswith(("_in", "_out")):
            kernel = layer.kernel.numpy()
            into = -1 if isinstance(layer, keras.layers.Conv2DTranspose) else -2
            np.moveaxis(kernel, into, 0)[1::2] = 0  # half of all channels
            layer.kernel.assign(kernel)
    student = generator((16, 16), 3, latent_dim=LATENT_DIM, filters=FILTERS // 2, **options)
    z = latents(range(32), LATENT_DIM)
    inputs = [z, np.arange(32) % classes] if classes else z
    take_channels(student, teacher, inputs)
    wanted = teacher(inputs).numpy()
    assert np.ptp(wanted) > 1
    np.testing.assert_allclose(student(inputs), wanted, atol=1e-5)
