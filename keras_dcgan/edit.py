"""Restores or joins pictures of yours, with what a run has learned to draw:

    python -m keras_dcgan.edit --run runs/imgs --image a.png --task inpaint --mask hole.png --out whole.png

Finds the latent z whose picture G(z), degraded in the same way, comes nearest to yours. whole.png is the
result, whole-z.npy the latent (`python -m keras_dcgan.sample --latent whole-z.npy` draws it, of a conditional
run with the --class that is printed), whole-compared.png shows yours, G(z) and the result.
"""

import math
import time
from pathlib import Path

import numpy as np

from keras_dcgan import blend, cli, data, images, latents
from keras_dcgan.config import check_file, check_trained, load_config, number, one_of
from keras_dcgan.progress import Progress

NEEDS = {
    "project": None,
    "inpaint": "mask",
    "superres": "factor",
    "denoise": "sigma",
    "interpolate": None,
}  # task: its own flag
FRAMES_A_LEG = 25  # of a walk, from one picture to the next: a second
WHITE = (
    12  # of a mask, from here on: a pixel that the hole reaches into, if only a little, is no longer known
)


@cli.tidy
def main(arguments: list[str] | None = None) -> int:
    start = time.monotonic()
    flags = parser().parse_args(arguments)
    with cli.user_errors("edit"):
        check(flags)
        check_trained(flags.run)
        with cli.quiet():
            from keras_dcgan import devices, inversion, runs

            devices.start(deterministic=True)
        generator, classes = runs.load_generator(flags.run), runs.load_classes(flags.run)
        labels = labels_of(flags, classes)
        given, hole, shrunk = read(flags, load_config(flags.run), generator.output_shape[1:])
    degrade = inversion.reduced(given.shape[1:3]) if hole is None else inversion.known(hole)
    observed = degrade(images.from_uint8(given)).numpy()
    noise = (
        2 * (flags.sigma or 0) / 255 / shrunk
    )  # pictures go from -1 to 1; the mean of n pixels has 1/sqrt(n) of their noise
    effort = {
        "restarts": flags.restarts if labels is None else len(labels),
        "steps": flags.steps,
        "seed": flags.seed,
    }
    tuning = {"steps": flags.tune, "enough": noise**2}
    with Progress("looking for z:", 100, "%") as progress:
        effort["show"] = tuning["show"] = lambda share: progress.update(100 * share)
        z, labels = inversion.invert(generator, observed, degrade, labels, **effort)
        found = drawn = inversion.draw(generator, z, labels).numpy()
        if flags.tune:
            progress.begin("tuning the weights:", 100, "%")
            inversion.tune(generator, z, observed, degrade, labels, **tuning)
            drawn = inversion.draw(generator, z, labels).numpy()
    for i, file in enumerate(flags.image):
        before, after = (
            10 * np.log10(4 / np.mean((degrade(part) - observed)[i] ** 2)) for part in (found, drawn)
        )
        named = "" if labels is None else f" as {classes[labels[i]]}"
        print(
            f"{file}: G(z){named} is {before:.1f} dB from "
            f"it{f', with tuned weights {after:.1f} dB' if flags.tune else ''}"
        )
    result = drawn
    if flags.task == "inpaint":
        result = blend.seamless(images.from_uint8(given[0]), drawn[0], hole)[np.newaxis]
        given[:, hole] = 127
    elif flags.task == "superres":
        result = blend.sharpened(observed[0], drawn[0])[np.newaxis]
        given = given.repeat(int(flags.factor), axis=1).repeat(int(flags.factor), axis=2)
    elif flags.task == "denoise":
        result = blend.denoised(observed[0], drawn[0], noise)[np.newaxis]
    with cli.user_errors("edit"), cli.writing("--out", flags.out):
        files = write(
            Path(flags.out),
            flags.task,
            generator,
            z,
            labels,
            [given, images.to_uint8(found), images.to_uint8(result)],
        )
    print(f"{', '.join(map(str, files))} in {time.monotonic() - start:.0f} s")
    return 0


def parser() -> cli.Parser:
    result = cli.Parser("keras_dcgan.edit", "Restores or joins pictures with the generator of a run.")
    result.add_argument("--run", type=cli.path, required=True, metavar="DIR", help="the run directory")
    about = "the picture; to interpolate, two or more"
    result.add_argument("--image", type=cli.path, required=True, nargs="+", metavar="FILE", help=about)
    result.add_argument(
        "--task", required=True, type=one_of(*NEEDS), metavar="WHAT", help=f"one of {', '.join(NEEDS)}"
    )
    about = "the result; of interpolate a walk, NAME.gif, .webp or .mp4"
    result.add_argument("--out", type=cli.path, required=True, metavar="O.png", help=about)
    about = "inpaint: a picture of the same size, white where it is to be filled in"
    result.add_argument("--mask", type=cli.path, metavar="M.png", help=about)
    about = "superres: by how much the picture is smaller than the run's"
    result.add_argument("--factor", type=one_of("2", "4", "8"), metavar="2|4|8", help=about)
    sigma = number(0, 255, above=True)
    result.add_argument(
        "--sigma", type=sigma, metavar="S", help="denoise: the noise's standard deviation, where white is 255"
    )
    result.add_argument(
        "--class", dest="wanted_class", metavar="C", help="of a conditional run: which class [the nearest]"
    )
    result.add_argument(
        "--seed", type=number(0, 10**6, kind=int), default=0, metavar="N", help="of the restarts [0]"
    )
    restarts, steps = (number(1, most, kind=int) for most in (1000, 10**6))
    about = "latents to start from, at least one of each class; the best is kept [8]"
    result.add_argument("--restarts", type=restarts, default=8, metavar="N", help=about)
    result.add_argument("--steps", type=steps, default=300, metavar="N", help="of each of them [300]")
    about = "then change the weights, too, in N steps, so that G(z) comes nearer; they are not kept [none; without N 40]"
    result.add_argument("--tune", type=steps, nargs="?", const=40, metavar="N", help=about)
    return result


