"""What this machine offers a training: devices, arithmetic, compiler. Turns the words of the Performance
flags into settings.

    devices.start(threads=0, deterministic=False)      # before anything else touches TensorFlow
    with devices.find_strategy("auto").scope(): ...
    devices.precision("auto")                          # "mixed_bfloat16" on a CPU with AVX512-BF16 or AMX, or a recent GPU
"""

import contextlib
import json
import os
import platform
import random
import re
import shutil
import subprocess
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_dcgan import IS_LATE, ONEDNN, process
from keras_dcgan.errors import Refused, argument

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}  # Keras' names
DEVICE_FILES = "/dev"


# Settings of Keras that ~/.keras/keras.json, the environment, or whoever used this process before may have
# changed.
KERAS_DEFAULTS = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "dtype_policy": "float32",
    "max_epochs": None,
    "max_steps_per_epoch": None,
}


@contextlib.contextmanager
def keras_defaults() -> Iterator[None]:
    """Around what builds, loads or trains networks: the same bits whatever Keras has been told. Can decorate
    a function."""
    with contextlib.ExitStack() as undo:
        _set_keras_defaults(undo)
        yield


def _set_keras_defaults(undo: contextlib.ExitStack):
    for name, default in KERAS_DEFAULTS.items():
        if hasattr(keras.config, name):  # the limits are younger than the others
            undo.callback(getattr(keras.config, f"set_{name}"), getattr(keras.config, name)())
            getattr(keras.config, f"set_{name}")(default)


@contextlib.contextmanager
def seeds_kept() -> Iterator[None]:
    """Around what sets a run's seed, which is not for everybody: random and NumPy have their states again."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def reset_keras_settings():
    """keras_defaults and seeds_kept, for as long as the verb takes (process.tidy)."""
    check_backend()
    _set_keras_defaults(process.at_end)
    process.at_end.enter_context(seeds_kept())


def check_backend():
    """Raises ValueError where Keras has been imported with another backend."""
    if keras.config.backend() != "tensorflow":
        received = f"{keras.config.backend()}, with which Keras was imported before keras_dcgan"
        raise ValueError(f"KERAS_BACKEND: expected tensorflow, received {received}")


def start(threads: int = 0, deterministic: bool = False) -> str | None:
    """What a verb settles: `settle`, and Keras for as long as the verb takes."""
    reset_keras_settings()
    return settle(threads, deterministic)


def settle(threads: int = 0, deterministic: bool = False) -> str | None:
    """Settles what TensorFlow can only be told before it starts its devices, as far as they have not begun.
    `threads` 0: as many as there are cores. -> what the user is to be warned of. Raises ValueError where Keras
    has another backend."""
    check_backend()
    warning = None
    if threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError:  # a notebook has used it before: then it keeps its ways
            there = (
                tf.config.threading.get_intra_op_parallelism_threads() or "as many threads as there are cores"
            )
            warning = f"{argument('threads')}: TensorFlow has begun before, and keeps to {there}"
    gpus = tf.config.get_visible_devices("GPU")
    for gpu in gpus:
        # Or TensorFlow takes all of the memory from everybody else. A notebook may have used the GPU before, or have
        # capped its memory.
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        # With oneDNN it fails on the gradient of LeakyReLU behind a bias, says so on the user's screen, and
        # changes nothing (2.21).
        tf.config.optimizer.set_experimental_options({"remapping": False})
    # One graph for one step: Grappler's dependency optimizer rewrote 1 in 12 tracings of the same step differently,
    # with other last bits, and a run that was resumed with such a graph ended with other weights. Off, none of 56 was,
    # all were as the 11 of 12 had been (and of 60 builds of `demo`, 9 and then none), and a step takes as long (2.21).
    tf.config.optimizer.set_experimental_options({"dependency_optimization": False})
    # On a CPU it is so anyway, while the switch makes tf.data slower and noisy (TensorFlow 2.21).
    if deterministic and has_gpu():
        tf.config.experimental.enable_op_determinism()
    return warning


def find_strategy(name: str) -> tf.distribute.Strategy:
    """auto: all GPUs if there are several, else one device. Raises ValueError where there is nothing to
    mirror on.

    multiworker: the machines of TF_CONFIG, which Kubernetes' TFJob and Vertex AI set, and which must be the
    first thing that TensorFlow is told about.
    """
    if name == "multiworker":
        try:
            json.loads(os.environ["TF_CONFIG"])["cluster"]
        except (KeyError, TypeError, ValueError) as error:
            received = os.environ.get("TF_CONFIG", "none")
            expected = "TF_CONFIG with a cluster in the environment"
            raise Refused("strategy", expected, received) from error
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (
            tf.errors.OpError,
            RuntimeError,
        ) as error:  # its port is taken; or TensorFlow has begun before
            why = getattr(error, "message", str(error))
            problem = f"expected TF_CONFIG of a cluster that can be joined: {why}"
            raise Refused("strategy", problem) from error
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices(
            "CPU"
        )  # CPU devices can be split in two, to try this without GPUs
        if len(devices) < 2:
            raise Refused("strategy", "at least 2 devices for mirrored", len(devices))
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def worker(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """(number of this process, number of processes); number 0, the chief, alone writes."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().jobs:
        return 0, 1
    cluster = resolver.cluster_spec().as_dict()
    chiefs, workers = (len(cluster.get(job, [])) for job in ("chief", "worker"))
    return resolver.task_id + (chiefs if resolver.task_type == "worker" else 0), chiefs + workers


