import dataclasses
import errno
import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import discs, from_flags
from PIL import Image

from keras_dcgan import devices
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.errors import Unavailable
from keras_dcgan.pictures import images, latents
from keras_dcgan.pictures.draw import draw
from keras_dcgan.runs import checkpoints, directory
from keras_dcgan.runs.checkpoints import load_generator, load_networks, restore, save
from keras_dcgan.runs.directory import Run, begin
from keras_dcgan.training.build import build

MANIFEST = Manifest(count=16, size=(16, 16), channels=3, classes=[], fingerprint="abc")


def settings(path, *typed):
    return from_flags(
        ["--data", "x", "--run", str(path), "--size", "16", "--filters", "4", "--batch", "8", *typed]
    )


def train(gan, steps):
    """The stream of images starts where the model stands, as `data.batches` makes it."""
    stream = (
        tf.data.Dataset.from_tensor_slices(discs(16))
        .repeat()
        .batch(8, drop_remainder=True)
        .skip(gan.steps_taken)
    )
    gan.fit(stream, steps_per_epoch=steps, verbose=0, shuffle=False)
    return gan


def everything(gan):
    optimizers = [v for optimizer in (gan.g_optimizer, gan.d_optimizer) for v in optimizer.variables]
    networks = [
        v for network in (gan.generator, gan.discriminator, gan.ema_generator) for v in network.weights
    ]
    return [v.numpy() for v in networks + optimizers + [gan.step, gan.stream]] + [
        np.array(list(gan.current_means().values()))
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with checkpoints after steps 1, 2 and 3, and the model as it stands after step 3."""
    config = settings(tmp_path_factory.mktemp("trained") / "run")
    gan = build(config, 3)
    with begin(config, MANIFEST) as run:
        for _ in range(3):
            save(run, train(gan, 1), keep=3)
    return config, gan


@pytest.fixture
def saved(trained, tmp_path):
    """A copy of that run to play with, and the model."""
    config, gan = trained
    shutil.copytree(config.run, tmp_path / "run")
    return settings(tmp_path / "run"), gan


@pytest.fixture
def at_step_4(trained):
    """The model as if it had taken one more step."""
    _, gan = trained
    gan.step.assign(4)
    yield gan
    gan.step.assign(3)


def test_resume_is_exact(
    tmp_path,
):  # in float16, which has most to remember; test_kill does it in bfloat16, by whole processes
    devices.settle()  # as the verb does: without it graphs of the same step may differ in their last bits
    config = settings(tmp_path / "run", "--ema-kimg", "1", "--precision", "float16")
    straight = train(build(config, 3), 5)
    with begin(config, MANIFEST) as run:
        save(run, train(build(config, 3), 2))
    with begin(config, MANIFEST) as run:
        resumed = build(config, 3)
        assert restore(run, resumed) == (2, [])
    train(resumed, 3)
    for ours, theirs in zip(everything(resumed), everything(straight), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_goes_on_in_another_arithmetic_and_back(tmp_path):
    gans = []
    for step, precision in enumerate(["float16", "bfloat16", "float16"]):
        config = settings(tmp_path / "run", "--precision", precision)
        with begin(config, MANIFEST) as run:
            gans.append(build(config, 3))
            assert restore(run, gans[-1]) == (step, [])
            if step:
                before, after = (
                    [gan.discriminator.weights[0], gan.g_optimizer.variables[-1]] for gan in gans[-2:]
                )
                for ours, theirs in zip(before, after):
                    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
            if step < 2:
                save(run, train(gans[-1], 1))


def test_generator_file_is_the_average_and_needs_nothing_of_ours(saved):
    config, gan = saved
    model = keras.saving.load_model(f"{config.run}/generator.keras", safe_mode=True)
    z = np.random.default_rng(0).normal(size=(4, 100)).astype("float32")
    np.testing.assert_allclose(model(z), gan.ema_generator(z, training=False), atol=1e-6)
    np.testing.assert_array_equal(model(z), load_generator(Run(config.run))(z))


@pytest.mark.parametrize("spoil", ["flip", "tear", "remove"])
def test_a_corrupt_checkpoint_is_passed_over_and_named(saved, spoil):
    config, _ = saved
    with begin(config, MANIFEST) as run:
        newest = run.checkpoints[-1]
        file = next(newest.glob("state.data*"))
        content = bytearray(file.read_bytes())
        if spoil == "flip":
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        elif spoil == "tear":
            file.write_bytes(content[:-100])
        else:
            file.unlink()
        assert restore(run, build(config, 3)) == (2, [newest.name])


def test_a_corrupt_checkpoint_is_written_again_and_costs_no_sound_one(saved, at_step_4):
    config, gan = saved
    with begin(config, MANIFEST) as run:
        for place in run.checkpoints[1:]:
            next(place.glob("state.data*")).write_bytes(b"corrupt")
        gan.step.assign(2)  # from step 1 on, the corrupt one before it
        save(run, gan, keep=1)
        assert [place.name for place in run.checkpoints] == ["step-000000002", "step-000000003"]
        assert restore(run, gan) == (2, ["step-000000003"])
        gan.step.assign(3)
        save(run, gan, keep=1)
        assert [place.name for place in run.checkpoints] == ["step-000000003"] and restore(run, gan) == (
            3,
            [],
        )


def test_only_corrupt_checkpoints_are_an_error_not_a_new_start(saved):
    config, _ = saved
    with begin(config, MANIFEST) as run:
        for place in run.checkpoints:
            (place / "sha256.json").unlink()
        with pytest.raises(
            ValueError, match="only corrupt ones: step-000000003, step-000000002, step-000000001"
        ):
            restore(run, build(config, 3))


def test_the_newest_checkpoints_are_kept_and_no_unfinished_ones(saved, at_step_4):
    config, _ = saved
    unfinished = Path(config.run) / "checkpoints" / ".step-000000009.part"
    unfinished.mkdir()
    copy = unfinished.with_name("step-000000003 (1)")  # as a synchronised folder makes them
    copy.mkdir()
    with begin(config, MANIFEST) as run:
        assert not unfinished.exists() and copy.exists()
        save(run, at_step_4, keep=2)
        assert [place.name for place in run.checkpoints] == ["step-000000003", "step-000000004"]


def test_what_others_are_writing_into_a_run_stays(saved):
    """Such as features --out runs/imgs/features.tflite, at the same time."""
    config, _ = saved
    path, kept = (
        Path(config.run),
        {".features.tflite.0123456789abcdef.part", ".mine.part", "samples/.walk.webp.01.part"},
    )
    ours = {
        ".generator.keras.0123456789abcdef.part",
        ".config.json.part",
        "samples/.000008.028kimg.png.01.part",
    }
    for name in kept | ours:
        (path / name).mkdir(parents=True)
    with begin(config, MANIFEST):
        assert {str(place.relative_to(path)) for place in path.rglob(".*.part")} == kept


def test_the_best_is_kept_beside_the_newest(saved, at_step_4):
    config, gan = saved
    file = Path(config.run) / "generator.keras"
    before = file.read_bytes()
    with begin(config, MANIFEST) as run:
        save(run, at_step_4, best_step=2, keep=1)
        assert [place.name for place in run.checkpoints] == ["step-000000002", "step-000000004"]
        assert file.read_bytes() == before
        save(run, at_step_4, best_step=4, keep=1)
        assert file.read_bytes() != before or (run.path / "generator_last.keras").read_bytes() == before
        assert [place.name for place in run.checkpoints] == ["step-000000004"]


def test_a_failed_save_leaves_the_checkpoint_before_it(saved, at_step_4, monkeypatch):
    config, _ = saved
    with begin(config, MANIFEST) as run:
        monkeypatch.setattr(checkpoints, "_sha256", lambda file: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save(run, at_step_4, keep=3)
        monkeypatch.undo()
        assert restore(run, build(config, 3)) == (3, [])
        for name in ("generator.keras", "generator_last.keras"):
            assert (
                keras.saving.load_model(run.path / name).count_params() > 0
            )  # whole, whichever of the two it is


def test_other_settings_or_images_are_refused_by_name(saved):
    config, _ = saved
    before = (Path(config.run) / "config.json").read_text()
    other = settings(config.run, "--d-lr", "0.1", "--seed", "5")
    with pytest.raises(
        ValueError, match="^seed: the run has 0, received 5; d_lr: the run has 0.0008, received 0.1"
    ):
        with begin(other, MANIFEST):
            pass
    with pytest.raises(
        ValueError, match="^data: the run has 16 images of fingerprint abc, received 33 of xyz"
    ):
        with begin(config, dataclasses.replace(MANIFEST, count=33, fingerprint="xyz")):
            pass
    assert (Path(config.run) / "config.json").read_text() == before
    with begin(settings(config.run, "--kimg", "9"), MANIFEST) as run:
        assert restore(run, build(config, 3)) == (3, [])


def test_a_run_is_trained_by_one_process_at_a_time(saved):
    config, _ = saved
    with begin(config, MANIFEST):
        with pytest.raises(Unavailable, match="nobody trains at the moment"):
            with begin(config, MANIFEST):
                pass
    with begin(config, MANIFEST):  # and the lock is gone with its holder
        pass


def test_where_nothing_can_be_locked_a_run_is_trained_with_a_warning(saved, monkeypatch, capsys):
    def lock(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(directory, "_lock", lock)
    with begin(saved[0], MANIFEST) as run:
        assert len(run.checkpoints) == 3
    assert "lies where nothing can be locked" in capsys.readouterr().err


def test_a_directory_of_somebody_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(Unavailable, match="new or empty directory"):
        with begin(settings(tmp_path), MANIFEST):
            pass
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_kill_leaves_before_the_first_settings_is_no_obstacle(tmp_path):
    for name in (".lock", ".config.json.part"):
        (tmp_path / name).write_text("")
    with begin(settings(tmp_path), MANIFEST) as run:
        assert run.checkpoints == []
    assert (tmp_path / "config.json").exists() and not (tmp_path / ".config.json.part").exists()


def test_a_run_directory_of_schema_1_is_understood(tmp_path):
    """The zip holds what `fit --data discs --run run --size 16 --filters 2 --latent-dim 4 --batch 8 --kimg
    0.08 --tick-kimg 0.04 --keep 1 --precision float32 --g-lr 0.01` left in version 0.1.0, without logs and
    all grids but the last. Never remake it: when this test fails, people's runs are lost."""
    with zipfile.ZipFile(Path(__file__).with_name("run_schema_1.zip")) as archive:
        archive.extractall(tmp_path)
    path = tmp_path / "run"
    grid = np.asarray(Image.open(path / "samples" / "000000.08kimg.png"))
    drawn = images.grid(
        np.stack(list(draw(load_generator(Run(path), last=True), latents.latents(range(64), 4))))
    )
    assert np.abs(drawn.astype(int) - grid).max() <= 1 and grid.std() > 5
    config = dataclasses.replace(Run(path).config, run=str(path))
    assert (config.filters, config.g_lr, config.size) == (2, 0.01, (16, 16)) and Run(path).classes == []
    with begin(config, Run(path).manifest) as run:
        gan = build(config, 3)
        assert restore(run, gan) == (10, [])
        assert gan.g_optimizer.iterations == 10 and (np.abs(gan.g_optimizer.variables[-1].numpy()) > 0).any()
        save(run, train(gan, 1), keep=1)
        assert [place.name for place in run.checkpoints] == ["step-000000011"]


def test_config_of_another_schema_is_refused(saved):
    config, _ = saved
    file = Path(config.run) / "config.json"
    content = json.loads(file.read_text())
    assert content["settings"]["filters"] == 4 and content["versions"]["keras"] == keras.__version__
    file.write_text(json.dumps({**content, "schema": 99}))
    with pytest.raises(ValueError, match="schema 1, received schema 99"):
        _ = Run(config.run).config


def test_a_missing_or_broken_generator_is_one_clear_error(saved, tmp_path):
    config, _ = saved
    with pytest.raises(Unavailable, match="^run: expected a run directory"):
        load_generator(Run(tmp_path / "nowhere"))
    shutil.copy(__file__, f"{config.run}/generator.keras")
    with pytest.raises(ValueError, match="expected a generator that Keras can load"):
        load_generator(Run(config.run))


def test_a_checksum_is_of_the_generator_that_was_loaded_though_a_tick_replaces_it(saved, monkeypatch):
    run = Run(saved[0].run)
    load, loaded = checkpoints.load_generator, []

    def tick(*arguments):
        generator = load(*arguments)
        if not loaded:
            with zipfile.ZipFile(run.generator(), "a") as file:
                file.writestr("newer", "")
        loaded.append(run.generator_sha256())
        return generator

    monkeypatch.setattr(checkpoints, "load_generator", tick)
    assert checkpoints.load_generator_and_sha256(run)[1] == loaded[1] and len(loaded) == 2


def test_a_path_that_tensorflow_cannot_read_is_told_so(tmp_path):
    with pytest.raises(
        ValueError, match="^run: expected a path without any of .*, which TensorFlow cannot read, received "
    ):
        load_networks(Run(tmp_path / "imgs [old]", is_new=True))


def rewrite(file, **members):
    """A copy of a zip archive in its place, with other contents of some members."""
    with zipfile.ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()} | members
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


