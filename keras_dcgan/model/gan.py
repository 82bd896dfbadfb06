"""DCGAN: the training step of Radford et al. (arXiv:1511.06434, 2015) as a keras.Model. No paths, no flags,
no plots.

    gan = DCGAN(generator, discriminator, ema_generator, seed=0)
    gan.compile(Adam(2e-4, beta_1=0.5), Adam(2e-4, beta_1=0.5), LOSSES["bce"], ema_kimg=10)
    gan.fit(batches, ...)              # uint8 images (N, height, width, channels), or (images, labels int32 (N,))

One step: the generator draws once; the discriminator learns from the real images and from these fakes; then
the generator learns from the same fakes through the updated discriminator; then its moving average follows.
(The usual example draws twice a step.)

Nothing random is state. The latents of a step are a pure function of (seed, stream, step, place in the global
batch), so a run that is killed and resumed at step n sees what it would have seen, and two replicas at half
the batch see what one sees at the whole.
"""

import functools
import itertools
import math
import types
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_dcgan.model import augment, program
from keras_dcgan.model.losses import Loss, classification, gradient_penalty
from keras_dcgan.model.networks import class_count, in_halves, is_halved
from keras_dcgan.model.penalties import PiecewiseLinear, is_piecewise_linear

Weight = float | Callable[[tf.Tensor], tf.Tensor]
MEANS = ("d_loss", "g_loss", "real_acc", "fake_acc")
STATISTICS_BATCHES, STATISTICS_BATCH = 6, 64  # costs 1 % of a tick
STATISTICS = 0x736574  # keeps these random numbers apart from the others
AUGMENT = 0x617567  # keeps these random numbers apart from the latents'
PURPOSES = 3  # of an image that D sees in a step: real; fake, for D; fake, for G
# the average's half-life is at most this share of the images so far, so that it forgets the first, bad ones
EMA_RAMP = 0.05


