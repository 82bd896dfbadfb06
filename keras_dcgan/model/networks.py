"""The two networks of a DCGAN (Radford et al., arXiv:1511.06434, 2015) as functional Keras models with plain
arguments.

    G = generator((64, 64), channels=3)           # z (N, 100) -> images (N, 64, 64, 3) in [-1, 1]
    D = discriminator((64, 64), channels=3)       # images -> logits (N, 1)
    G = generator((64, 64), 3, classes=10)        # [z, label (N,)] -> images of the class; D takes [images, label]

At 64x64 with 64 filters these are the paper's: 4x4x512 -> 8x8x256 -> 16x16x128 -> 32x32x64 -> 64x64x3 and its
mirror image. Any other size from 16 to 512 gets a base grid and as many doublings as fit it; what is too much
is cropped.
"""

from collections.abc import Callable
from types import ModuleType

import keras
import tensorflow as tf
from keras import layers

from keras_dcgan.model.shapes import MAX_WIDTH, base_grid, sides, widths

UPSAMPLINGS = ("transpose", "nearest")
NORMS = ("batch", "spectral", "none")  # of the discriminator
# a multiple of the stride, so that every pixel is covered evenly (Odena et al., "Deconvolution and
# checkerboards", 2016)
KERNEL = 4
LEAK = 0.2
# Residual blocks; all of this was tried (tools/experiments/RECIPE.md).
BRANCH = 0.2  # the share of what a block computes that is added
COARSE = 16 * 16  # pixels: finer grids have none
NECK = 4  # so many times fewer channels lie between the two convolutions of a block


def initializer():
    """The paper's N(0, 0.02). Unseeded here: `keras.utils.set_random_seed` makes a run repeatable."""
    return keras.initializers.RandomNormal(0.0, 0.02)


def he_initializer():
    """Keeps the size of the signal through convolutions with LeakyReLU (He et al., arXiv:1502.01852, 2015,
    eq. 15). With 0.02 and no norm a discriminator starts at a thirtieth of it, and learns late."""
    return keras.initializers.VarianceScaling(2 / (1 + LEAK**2), "fan_in", "untruncated_normal")


def common(precision: str, initial=initializer) -> dict:
    """Options of a layer with a kernel; anew for each, since one initializer draws the same numbers each time
    (Keras 3.15)."""
    return {"kernel_initializer": initial(), "dtype": precision}