UNKNOWN = json.dumps(
    {"module": "keras", "class_name": "LayerOfNextYear", "config": {}, "registered_name": "LayerOfNextYear"}
)


def test_a_run_of_a_newer_keras_says_which_one_is_needed_in_a_line(saved):
    config, _ = saved
    file = Path(config.run) / "generator.keras"
    about = Path(config.run) / "config.json"
    rewrite(file, **{"config.json": UNKNOWN})
    with pytest.raises(
        ValueError, match="^run: expected a generator that Keras can load, received .*"
    ) as caught:
        load_generator(Run(config.run))
    assert len(str(caught.value)) < len(str(file)) + 300  # Keras' own is a model long

    content = json.loads(about.read_text())
    about.write_text(
        json.dumps(content | {"versions": content["versions"] | {"keras": "99.1.0", "pillow": "99"}})
    )
    with pytest.raises(
        ValueError, match=rf"received .* .needs keras 99.1.0 or newer, here {keras.__version__}.$"
    ):
        load_generator(Run(config.run))
    about.write_text(json.dumps(content))
    rewrite(file, **{"metadata.json": json.dumps({"keras_version": "98.0.0"})})
    with pytest.raises(
        ValueError, match=rf"received .* .needs keras 98.0.0 or newer, here {keras.__version__}.$"
    ):
        load_generator(Run(config.run))


