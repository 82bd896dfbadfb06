"""What `import keras_dcgan` gives: the twelve lines of the README, and the traps of a notebook."""

import ast
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import discs

import keras_dcgan as kd
from keras_dcgan import library
from keras_dcgan.config import resolve
from keras_dcgan.pack import pack
from keras_dcgan.pictures.draw import draw
from keras_dcgan.pictures.images import to_uint8

ROOT = Path(__file__).parent.parent
STEPS = 3


def test_the_import_is_light_and_names_what_is_public():
    command = (
        "import sys, keras_dcgan as kd\n"
        "assert set(kd.__all__) <= set(dir(kd))\n"
        "try: kd.nothing\n"
        "except AttributeError: print(sorted({'numpy', 'tensorflow', 'keras', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_public_name_is_there_and_says_what_it_is():
    for name in kd.__all__:
        assert getattr(kd, name).__doc__, name


def test_type_checkers_are_told_of_the_same_names():
    tree = ast.parse((ROOT / "keras_dcgan" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and "TYPE" in ast.unparse(node.test)]
    told = {line.names[0].name: line.module for line in block.body}
    assert told == kd._HOME


def test_measure_can_be_called_though_a_folder_has_its_name():
    import keras_dcgan.measure.metrics  # noqa: F401 (which puts the folder in the place of the name)

    assert callable(kd.measure)


@pytest.fixture(scope="module")
def pets(folder):
    return kd.prepare(folder, size=16, show=lambda line: None)


@pytest.fixture(scope="module")
def gan(pets):
    gan = kd.DCGAN.of(pets, filters=4, latent_dim=6)
    gan.compile(ema_kimg=10)
    gan.seen = []  # the sums when each epoch has ended
    noting = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: gan.seen.append(gan.sums.numpy()))
    gan.told = gan.fit(
        kd.batches(pets, 8), steps_per_epoch=STEPS, epochs=2, verbose=0, callbacks=noting
    ).history
    return gan


def test_the_history_of_an_epoch_is_of_that_epoch(gan):
    first, both = gan.seen
    assert gan.told["d_loss"] == pytest.approx([first[0] / STEPS, (both - first)[0] / STEPS], rel=1e-5)
    assert both[-1] == 2 * STEPS  # a tick's sums, which may have begun in another process, run on


def test_a_tick_that_ends_within_an_epoch_takes_nothing_from_its_history(gan):
    gan.sums.assign([10.0, 20.0, 3.0, 4.0, 5.0])
    gan.sums_before.assign([1.0, 2.0, 0.0, 0.0, 2.0])
    gan.reset_means()
    np.testing.assert_allclose(gan.sums - gan.sums_before, [9, 18, 3, 4, 3])
    assert gan.current_means()["d_loss"] == 0


def test_fit_leaves_an_average_whose_statistics_are_its_own(gan):
    before = gan.ema_generator.get_weights()
    gan.recompute_statistics()
    for a, b in zip(before, gan.ema_generator.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_draws_what_its_saved_generator_draws(gan, tmp_path):
    gan.ema_generator.save(tmp_path / "generator.keras")
    generator = kd.Run(tmp_path).load_generator()
    z = kd.latents([3, 1, 4], 6)
    drawn = gan.draw(seeds=[3, 1, 4])
    np.testing.assert_array_equal(drawn, np.stack(list(draw(generator, z))))
    for images in (gan(z), gan.predict(z, verbose=0)):
        assert np.abs(to_uint8(images).astype(int) - drawn).max() <= 1
    assert kd.show(drawn).size == (32, 32) and kd.show(gan(z), columns=3).size == (48, 16)


def test_it_draws_with_statistics_of_its_own_before_and_amid_training(pets):
    gan = kd.DCGAN.of(pets, filters=4, latent_dim=6)
    for act in (lambda: gan.draw([0]), lambda: gan.predict(np.zeros((1, 6), np.float32), verbose=0)):
        gan.step.assign_add(1)  # as if a step had been taken since
        gan.ema_generator.get_layer("project_norm").moving_variance.assign([7.0] * 8)
        act()
        assert (gan.ema_generator.get_layer("project_norm").moving_variance.numpy() != 7).all()


def test_fit_again_with_callbacks_of_keras(gan, pets, tmp_path):
    before = gan.steps_taken
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "gan.weights.h5", save_weights_only=True),
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.EarlyStopping("g_loss", mode="min", patience=5),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    gan.fit(kd.batches(pets, 8), steps_per_epoch=1, verbose=0, callbacks=callbacks)
    assert gan.steps_taken == before + 1 and list((tmp_path / "logs").rglob("*.tfevents.*"))
    assert (tmp_path / "log.csv").read_text().startswith("epoch,d_loss,")
    other = kd.DCGAN.of(pets, filters=4, latent_dim=6)
    other.compile()
    other.load_weights(tmp_path / "gan.weights.h5")
    assert other.steps_taken == gan.steps_taken
    np.testing.assert_array_equal(other.draw([5]), gan.draw([5]))
    for a, b in zip(gan.d_optimizer.variables, other.d_optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_prepared_images_go_on_where_the_last_fit_ended(pets, monkeypatch):
    gan = kd.DCGAN.of(pets, filters=4, latent_dim=6, seed=3)
    gan.compile()
    asked, batches = [], library.batches
    monkeypatch.setattr(
        library, "batches", lambda *typed, **options: asked.append(options) or batches(*typed, **options)
    )
    assert len(gan.fit(pets, batch_size=8, steps_per_epoch=2, epochs=2, verbose=0).history["d_loss"]) == 2
    gan.fit(pets, batch_size=16, verbose=0)  # 40 images: two batches an epoch
    assert gan.steps_taken == 6
    gan.fit(pets, batch_size=8, steps_per_epoch=1, verbose=0)
    # After 0, 4 * 8 and 4 * 8 + 2 * 16 images.
    assert asked == [{"seed": 3, "start_step": step} for step in (0, 2, 8)]


def test_weights_can_be_loaded_without_compile_and_hold_each_variable_once(gan, pets, tmp_path):
    gan.save_weights(tmp_path / "gan.weights.h5")
    other = kd.DCGAN.of(pets, filters=4, latent_dim=6)
    other.load_weights(tmp_path / "gan.weights.h5", skip_mismatch=False)
    np.testing.assert_array_equal(other.draw([5]), gan.draw([5]))


def test_whatever_keras_policy_is_latents_stay_exact(pets):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        gan = kd.DCGAN.of(pets, filters=4, latent_dim=6)
    finally:
        keras.config.set_dtype_policy("float32")
    z = kd.latents(range(8), 6)
    np.testing.assert_allclose(gan.predict(z, verbose=0), gan.ema_generator(z), atol=1e-5)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_two_networks_of_ones_own_are_enough(policy, merged):
    """In the arithmetic that Keras is told to use; the average is in float32 all the same."""
    layers = keras.layers
    keras.config.set_dtype_policy(policy)
    try:
        z = keras.Input((6,))
        inner = keras.Sequential([layers.Dense(48), layers.Reshape((4, 4, 3))])
        G = keras.Model(z, keras.ops.tanh(2 * inner(z)))
        D = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(1)])
        gan = kd.DCGAN(G, D)
    finally:
        keras.config.set_dtype_policy("float32")
    gan.compile(r1=0, r2=0, merged=merged)
    before = G.get_weights()[0].copy()
    gan.fit(discs(16, 4), batch_size=8, verbose=0)
    parts = gan.ema_generator._flatten_layers(include_self=False)
    assert {part.compute_dtype for part in [gan.ema_generator, *parts]} == {"float32"}
    assert (G.get_weights()[0] != before).any() and gan.draw([1]).shape == (1, 4, 4, 3)