def statistics_latents(seed: int, latent_dim: int) -> list[tf.Tensor]:
    """STATISTICS_BATCHES batches of STATISTICS_BATCH latents, in pairs z and -z, and together of exactly the covariance I
    (as far as latent_dim leaves enough of them for that): so the first layer's statistics are exact, and all
    others have less of chance in them. With as many latents drawn at random, colours came out 3.5 grey levels
    off; with these 0.5: see tools/experiments/RECIPE.md."""
    count = STATISTICS_BATCHES * STATISTICS_BATCH // 2
    z = tf.random.stateless_normal((count, latent_dim), [seed, STATISTICS])
    if count >= 1.5 * latent_dim:
        root = tf.linalg.cholesky(tf.matmul(z, z, transpose_a=True) / count)
        z = tf.transpose(tf.linalg.triangular_solve(root, tf.transpose(z)))
    batches = tf.reshape(z, (STATISTICS_BATCHES, STATISTICS_BATCH // 2, latent_dim))
    return tf.unstack(tf.concat([batches, -batches], axis=1))


def check_range(batch):
    """images, or (images, labels): arrays or tensors. Raises ValueError unless the images go from 0 to 255,
    as uint8 does."""
    images = batch[0] if isinstance(batch, (tuple, list)) and len(batch) else batch
    if not hasattr(images, "dtype") or tf.as_dtype(images.dtype) == tf.uint8 or 0 in images.shape:
        return
    low, high = (float(reduce(np.asarray(images))) for reduce in (np.min, np.max))
    if not (0 <= low and high <= 255) or 0 < high <= 1:
        kind = tf.as_dtype(images.dtype).name
        raise ValueError(
            f"images: expected uint8, or numbers from 0 to 255, received {kind} from {low:g} to {high:g}"
        )


class DCGAN(keras.Model):
    """Trains `generator` (z -> images in [-1, 1]) against `discriminator` (images -> logits). Conditional
    ones take a label too, and the discriminator guesses it: D learns the classes of real images, G to be
    taken for the class that was asked for.

    `ema_generator` is a float32 generator of the same shape; it starts as a copy and then holds the
    exponential moving average of the weights. Its batch-norm statistics `recompute_statistics` takes anew,
    before it is to draw.
    """

    def __init__(
        self, generator: keras.Model, discriminator: keras.Model, ema_generator: keras.Model, seed: int = 0
    ):
        super().__init__(name="dcgan", dtype="float32")  # whatever Keras' policy is, latents stay exact
        self.generator = generator
        self.discriminator = discriminator
        self.ema_generator = ema_generator
        self.ema_generator.trainable = False
        for average, weight in zip(ema_generator.weights, generator.weights, strict=True):
            average.assign(weight)
        self.seed = seed
        self.latent_dim = generator.inputs[0].shape[-1]
        # Not an optimizer's `iterations`: loss scaling in float16 skips updates, and a skipped step must not
        # be drawn again.
        self.step = self.add_weight(
            (), "zeros", "int64", trainable=False, aggregation="only_first_replica", name="step"
        )
        # Which sequence of latents: another one after each time that this one has led to NaN.
        self.stream = self.add_weight(
            (), "zeros", "int64", trainable=False, aggregation="only_first_replica", name="stream"
        )
        # Not keras.metrics: several machines could only save those together, and each of them would cost a
        # round of messages.
        self.sums = self.add_weight(
            (len(MEANS) + 1,), "zeros", "float32", trainable=False, aggregation="mean", name="sums"
        )
        self.built = True

    def compile(
        self,
        g_optimizer: keras.Optimizer,
        d_optimizer: keras.Optimizer,
        loss: Loss,
        ema_kimg: float,
        r1: Weight = 0.0,
        r2: Weight = 0.0,
        penalty_every: int = 8,
        augment: tuple[Callable, ...] = (),
        jit_compile: bool = False,
        steps_per_execution: int = 1,
        merged: bool = False,
    ):
        """`ema_kimg`: half-life of the generator's average, in thousands of real images; 0 follows the
        generator at once. `r1`, `r2`: weights of the gradient penalty on real and on generated images, or
        functions of the step, such as optimizers.Fall; it is taken on every `penalty_every`-th step, and is that
        many times as strong (lazy regularisation: Karras et al., arXiv:1912.04958, 2020). `augment`: a row of
        augment.POLICIES. `merged`: D looks at real images and fakes in one pass, which is the same but for
        rounding; penalties at every step merge them anyway where D has no norm."""
        super().compile(
            optimizer=g_optimizer, jit_compile=jit_compile, steps_per_execution=steps_per_execution
        )
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        self.objective = loss
        self.ema_kimg = ema_kimg
        self.r1, self.r2, self.penalty_every, self.augment = r1, r2, penalty_every, augment
        is_for_critic = penalty_every == 1 and bool(r1 or r2) and is_piecewise_linear(self.discriminator)
        self.critic = PiecewiseLinear(self.discriminator) if is_for_critic else None
        is_merged = merged and not self.critic and is_halved(self.discriminator)
        self.halves = functools.partial(in_halves(self.discriminator), training=True) if is_merged else None
        pairs = zip(self.ema_generator.weights, self.generator.weights)
        # Without an average the weights are the generator's own, and so are the statistics. A function, since Keras would
        # save what a list holds once more.
        followed = [(average, weight) for average, weight in pairs if weight.trainable or not ema_kimg]
        self.followed = lambda: followed
        # Built now, so that a checkpoint finds their slots, and so that no replica creates variables inside
        # the step.
        g_optimizer.build(self.generator.trainable_variables)
        d_optimizer.build(self.discriminator.trainable_variables)

    @property
    def steps_taken(self) -> int:
        return int(self.step.numpy())

    def copy_state(self, source: "DCGAN"):
        """All that a step of the same networks reads and writes elsewhere, here as well."""
        for ours, theirs in zip(self._state(), source._state(), strict=True):
            ours.assign(theirs)

    def _state(self) -> list[keras.Variable]:
        return [*self.variables, *self.g_optimizer.variables, *self.d_optimizer.variables]

    def reset_means(self):
        """`fit` does not do it: the means run over a tick, which may begin in one process and end in
        another."""
        self.sums.assign(tf.zeros_like(self.sums))

    def current_means(self) -> dict[str, float]:
        """d_loss, g_loss, real_acc and fake_acc (the share of real and of fake images that D tells rightly)
        since the reset."""
        *sums, steps = self.sums.numpy().tolist()
        return {name: total / max(steps, 1) for name, total in zip(MEANS, sums, strict=True)}

    def recompute_statistics(self, batches: int = STATISTICS_BATCHES):
        """Takes the batch-norm statistics of the averaged generator over `batches`, at most STATISTICS_BATCHES, of
        always the same latents: BigGAN's standing statistics (Brock et al., arXiv:1809.11096, 2018). Averaged
        along with the weights they would belong to none: see tools/experiments/RECIPE.md."""
        if not self.ema_kimg:
            return
        model = self.ema_generator
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        usual = [norm.momentum for norm in norms]
        try:  # a notebook may be interrupted
            model.trainable = True  # or batch norm takes none
            for number, z in enumerate(statistics_latents(self.seed, self.latent_dim)[:batches]):
                for norm in norms:
                    norm.momentum = number / (number + 1)  # the mean of all batches so far
                inputs = [z]
                # Both of a pair are of one class; the classes come in turn, or spread, through all batches.
                if classes := class_count(model):
                    pairs = STATISTICS_BATCH // 2
                    places, most = tf.range(pairs) + number * pairs, STATISTICS_BATCHES * pairs
                    inputs.append(tf.tile(places * max(classes, most) // most % classes, [2]))
                model(inputs if len(inputs) > 1 else inputs[0], training=True)
        finally:
            model.trainable = False
            for norm, momentum in zip(norms, usual):
                norm.momentum = momentum

    def fit(self, x=None, *args, **kwargs):
        """keras.Model.fit. Raises ValueError where images are floats in [-1, 1] or [0, 1], which would be
        trained on as black."""
        if isinstance(x, tf.data.Dataset):
            check_range(next(iter(x.take(1)), None))
            x = self.grouped(x)
        elif isinstance(x, keras.utils.PyDataset):
            check_range(x[0])
        elif isinstance(x, types.GeneratorType):
            first = [*itertools.islice(x, 1)]
            check_range(first[0] if first else None)
            x = (batch for batch in itertools.chain(first, x))
        elif x is not None:
            check_range(x)
        return super().fit(x, *args, **kwargs)

    def grouped(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """For several steps per execution, on one device: groups of batches, brought to where it trains."""
        is_shared = self._distribute_strategy is not None or tf.distribute.has_strategy()
        is_one_by_one = self.steps_per_execution == 1 or self.run_eagerly
        if is_shared or is_one_by_one or not program.is_groupable(batches):
            return batches
        device = self.step.value.device
        return program.grouped(batches, self.steps_per_execution, device if "GPU" in device else "")

    def make_train_function(self, force=False):
        """Keras' own for batches; for groups of them, all steps as one program."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        one_by_one = self.train_function
        together = program.one_program(self.train_step, self._means_so_far, self.jit_compile)

        def train(iterator):
            return (together if program.is_grouped(iterator) else one_by_one)(iterator)

        self.train_function = train

    def train_step(self, data):
        """One step on this replica's uint8 images (n, height, width, channels), or (images, labels) -> the
        means since `reset_means`. Fakes get the labels of the real images, so both have each class equally
        often."""
        images, labels = self._taken(data)
        replica = tf.distribute.get_replica_context()
        replicas = replica.num_replicas_in_sync
        real = tf.cast(images, tf.float32) / 127.5 - 1
        z = self._latents(tf.shape(images)[0], replica)
        draws = self._augment_draws(tf.shape(images)[0], replica)

        def augmented(pictures, purpose):
            for change, uniform in zip(self.augment, draws[purpose]):
                pictures = change(pictures, uniform)
            return pictures

        def discriminate(pictures):
            """-> logits, and how far D is from finding the class that the images are of."""
            if not labels:
                return tf.cast(self.discriminator(pictures, training=True), tf.float32), 0.0
            logits, guesses = self.discriminator([pictures, *labels], training=True)
            return tf.cast(logits, tf.float32), classification(labels[0], guesses)

        with tf.GradientTape() as g_tape:
            fakes = tf.cast(self.generator([z, *labels] if labels else z, training=True), tf.float32)
            # Keras' optimizers sum the replicas' gradients; the mean over the global batch needs this
            # division.
            scale = self.d_optimizer.scale_loss(tf.constant(1 / replicas))
            d_weights = self.discriminator.trainable_variables
            seen = augmented(real, 0), augmented(tf.stop_gradient(fakes), 1)
            if self.critic:
                weights = self._now(self.r1), self._now(self.r2)
                step = self.critic.gradients(*seen, labels, self.objective, *weights, scale)
                real_logits, fake_logits, d_loss, d_gradients = (
                    step.real_logits,
                    step.fake_logits,
                    step.loss,
                    step.gradients,
                )
            else:
                with tf.GradientTape() as d_tape:
                    # Real and fake in batches of their own: each batch norm must see one kind (Radford 2015;
                    # ganhacks no. 4).
                    if self.halves:
                        real_logits, fake_logits, class_loss = self._tell_both(*seen, labels)
                    else:
                        real_logits, class_loss = discriminate(seen[0])
                        fake_logits, _ = discriminate(seen[1])
                    d_loss = self.objective.discriminator(real_logits, fake_logits)
                    penalty = self._penalty(discriminate, *seen) if self.r1 or self.r2 else 0.0
                    d_scaled = scale * (d_loss + class_loss + penalty)
                d_gradients = d_tape.gradient(d_scaled, d_weights)
            self._apply(self.d_optimizer, d_gradients, d_weights, replica)
            g_loss, others = self._generator_loss(
                real, fakes, labels, real_logits, lambda pictures: discriminate(augmented(pictures, 2))
            )
            g_scaled = self.g_optimizer.scale_loss((g_loss + others) / replicas)
        g_weights = self.generator.trainable_variables
        self._apply(self.g_optimizer, g_tape.gradient(g_scaled, g_weights), g_weights, replica)

        self.step.assign_add(1)
        self._update_average(tf.shape(images)[0] * replicas)
        accuracies = self.objective.accuracies(real_logits, fake_logits)
        self.sums.assign_add(tf.stack([d_loss, g_loss, *accuracies, 1.0]))
        logs = self._means_so_far()
        if isinstance(replica.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # Keras 3.15 takes their mean over axis 0, which a scalar has not ("Invalid reduction dimension
            # 0").
            return {name: value[None] for name, value in logs.items()}
        return logs

    def _taken(self, data) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """What Keras gives a step -> the images, and [labels (n,)], or []. Raises ValueError while the step is traced."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise ValueError("sample_weight, class_weight: expected none: every image counts the same")
        if not hasattr(images, "shape"):
            raise ValueError(f"images: expected images or (images, labels), received {type(images).__name__}")
        drawn = self.generator.output_shape[1:]
        if not tf.TensorShape(images.shape[1:]).is_compatible_with(drawn):
            expected = f"expected images of {drawn}, as the generator draws them"
            raise ValueError(f"images: {expected}, received {tuple(images.shape[1:])}")
        is_conditional = len(self.generator.inputs) > 1
        if is_conditional != (labels is not None):
            expected = (
                "(images, labels), since the generator has classes"
                if is_conditional
                else "none: it has no classes"
            )
            raise ValueError(f"labels: expected {expected}")
        if labels is None:
            return images, []
        if len(labels.shape) > 2 or labels.shape[1:] not in ((), (1,)):
            raise ValueError(
                f"labels: expected the number of each image's class, (N,), received {tuple(labels.shape)}"
            )
        return images, [tf.cast(tf.reshape(labels, [-1]), tf.int32)]

    def _means_so_far(self) -> dict[str, tf.Tensor]:
        """What a step returns."""
        sums = tf.convert_to_tensor(self.sums)
        return {name: sums[place] / sums[-1] for place, name in enumerate(MEANS)}

    def _tell_both(self, real, fakes, labels):
        """One pass -> logits of real images and of fakes, and how far D is from the classes of the real ones."""
        images = tf.concat([real, fakes], axis=0)
        outputs = self.halves([images, tf.tile(*labels, [2])] if labels else images)
        logits, *guesses = outputs if labels else (outputs,)
        real_logits, fake_logits = tf.split(tf.cast(logits, tf.float32), 2)
        count = tf.shape(real)[0]
        return real_logits, fake_logits, classification(labels[0], guesses[0][:count]) if labels else 0.0

    def _generator_loss(self, real, fakes, labels, real_logits, discriminate):
        """-> what the game says of the fakes, and what is added to it."""
        # The relativistic loss compares with the real images; the logits of before D's step serve, and cost
        # nothing.
        fake_logits, class_loss = discriminate(fakes)
        return self.objective.generator(tf.stop_gradient(real_logits), fake_logits), class_loss

    def _apply(self, optimizer, gradients, weights, replica):
        """A step that overflows in float16 on one replica is left out by all: Keras 3.15 asks the first one
        alone, and the others' infinities would go into all weights, or several machines wait for each other
        for ever."""
        if replica.num_replicas_in_sync > 1 and isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            is_sound = tf.reduce_all(
                [tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(each))) for each in gradients]
            )
            verdict = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(is_sound, 0.0, math.nan))
            gradients = [gradients[0] + verdict, *gradients[1:]]
        optimizer.apply(gradients, weights)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing to build. Under a strategy Keras 3.15 would take a batch and average it over the replicas,
        which several machines cannot do with uint8."""

    def _latents(self, count, replica):
        """This replica's rows of the global batch's z. Each replica draws all of them: it is cheap, and needs
        no talk."""
        shape = (count * replica.num_replicas_in_sync, self.latent_dim)
        stream = tf.convert_to_tensor(self.stream) * 2**32 + self.seed
        z = tf.random.stateless_normal(shape, seed=tf.stack([stream, tf.convert_to_tensor(self.step)]))
        first = replica.replica_id_in_sync_group * count
        return z[first : first + count]

    def _augment_draws(self, count, replica) -> list[list[tf.Tensor]]:
        """For each of PURPOSES what each of the changes draws for this replica's images (count,
        augment.DRAWS). They belong to the image's place in the global batch: the same changes on one device
        and on many."""
        changes = len(self.augment)
        if not changes:
            return [[]] * PURPOSES
        seed = tf.stack([tf.convert_to_tensor(self.step) + (self.seed << 32), AUGMENT])
        shape = (PURPOSES * changes, count * replica.num_replicas_in_sync, augment.DRAWS)
        first = replica.replica_id_in_sync_group * count
        flat = tf.unstack(tf.random.stateless_uniform(shape, seed)[:, first : first + count])
        return [flat[purpose * changes :][:changes] for purpose in range(PURPOSES)]

    def _now(self, weight: Weight) -> tf.Tensor:
        return tf.cast(weight(tf.convert_to_tensor(self.step)) if callable(weight) else weight, tf.float32)

    def _penalty(self, discriminate, real, fakes):
        """R1 and R2 on every `penalty_every`-th step, through second derivatives."""

        def penalise():
            penalties = [
                self._now(weight) * gradient_penalty(lambda pictures: discriminate(pictures)[0], seen)
                for weight, seen in ((self.r1, real), (self.r2, fakes))
                if weight
            ]
            return self.penalty_every * tf.add_n(penalties)

        return tf.cond(
            tf.convert_to_tensor(self.step) % self.penalty_every == 0, penalise, lambda: tf.constant(0.0)
        )

    def _update_average(self, batch):
        images = tf.cast(self.step, tf.float32) * tf.cast(batch, tf.float32)
        half_life = tf.minimum(1000.0 * self.ema_kimg, EMA_RAMP * images)
        rate = 1 - 0.5 ** (tf.cast(batch, tf.float32) / half_life)

        def update(strategy, averages, weights):
            for average, weight in zip(averages, weights):
                strategy.extended.update(
                    average, lambda var, new: var.assign_add(rate * (new - var)), args=(weight,), group=False
                )

        averages, weights = zip(*((average.value, weight.value) for average, weight in self.followed()))
        # Mirrored variables can only be assigned across replicas, as Keras' own optimizers do it.
        tf.__internal__.distribute.interim.maybe_merge_call(
            update, tf.distribute.get_strategy(), averages, weights
        )
