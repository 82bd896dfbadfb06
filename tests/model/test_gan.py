from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import RATE, discs, small_gan

from keras_dcgan.model.augment import POLICIES
from keras_dcgan.model.gan import DCGAN, check_range, statistics_latents
from keras_dcgan.model.losses import LOSSES
from keras_dcgan.model.networks import discriminator, generator
from keras_dcgan.model.optimizers import Fall


def train(gan, images, steps, batch=8):
    dataset = tf.data.Dataset.from_tensor_slices(images).repeat().batch(batch, drop_remainder=True)
    gan.fit(dataset, steps_per_epoch=steps, verbose=0, shuffle=False)
    return gan


def values(model):
    return [weight.numpy() for weight in model.weights]


@pytest.fixture(scope="module")
def exact():
    """Three steps in float32."""
    return train(small_gan(), discs(8), 3)


def test_a_step_is_the_papers_discriminator_first_then_generator_from_the_same_fakes():
    gan, images = small_gan(), discs(8)
    G, D = keras.models.clone_model(gan.generator), keras.models.clone_model(gan.discriminator)
    G.set_weights(gan.generator.get_weights())
    D.set_weights(gan.discriminator.get_weights())
    train(gan, images, steps=1)

    # The same step, written out: no shared tape, the second half a forward pass of its own.
    z = tf.random.stateless_normal((8, 6), seed=tf.constant([3, 0], tf.int64))
    fakes = G(z, training=True)
    norm_statistics = G.get_weights()
    with tf.GradientTape() as tape:
        real_logits, fake_logits = D(images / np.float32(127.5) - 1, training=True), D(fakes, training=True)
        loss = (
            tf.reduce_mean(tf.nn.softplus(-real_logits)) / 2 + tf.reduce_mean(tf.nn.softplus(fake_logits)) / 2
        )
    for weight, gradient in zip(D.trainable_variables, tape.gradient(loss, D.trainable_variables)):
        weight.assign_sub(RATE * gradient)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.softplus(-D(G(z, training=True), training=True)))
    gradients = tape.gradient(loss, G.trainable_variables)
    G.set_weights(norm_statistics)  # the second forward pass has moved them once more
    for weight, gradient in zip(G.trainable_variables, gradients):
        weight.assign_sub(RATE * gradient)

    for ours, theirs in zip(values(gan.generator) + values(gan.discriminator), values(G) + values(D)):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_latents_depend_on_seed_and_step_alone(exact):
    again, other = (train(small_gan(seed=seed), discs(8), 3) for seed in (3, 4))
    for a, b in zip(values(exact.generator), values(again.generator)):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(values(exact.generator), values(other.generator)))


def test_without_a_half_life_the_average_is_the_generator(exact):
    for average, weight in zip(values(exact.ema_generator), values(exact.generator)):
        np.testing.assert_allclose(average, weight, atol=1e-7)


def trained_values(model):
    """Without the statistics of batch norm."""
    return [weight.numpy() for weight in model.weights if "moving" not in weight.path]


def test_average_follows_by_its_half_life_with_a_ramp_up():
    gan, images = (
        small_gan(ema_kimg=0.0008),
        discs(8),
    )  # 0.8 images; the ramp is below it up to image 16, that is step 2
    average = trained_values(gan.ema_generator)
    for step in (1, 2, 3, 4):
        train(gan, images, 1)
        half_life = min(0.8, 0.05 * 8 * step)
        keep = 0.5 ** (8 / half_life)
        average = [keep * old + (1 - keep) * new for old, new in zip(average, trained_values(gan.generator))]
    for ours, expected in zip(trained_values(gan.ema_generator), average):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_the_average_settles_on_statistics_of_its_own_weights():
    gan = train(small_gan(ema_kimg=1), discs(8), 3)
    before = trained_values(gan.ema_generator)
    gan.recompute_statistics()
    norm, kernel = (
        gan.ema_generator.get_layer("project_norm"),
        gan.ema_generator.get_layer("project").kernel.numpy(),
    )
    # Of a linear layer of z ~ N(0, I): known without any sample.
    variances = (kernel.astype(float) ** 2).sum(axis=0).reshape(*norm.input.shape[1:]).mean(axis=(0, 1))
    np.testing.assert_allclose(norm.moving_mean, 0, atol=1e-4 * variances.max() ** 0.5)
    np.testing.assert_allclose(norm.moving_variance, variances, rtol=1e-4)
    once = values(gan.ema_generator)
    gan.recompute_statistics()
    for a, b in zip(once, values(gan.ema_generator)):
        np.testing.assert_array_equal(a, b)  # a pure function of the weights
    for a, b in zip(before, trained_values(gan.ema_generator)):
        np.testing.assert_array_equal(a, b)
    assert norm.momentum == 0.9 and not gan.ema_generator.trainable_variables