def test_batches_of_ones_own_are_taken_or_refused_by_name(pets):
    gan = kd.DCGAN.of(pets, filters=4, latent_dim=6)
    gan.compile()
    gan.train_on_batch(discs(8))
    assert gan.steps_taken == 1
    labelled = kd.DCGAN.of(kd.prepare(discs(32), size=16, labels=np.arange(32) % 2), filters=4, latent_dim=6)
    labelled.compile()
    of_cifar10 = np.arange(16, dtype=np.uint8)[:, None] % 2  # as keras.datasets has them
    labelled.fit(discs(16), of_cifar10, batch_size=8, verbose=0)
    assert labelled.steps_taken == 2
    floats = discs(8) / np.float32(255)
    for each, data, message in (
        (
            gan,
            (floats for _ in range(2)),
            "images: expected uint8, or numbers from 0 to 255, received float32 from 0",
        ),
        (gan, Floats(floats), "images: expected uint8, or numbers from 0 to 255"),
        (gan, discs(8, 24), r"images: expected images of \(16, 16, 3\).*, received \(24, 24, 3\)"),
        (gan, [discs(8), np.zeros(8)], "labels: expected none"),
        (labelled, discs(8), "labels: expected .images, labels., since the generator has classes"),
        (labelled, [discs(8), np.eye(8)], r"labels: expected the number .*, received \(8, 8\)"),
    ):
        x, y = data if isinstance(data, list) else (data, None)
        with pytest.raises(ValueError, match=message):
            each.fit(x, y, steps_per_epoch=1, verbose=0)
    with pytest.raises(kd.Refused, match="^sample_weight: expected none"):
        gan.fit(discs(8), sample_weight=np.ones(8), verbose=0)
    with pytest.raises(ValueError, match="sample_weight, class_weight: expected none"):
        labelled.train_on_batch(discs(8), np.zeros(8, int), sample_weight=np.ones(8))


