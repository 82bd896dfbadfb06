"""DiffAugment (Zhao et al., arXiv:2006.10738, 2020): the discriminator sees real and generated images through
the same random changes, and the generator learns through them. Few images then last much longer before D
overfits them.

    for change in POLICIES["all"]:
        images = change(images, uniform)                    # float32 (N, H, W, C) in [-1, 1] -> the same shape

Pure functions: each change takes its random numbers, uniform in [0, 1), one row an image, so that the caller
decides what they depend on. Everything stays in float32, whatever the networks' arithmetic.
"""

import tensorflow as tf

SHIFT = 1 / 8  # of a side, at most, either way
HOLE = 1 / 2  # of a side
DRAWS = 3  # random numbers that a change gets for each image


def colour(images, draws):
    """Brightness by up to 0.5 either way, saturation times 0 to 2, contrast times 0.5 to 1.5."""
    brightness, saturation, contrast = tf.unstack(draws[:, :, None, None, None], axis=1)
    colours, alpha = images[..., :3] + (brightness - 0.5), images[..., 3:]  # alpha stays
    grey = tf.reduce_mean(colours, axis=-1, keepdims=True)
    colours = grey + (colours - grey) * 2 * saturation
    mean = tf.reduce_mean(colours, axis=[1, 2, 3], keepdims=True)
    return tf.concat([mean + (colours - mean) * (contrast + 0.5), alpha], axis=-1)


def translation(images, draws):
    """Moved by whole pixels, by up to an eighth of each side; what comes in is mid grey."""
    for axis, draw in ((1, draws[:, 0]), (2, draws[:, 1])):
        side = images.shape[axis]
        most = max(1, round(side * SHIFT))
        shift = tf.cast(tf.floor(draw * (2 * most + 1)), tf.int32) - most
        padded = tf.pad(images, [[most, most] if number == axis else [0, 0] for number in range(4)])
        images = tf.gather(padded, tf.range(side)[None] + most + shift[:, None], axis=axis, batch_dims=1)
    return images


def cutout(images, draws):
    """A rectangle of half of each side is mid grey, its middle anywhere in the image."""
    inside = []
    for axis, draw in ((1, draws[:, 0]), (2, draws[:, 1])):
        side = images.shape[axis]
        middle = tf.floor(draw * side)[:, None]
        inside.append(tf.abs(tf.range(side, dtype=tf.float32)[None] + 0.5 - middle) < side * HOLE / 2)
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    return images * (1 - tf.cast(hole, tf.float32)[..., None])


POLICIES = {
    "none": (),
    "colour": (colour,),
    "translation": (translation,),
    "cutout": (cutout,),
    "all": (colour, translation, cutout),
}