def check(flags):
    """Whether the flags fit the task, and whether the result can be written. Raises ValueError."""
    for task, name in NEEDS.items():
        value = getattr(flags, name) if name else None
        if value is None and name and task == flags.task:
            raise ValueError(f"--{name}: expected one with --task {task}, received none")
        if value is not None and task != flags.task:
            raise ValueError(f"--{name}: expected --task {task}, received --task {flags.task}")
    is_walk = flags.task == "interpolate"
    endings = images.ANIMATIONS if is_walk else (".png",)
    if Path(flags.out).suffix.lower() not in endings:
        raise ValueError(
            f"--out: expected a name that ends in {' or '.join(endings)}, received {flags.out!r}"
        )
    if Path(flags.out).suffix.lower() == ".mp4":
        images.video_encoder()
    check_file("--out", Path(flags.out))
    if is_walk != (len(flags.image) > 1):
        expected = "two pictures or more to" if is_walk else "one picture to"
        raise ValueError(f"--image: expected {expected} {flags.task}, received {len(flags.image)}")


def labels_of(flags, classes: list[str]) -> np.ndarray | None:
    """A label for each restart, so that no class goes untried; None where the run knows no classes."""
    chosen = latents.chosen_classes(flags.wanted_class, classes)
    if classes and flags.task == "interpolate" and (not chosen or len(chosen) > 1):
        received = flags.wanted_class or "none"
        raise ValueError(
            f"--class: expected the class to walk in, one of {', '.join(classes)}, received {received}"
        )
    return latents.labels(range(max(flags.restarts, len(chosen or classes))), chosen, classes)


def read(flags, config, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray | None, float]:
    """-> the pictures, prepared as the run's own were, uint8 (N, height, width, C), the hole, bool (height,
    width), and how many times a side of the first has been shrunk for that, at least 1."""
    *size, channels = shape
    factor = int(flags.factor or 1)
    if size[0] % factor or size[1] % factor:
        raise ValueError(
            f"--factor: expected one that divides the run's {size[0]}x{size[1]}, received {factor}"
        )

    def prepared(flag, file, channels, background):
        try:
            wanted = [side // factor for side in size]
            return data.prepare_one(
                file, wanted, channels, crop=config.crop, background=background, max_pixels=config.max_pixels
            )
        except (ValueError, OSError) as error:
            raise ValueError(f"{flag}: {error}") from error

    pictures, original_sizes = zip(
        *(prepared("--image", file, channels, config.background) for file in flags.image)
    )
    ratios = [before / after for before, after in zip(original_sizes[0], size)]
    if factor > 1 and min(ratios) * factor > 1:
        given, taken = ("x".join(map(str, sides)) for sides in (original_sizes[0], pictures[0].shape[:2]))
        print(
            f"note: {flags.image[0]} of {given} was made {taken} first, which times {factor} is the "
            "run's size"
        )
    shrunk = max(1.0, min(ratios) if config.crop == "center" else math.prod(ratios) ** 0.5)
    if flags.mask is None:
        return np.stack(pictures), None, shrunk
    mask, mask_size = prepared("--mask", flags.mask, 1, "black")
    if mask_size != original_sizes[0]:
        expected, received = ("x".join(map(str, sides)) for sides in (original_sizes[0], mask_size))
        raise ValueError(f"--mask: expected one of the picture's size, {expected}, received {received}")
    hole = mask[..., 0] >= WHITE
    if hole.all() or not hole.any():
        found = "white" if hole.all() else "black"
        raise ValueError(
            f"--mask: expected black where to keep the picture and white where not, received all {found}"
        )
    return np.stack(pictures), hole, shrunk


def write(
    out: Path, task: str, generator, z: np.ndarray, labels: np.ndarray | None, columns: list[np.ndarray]
) -> list[Path]:
    """The result, which is the last of the columns or a walk; the latents; and all columns side by side. ->
    their names. The latents first: all else can be drawn again."""
    files = [out, out.with_name(f"{out.stem}-z.npy"), out.with_name(f"{out.stem}-compared.png")]
    latents.save(z, files[1])
    if task == "interpolate":
        walk = latents.walk(z, FRAMES_A_LEG)
        inputs = [walk] if labels is None else [walk, labels[:1].repeat(len(walk))]
        images.save_animation(np.stack(list(images.draw(generator, inputs))), out, FRAMES_A_LEG)
    else:
        images.save(columns[-1][0], out)
    images.save(images.grid(np.concatenate(list(zip(*columns))), columns=len(columns)), files[2])
    return files


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
