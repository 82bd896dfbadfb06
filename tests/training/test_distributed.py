"""Each device count runs in processes of its own: TensorFlow splits its CPU once, and its collectives know
one group."""

import contextlib
import json
import os
import random
import shutil
import socket
import time

import numpy as np
import pytest
from conftest import discs

STEPS = 10
RATE = 0.1
BATCH = 8
PATIENCE = 900  # seconds; nine processes that build their graphs at once take minutes on a busy machine
NORMS = {
    "": "batch",
    "penalised": "spectral",
    "critic": "none",
}  # of D, by what a training's name begins with


def train(name: str, out: str, environment: dict):
    """Trains for a few steps and saves the weights. `name`: single, mirrored-2, mirrored-4, or multiworker as
    TF_CONFIG says; with "penalised " before it by R1 and R2 now and then and spectral norm, with "critic " by them at
    every step and without a norm, as `auto` does."""
    os.environ |= environment
    from keras_dcgan import process

    with process.quiet():
        import keras
        import tensorflow as tf

        from keras_dcgan import devices
        from keras_dcgan.model.augment import POLICIES
        from keras_dcgan.model.gan import DCGAN
        from keras_dcgan.model.losses import LOSSES
        from keras_dcgan.model.networks import discriminator, generator

        kind, _, name = name.rpartition(" ")
        name, _, replicas = name.partition("-")
        if replicas:
            cpu = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * int(replicas)
            )
        strategy = devices.find_strategy(name)
    worker, workers = devices.worker(strategy)
    assert strategy.num_replicas_in_sync == int(replicas or workers)
    with strategy.scope():
        keras.utils.set_random_seed(1)
        options = {"filters": 4, "synchronized": name != "single"}
        gan = DCGAN(
            generator((16, 16), 3, latent_dim=6, **options),
            discriminator((16, 16), 3, norm=NORMS[kind], **options),
            generator((16, 16), 3, latent_dim=6, filters=4),
        )
        optimizers = [keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE)]
        # SGD, since Adam's first step turns rounding into signs; with all that looks at more than one image,
        # or that is random. Merged as on several GPUs.
        options = {"r1": 0.5, "r2": 0.25} if kind else {"merged": name == "mirrored"}
        options |= {"penalty_every": 1} if kind == "critic" else {}
        gan.compile(*optimizers, LOSSES["relativistic"], ema_kimg=1, augment=POLICIES["all"], **options)
    assert (gan.critic is not None) == (kind == "critic")
    rows = slice(worker * BATCH // workers, (worker + 1) * BATCH // workers)

    def batches(context):
        whole = tf.data.Dataset.from_tensor_slices(discs(16)).repeat().batch(BATCH, drop_remainder=True)
        return whole.map(lambda images: images[rows]).rebatch(context.get_per_replica_batch_size(BATCH))

    def weights(*networks):
        return [
            weight.numpy()
            for network in networks
            for weight in network.trainable_variables or network.weights
        ]

    stream = strategy.distribute_datasets_from_function(batches)
    before = weights(gan.generator, gan.discriminator)
    gan.fit(stream, steps_per_epoch=1, verbose=0, shuffle=False)
    gradients = [(old - new) / RATE for old, new in zip(before, weights(gan.generator, gan.discriminator))]
    assert (
        sum((gradient != 0).any() for gradient in gradients) > 10
    )  # the last bias cancels in the relativistic loss
    gan.fit(stream, steps_per_epoch=STEPS - 1, verbose=0, shuffle=False)
    assert gan.steps_taken == STEPS
    networks = (gan.generator, gan.discriminator, gan.ema_generator)
    everything = [weight.numpy() for network in networks for weight in network.weights]
    arrays = {f"gradient_{i}": array for i, array in enumerate(gradients)}
    arrays |= {f"weight_{i}": array for i, array in enumerate(everything)}
    np.savez(out, **arrays, means=list(gan.current_means().values()))


def two_workers() -> list[dict]:
    """The environments of two processes on loopback, each with a port of its own: none of those that the system
    gives to whoever asks for any, since they are taken seconds later."""
    free = []
    for port in random.SystemRandom().sample(range(10_000, 32_000), 50):
        with contextlib.suppress(OSError), socket.create_server(("localhost", port)):
            free.append(port)
    cluster = {"worker": [f"localhost:{port}" for port in free[:2]]}
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})}
        for index in range(2)
    ]


@pytest.fixture(scope="module")
def trained(process, tmp_path_factory):
    """name -> the arrays that a process ended with."""
    folder = tmp_path_factory.mktemp("distributed")
    environments = {
        "single": {},
        "mirrored-2": {},
        "mirrored-4": {},
        "penalised single": {},
        "penalised mirrored-2": {},
        "critic single": {},
        "critic mirrored-2": {},
    }
    environments |= {f"multiworker{index}": environment for index, environment in enumerate(two_workers())}
    started = [
        process(target=train, args=(name.rstrip("01"), str(folder / name), environment))
        for name, environment in environments.items()
    ]
    for one in started:
        one.start()
    for one in started:
        one.join(timeout=PATIENCE)
    assert [one.exitcode for one in started] == [0] * len(environments)
    return {name: np.load(folder / f"{name}.npz") for name in environments}


