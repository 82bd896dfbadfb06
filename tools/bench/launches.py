"""`python -m tools.bench launches`: what a GPU would have to start for a step, counted from the program that XLA is
given. Needs no GPU, and tells no times. A minute.

XLA records products and what is fused around them in a CUDA graph, which is one start; each convolution is one of
its own, and cuts the graph (TensorFlow 2.21). `products`: all convolutions written as products
(tools/bench/products.py).
"""

import contextlib
import re
from unittest import mock

from keras_dcgan.cli import number

FORMS = ("convolutions", "products")
PRESETS = ("paper", "auto")


def arguments(parser):
    parser.add_argument("--size", type=number(16, 512, kind=int), default=64, metavar="N", help="[64]")
    parser.add_argument("--filters", type=number(1, kind=int), default=64, metavar="N", help="[64]")


def measure(args) -> dict:
    figures = {"size": args.size, "filters": args.filters}
    for preset in PRESETS:
        for form in FORMS:
            counted = count(program_text(preset, args.size, args.filters, form == "products"))
            figures |= {f"{preset}_as_{form}_{kind}": value for kind, value in counted.items()}
    return figures


def count(program: str) -> dict[str, int]:
    """Of HLO text."""
    return {
        "convolutions": len(re.findall(r" convolution\(", program)),
        "products": len(re.findall(r" dot\(", program)),
    }


def program_text(preset: str, size: int, filters: int, as_products: bool) -> str:
    """The HLO of one training step as a GPU gets it: of Keras' own layers, or all as products."""
    import numpy as np
    import tensorflow as tf

    from keras_dcgan import devices
    from keras_dcgan.config import resolve
    from keras_dcgan.training import build
    from tools.bench import products

    devices.settle()
    settings = {"data": "", "run": "", "preset": preset, "size": (size, size), "filters": filters}
    kinds = products.everywhere() if as_products else contextlib.nullcontext()
    with kinds, mock.patch.object(devices, "has_gpu", return_value=True):
        gan = build.build(resolve(settings | {"precision": "float32"}), channels=3)
    step = tf.function(gan.train_step, jit_compile=True, autograph=False)
    batch = tf.constant(np.zeros((32, size, size, 3), np.uint8))
    return step.experimental_get_compiler_ir(batch)(stage="hlo")
