"""R1 and R2 at every step, for 1.4 to 1.5 times what a discriminator's loss alone costs. Through second
derivatives it is 3 times (64x64, 32 and 64 filters, batches of 32, two cores, TensorFlow 2.21).

    critic = PiecewiseLinear(discriminator)         # one of networks.discriminator(norm="none")
    step = critic.gradients(real, fakes, labels=[], loss=LOSSES["relativistic"], r1=1.0, r2=1.0)
    optimizer.apply(step.gradients, critic.weights)

Up to its features such a discriminator is convolutions, sums and LeakyReLU: piecewise linear in the image, and
linear in each kernel. What follows is linear in the features. So the gradient of the loss and that of the penalty
have one factor in common at each layer: d, the derivative of the logit with respect to the layer's output. Let a be
the layer's input for an image x, c the derivative of the loss with respect to the logit, and u what becomes of r
times the logit's derivative with respect to x on its way to the layer, through the same linear pieces. The kernel's
gradient is then that of a layer with input c a + u and output gradient d. In all: forwards with x, backwards with d,
forwards with c a + u, and the gradient of the kernels, once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_dcgan.model.losses import Loss, classification
from keras_dcgan.model.networks import MinibatchStd

# Linear, a convolution in its kernel too; and LeakyReLU.
PIECES = (layers.Conv2D, layers.LeakyReLU, layers.Add, layers.AveragePooling2D, layers.Rescaling)
OF_HEAD = (
    *(layers.InputLayer, layers.Conv2D, layers.Dense, layers.Flatten, layers.GlobalAveragePooling2D),
    *(layers.Concatenate, layers.Embedding, layers.Dot, layers.Rescaling, layers.Add, MinibatchStd),
)


@dataclass(frozen=True)
class Step:
    """float32: logits (N, 1), the loss without penalties, and a gradient for each of the critic's weights."""

    real_logits: tf.Tensor
    fake_logits: tf.Tensor
    loss: tf.Tensor
    gradients: list[tf.Tensor]


def is_piecewise_linear(discriminator: keras.Model) -> bool:
    """Whether it is made as networks.discriminator(norm="none") is: a body that is piecewise linear, and behind it,
    from a layer named score on, a head that is linear in the body's features."""
    if not hasattr(discriminator, "inputs"):  # a subclass of keras.Model
        return False
    score = next((layer for layer in discriminator.layers if layer.name == "score"), None)
    if score is None or len(keras.tree.flatten(score.input)) != 1:
        return False
    features = features_of(discriminator)
    body = body_of(discriminator, features)
    head = [layer for layer in discriminator.layers if layer not in body]
    made = {id(discriminator.inputs[0]), *(id(layer.output) for layer in body)}
    read = {id(tensor) for layer in head for tensor in keras.tree.flatten(layer.input)}
    return (
        len(body) > 0
        and all(is_one_of(layer, PIECES) and not is_shifted(layer) for layer in body)
        and all(id(tensor) in made for layer in body for tensor in keras.tree.flatten(layer.input))
        and all(is_one_of(layer, OF_HEAD) for layer in head)
        and not made & read - {id(features)}
        and is_linear_in(features, head)
    )


def is_linear_in(features, head: list[keras.Layer]) -> bool:
    """Whether no product of features with each other is taken, and at most one spread: that of the features."""
    follow = {id(features)}
    for layer in head:  # each stands after what it reads
        read = [id(tensor) for tensor in keras.tree.flatten(layer.input)]
        if isinstance(layer, layers.Dot) and set(read) <= follow:
            return False
        if not isinstance(layer, MinibatchStd) and follow & set(read):
            follow |= {id(tensor) for tensor in keras.tree.flatten(layer.output)}
    spreads = [id(layer.input) for layer in head if isinstance(layer, MinibatchStd)]
    return spreads in ([], [id(features)])


def is_one_of(layer: keras.Layer, kinds: tuple[type[keras.Layer], ...]) -> bool:
    """With the call of that very kind, and no activation of its own."""
    activation = getattr(layer, "activation", keras.activations.linear)
    is_own = any(isinstance(layer, kind) and type(layer).call is kind.call for kind in kinds)
    return is_own and activation is keras.activations.linear


def is_shifted(layer: keras.Layer) -> bool:
    """A convolution's bias has a part of its own in the gradient; no other layer's constant has."""
    return isinstance(layer, layers.Rescaling) and bool(np.any(layer.offset))


def features_of(discriminator: keras.Model):
    """The keras tensor of which the head makes logits."""
    (scored,) = keras.tree.flatten(discriminator.get_layer("score").input)
    for layer in discriminator.layers:
        if layer.output is scored and isinstance(layer, layers.Concatenate):  # with what MinibatchStd says
            return layer.input[0]
    return scored


def body_of(discriminator: keras.Model, features) -> list[keras.Layer]:
    """The layers that `features` follow from, each after those that it reads."""
    wanted, found = {id(features)}, []
    for layer in reversed(discriminator.layers):  # each stands after what it reads
        if id(layer.output) in wanted and not isinstance(layer, layers.InputLayer):
            wanted |= set(map(id, keras.tree.flatten(layer.input)))
            found.append(layer)
    return found[::-1]


def called(layer: keras.Layer, *inputs: tf.Tensor) -> tf.Tensor:
    return layer(inputs if len(inputs) > 1 else inputs[0])