def agree(strategy: tf.distribute.Strategy, number: int) -> bool:
    """Whether all processes have the same number. All of them must ask."""
    if worker(strategy)[1] == 1:
        return True

    @tf.function(autograph=False)  # to read its source would take 0.1 s
    def sum_over_replicas(value):
        return strategy.reduce(
            tf.distribute.ReduceOp.SUM, strategy.run(tf.identity, args=(value,)), axis=None
        )

    total, squares = (
        float(sum_over_replicas(tf.constant(value, tf.float64))) for value in (number, number**2)
    )
    return (
        strategy.num_replicas_in_sync * squares == total**2
    )  # the variance is 0; exact, since steps are below 2**26


def check_batch(batch: int, strategy: tf.distribute.Strategy):
    """Raises ValueError where the devices cannot share a batch evenly."""
    if batch % strategy.num_replicas_in_sync:
        raise Refused("batch", f"a multiple of the {strategy.num_replicas_in_sync} devices", batch)


def check_workers(most: float, strategy: tf.distribute.Strategy):
    """Raises Refused where there are more workers than the data can feed: of shards each reads its own."""
    workers = worker(strategy)[1]
    if workers > most:
        raise Refused("data", f"a shard or more for each of {workers} workers", most)


def names(strategy: tf.distribute.Strategy) -> str:
    """What trains, as a person would call it: '2 x NVIDIA H200', '2 cores of AMD EPYC'."""
    replicas, processes = strategy.num_replicas_in_sync, worker(strategy)[1]
    gpus = tf.config.get_visible_devices("GPU")[: max(1, replicas // processes)]
    if gpus:
        kinds = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
        found = ", ".join(
            f"{kinds.count(kind)} x {kind}" if len(gpus) > 1 else kind for kind in dict.fromkeys(kinds)
        )
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        found = f"{cores} core{'s' if cores > 1 else ''} of {_cpu_name()}"
        found += f" as {replicas // processes} devices" if replicas > processes else ""
    return f"{processes} processes, here {found}" if processes > 1 else found


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or ARM
        return platform.processor() or platform.machine() or "a CPU"


def slowed() -> list[str]:
    """Why the training will be slower than this machine could be."""
    return [why for why in (unused_gpu(), imported_late()) if why]


def imported_late() -> str | None:
    """That TensorFlow was imported before keras_dcgan, on a CPU for which that decides how it computes."""
    flags = _cpu_flags()
    has_onednn = not flags or flags & {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile"}  # by default
    if not IS_LATE or has_onednn or has_gpu():
        return None
    return (
        "TensorFlow was imported before keras_dcgan, and so takes 1.5 times as long on this CPU: import keras_dcgan "
        f"first, or set {ONEDNN}=1"
    )


def unused_gpu() -> str | None:
    """Why the training will be slow though this machine has an NVIDIA GPU; None where there is none, or it
    was not to be used."""
    if (
        has_gpu()
        or os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
        or not (found := _nvidia_gpus())
    ):
        return None
    cuda = tf.sysconfig.get_build_info().get("cuda_version")
    wanted = (
        f"the libraries and a driver of CUDA {cuda} (pip install 'keras_dcgan[cuda]')"
        if cuda
        else "a build with CUDA"
    )
    return f"this machine has {', '.join(found)}, which TensorFlow {tf.__version__} cannot use: it wants {wanted}"


def _nvidia_gpus() -> list[str]:
    """Those that the system knows, whatever TensorFlow thinks."""
    if tool := shutil.which("nvidia-smi"):  # Windows and WSL have it too
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            query = [tool, "--query-gpu=name", "--format=csv,noheader"]
            done = subprocess.run(query, capture_output=True, text=True, timeout=20)
            if done.returncode == 0 and done.stdout.strip():
                return done.stdout.strip().splitlines()
    # Where the tool is missing, or at odds with the driver. In a container that was given no GPU there is no
    # device.
    return (
        ["an NVIDIA GPU"] if any(re.fullmatch(r"nvidia\d+", file) for file in _listed(DEVICE_FILES)) else []
    )


def _listed(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def has_gpu() -> bool:
    """One that may be used: `export` hides them for as long as its process lives."""
    return bool(tf.config.get_visible_devices("GPU"))


def precision(name: str) -> str:
    """auto: the fastest arithmetic that this machine has in hardware, as a Keras dtype policy.

    bfloat16 comes before float16, since it has float32's range and needs no loss scaling.
    """
    if name != "auto":
        return POLICIES[name]
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        capabilities = [
            tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus
        ]
        worst = min(capabilities)
        return POLICIES["bfloat16" if worst >= (8, 0) else "float16" if worst >= (7, 0) else "float32"]
    return POLICIES["bfloat16" if _cpu_flags() & {"avx512_bf16", "amx_bf16"} else "float32"]


def compiles(jit: str) -> bool:
    """auto: XLA on a GPU only; on the CPU it halved the speed of this step (TensorFlow 2.21: 57 images/s
    against 111).

    On one device only: Keras 3.15 compiles the step of all replicas as one program, which then reaches for
    the other devices' variables. Raises ValueError where that is asked for.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if jit == "on" and replicas > 1:
        raise Refused("jit", "auto or off on several devices", f"on with {replicas}")
    return jit == "on" or (jit == "auto" and _is_alone() and has_gpu())


def _is_alone() -> bool:
    """Whether the strategy of this scope is one device: a cluster of one is not, since nobody has seen it compiled."""
    strategy = tf.distribute.get_strategy()
    is_cluster = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return strategy.num_replicas_in_sync == 1 and not is_cluster


def steps_at_once() -> int:
    """Steps between two looks at the losses. On a GPU each look would make it wait for Python; on a CPU it
    costs nothing. On several devices Keras 3.15 fails at more than one ("You must feed a value for placeholder")."""
    return 16 if has_gpu() and _is_alone() else 1


def completes_ticks_aside(strategy: tf.distribute.Strategy) -> bool:
    """Whether the CPU can complete a tick while training goes on: where it does not train itself. Not with several
    processes, which keep step with the one that writes."""
    return has_gpu() and worker(strategy)[1] == 1


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((set(line.split()) for line in file if line.startswith("flags")), set())
    except OSError:  # not Linux: float32 is right everywhere
        return set()
