"""`python -m tools.bench edge`: each exported file against other ways to draw one image at a time on a CPU. 3
minutes.

All have a generator of one shape: the files and the Keras contestants the same weights, PyTorch and ONNX
Runtime their own, which costs the same. PyTorch takes part where `torch` is installed, ONNX Runtime where
`onnx` and `onnxruntime` are as well.
"""

import functools
import importlib.util
import io
import statistics
import tempfile
from pathlib import Path

import numpy as np

from keras_dcgan.cli import fail, number, side_lengths
from keras_dcgan.process import quiet
from tools.bench.timing import seconds

LATENT = 100
WARM_UP, BLOCK = 5, 20  # images in a row


def arguments(parser):
    count = number(1, kind=int)
    parser.add_argument("--size", type=side_lengths, default=(64, 64), metavar="N|HxW", help="[64]")
    parser.add_argument("--filters", type=count, default=64, metavar="N", help="[64]")
    parser.add_argument(
        "--repeats", type=count, default=200, metavar="N", help=f"images of each, {BLOCK} in a row [200]"
    )


def measure(args) -> dict:
    with quiet():
        import tensorflow as tf

        from keras_dcgan.export import convert
        from keras_dcgan.model import networks

    tf.config.set_visible_devices([], "GPU")  # whose rounding is another, and the files run on the CPU
    tf.config.threading.set_intra_op_parallelism_threads(1)
    generator = networks.generator(args.size, 3, LATENT, args.filters)
    for layer in generator.layers:
        layer.momentum = (
            0.0  # of batch norm: one batch settles it, as training does, and the files hold biases
        )
    generator(tf.random.stateless_normal((64, LATENT), [0, 0]), training=True)
    with tempfile.TemporaryDirectory() as scratch:
        with quiet():
            formats = [name for name in convert.FORMATS if name not in ("saved_model", "web")]
            artefacts = convert.export(generator, formats, Path(scratch), "bench")
        if faults := [
            f"{artefact.variant.file}: {fault}" for artefact in artefacts for fault in artefact.parity.faults
        ]:
            fail("edge", f"--size, --filters: expected a generator whose files pass, received {faults[0]}")
        files = {
            artefact.variant.file.removesuffix(".tflite").removeprefix("generator_"): artefact
            for artefact in artefacts
        }
        contestants = {
            f"{name}_1_thread": tflite(Path(scratch) / art.variant.file, 1) for name, art in files.items()
        }
        contestants |= {
            f"{name}_2_threads": tflite(Path(scratch) / art.variant.file, 2) for name, art in files.items()
        }
        contestants |= keras_ways(generator) | torch_ways(args.size, args.filters)
        times = {name: [] for name in contestants}
        for _ in range(-(-args.repeats // BLOCK)):
            for name, draw in contestants.items():
                for _ in range(WARM_UP):
                    draw()  # the others have filled the caches with weights of their own
                times[name] += [1000 * seconds(draw) for _ in range(BLOCK)]
    ms = {name: statistics.median(values) for name, values in times.items()}
    best = min(ms[name] for name in ms if not name.startswith(tuple(files)))
    return (
        {f"{name}_mb": artefact.bytes / 1e6 for name, artefact in files.items()}
        | {f"{name}_ms": value for name, value in ms.items()}
        | {f"best_peer_times_{name}": best / ms[f"{name}_1_thread"] for name in files}
    )


def tflite(file: Path, threads: int):
    from keras_dcgan.export import edge_sample

    runner, *_ = edge_sample.load(file, threads, "sample")
    return functools.partial(runner, z=latent())


def keras_ways(generator) -> dict:
    import tensorflow as tf

    z = latent()
    compiled = tf.function(
        lambda z: generator(z, training=False), input_signature=[tf.TensorSpec((1, LATENT))]
    )
    return {
        "keras_predict": lambda: generator.predict(z, verbose=0),
        "tf_function": lambda: compiled(z).numpy(),
    }


def torch_ways(size: tuple[int, int], filters: int) -> dict:
    if importlib.util.find_spec("torch") is None or size[0] != size[1]:
        return {}
    import torch

    from tools.bench.peers import torch_networks

    torch.set_num_threads(1)
    network, z = (
        torch_networks(size[0], filters)[0].eval(),
        torch.from_numpy(latent()).reshape(1, LATENT, 1, 1),
    )

    def eager():
        with torch.inference_mode():
            return network(z)

    ways = {"torch_eager": eager}
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        buffer, options = io.BytesIO(), onnxruntime.SessionOptions()
        torch.onnx.export(network, (z,), buffer, input_names=["z"], dynamo=False)
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
        ways["onnx_runtime"] = lambda: session.run(None, {"z": z.numpy()})
    return ways


def latent() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, LATENT)).astype(np.float32)