def residual(
    x,
    blocks: int,
    name: str,
    precision: str,
    norm: Callable[[str], layers.Layer] | None = None,
    bounded: Callable[[layers.Layer], layers.Layer] | None = None,
):
    """`blocks` times x + BRANCH * W2 lrelu(norm(W1 x)), of 3x3 convolutions through a quarter of the channels; x itself
    where its grid is finer than COARSE. W2 starts at 0, so that without a norm too the sum keeps its size (Zhang et al.,
    "Fixup initialization", arXiv:1901.09321, 2019); but not a `bounded` one, whose largest singular value is 1."""
    _, rows, columns, width = x.shape
    last = initializer if bounded else keras.initializers.Zeros

    def convolution(width, name, initial, **options):
        options |= common(precision, initial)
        layer = layers.Conv2D(width, KERNEL - 1, 1, "same", name=name, **options)
        return bounded(layer) if bounded else layer

    for number in range(blocks if rows * columns <= COARSE else 0):
        block = f"{name}_block_{number}"
        y = convolution(-(-width // NECK), f"{block}_in", he_initializer, use_bias=not norm)(x)
        y = norm(f"{block}_in_norm")(y) if norm else y
        y = layers.LeakyReLU(LEAK, dtype=precision, name=f"{block}_leaky")(y)
        y = layers.Rescaling(BRANCH, dtype=precision, name=f"{block}_scale")(
            convolution(width, f"{block}_out", last)(y)
        )
        x = layers.Add(dtype=precision, name=block)([x, y])
    return x


def batch_norm(
    layer_types: ModuleType, precision: str, synchronized: bool, name: str, scale: bool = True
) -> layers.Layer:
    # Momentum 0.9 is the original's 0.1 in Keras' terms; Keras' default of 0.99 lags behind a generator that
    # changes fast.
    options = {"scale": scale, "synchronized": synchronized, "dtype": precision, "name": name}
    return layer_types.BatchNormalization(momentum=0.9, epsilon=1e-5, **options)


class SpectralNormalization(layers.Wrapper):
    """Divides a convolution's kernel by its largest singular value, for which each training call takes a step
    of power iteration (Miyato et al., arXiv:1802.05957, 2018, algorithm 1). Keras' own overwrites the kernel,
    and has no gradient through the value (3.15)."""

    def __init__(self, layer: layers.Layer, **options):
        super().__init__(layer, dtype="float32", **options)  # the value's; the convolution keeps its own

    def build(self, input_shape):
        super().build(input_shape)
        shape, name = (self.layer.filters,), "direction"
        # Each replica's own, all alike: to write the first one's to the others is not allowed within the
        # penalty's tf.cond (2.21).
        self.direction = self.add_weight(
            shape, "random_normal", trainable=False, aggregation="none", name=name
        )

    def divided(self) -> tuple[tf.Tensor, tf.Tensor]:
        """-> the kernel divided by its largest singular value, and the direction after this step."""
        kernel = tf.convert_to_tensor(self.layer.kernel)
        matrix = tf.reshape(kernel, [-1, kernel.shape[-1]])
        left = tf.math.l2_normalize(tf.linalg.matvec(matrix, tf.convert_to_tensor(self.direction)))
        right = tf.math.l2_normalize(tf.linalg.matvec(matrix, left, transpose_a=True))
        left, right = tf.stop_gradient(left), tf.stop_gradient(right)
        return kernel / tf.tensordot(left, tf.linalg.matvec(matrix, right), 1), right

    def call(self, inputs, training=False):
        kernel, direction = self.divided()
        if training:
            self.direction.assign(direction)
        arithmetic = self.layer.compute_dtype
        outputs = self.layer.convolution_op(tf.cast(inputs, arithmetic), tf.cast(kernel, arithmetic))
        return outputs + tf.cast(self.layer.bias, arithmetic) if self.layer.use_bias else outputs


class MinibatchStd(layers.Layer):
    """Features (N, height, width, C) -> (N, height, width, 1): how much they differ within groups of at most
    `group` images, the standard deviation's mean over places and channels (Karras et al., arXiv:1710.10196,
    2018, section 3). So a generator that repeats itself is found out, also by a discriminator without batch
    norm. The groups divide N evenly."""

    def __init__(self, group: int, dtype="float32", **options):
        super().__init__(dtype=dtype, **options)
        self.group = group

    def call(self, features):
        count, (height, width, channels) = tf.shape(features)[0], features.shape[1:]
        sizes = tf.range(self.group, 0, -1)
        group = sizes[tf.argmax(tf.cast(count % sizes == 0, tf.int32))]
        grouped = tf.reshape(features, [group, count // group, height, width, channels])
        deviation = tf.sqrt(tf.math.reduce_variance(grouped, axis=0) + 1e-8)
        means = tf.reduce_mean(deviation, axis=[1, 2, 3])
        return tf.tile(tf.tile(means, [group])[:, None, None, None], [1, height, width, 1])

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)

    def get_config(self):
        return {**super().get_config(), "group": self.group}


def generator(
    size: int | tuple[int, int],
    channels: int,
    latent_dim: int = 100,
    filters: int = 64,
    upsample: str = "transpose",
    classes: int = 0,
    precision: str = "float32",
    synchronized: bool = False,
    layer_types: ModuleType = layers,
    max_width: int = MAX_WIDTH,
    blocks: int = 0,
) -> keras.Model:
    """z float (N, latent_dim) -> images float32 (N, height, width, channels) in [-1, 1].

    With `classes` the input is [z, label int32 (N,)], and a vector learned for each class gives every batch
    norm outside of `blocks` a bias of its own (conditional batch norm: Dumoulin et al., arXiv:1610.07629, 2017; one vector for
    all: Brock et al., arXiv:1809.11096, 2018).

    `upsample`: "transpose" is the paper's Conv2DTranspose; "nearest" is nearest-neighbour upsampling and a
    Conv2D, which draws no checkerboards. `max_width`: no layer has more than this times `filters` channels.
    `blocks`: residual ones after the first layer and after each doubling but the last, up to 16x16. `precision` is
    a Keras dtype policy. `synchronized` shares batch-norm statistics between replicas. `layer_types` has Conv2D,
    Conv2DTranspose and BatchNormalization as keras.layers has them: keras_dcgan.model.cpu_layers trains faster.
    """
    if upsample not in UPSAMPLINGS:
        raise ValueError(f"expected upsample to be one of {UPSAMPLINGS}, received upsample={upsample!r}")
    size = sides(size)
    (rows, columns), doublings = base_grid(size)
    *inner, base = widths(filters, doublings, max_width)

    def double(x, width, name, **options):
        options |= common(precision)
        if upsample == "transpose":
            return layer_types.Conv2DTranspose(width, KERNEL, 2, "same", name=name, **options)(x)
        x = layers.UpSampling2D(2, dtype=precision, name=f"{name}_nearest")(x)
        return layers.Conv2D(width, KERNEL - 1, 1, "same", name=name, **options)(x)

    def norm(name, **options):
        return batch_norm(layer_types, precision, synchronized, name, **options)

    def shifted(x, by, name):
        everywhere = layers.Reshape((1, 1, x.shape[-1]), dtype=precision, name=f"{name}_class")(by)
        return layers.Add(dtype=precision, name=f"{name}_and_class")([x, everywhere])

    z, label = keras.Input((latent_dim,), name="z"), keras.Input((), dtype="int32", name="label")
    x = layers.Dense(rows * columns * base, use_bias=False, name="project", **common(precision))(z)
    x = layers.Reshape((rows, columns, base), dtype=precision, name="reshape")(x)
    x = norm("project_norm", scale=not classes)(x)
    if classes:
        # After a norm without a scale, which holds z's part at its size. Beside z, in front of the first
        # layer, the classes outgrew it within 25 kimg of CIFAR-10, and a class was one image: see
        # tools/experiments/RECIPE.md.
        meaning = layers.Embedding(
            classes, base, keras.initializers.RandomNormal(0.0, 0.5), dtype=precision, name="meaning"
        )(label)
        x = shifted(x, meaning, "project")
    x = layers.ReLU(dtype=precision, name="project_relu")(x)
    x = residual(x, blocks, "project", precision, norm)
    for level, width in enumerate(reversed(inner)):
        x = double(x, width, f"up_{level}", use_bias=False)
        x = norm(f"up_{level}_norm")(x)
        if classes:
            by = layers.Dense(width, use_bias=False, name=f"up_{level}_meaning", **common(precision))(meaning)
            x = shifted(x, by, f"up_{level}")
        x = layers.ReLU(dtype=precision, name=f"up_{level}_relu")(x)
        x = residual(x, blocks, f"up_{level}", precision, norm)
    x = double(x, channels, "to_image")
    surplus = [side * 2**doublings - wanted for side, wanted in zip((rows, columns), size)]
    if any(surplus):
        x = layers.Cropping2D(
            [(extra // 2, extra - extra // 2) for extra in surplus], dtype=precision, name="crop"
        )(x)
    images = layers.Activation("tanh", dtype="float32", name="images")(x)
    return keras.Model([z, label] if classes else z, images, name="generator")


def class_count(generator: keras.Model) -> int:
    """Of how many classes it can draw; 0 where it has none."""
    return generator.get_layer("meaning").input_dim if len(generator.inputs) > 1 else 0


def has_blocks(network: keras.Model) -> bool:
    """Whether there are residual ones in it."""
    return any("_block_" in layer.name for layer in network.layers)


def discriminator(
    size: int | tuple[int, int],
    channels: int,
    filters: int = 64,
    classes: int = 0,
    norm: str = "batch",
    minibatch_std: int = 0,
    stem: int = 0,
    precision: str = "float32",
    synchronized: bool = False,
    layer_types: ModuleType = layers,
    max_width: int = MAX_WIDTH,
    blocks: int = 0,
) -> keras.Model:
    """images float (N, height, width, channels) in [-1, 1] -> logits float32 (N, 1); the sigmoid is the
    loss's.

    With `classes` the input is [images, label int32 (N,)], and the logit gains the inner product of the
    features, summed over the grid, with a vector learned for each class (Miyato and Koyama, "cGANs with
    projection discriminator", arXiv:1802.05637, 2018). A second output (N, classes) are the logits of what
    class it takes the image for, whatever the label (AC-GAN: Odena et al., arXiv:1610.09585, 2017). `norm`:
    "batch"; or "spectral" or "none", with which and without `minibatch_std` the logits of the images of a batch are
    independent of each other. "spectral" bounds the convolutions, and not what is learned for each class. `minibatch_std`: images
    in the groups whose spread the last layer sees as one more channel; 0 for none. `stem`: channels of a 3x3
    convolution of stride 1 in front; 0 for none. A strided convolution meets a pixel by another part of its
    kernel than its neighbour, and its gradient is a grid, which the generator draws as grain; behind a stem
    it is even: see tools/experiments/RECIPE.md. `max_width`: as of `generator`. `blocks`: residual ones at each
    resolution up to 16x16, without norm.
    """
    if norm not in NORMS:
        raise ValueError(f"expected norm to be one of {NORMS}, received norm={norm!r}")
    size = sides(size)
    grid, doublings = base_grid(size)
    images, label = (
        keras.Input((*size, channels), name="images"),
        keras.Input((), dtype="int32", name="label"),
    )

    def bounded(layer):
        return SpectralNormalization(layer, name=f"{layer.name}_spectral") if norm == "spectral" else layer

    x = images
    initial = he_initializer if norm == "none" else initializer
    if stem:
        x = bounded(layers.Conv2D(stem, KERNEL - 1, 1, "same", name="stem", **common(precision, initial)))(x)
        x = layers.LeakyReLU(LEAK, dtype=precision, name="stem_leaky")(x)
    for level, width in enumerate(widths(filters, doublings, max_width)):
        normalized = (
            norm == "batch" and level > 0
        )  # not on the first: the paper saw it make training unstable
        down = layer_types.Conv2D(
            width,
            KERNEL,
            2,
            "same",
            use_bias=not normalized,
            name=f"down_{level}",
            **common(precision, initial),
        )
        x = bounded(down)(x)
        if normalized:
            x = batch_norm(layer_types, precision, synchronized, f"down_{level}_norm")(x)
        x = layers.LeakyReLU(LEAK, dtype=precision, name=f"down_{level}_leaky")(x)
        x = residual(x, blocks, f"down_{level}", precision, bounded=bounded if norm == "spectral" else None)
    scored = x
    if minibatch_std:
        scored = layers.Concatenate(dtype="float32", name="score_inputs")(
            [x, MinibatchStd(minibatch_std, name="minibatch_std")(x)]
        )
    score = bounded(layers.Conv2D(1, grid, 1, "valid", name="score", **common(precision, initial)))(scored)
    logits = layers.Flatten(dtype="float32", name="logits")(score)
    if not classes:
        return keras.Model(images, logits, name="discriminator")
    features = layers.GlobalAveragePooling2D(dtype="float32", name="features")(x)
    meaning = layers.Embedding(classes, x.shape[-1], initializer(), dtype="float32", name="meaning")(label)
    match = layers.Dot(1, dtype="float32", name="match")([features, meaning])
    match = layers.Rescaling(float(grid[0] * grid[1]), dtype="float32", name="match_sum")(
        match
    )  # the paper sums over the grid
    guess = layers.Dense(classes, kernel_initializer=initializer(), dtype="float32", name="guess")(features)
    return keras.Model(
        [images, label],
        [layers.Add(dtype="float32", name="sum")([logits, match]), guess],
        name="discriminator",
    )


def levels(network: keras.Model) -> list:
    """What a `discriminator` finds at each resolution, from the image inwards: keras tensors (N, rows, columns, C)."""
    found = {}
    for layer in network.layers:
        name, _, rest = layer.name.partition("_block_")
        if isinstance(layer, layers.LeakyReLU) and not rest:
            found[name.removesuffix("_leaky")] = layer.output
        elif isinstance(layer, layers.Add) and rest:
            found[name] = layer.output
    return list(found.values())


def plain(network: keras.Model) -> keras.Model:
    """The same with ordinary convolutions in place of spectrally normalised ones, for use: its file loads
    without this package."""

    def clone(layer):
        layer = layer.layer if isinstance(layer, SpectralNormalization) else layer
        return type(layer).from_config(layer.get_config())

    result = keras.models.clone_model(network, clone_function=clone)
    for layer in network.layers:
        if isinstance(layer, SpectralNormalization):
            result.get_layer(layer.layer.name).set_weights(
                [layer.divided()[0], *layer.layer.get_weights()[1:]]
            )
        else:
            result.get_layer(layer.name).set_weights(layer.get_weights())
    return result


def is_halved(network: keras.Model) -> bool:
    """Whether `in_halves` is known to change nothing but rounding: of what `discriminator` is made of, without
    spectral norm, each pass of which is a step of its power iteration."""
    known = (
        *(layers.InputLayer, layers.Conv2D, layers.LeakyReLU, layers.BatchNormalization, MinibatchStd),
        *(layers.Concatenate, layers.Flatten, layers.GlobalAveragePooling2D, layers.Embedding, layers.Dot),
        *(layers.Rescaling, layers.Dense, layers.Add),
    )
    return hasattr(network, "inputs") and all(isinstance(layer, known) for layer in network.layers)


def in_halves(network: keras.Model) -> keras.Model:
    """The same layers for a batch of two halves, such as real images and fakes: what looks at a whole batch
    (batch norm, MinibatchStd) looks at each half by itself, as if they came one after the other."""

    def call(layer, *inputs, **options):
        if not isinstance(layer, (layers.BatchNormalization, MinibatchStd)):
            return layer(*inputs, **options)
        halves = keras.ops.split(inputs[0], 2)
        return keras.ops.concatenate([layer(half, **options) for half in halves])

    ends = [tensors if len(tensors) > 1 else tensors[0] for tensors in (network.inputs, network.outputs)]
    graph = keras.Model(*ends)  # of a Sequential as well
    return keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)