class Floats(keras.utils.PyDataset):
    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return 1

    def __getitem__(self, number):
        return self.images


def callback(name, *arguments, **options):
    return {"callbacks": [getattr(keras.callbacks, name)(*arguments, **options)]}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps_per_epoch": None}, "^steps_per_epoch: expected a number, since these batches are endless"),
        ({"validation_data": discs(8)}, "^validation_data: expected none: the loss of a GAN"),
        (callback("ModelCheckpoint", "x.keras"), r"^callbacks: .*save_weights_only=True"),
        (
            callback("LearningRateScheduler", lambda epoch: 1e-3),
            "^callbacks: expected a schedule .* in compile",
        ),
        (callback("ReduceLROnPlateau"), "^callbacks: expected a schedule .*, received ReduceLROnPlateau"),
        (callback("TerminateOnNaN"), "^callbacks: expected one that reads d_loss or g_loss"),
        (
            callback("EarlyStopping", "g_loss"),
            "^callbacks: expected monitor, .* mode, min or max, received .*g_loss, auto",
        ),
        (callback("EarlyStopping", mode="min"), "^callbacks: .*received EarlyStopping of val_loss, min"),
        (
            callback("ModelCheckpoint", "x.weights.h5", save_weights_only=True, save_best_only=True),
            "^callbacks: .*received ModelCheckpoint of val_loss, auto",
        ),
    ],
)
def test_fit_refuses_what_would_not_do_what_it_says_before_the_first_step(gan, pets, options, message):
    before = gan.steps_taken
    with pytest.raises(kd.Refused, match=message):
        gan.fit(kd.batches(pets, 8), **{"steps_per_epoch": 1} | options)
    assert gan.steps_taken == before


