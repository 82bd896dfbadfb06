"""`python -m tools.bench train`: the bare training step against PyTorch's and against the usual way of Keras.
10 minutes.

The contestants are in tools/bench/peers.py. Shares of the peak: multiply-adds of the step, counted from the
shapes, against a product of 2048x2048 matrices in the same minutes.
"""

import importlib.util
import math
import statistics

from keras_dcgan.cli import number
from tools.bench import peers


def arguments(parser):
    count = number(1, kind=int)
    parser.add_argument("--size", type=number(16, 512, kind=int), default=64, metavar="N", help="[64]")
    parser.add_argument("--filters", type=count, default=64, metavar="N", help="[64]")
    parser.add_argument("--batch", type=count, default=64, metavar="N", help="[64]")
    about = "the recipe that all train by; the others are raced as far as they can do it [paper]"
    parser.add_argument("--preset", choices=("paper", "auto"), default="paper", help=about)
    about = f"of {peers.STEPS['cpu']} steps each, on a GPU of {peers.STEPS['cuda']} [7]"
    parser.add_argument("--repeats", type=count, default=7, metavar="N", help=about)
    parser.add_argument("--only", metavar="A,B", help=f"of {', '.join(peers.CONTESTANTS)} [all]")


def measure(args) -> dict:
    names = args.only.split(",") if args.only else list(peers.CONTESTANTS)
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, and takes no part")
        names = [name for name in names if not name.startswith("torch")]
    if peers.accelerator() == "cpu":
        names = [name for name in names if name not in peers.OF_A_GPU]
    if (
        args.preset == "auto"
    ):  # no second derivatives through what is compiled, no usual form in Keras, no peak counted
        names = [name for name in names if not name.startswith(("torch_compiled", "keras", "peak"))]
    times = peers.race(names, args.size, args.filters, args.batch, args.repeats, args.preset)
    seconds = {name: statistics.median(values) for name, values in times.items() if values}
    figures = {
        f"{name}_img_per_s": args.batch / value
        for name, value in seconds.items()
        if not name.startswith("peak")
    }
    if "ours_auto" in seconds:
        from keras_dcgan import devices

        figures["auto_is"] = devices.precision("auto")
    figures |= {f"{name}_absent": "it failed" for name, values in times.items() if not values}
    work = 2 * multiply_adds(args.size, args.filters)  # of the preset paper
    figures |= {"step_gflop_per_image": work / 1e9} if args.preset == "paper" else {}
    figures |= {
        "preset": args.preset,
        "size": args.size,
        "filters": args.filters,
        "batch": args.batch,
    }
    for name, value in seconds.items():
        if name.startswith("peak"):
            figures[f"{name}_gflop_per_s"] = 2 * peers.PEAK_SIDE**3 / value / 1e9
            ours = "ours_float32" if name.endswith("32") else "ours_auto"
            if ours in seconds:
                figures[f"{ours}_share_of_{name}"] = (
                    work * args.batch / seconds[ours] / (2 * peers.PEAK_SIDE**3 / value)
                )
    rivals = [name for name in seconds if name.startswith("torch")]
    for name in ("ours_float32", "ours_auto"):
        if name in seconds:
            for other in ("torch", "keras_as_usual"):
                if other in seconds:
                    figures[f"{name}_times_{other}"] = ratio(times[other], times[name])
            if rivals:
                best = min(rivals, key=seconds.get)
                figures[f"{name}_times_best_of_torch ({best})"] = ratio(times[best], times[name])
    return figures


def ratio(others: list[float], ours: list[float]) -> float:
    """The median of the ratios of neighbours in time."""
    return statistics.median(other / own for other, own in zip(others, ours))


def multiply_adds(size: int, filters: int) -> int:
    """Of one training step, for one image: D looks at real and at fake and learns, and passes the gradient on
    to G, which learns. Convolutions and the first product only."""
    from keras_dcgan.model import networks

    def of(layer) -> int:
        grid = layer.input if "transpose" in type(layer).__name__.lower() else layer.output
        return math.prod(grid.shape[1:-1]) * math.prod(layer.kernel.shape)

    networks = (
        networks.generator((size, size), 3, filters=filters),
        networks.discriminator((size, size), 3, filters),
    )
    g, d = ([of(layer) for layer in network.layers if hasattr(layer, "kernel")] for network in networks)
    # Forward, weight gradient, and input gradient but for the first layer's.
    generator = 3 * sum(g) - g[0]
    return generator + 2 * (3 * sum(d) - d[0]) + 2 * sum(d)
