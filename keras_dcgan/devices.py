"""What this machine offers a training: devices, arithmetic, compiler. Turns the words of the Performance flags into settings.

devices.start(threads=0, deterministic=False)      # before anything else touches TensorFlow
with devices.strategy("auto").scope(): ...
devices.precision("auto")                          # -> "mixed_bfloat16" on a CPU with AVX512-BF16 or AMX, or a recent GPU
"""

import tensorflow as tf

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}  # Keras' names


def start(threads: int = 0, deterministic: bool = False):
    """Settles what TensorFlow can only be told before it starts its devices. `threads` 0: as many as there are cores."""
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)  # or TensorFlow takes all of the memory from everybody else
    if deterministic and gpus:  # on a CPU it is so anyway, while the switch makes tf.data slower and noisy (TensorFlow 2.21)
        tf.config.experimental.enable_op_determinism()


def strategy(name: str) -> tf.distribute.Strategy:
    """auto: all GPUs if there are several, else one device. Raises ValueError where there is nothing to mirror on."""
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")  # CPU devices can be split in two, to try this without GPUs
        if len(devices) < 2:
            raise ValueError(f"--strategy: expected at least 2 devices for mirrored, received {len(devices)}")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def check_batch(batch: int, strategy: tf.distribute.Strategy):
    """Raises ValueError where the devices cannot share a batch evenly."""
    if batch % strategy.num_replicas_in_sync:
        raise ValueError(f"--batch: expected a multiple of the {strategy.num_replicas_in_sync} devices, received {batch}")


def precision(name: str) -> str:
    """auto: the fastest arithmetic that this machine has in hardware, as a Keras dtype policy.

    bfloat16 comes before float16, since it has float32's range and needs no loss scaling.
    """
    if name != "auto":
        return POLICIES[name]
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
        worst = min(capabilities)
        return POLICIES["bfloat16" if worst >= (8, 0) else "float16" if worst >= (7, 0) else "float32"]
    return POLICIES["bfloat16" if _cpu_flags() & {"avx512_bf16", "amx_bf16"} else "float32"]


def compiles(jit: str) -> bool:
    """auto: XLA on a GPU only; on the CPU it halved the speed of this step (TensorFlow 2.21: 57 images/s against 111)."""
    return jit == "on" or (jit == "auto" and bool(tf.config.list_physical_devices("GPU")))


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as file:
            return next((set(line.split()) for line in file if line.startswith("flags")), set())
    except OSError:  # not Linux: float32 is right everywhere
        return set()