def test_what_it_cannot_do_it_says(gan, pets):
    labelled = kd.prepare(discs(32), size=16, labels=np.arange(32) % 2)
    assert labelled.classes == ["0", "1"] and labelled.labels[:4].tolist() == [0, 1, 0, 1]
    G, D = gan.generator, gan.discriminator
    with_sigmoid = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")]
    )
    for act, message in [
        (lambda: gan.save("x.keras"), r"^save: expected gan.ema_generator.save"),
        (lambda: gan.draw([-1]), "^seeds: expected numbers from 0 to 4294967295, received -1"),
        (lambda: gan.draw([0.5]), "^seeds: expected whole numbers"),
        (lambda: gan.draw([[1]]), "^seeds: expected a row of whole numbers"),
        (lambda: kd.latents(np.array([-1]), 6), "^seeds: expected numbers from 0 to 4294967295, received -1"),
        (lambda: kd.latents([2**32], 6), "^seeds: expected numbers from 0 to 4294967295"),
        (lambda: kd.latents([0.7], 6), "^seeds: expected whole numbers, received .0.7."),
        (
            lambda: kd.prepare(discs(4), size="16"),
            "^size: expected a side, or a height and a width, received '16'",
        ),
        (lambda: gan.compile(ema_kimg=-1), "^ema_kimg: expected a number from 0 up, received -1"),
        (lambda: gan.compile(r1=-5), "^r1: expected a number from 0 up, received -5"),
        (lambda: gan.compile(r2=math.nan), "^r2: expected a number from 0 up, received nan"),
        (
            lambda: gan.compile(penalty_every=0),
            "^penalty_every: expected a whole number from 1 up, received 0",
        ),
        (
            lambda: gan.compile(steps_per_execution=0),
            "^steps_per_execution: expected a whole number from 1 up",
        ),
        (
            lambda: kd.export_generator(keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)]), "x"),
            "^generator: expected one that keras_dcgan.generator makes, received .*without a layer 'project'",
        ),
        (lambda: gan.draw([1], labels=[0]), "^labels: expected none"),
        (lambda: kd.DCGAN.of(discs(4)), "^images: expected what prepare returns, received ndarray"),
        (lambda: kd.DCGAN.of(pets, filters=0), "^filters: expected .*, received '?0"),
        (lambda: gan.compile("adamm"), "^g_optimizer: expected a name or an object of keras.optimizers"),
        (
            lambda: gan.compile(d_optimizer=keras.optimizers.Adam(use_ema=True)),
            "^d_optimizer: expected an optimizer without use_ema",
        ),
        (lambda: gan.compile(loss="mse"), "^loss: expected one of bce, hinge, .*, or a Loss, received 'mse'"),
        (lambda: gan.compile(augment="flip"), "^augment: expected one of none, colour, "),
        (
            lambda: gan.compile(*[keras.optimizers.SGD()] * 2),
            "^d_optimizer: expected an optimizer of its own",
        ),
        (lambda: kd.measure(gan.ema_generator, pets, metrics="kit"), "^metrics: expected some of swd, "),
        (
            lambda: kd.measure(gan.ema_generator, pets, held_out=pets),
            "^held_out: expected memorisation among metrics",
        ),
        (
            lambda: kd.measure(
                gan.ema_generator, pets, metrics="memorisation", held_out=kd.prepare(discs(4), size=8)
            ),
            "^held_out: expected images of .16, 16, 3., as the others, received .8, 8, 3.",
        ),
        (
            lambda: kd.measure(kd.generator(16, 3, latent_dim=6, filters=2, classes=3), labelled),
            "^images: expected the generator's 3 classes, received 2",
        ),
        (lambda: kd.export_generator(gan.ema_generator, "x", ["int4"]), "^formats: .*int8,.*received 'int4'"),
        (
            lambda: kd.export_generator(gan.ema_generator, "x", ["fp32"], classes=["a"]),
            "^classes: expected the names of the generator's 0 classes, received 1 names",
        ),
        (
            lambda: kd.DCGAN(G, with_sigmoid),
            "^discriminator: expected one that ends in logits.*, received a sigmoid",
        ),
        (
            lambda: kd.DCGAN(keras.Model(G.input, keras.ops.sigmoid(G.output)), D),
            "^generator: expected one that ends in images in .-1, 1., such as tanh's, received a sigmoid",
        ),
        (
            lambda: kd.prepare(discs(4), size=16, labels=[0, 1, 2, 3]),
            "^labels: expected two or more images in each",
        ),
        (
            lambda: kd.prepare(discs(4), size=16, labels=np.zeros(4)),
            "^labels: expected two classes or more, received only 0",
        ),
        (lambda: kd.prepare(discs(4), conditional=True), "^conditional: expected labels beside an array"),
        (
            lambda: kd.DCGAN(G, D, G),
            "^ema_generator: expected another model .*, received the generator itself",
        ),
        (
            lambda: kd.DCGAN(keras.Sequential([keras.layers.Dense(4)]), D),
            "^generator: expected a functional model",
        ),
        (lambda: kd.batches(discs(4), 2), "^data: expected what prepare returns, received ndarray"),
        (lambda: kd.measure(gan, discs(40)), "^images: expected what prepare returns, received ndarray"),
        (
            lambda: kd.prepare(discs(4), labels=[0, 1, 1]),
            "^labels: expected one for each of 4 images, received 3",
        ),
        (lambda: kd.prepare("demo:600", labels=[0]), "^labels: expected an array of images beside them"),
        (lambda: kd.show(discs(1)[0]), "^images: expected .N, height, width"),
        (lambda: kd.prepare(discs(4) / 255.0), "^source: expected uint8 images of .N, .*received float64"),
    ]:
        with pytest.raises(kd.Refused, match=message):
            act()