@pytest.mark.parametrize(
    "classes, counts", [(3, dict.fromkeys(range(3), 128)), (960, dict.fromkeys(range(0, 960, 5), 2))]
)
def test_it_settles_on_as_much_of_each_class_or_of_each_part_of_many(monkeypatch, classes, counts):
    gan, seen = small_gan(ema_kimg=1, classes=classes), []
    meaning = gan.ema_generator.get_layer("meaning")
    call = meaning.call
    monkeypatch.setattr(meaning, "call", lambda labels: seen.append(np.array(labels)) or call(labels))
    gan.recompute_statistics()
    np.testing.assert_array_equal(np.stack(seen)[:, :32], np.stack(seen)[:, 32:])  # z and -z
    assert Counter(np.concatenate(seen).tolist()) == counts


def test_more_latents_than_it_settles_on_are_only_paired():
    batches = np.stack(statistics_latents(0, 400))
    assert batches.shape == (6, 64, 400) and abs(batches.std() - 1) < 0.02
    np.testing.assert_array_equal(batches[:, :32], -batches[:, 32:])


def test_accuracies_count_what_the_discriminator_tells_rightly():
    z, pictures = keras.Input((2,)), keras.Input((2, 2, 1))
    G = keras.Model(
        z,
        keras.layers.Reshape((2, 2, 1))(
            keras.layers.Dense(4, kernel_initializer="zeros", bias_initializer="ones")(z)
        ),
    )
    # an image's logit is its brightness
    mean, score = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1, kernel_initializer="ones")
    D = keras.Sequential([pictures, mean, score])
    gan = DCGAN(G, D, keras.models.clone_model(G))
    gan.compile(keras.optimizers.SGD(1e-9), keras.optimizers.SGD(1e-9), LOSSES["bce"], 0, merged=True)
    images = np.array([255, 255, 255, 0], np.uint8).reshape(4, 1, 1, 1).repeat(2, 1).repeat(2, 2)
    train(gan, images, steps=2, batch=4)
    means = gan.current_means()
    assert means["real_acc"] == 0.75  # three white, one black
    assert means["fake_acc"] == 0.0  # all fakes are white
    assert means["g_loss"] == pytest.approx(np.log1p(np.exp(-1)), rel=1e-6)
    gan.reset_means()
    assert gan.current_means()["real_acc"] == 0


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_float32_weights_close_to_float32(exact, precision):
    mixed = train(small_gan(precision=precision), discs(8), 3)
    for a, b in zip(values(exact.generator), values(mixed.generator)):
        assert b.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=0.05)  # 0.031 where the processor has bfloat16
    assert any((a != b).any() for a, b in zip(values(exact.generator), values(mixed.generator)))


def test_conditional_training_teaches_each_class_its_colour():
    keras.utils.set_random_seed(1)
    options = {"filters": 4, "classes": 2}
    G, E = (generator((16, 16), 1, latent_dim=6, **options) for _ in range(2))
    gan = DCGAN(G, discriminator((16, 16), 1, **options), E)
    gan.compile(*(keras.optimizers.Adam(2e-3, beta_1=0.5) for _ in range(2)), LOSSES["bce"], ema_kimg=0)
    labels = np.arange(16, dtype=np.int32) % 2
    pictures = np.where(labels[:, None, None, None] == 1, 230, 30) * np.ones((1, 16, 16, 1))
    stream = (
        tf.data.Dataset.from_tensor_slices((pictures.astype(np.uint8), labels))
        .repeat()
        .batch(16, drop_remainder=True)
    )
    gan.fit(stream, steps_per_epoch=80, verbose=0, shuffle=False)
    drawn = E([np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), np.arange(8) % 2]).numpy()
    assert drawn[0::2].mean() < -0.3 and drawn[1::2].mean() > 0.3


def test_generator_learns_to_be_taken_for_the_class_that_was_asked_for():
    """From the guess alone: of this discriminator the logits are 0 whatever the image, and it takes bright
    ones for class 0."""
    z, label, pictures = keras.Input((2,)), keras.Input((), dtype="int32"), keras.Input((2, 2, 1))
    of_class = keras.layers.Embedding(2, 4, "zeros")(label)
    G = keras.Model([z, label], keras.layers.Activation("tanh")(keras.layers.Reshape((2, 2, 1))(of_class)))
    mean = keras.layers.GlobalAveragePooling2D()(pictures)
    logits = keras.layers.Dense(1, kernel_initializer="zeros")(mean)
    guess = keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant([[1.0, -1.0]]))(mean)
    gan = DCGAN(G, keras.Model([pictures, label], [logits, guess]), keras.models.clone_model(G))
    gan.compile(keras.optimizers.SGD(5.0), keras.optimizers.SGD(1e-9), LOSSES["bce"], 0)
    stream = tf.data.Dataset.from_tensors(
        (np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 0, 1], np.int32))
    ).repeat()
    gan.fit(stream, steps_per_epoch=20, verbose=0, shuffle=False)
    drawn = G([np.zeros((2, 2), "float32"), np.arange(2)]).numpy()
    assert drawn[0].min() > 0.3 and drawn[1].max() < -0.3


