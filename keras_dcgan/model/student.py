"""A smaller generator that learns from a trained one, its teacher: what the teacher draws of a latent, the
student is to draw of it too.

    student = generator((64, 64), 3, filters=16)
    take_channels(student, teacher, z)                  # its start: the channels of the teacher that matter most
    game = Student(teacher, student, discriminator, ema_student, seed=0)
    game.compile(...)                                   # as DCGAN's
    game.learn(batch=16)                                # one step

There is no set of images: the teacher draws new ones for each step. The discriminator that the teacher was
trained with goes on as the student's, and its features say how far the two images of a pair are apart.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_dcgan.model.gan import DCGAN
from keras_dcgan.model.losses import classification
from keras_dcgan.model.networks import class_count, levels

# How much the distances within a pair weigh beside the game: see tools/experiments/RECIPE.md.
PIXELS, FEATURES = 1.0, 3.0


def take_channels(student: keras.Model, teacher: keras.Model, inputs):
    """Gives `student`, a networks.generator with fewer filters, the teacher's weights between those of its
    channels that matter most: whose variance, when it draws `inputs`, times the squares of the weights that
    read them is largest. The batch-norm statistics are to be taken anew."""
    source: dict[str, str] = {}  # of each convolution: which one's channels it reads
    target: dict[str, str] = {}  # and whose channels it writes: its own, or those that it is added to
    active: dict[str, str] = {}  # of each that has channels of its own: the activation behind it
    level = ""
    for layer in teacher.layers:
        name, _, kind = layer.name.rpartition("_")
        if kind not in ("relu", "leaky"):
            continue
        if "_block_" in name:
            target |= {f"{name}_in": f"{name}_in", f"{name}_out": level}
            source |= {f"{name}_in": level, f"{name}_out": f"{name}_in"}
            active[f"{name}_in"] = layer.name
        else:
            target[name], source[name], active[name], level = name, level, layer.name, name
    source["to_image"] = level
    outputs = [teacher.get_layer(name).output for name in active.values()]
    kept = {"to_image": np.arange(teacher.get_layer("to_image").output.shape[-1])}
    for name, channels in zip(active, keras.Model(teacher.input, outputs)(inputs, training=False)):
        count = student.get_layer(active[name]).output.shape[-1]
        readers = [_out_in(teacher, reader) for reader in source if source[reader] == name]
        matters = np.var(channels, axis=(0, 1, 2)) * sum(np.square(each).sum((0, 1, 2)) for each in readers)
        kept[name] = np.sort(np.argsort(-matters, kind="stable")[:count])
    for layer in student.layers:
        name, weights = layer.name, teacher.get_layer(layer.name).get_weights()
        whose = target.get(name) or name.removesuffix("_norm").removesuffix("_meaning")
        if name == "project":
            cells = layer.kernel.shape[1] // len(kept[name])
            weights = [each.reshape(*each.shape[:-1], cells, -1)[..., kept[name]] for each in weights]
            weights = [each.reshape(*each.shape[:-2], -1) for each in weights]
        elif name == "meaning":
            weights = [weights[0][:, kept["project"]]]
        elif name.endswith("_meaning"):
            weights = [weights[0][kept["project"]][:, kept[whose]]]
        elif name.endswith("_norm"):
            weights = [weight[kept[whose]] for weight in weights]
        elif name in source:
            taken = _out_in(teacher, name)[:, :, kept[whose]][..., kept[source[name]]]
            if not isinstance(layer, keras.layers.Conv2DTranspose):
                taken = taken.swapaxes(2, 3)
            weights = [taken, *(bias[kept[whose]] for bias in weights[1:])]
        layer.set_weights(weights)


class Student(DCGAN):
    """DCGAN's game with the teacher's images in the place of real ones, of the very latents that the student
    draws; their distances in pixels and in the discriminator's features are part of its loss (Wang et al.,
    "High-resolution image synthesis with conditional GANs", arXiv:1711.11585, 2018, section 3.2)."""

    def __init__(
        self,
        teacher: keras.Model,
        generator: keras.Model,
        discriminator: keras.Model,
        ema_generator: keras.Model,
        seed: int = 0,
    ):
        super().__init__(generator, discriminator, ema_generator, seed)
        self.teacher = teacher
        self.classes = class_count(generator)
        self.features = levels(discriminator)
        self.look = keras.Model(discriminator.input, [*self.features, *discriminator.outputs])

    def learn(self, batch: int) -> dict[str, tf.Tensor]:
        """A step on `batch` images, which the teacher draws, of each class in turn -> the means since
        `reset_means`."""
        labels = []
        if self.classes:
            first = tf.cast(self.step, tf.int32) * batch
            labels = [(first + tf.range(batch)) % self.classes]
        z = self._latents(batch, tf.distribute.get_replica_context())
        images = self.teacher([z, *labels] if labels else z, training=False)
        return self.train_step(((images + 1) * 127.5, *labels))

    def _generator_loss(self, real, fakes, labels, real_logits, discriminate):
        count = len(self.features)
        wanted = self.look([real, *labels] if labels else real, training=True)[:count]
        outputs = self.look([fakes, *labels] if labels else fakes, training=True)
        logits, *guesses = outputs[count:]
        apart = PIXELS * tf.reduce_mean(tf.abs(fakes - real))
        for one, other in zip(outputs[:count], wanted):
            one, other = tf.cast(one, tf.float32), tf.stop_gradient(tf.cast(other, tf.float32))
            scale = tf.reduce_mean(tf.abs(other)) + keras.config.epsilon()
            apart += FEATURES / count * tf.reduce_mean(tf.abs(one - other)) / scale
        if labels:
            apart += classification(labels[0], guesses[0])
        return self.objective.generator(tf.stop_gradient(real_logits), logits), apart


def _out_in(network: keras.Model, name: str) -> np.ndarray:
    """The kernel of a convolution, (rows, columns, outputs, inputs)."""
    layer = network.get_layer(name)
    kernel = np.asarray(layer.kernel, np.float32)
    return kernel if isinstance(layer, keras.layers.Conv2DTranspose) else kernel.swapaxes(2, 3)