def test_optimizers_and_losses_by_name_or_object_and_the_defaults_of_auto(pets):
    gan = kd.DCGAN.of(pets, filters=4, latent_dim=6)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 100)
    gan.compile("sgd", keras.optimizers.Adam(rate), loss="hinge", r1=0, r2=0, augment="all")
    assert isinstance(gan.g_optimizer, keras.optimizers.SGD) and gan.objective is not None
    assert gan.critic is None and len(gan.augment) == 3
    gan.compile()
    assert [float(o.learning_rate) for o in (gan.g_optimizer, gan.d_optimizer)] == pytest.approx([8e-4] * 2)
    assert (gan.g_optimizer.beta_1, gan.g_optimizer.beta_2) == (0, 0.999) and gan.objective.is_relative
    assert gan.r1 == gan.r2 == 0.15 and gan.critic and gan.ema_kimg == 10


def test_a_discriminator_of_ones_own_and_whole_numbers_train_as_well(pets):
    of_pets = kd.DCGAN.of(pets, filters=4, latent_dim=6)
    layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 4, 2), keras.layers.LeakyReLU(0.1)]
    own = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(1)])
    for discriminator, options in (own, {}), (of_pets.discriminator, {"r1": 1, "r2": 0}):
        gan = kd.DCGAN(of_pets.generator, discriminator, of_pets.ema_generator)
        gan.compile(**options)
        gan.fit(kd.batches(pets, 8), steps_per_epoch=1, verbose=0)
        assert gan.steps_taken == 1 and bool(gan.critic) == bool(options)


def test_a_generator_of_ones_own_trains_as_well(pets):
    layers = [keras.Input((6,)), keras.layers.Dense(16 * 16 * 3), keras.layers.Reshape((16, 16, 3))]
    own, average = (
        keras.Sequential(layers),
        keras.Sequential(layers[:1] + [keras.layers.Dense(768), layers[2]]),
    )
    gan = kd.DCGAN(own, kd.DCGAN.of(pets, filters=4, latent_dim=6).discriminator, average)
    gan.compile()
    assert float(gan.g_optimizer.learning_rate) == pytest.approx(4e-4)
    wider = [
        keras.layers.Reshape((8, 8, 4), name="reshape"),
        keras.layers.Conv2DTranspose(8, 4, 2, "same"),
        keras.layers.Conv2D(3, 3, padding="same", name="to_image"),
    ]
    another = kd.DCGAN(
        keras.Sequential([keras.Input((6,)), keras.layers.Dense(256), *wider]), gan.discriminator
    )
    another.compile()
    assert float(another.g_optimizer.learning_rate) == pytest.approx(4e-4)
    gan.fit(kd.batches(pets, 8), steps_per_epoch=1, verbose=0)
    assert gan.draw([0]).shape == (1, 16, 16, 3)