def test_a_checkpoint_of_a_newer_tensorflow_says_which_one_is_needed(saved, monkeypatch):
    config, gan = saved
    about = Path(config.run) / "config.json"
    content = json.loads(about.read_text())
    about.write_text(json.dumps(content | {"versions": content["versions"] | {"tensorflow": "99.1.0"}}))
    monkeypatch.setattr(checkpoints, "_state", lambda gan: {"of_next_year": tf.Variable(1.0)})
    with begin(config, MANIFEST) as run:
        with pytest.raises(
            ValueError,
            match=f"^run: .*step-000000003 .needs tensorflow 99.1.0 or newer, here {tf.__version__}",
        ):
            restore(run, gan)
    with pytest.raises(
        ValueError, match="^run: expected a checkpoint of these networks, received .*step-000000003 "
    ):
        load_networks(Run(config.run), of_next_year=gan.generator)


def test_settings_of_a_newer_version_say_so(saved, monkeypatch):
    config, _ = saved
    about = Path(config.run) / "config.json"
    content = json.loads(about.read_text())
    content["settings"]["of_next_year"] = 1
    about.write_text(json.dumps(content))
    with pytest.raises(
        ValueError,
        match="^run: expected a run that this version can read, received .*, received of_next_year",
    ):
        _ = Run(config.run).config
    content["versions"]["keras_dcgan"] = "99.0"
    about.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"received .* .needs keras_dcgan 99.0 or newer, here "):
        _ = Run(config.run).config