def test_discriminator_learns_the_classes_of_real_images():
    keras.utils.set_random_seed(1)
    options = {"filters": 4, "classes": 2}
    G, E = (generator((16, 16), 1, latent_dim=6, **options) for _ in range(2))
    D = discriminator((16, 16), 1, **options)
    gan = DCGAN(G, D, E)
    gan.compile(
        keras.optimizers.SGD(1e-9), keras.optimizers.Adam(2e-3, beta_1=0.5), LOSSES["bce"], ema_kimg=0
    )
    labels = np.arange(16, dtype=np.int32) % 2
    pictures = (np.where(labels[:, None, None, None] == 1, 230, 30) * np.ones((1, 16, 16, 1))).astype(
        np.uint8
    )
    gan.fit(
        tf.data.Dataset.from_tensors((pictures, labels)).repeat(),
        steps_per_epoch=60,
        verbose=0,
        shuffle=False,
    )
    _, guess = D([pictures / np.float32(127.5) - 1, 1 - labels], training=True)  # whatever label it is told
    assert (guess.numpy().argmax(1) == labels).all()


@pytest.mark.parametrize("penalties", [{"r1": 0.5}, {"r2": 0.5}, {"r1": 0.2, "r2": 0.3}])
def test_penalty_comes_every_eighth_step_and_eight_times_as_strong(penalties):
    """D is linear, so the gradient at every image is its kernel, and the penalty pulls the kernel towards 0
    by a known amount."""
    z, pictures = keras.Input((2,)), keras.Input((2, 2, 1))
    G = keras.Model(z, keras.layers.Reshape((2, 2, 1))(keras.layers.Dense(4, kernel_initializer="zeros")(z)))
    D = keras.Model(
        pictures, keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Flatten()(pictures))
    )
    gan = DCGAN(G, D, keras.models.clone_model(G))
    gan.compile(keras.optimizers.SGD(1e-9), keras.optimizers.SGD(0.01), LOSSES["wasserstein"], 0, **penalties)
    grey = np.full((4, 2, 2, 1), 127, np.uint8)  # as the fakes: the loss itself pulls nowhere
    norms = [4.0**0.5]
    for _ in range(10):
        train(gan, grey, steps=1, batch=4)
        norms.append(float(np.linalg.norm(D.layers[-1].kernel.numpy())))
    fallen = [a / b for a, b in zip(norms[1:], norms)]
    for step, ratio in enumerate(fallen):
        assert ratio == pytest.approx(1 - 0.01 * 8 * 0.5 if step % 8 == 0 else 1, abs=3e-4)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_penalties_at_every_step_are_those_of_second_derivatives(precision):
    """With all of what goes with them: augmentation, classes, loss scaling."""

    def trained(is_shortened):
        keras.utils.set_random_seed(1)
        options = {"filters": 4, "classes": 2, "precision": precision}
        gan = DCGAN(
            generator((16, 16), 3, latent_dim=6, **options),
            discriminator((16, 16), 3, norm="none", **options),
            generator((16, 16), 3, latent_dim=6, filters=4, classes=2),
        )
        optimizers = [keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE)]
        if precision == "mixed_float16":
            optimizers = [
                keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=256.0)
                for optimizer in optimizers
            ]
        changes = (lambda images, draws: images * (0.5 + draws[:, :1, None, None]),)
        gan.compile(*optimizers, LOSSES["relativistic"], 0, r1=2.0, r2=0.5, penalty_every=1, augment=changes)
        assert gan.critic
        if not is_shortened:
            gan.critic = None
        labels = np.arange(8, dtype=np.int32) % 2
        return values(train(gan, (discs(8), labels), 2).discriminator), float(gan.sums.numpy()[0])

    (ours, loss), (theirs, their_loss) = trained(True), trained(False)
    tolerance = 1e-5 if precision == "float32" else 3e-3
    assert loss == pytest.approx(their_loss, rel=tolerance)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.parametrize(
    "of_discriminator, options",
    [
        ({}, {"classes": 2, "augment": POLICIES["all"]}),
        ({}, {"r1": 1.0, "r2": 0.5, "penalty_every": 2}),
        ({"norm": "none", "minibatch_std": 4, "stem": 2}, {}),
        ({"norm": "spectral"}, {}),
    ],
)
def test_real_and_fake_in_one_pass_are_as_in_two(of_discriminator, options):
    ended, options = [], dict(options)
    classes = options.pop("classes", 0)
    labels = np.arange(8, dtype=np.int32) % 2
    for merged in (False, True):
        keras.utils.set_random_seed(1)
        shape = {"size": (16, 16), "channels": 3, "filters": 4, "classes": classes}
        G, E = (generator(**shape, latent_dim=6) for _ in range(2))
        gan = DCGAN(G, discriminator(**shape, **of_discriminator), E)
        optimizers = keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE)
        gan.compile(*optimizers, LOSSES["bce"], 0, merged=merged, **options)
        assert bool(gan.halves) == (merged and of_discriminator.get("norm") != "spectral")
        train(gan, (discs(8), labels) if classes else discs(8), 2)
        ended.append([weight.numpy() for weight in gan.variables])
    for one, two in zip(*ended, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("norm, every", [("none", 1), ("batch", 2)])
def test_penalties_fall_with_the_steps(norm, every):
    """From step 4 of 8 on, of two: as constant ones of what is left there."""
    ended = []
    for weights in [
        {"r1": Fall(4.0, 8, 0.25), "r2": Fall(1.0, 8, 0.25)},
        {"r1": 2.0, "r2": 0.5},
        {"r1": 4.0, "r2": 1.0},
    ]:
        keras.utils.set_random_seed(1)
        options = {"filters": 4}
        gan = DCGAN(
            generator((16, 16), 3, latent_dim=6, **options),
            discriminator((16, 16), 3, norm=norm, **options),
            generator((16, 16), 3, latent_dim=6, **options),
        )
        optimizers = keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE)
        gan.compile(*optimizers, LOSSES["relativistic"], 0, penalty_every=every, **weights)
        gan.step.assign(4)
        ended.append(values(train(gan, discs(8), 1).discriminator))
    for falling, left in zip(*ended[:2]):
        np.testing.assert_allclose(falling, left, atol=1e-6)
    assert any(np.abs(left - first).max() > 1e-4 for left, first in zip(*ended[1:]))


