"""Each device count runs in processes of its own: TensorFlow splits its CPU once, and its collectives know one group."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import discs

STEPS = 3
BATCH = 8


def train(name: str, out: str):
    """Trains for a few steps and saves the weights. `name`: single, mirrored-2, mirrored-4, or multiworker as TF_CONFIG says."""
    from keras_dcgan import cli

    with cli.quiet():
        import keras
        import tensorflow as tf

        from keras_dcgan import devices
        from keras_dcgan.gan import DCGAN
        from keras_dcgan.losses import LOSSES
        from keras_dcgan.models import discriminator, generator

        name, _, replicas = name.partition("-")
        if replicas:
            cpu = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(replicas))
        strategy = devices.strategy(name)
    worker, workers = devices.worker(strategy)
    assert strategy.num_replicas_in_sync == int(replicas or workers)
    with strategy.scope():
        keras.utils.set_random_seed(1)
        options = {"filters": 4, "synchronized": name != "single"}
        gan = DCGAN(
            generator((16, 16), 3, latent_dim=6, **options),
            # Without batch norm in D, and with SGD: Adam's first step turns rounding into signs.
            discriminator((16, 16), 3, norm=False, **options),
            generator((16, 16), 3, latent_dim=6, filters=4),
        )
        gan.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1), LOSSES["bce"], ema_kimg=1)
    networks = (gan.generator, gan.discriminator, gan.ema_generator)
    start = [weight.numpy() for network in networks for weight in network.weights]
    rows = slice(worker * BATCH // workers, (worker + 1) * BATCH // workers)

    def batches(context):
        whole = tf.data.Dataset.from_tensor_slices(discs(16)).repeat().batch(BATCH, drop_remainder=True)
        return whole.map(lambda images: images[rows]).rebatch(context.get_per_replica_batch_size(BATCH))

    gan.fit(strategy.distribute_datasets_from_function(batches), steps_per_epoch=STEPS, verbose=0, shuffle=False)
    assert gan.steps_taken == STEPS
    weights = [weight.numpy() for network in networks for weight in network.weights]
    assert sum((a != b).any() for a, b in zip(start, weights)) > 10
    np.savez(out, *weights, means=list(gan.current_means().values()))


def two_workers() -> list[dict]:
    """The environments of two processes on loopback, each with a port of its own."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    cluster = {"worker": [f"localhost:{one.getsockname()[1]}" for one in sockets]}
    for one in sockets:
        one.close()
    task = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [{**os.environ, "TF_CONFIG": json.dumps(config)} for config in task]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """name -> the arrays that a process ended with."""
    folder = tmp_path_factory.mktemp("distributed")
    environments = {"single": None, "mirrored-2": None, "mirrored-4": None}
    environments |= {f"multiworker{index}": environment for index, environment in enumerate(two_workers())}
    started = [
        subprocess.Popen([sys.executable, __file__, name.rstrip("01"), str(folder / name)], env=environment)
        for name, environment in environments.items()
    ]
    assert [process.wait(timeout=180) for process in started] == [0] * 5
    return {name: np.load(folder / f"{name}.npz") for name in environments}


@pytest.mark.parametrize("name", ["mirrored-2", "mirrored-4", "multiworker0"])
def test_replicas_at_a_part_of_the_batch_train_as_one_at_the_whole(trained, name):
    assert len(trained["single"].files) > 20
    for place, array in trained["single"].items():
        np.testing.assert_allclose(trained[name][place], array, atol=3e-6, rtol=1e-5, err_msg=place)


def test_workers_hold_the_same_weights_to_the_bit(trained):
    for place, array in trained["multiworker0"].items():
        np.testing.assert_array_equal(trained["multiworker1"][place], array, err_msg=place)


def test_a_killed_worker_ends_the_others_and_the_same_commands_go_on(folder, tmp_path):
    run = tmp_path / "run"
    typed = f"--data {folder} --run {run} --size 16 --filters 4 --batch 8 --tick-kimg 0.08 --kimg 0.4 --metrics none"
    command = [sys.executable, "-u", "-m", "keras_dcgan.fit", *typed.split(), "--strategy", "multiworker"]

    def start():
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return [subprocess.Popen(command, env=environment, **pipes) for environment in two_workers()]

    chief, other = start()
    while "d_loss" not in chief.stdout.readline():  # the first tick
        assert chief.poll() is None, chief.stderr.read()
    other.kill()
    _, err = chief.communicate(timeout=60)
    assert chief.returncode == 1
    assert "fit: stopped: lost another worker" in err and "Start every worker with the same command again" in err
    before = (run / "metrics.jsonl").read_text()

    chief, other = start()
    out, err = chief.communicate(timeout=120)
    said, _ = other.communicate(timeout=60)
    assert (chief.returncode, other.returncode) == (0, 0), err
    assert f"Resuming {run} at " in out and "d_loss" in out
    assert "d_loss" not in said  # the chief alone speaks, and writes
    rows = (run / "metrics.jsonl").read_text()
    assert rows.startswith(before) and [json.loads(row)["step"] for row in rows.splitlines()] == list(range(10, 51, 10))
    assert len(list(Path(run / "checkpoints").iterdir())) <= 4


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2])
