"""What this machine offers: devices by name, and what cannot be done on them."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tensorflow as tf
from conftest import discs, from_flags, small_gan

from keras_dcgan import ONEDNN, devices, library
from keras_dcgan.data.prepare import prepare
from keras_dcgan.training import forecast
from keras_dcgan.training.build import build


def settings(path, *typed):
    return from_flags(
        ["--data", "x", "--run", str(path), "--size", "16", "--filters", "4", "--batch", "8", *typed]
    )


def test_what_several_devices_cannot_do_is_refused_by_name(tmp_path, monkeypatch):
    gan = small_gan()
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=2))
    with pytest.raises(
        ValueError, match="^r2: expected 0, or d_norm spectral or none, on several devices, received 0.5"
    ):
        build(settings(tmp_path, "--d-norm", "batch", "--r1", "0", "--r2", "0.5"), 3)
    with pytest.raises(ValueError, match="^r1: expected 0, or d_norm spectral or none, on several devices"):
        library.DCGAN(gan.generator, gan.discriminator, gan.ema_generator).compile()
    with pytest.raises(ValueError, match="^jit: expected auto or off on several devices, received on with 2"):
        devices.compiles("on")
    assert not devices.compiles("auto")


@pytest.mark.parametrize("replicas, steps", [(1, 16), (2, 1)])
def test_several_steps_at_once_are_one_gpus(replicas, steps, monkeypatch):
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=replicas))
    assert devices.steps_at_once() == steps


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """nvidia(program, file): a machine with this nvidia-smi, or none, and this file in /dev."""

    def machine(program, file):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.setattr(devices, "DEVICE_FILES", str(tmp_path))
        (tmp_path / file).touch()
        if program:
            (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
            (tmp_path / "nvidia-smi").chmod(0o755)

    return machine


@pytest.mark.parametrize(
    "program, file, found",
    [
        (
            "echo NVIDIA H200; echo NVIDIA T4",
            "null",
            "this machine has NVIDIA H200, NVIDIA T4, which TensorFlow ",
        ),
        ("echo version mismatch; exit 18", "nvidia0", "this machine has an NVIDIA GPU, which TensorFlow "),
        ("", "nvidia12", "this machine has an NVIDIA GPU, which TensorFlow "),
        ("exit 9", "nvidiactl", None),
        ("", "null", None),
    ],
)
def test_a_gpu_that_tensorflow_cannot_use_is_told(program, file, found, nvidia, monkeypatch):
    nvidia(program, file)
    why = devices.unused_gpu()
    assert why is None if found is None else why.startswith(found) and "cuda" in why.lower()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # the user's own wish
    assert devices.unused_gpu() is None


@pytest.mark.parametrize(
    "before, environment, is_late",
    [
        ("sys.modules['tensorflow'] = sys", {}, True),
        ("sys.modules['tensorflow'] = sys", {ONEDNN: "0"}, False),  # the user's own wish
        ("pass", {}, False),
    ],
)
def test_a_tensorflow_that_was_imported_before_is_noticed(before, environment, is_late):
    code = f"import sys; {before}; import keras_dcgan; print(keras_dcgan.IS_LATE)"
    others = {name: value for name, value in os.environ.items() if name != ONEDNN}
    done = subprocess.run(
        [sys.executable, "-c", code], env=others | environment, capture_output=True, text=True
    )
    assert done.stdout == f"{is_late}\n", done.stderr


@pytest.mark.parametrize(
    "flags, is_late, is_told",
    [
        ({"avx2"}, True, True),
        ({"avx2"}, False, False),
        ({"avx2", "avx_vnni"}, True, False),
        (set(), True, False),
    ],
)
def test_it_is_told_where_it_costs_time(flags, is_late, is_told, monkeypatch):
    monkeypatch.setattr(devices, "_cpu_flags", lambda: flags)
    monkeypatch.setattr(devices, "IS_LATE", is_late)
    told = [why for why in devices.slowed() if "import keras_dcgan first" in why]
    assert len(told) == is_told


def test_the_plan_and_the_library_tell_it(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "slowed", lambda: ["this is slow"])
    plan = forecast.plan(settings(tmp_path), small_gan(), tf.distribute.get_strategy())
    assert plan.startswith("warning: this is slow\n")
    images = prepare(discs(8), size=16, show=len)
    with pytest.warns(UserWarning, match="^this is slow$"):
        library.DCGAN.of(images, filters=4)


def test_devices_are_called_by_their_names(monkeypatch):
    strategy = tf.distribute.get_strategy()
    assert re.fullmatch(r"\d+ cores? of \S.*", devices.names(strategy))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a", "b", "c"])
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda gpu: {"device_name": "T4" if gpu == "c" else "H200"},
    )
    assert devices.names(strategy) == "H200"
    several = SimpleNamespace(num_replicas_in_sync=3, cluster_resolver=None)
    assert devices.names(several) == "2 x H200, 1 x T4"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "Physical devices cannot be modified after being initialized"
        ),  # TensorFlow 2.21, an H100
        ValueError("Cannot set memory growth on device when virtual devices configured"),
    ],
)
def test_a_notebook_that_has_used_or_capped_its_gpu_starts_too(error, monkeypatch):
    tried = []

    def too_late(gpu, growth):
        tried.append(growth)
        raise error

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", too_late)
    devices.start()
    assert tried == [True]


def test_a_script_that_ends_undoes_what_it_changed_before_its_modules_are_taken_apart():
    script = """if True:
        import contextlib, random
        from keras_dcgan import process

        @contextlib.contextmanager
        def kept():
            yield
            print("back", random.setstate)

        process.at_end.enter_context(kept())"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("back <") and done.stderr == ""


def test_a_gpu_that_is_hidden_does_not_count(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    assert not devices.has_gpu() and not devices.compiles("auto") and devices.steps_at_once() == 1


def test_a_cluster_of_one_is_not_compiled(monkeypatch):
    class Cluster(tf.distribute.MultiWorkerMirroredStrategy):
        num_replicas_in_sync = 1

        def __init__(self):
            pass

    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    assert devices.compiles("auto") and devices.steps_at_once() == 16
    monkeypatch.setattr(tf.distribute, "get_strategy", Cluster)
    assert not devices.compiles("auto") and devices.steps_at_once() == 1


def test_a_step_is_always_the_same_graph():
    tf.config.optimizer.set_experimental_options({"dependency_optimization": True})
    devices.settle()
    assert tf.config.optimizer.get_experimental_options()["dependency_optimization"] is False