def test_discriminator_sees_both_kinds_changed_and_the_generator_learns_through_the_changes():
    seen = []

    def note(images, draws):
        seen.append((images.shape, draws.shape))
        return images * draws[:, :1, None, None]

    gan = small_gan()
    gan.compile(keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE), LOSSES["bce"], 0, augment=(note,))
    plain = train(small_gan(), discs(8), 1)
    train(gan, discs(8), 1)
    assert len(seen) == 3 and {shape[1:] for shape, _ in seen} == {(16, 16, 3)}
    for network in ("generator", "discriminator"):
        pairs = zip(values(getattr(gan, network)), values(getattr(plain, network)))
        assert sum(np.abs(a - b).max() > 1e-6 for a, b in pairs) > 3


def test_every_change_of_every_picture_draws_numbers_of_its_own():
    seen = []

    def note(images, draws):
        seen.append(draws.numpy())
        return images

    gan = small_gan()
    gan.compile(
        keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE), LOSSES["bce"], 0, augment=(note, note)
    )
    gan.run_eagerly = True
    train(gan, discs(8), 2)
    drawn = np.stack(seen)  # of 2 steps real and fake for D, then fake for G; two changes each
    assert drawn.shape == (12, 8, 3) and np.unique(drawn).size == drawn.size
    assert 0 <= drawn.min() < 0.1 and 0.9 < drawn.max() < 1


@pytest.mark.parametrize(
    "low, high, dtype",
    [
        (-1, 1, np.float32),
        (0, 1, np.float64),
        (0, 510, np.float16),
        (-128, 127, np.int8),
        (0, np.nan, np.float32),
    ],
)
def test_images_that_do_not_go_from_0_to_255_are_refused(low, high, dtype):
    images = np.full((2, 4, 4, 3), low, dtype)
    images[1] = high
    message = f"^images: expected uint8, or numbers from 0 to 255, received {np.dtype(dtype).name} from "
    for batch in (images, (images, np.zeros(2, np.int32)), tf.constant(images)):
        with pytest.raises(ValueError, match=message):
            check_range(batch)


def test_numbers_of_any_type_from_0_to_255_are_not():
    for dtype in (np.uint8, np.float32, np.float16, np.int32):
        check_range(discs(2).astype(dtype))
    check_range(np.zeros((0, 4, 4, 3), np.float32))


def test_fit_looks_at_them_before_it_takes_a_step(exact):
    images, steps = discs(8) / np.float32(127.5) - 1, exact.steps_taken
    for data in (
        images,
        tf.data.Dataset.from_tensor_slices(images).batch(8),
        tf.data.Dataset.from_tensors((images, np.zeros(8))),
    ):
        with pytest.raises(
            ValueError,
            match="^images: expected uint8, or numbers from 0 to 255, received float32 from -1 to ",
        ):
            exact.fit(data, verbose=0)
    assert exact.steps_taken == steps