def test_residual_networks_are_asked_for_as_in_fit(pets):
    gan = kd.DCGAN.of(pets, filters=4, latent_dim=6, blocks=1)
    for network in (gan.generator, gan.discriminator, gan.ema_generator):
        assert any("_block_0" in layer.name for layer in network.layers)
    gan.compile()
    assert gan.g_optimizer.beta_2 == gan.d_optimizer.beta_2 == 0.99
    gan = kd.DCGAN(kd.generator(16, 3, filters=2), kd.discriminator(16, 3, filters=2, norm="none", blocks=1))
    gan.compile()
    assert gan.d_optimizer.beta_2 == 0.99


def test_batches_of_shards_are_known_to_be_endless(pets, tmp_path):
    pack(pets, tmp_path, shards=2, show=len)
    shards = kd.prepare(tmp_path / "*.tfrecord", size=16, show=len)
    assert kd.batches(shards, 8).cardinality() == tf.data.INFINITE_CARDINALITY


def test_an_epoch_that_ends_within_several_steps_at_once_is_refused(pets):
    gan = kd.DCGAN.of(pets, filters=4, latent_dim=6)
    gan.compile(steps_per_execution=4)
    with pytest.raises(kd.Refused, match="^steps_per_epoch: expected a multiple of .*, 4, received 10"):
        gan.fit(kd.batches(pets, 8), steps_per_epoch=10, verbose=0)


def test_images_in_memory_are_prepared_as_files_are(pets):
    images = discs(20)
    prepared = kd.prepare(images, size=16, show=lambda line: None)
    np.testing.assert_array_equal(prepared.images, images)
    assert prepared.manifest.source == "an array of 20"
    assert len(kd.prepare(images[:7], size=16, show=lambda line: None)) == 7


def test_a_generator_is_measured_and_exported(gan, pets, tmp_path):
    figures = kd.measure(gan.ema_generator, pets, metrics=["kid", "prdc"], samples=32)
    assert figures.keys() == {"kid", "kid_ci95", "precision", "recall", "density", "coverage"}
    keras.config.set_dtype_policy("mixed_bfloat16")  # what a notebook may have done
    try:
        (artefact,) = kd.export_generator(gan.ema_generator, tmp_path / "out", formats=["fp32"])
    finally:
        keras.config.set_dtype_policy("float32")
    assert {artefact.variant.file, "model.json", "README.md"} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }


def test_the_page_of_the_api_is_generated_from_the_docstrings():
    from tools import python_api

    assert python_api.PAGE.read_text(encoding="utf-8") == python_api.page()


def with_a_small_budget(code: str, changes: dict[str, str]) -> str:
    changes = {
        "size=64": "size=16",
        "batch_size=32": "batch_size=8",
        '"int8"': '"fp32"',  # what has learned nothing need not survive int8
    } | changes
    for whole, small in changes.items():
        assert whole in code
        code = code.replace(whole, small)
    return code