@pytest.mark.parametrize(
    "name", ["mirrored-2", "mirrored-4", "multiworker0", "penalised mirrored-2", "critic mirrored-2"]
)
def test_replicas_at_a_part_of_the_batch_train_as_one_at_the_whole(trained, name):
    single = trained[name.replace("mirrored-2", "single") if " " in name else "single"]
    assert len(single.files) > 30
    for place, array in single.items():
        # A gradient is read from weights near 0.1 before and after a step, which are rounded to 1e-8.
        tolerance = 1e-5 * np.abs(array).max() + 2e-8 / RATE if place.startswith("gradient") else 1e-4
        np.testing.assert_allclose(trained[name][place], array, atol=tolerance, rtol=0, err_msg=place)


def test_workers_hold_the_same_weights_to_the_bit(trained):
    for place, array in trained["multiworker0"].items():
        np.testing.assert_array_equal(trained["multiworker1"][place], array, err_msg=place)


def fit_into(log: str, arguments: list[str], environment: dict):
    """The verb, with everything that it says in a file."""
    os.environ |= environment
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from keras_dcgan import fit

    raise SystemExit(fit.main(arguments))


def test_a_killed_worker_ends_the_others_and_the_same_commands_go_on(process, folder, tmp_path):
    run, logs = tmp_path / "run", [tmp_path / "chief.txt", tmp_path / "other.txt"]
    typed = f"--data {folder} --run {run} --size 16 --filters 4 --batch 8 --tick-kimg 0.08 --kimg 0.4 --metrics none"

    def start():
        arguments = [*typed.split(), "--strategy", "multiworker"]
        both = [
            process(target=fit_into, args=(str(log), arguments, each))
            for log, each in zip(logs, two_workers())
        ]
        for one in both:
            one.start()
        return both

    chief, other = start()
    end = time.monotonic() + PATIENCE
    while not logs[0].exists() or "d_loss" not in logs[0].read_text():  # the first tick
        assert chief.is_alive() and other.is_alive() and time.monotonic() < end, logs[0].read_text()
        time.sleep(0.05)
    other.kill()
    chief.join(timeout=PATIENCE)
    said = logs[0].read_text()
    assert chief.exitcode == 1
    assert (
        "fit: stopped: lost another worker" in said
        and "Start every worker with the same command again" in said
    )
    before = (run / "metrics.jsonl").read_text()

    started = start()
    for one in started:
        one.join(timeout=PATIENCE)
    said, by_other = (log.read_text() for log in logs)
    assert [one.exitcode for one in started] == [0, 0], said + by_other
    assert f"Resuming {run} at " in said and "d_loss" in said
    assert "d_loss" not in by_other  # the chief alone speaks, and writes
    rows = (run / "metrics.jsonl").read_text()
    assert rows.startswith(before) and [json.loads(row)["step"] for row in rows.splitlines()] == list(
        range(10, 51, 10)
    )
    assert len(list((run / "checkpoints").iterdir())) <= 4


def overflow(out: str):
    """One step on two devices, of which the second alone has what its discriminator makes infinite."""
    import keras
    import tensorflow as tf

    from keras_dcgan import devices
    from keras_dcgan.model.gan import DCGAN
    from keras_dcgan.model.losses import LOSSES
    from keras_dcgan.model.networks import discriminator, generator

    cpu, split = tf.config.list_physical_devices("CPU")[0], tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [split, split])
    strategy = devices.find_strategy("mirrored")
    with strategy.scope():
        options = {"latent_dim": 6, "filters": 4}
        networks = generator((16, 16), 3, **options), discriminator((16, 16), 3, filters=4, norm="none")
        gan = DCGAN(*networks, generator((16, 16), 3, **options))
        optimizers = [keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(RATE)) for _ in range(2)]
        gan.compile(
            *optimizers,
            LOSSES["bce"],
            0,
            augment=(lambda images, _: tf.where(images > 0.999, np.inf, images),),
        )
    before = [[weight.numpy() for weight in network.trainable_variables] for network in networks]
    images = np.full((8, 16, 16, 3), 100, np.uint8)
    images[4:] = 255
    stream = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(images))
    gan.fit(stream, steps_per_epoch=1, verbose=0, shuffle=False)
    after = [[weight.numpy() for weight in network.trainable_variables] for network in networks]
    moved = [[not np.array_equal(a, b) for a, b in zip(*pair)] for pair in zip(before, after)]
    sound = all(np.isfinite(weight).all() for network in after for weight in network)
    np.savez(
        out,
        g_moved=moved[0],
        d_moved=moved[1],
        sound=sound,
        scales=[float(o.dynamic_scale.numpy()) for o in optimizers],
    )


def test_a_step_that_overflows_on_one_device_is_left_out_by_all(process, tmp_path):
    one = process(target=overflow, args=(str(tmp_path / "out.npz"),))
    one.start()
    one.join(timeout=PATIENCE)
    found = np.load(tmp_path / "out.npz")
    assert found["sound"] and not found["d_moved"].any() and found["g_moved"].all()
    assert found["scales"].tolist() == [2**15, 2**14]  # halved for the discriminator


def test_workers_with_other_images_are_told_so(process, folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    next(other.glob("*.png")).unlink()
    logs = [tmp_path / "chief.txt", tmp_path / "other.txt"]
    typed = f"--run {tmp_path / 'run'} --size 16 --filters 4 --batch 8 --kimg 0.08 --metrics none --strategy multiworker".split()
    both = [
        process(target=fit_into, args=(str(log), [*typed, "--data", str(data)], environment))
        for log, data, environment in zip(logs, (folder, other), two_workers())
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(timeout=PATIENCE)
    for one, log, count in zip(both, logs, (40, 39)):
        said = log.read_text()
        assert one.exitcode == 2 and "Traceback" not in said
        assert (
            f"fit: --data: expected the same images for all workers, received {count} of fingerprint " in said
        )