class PiecewiseLinear:
    """A discriminator without norm, in two parts: the body, which makes features of images, and the head that
    makes logits of these."""

    def __init__(self, discriminator: keras.Model):
        self.weights = discriminator.trainable_variables
        self.images, self.features = discriminator.inputs[0], features_of(discriminator)
        self.body = body_of(discriminator, self.features)
        self.body_weights = [weight for layer in self.body for weight in layer.trainable_variables]
        in_body = set(map(id, self.body_weights))
        self.head_weights = [weight for weight in self.weights if id(weight) not in in_body]
        self.deviation = next(
            (layer for layer in discriminator.layers if isinstance(layer, MinibatchStd)), None
        )
        deviation = [self.deviation.output] if self.deviation else []
        self.head = keras.Model([self.features, *deviation, *discriminator.inputs[1:]], discriminator.outputs)

    def through(self, images: tf.Tensor, call: Callable[..., tf.Tensor]) -> dict[int, tf.Tensor]:
        """The body, where `call(layer, *inputs)` stands for each layer -> what each keras tensor becomes, by id."""
        found = {id(self.images): images}
        for layer in self.body:
            found[id(layer.output)] = call(
                layer, *(found[id(each)] for each in keras.tree.flatten(layer.input))
            )
        return found

    def gradients(self, real, fakes, labels: list[tf.Tensor], loss: Loss, r1, r2, scale=1.0) -> Step:
        """The gradient of `scale` times the loss, of which class real images are (with `labels`: int32 (N,)),
        and the penalties: half of r1 or r2 times the mean over the images of the squared norm of the logit's
        derivative with respect to the image (Mescheder et al., arXiv:1801.04406, 2018, eq. 9). `real` and
        `fakes` are float32 (N, height, width, C).

        How varied a batch is (networks.MinibatchStd) the head alone learns to use: no gradient goes on from
        there to the images, or an image's logit would depend on other images.
        """
        count = tf.shape(real)[0]
        images = tf.concat([real, fakes], axis=0)
        with tf.GradientTape(persistent=True) as body_tape:
            body_tape.watch(images)
            found = self.through(images, called)
        convolutions = [layer for layer in self.body if isinstance(layer, layers.Conv2D)]
        outputs = [found[id(layer.output)] for layer in convolutions]
        features = found[id(self.features)]
        with tf.GradientTape(persistent=True) as head_tape:
            head_tape.watch(features)
            with tf.GradientTape() as slope_tape:
                slope_tape.watch(features)
                logits, class_loss = self._judge(features, labels, count)
            slope = slope_tape.gradient(logits, features)
            real_logits, fake_logits = logits[:count], logits[count:]
            value = loss.discriminator(real_logits, fake_logits)
            apart = scale * class_loss
            total = scale * value + apart
        *slopes, image_gradients = body_tape.gradient(features, [*outputs, images], output_gradients=slope)

        def for_each(values):
            return tf.reshape(values, [-1, 1, 1, 1])

        by_logit = for_each(head_tape.gradient(total, logits))
        weight = for_each(tf.repeat(tf.stack([r1, r2]), count)) * scale / tf.cast(count, tf.float32)
        both = by_logit * images + weight * image_gradients
        linear = []

        def linearly(layer, *inputs):
            """The layer of c a + u, where a convolution's bias belongs to a alone."""
            arithmetic = layer.compute_dtype
            if isinstance(layer, layers.LeakyReLU):
                slopes = tf.where(found[id(layer.input)] > 0, 1.0, layer.negative_slope)
                return inputs[0] * tf.cast(slopes, arithmetic)
            if not isinstance(layer, layers.Conv2D):
                return called(layer, *inputs)
            kernel = tf.cast(layer.kernel, arithmetic)
            made = layer.convolution_op(tf.stop_gradient(tf.cast(inputs[0], arithmetic)), kernel)
            if layer.use_bias:
                made += tf.cast(by_logit, arithmetic) * tf.cast(layer.bias, arithmetic)
            linear.append(made)
            return made

        with tf.GradientTape() as kernel_tape:
            both = self.through(both, linearly)[id(self.features)]
        body = kernel_tape.gradient(linear, self.body_weights, output_gradients=slopes)
        if labels:  # classes are other outputs than the logit, with slopes of their own
            slopes = body_tape.gradient(
                features, self.body_weights, output_gradients=head_tape.gradient(apart, features)
            )
            body = [a + b for a, b in zip(body, slopes)]
        along = both - tf.cast(by_logit, both.dtype) * features
        head = head_tape.gradient([total, slope], self.head_weights, output_gradients=[tf.ones([]), along])
        of = dict(zip(map(id, self.body_weights + self.head_weights), body + head))
        return Step(real_logits, fake_logits, value, [of[id(weight)] for weight in self.weights])

    def _judge(self, features, labels, count):
        """-> logits (2N, 1) of the real images and the fakes, and how far the real ones are from being told
        by class."""
        logits, class_loss = [], 0.0
        for part in (features[:count], features[count:]):  # groups of one kind
            deviation = [self.deviation(tf.stop_gradient(part))] if self.deviation else []
            outputs = self.head([part, *deviation, *labels])
            logits.append(outputs[0] if labels else outputs)
            if labels and len(logits) == 1:
                class_loss = classification(labels[0], outputs[1])
        return tf.concat(logits, axis=0), class_loss