def test_the_readmes_lines_run_as_they_stand(folder, monkeypatch, tmp_path):
    section = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("## Python\n")[2].partition("\n## ")[0]
    )
    small = {
        "filters=32": "filters=4",
        "steps_per_epoch=250, epochs=4": "steps_per_epoch=2, epochs=1",
        "samples=2000": "samples=16",
        "kimg=100": "kimg=0.032, filters=4",
    }
    code = with_a_small_budget(textwrap.dedent(section), small)
    (tmp_path / "pets").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    kd.train(kd.prepare("pets", size=16, show=lambda line: None), "runs/demo", **RUN)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["run"].metrics[-1]["kimg"] == 0.032 and names["generator"].output_shape[1:] == (16, 16, 3)
    assert (
        set(names["figures"]) >= {"kid", "recall"} and (tmp_path / "out" / "generator_fp32.tflite").is_file()
    )


def test_the_notebook_runs_as_it_stands(monkeypatch, tmp_path):
    """With a small budget, and without Jupyter."""
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    small = {"demo:600": "demo:24", "32, 250, 4": "4, 2, 1", "SAMPLES = 500": "SAMPLES = 16"}
    monkeypatch.chdir(tmp_path)
    exec(compile(with_a_small_budget(code, small), "notebook", "exec"), {})
    assert {"pets.keras", "out"} <= {place.name for place in tmp_path.iterdir()}
    assert not any(cell.get("outputs") for cell in cells)


RUN = {
    "filters": 4,
    "latent_dim": 6,
    "batch": 8,
    "tick_kimg": 0.032,
    "kimg": 0.064,
    "decay": 0,
    "penalty_end": 1,
    "augment": "none",
}


def test_a_training_of_python_is_that_of_the_command_and_resumes_it(folder, tmp_path, monkeypatch, capsys):
    from keras_dcgan.fit import main

    monkeypatch.chdir(tmp_path)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in RUN.items() if name != "kimg"]
    assert main(["--data", str(folder), "--size=16", "--run=a", "--kimg=0.064", *flags]) == 0
    pets = kd.prepare(folder, size=16, show=lambda line: None)
    run = kd.train(pets, tmp_path / "b", **RUN | {"kimg": 0.032})
    assert [row["kimg"] for row in run.metrics] == [0.032]
    run = kd.train(pets, "b", kimg=0.064)  # what it began with need not be repeated
    assert main(["--data", str(folder), "--run=b"]) == 0  # and the command finds nothing left to do
    assert (
        "b has been trained for 0.064 kimg already; a larger --kimg continues it." in capsys.readouterr().out
    )
    kd.train(pets, "b")
    assert "b has been trained for 0.064 kimg already; a larger kimg continues it." in capsys.readouterr().out
    for mine, other in zip(
        run.load_generator(last=True).weights, kd.Run("a").load_generator(last=True).weights
    ):
        np.testing.assert_array_equal(mine, other)
    assert [row["d_loss"] for row in run.metrics] == [row["d_loss"] for row in kd.Run("a").metrics]
    assert (run.samples / "reals.png").is_file() and len(run.checkpoints) == 3


def test_a_training_that_cannot_begin_names_the_argument_and_one_that_fails_keeps_its_run(
    pets, tmp_path, monkeypatch
):
    from keras_dcgan.training import loop

    for changes, words in (
        ({"epochs": 3}, "^epochs: expected one of .*kimg.*received 3"),
        ({"size": 32}, "^size: expected one of"),
        ({"batch": 1}, "^batch: expected .*received '1'"),
        ({"preset": "autos"}, "^preset: expected one of paper, auto"),
    ):
        with pytest.raises(kd.Refused, match=words):
            kd.train(pets, tmp_path / "no", **RUN | changes)
    with pytest.raises(kd.Refused, match="^images: expected what prepare returns, received str"):
        kd.train("pets", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    ends = [loop.End(3, 0, "after step 3 not a number: d_loss", "Try a lower g_lr"), loop.End(0, signal=2)]
    monkeypatch.setattr(loop, "train", lambda training, step: ends.pop(0))
    with pytest.raises(RuntimeError, match="run: after step 3 not a number: d_loss. Try a lower g_lr$"):
        kd.train(pets, tmp_path / "run", **RUN)
    with pytest.raises(KeyboardInterrupt, match="saved at step 0"):
        kd.train(pets, tmp_path / "run", **RUN)
    assert kd.Run(tmp_path / "run").settings["filters"] == 4


def test_a_training_of_python_leaves_the_caller_his_seeds_and_takes_what_only_the_devices_need(
    pets, tmp_path, monkeypatch
):
    from keras_dcgan import devices

    told, settle = [], devices.settle
    monkeypatch.setattr(devices, "settle", lambda *typed: told.append(typed) or settle())
    np.random.seed(7)
    expected = np.random.RandomState(7).rand(2)
    kd.DCGAN.of(pets, filters=4)
    kd.train(pets, tmp_path / "run", **RUN, deterministic=True, threads=2)
    np.testing.assert_array_equal(np.random.rand(2), expected)
    assert told[-1] == (2, True) and kd.Run(tmp_path / "run").config.deterministic


def test_images_from_memory_have_no_name_that_a_run_would_forget_its_own_for(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pets = kd.prepare(folder, size=16, max_pixels=10**6, show=lambda line: None)
    run = kd.train(pets, "run", **RUN)
    assert (run.config.data, run.config.max_pixels, run.config.background) == (str(folder), 10**6, "white")
    kd.train(kd.prepare(np.array(pets.images), size=16, show=lambda line: None), "run", kimg=0.096)
    assert kd.Run("run").config.data == str(folder) and kd.Run("run").metrics[-1]["kimg"] == 0.096
    for size, message in (
        (16, "^images: the run has 40 images of fingerprint"),
        (24, "^images: expected size 16x16, as the run has it, received 24x24"),
    ):
        with pytest.raises(kd.Refused, match=message):
            kd.train(kd.prepare(discs(40, seed=5), size=size, show=lambda line: None), "run", kimg=0.2)


def test_a_second_interrupt_in_python_is_an_exception_and_not_the_end_of_the_process():
    from keras_dcgan.config import TrainConfig
    from keras_dcgan.progress import Progress
    from keras_dcgan.training.ticks import Ticks

    ticks = Ticks(TrainConfig("x"), Progress("", 1, "kimg", sys.stderr))
    with pytest.raises(KeyboardInterrupt), ticks.signals(ends_process=False):
        os.kill(os.getpid(), signal.SIGINT)
        assert ticks.received == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_clone_has_export_inside_and_nothing_else_of_its_folders():
    import pkgutil

    assert importlib.import_module("keras_dcgan.export").__path__ == [str(ROOT / "export")]
    for name in ("tools", "tests", "keras_dcgan"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"keras_dcgan.{name}")
    names = [module.name for module in pkgutil.iter_modules(kd.__path__)]
    assert "fit" in names and "tools" not in names


def test_networks_go_by_the_size_of_the_images_as_those_of_fit_do():
    manifest = types.SimpleNamespace(shape=(100, 128, 1), source="x")
    gan = kd.DCGAN.of(types.SimpleNamespace(manifest=manifest, classes=()), latent_dim=4)
    config = resolve({"data": "x", "size": (100, 128)})
    assert gan.generator.get_layer("to_image").input.shape[-1] == config.filters == 32
    assert gan.generator.get_layer("reshape").output.shape[-1] == config.filters * config.max_width == 512
    gan.compile()
    assert gan.g_optimizer.learning_rate == gan.d_optimizer.learning_rate == np.float32(config.g_lr)
    for width in (4, 64):
        of = kd.DCGAN.of(types.SimpleNamespace(manifest=manifest, classes=()), filters=48, max_width=width)
        of.compile()
        config = resolve({"data": "x", "size": (100, 128), "filters": 48, "max_width": width})
        assert of.g_optimizer.learning_rate == np.float32(config.g_lr)
    narrow = kd.DCGAN.of(types.SimpleNamespace(manifest=manifest, classes=()), filters=4, max_width=2)
    assert narrow.generator.get_layer("reshape").output.shape[-1] == 8
