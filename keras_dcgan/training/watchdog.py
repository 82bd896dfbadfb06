"""Is the training still worth its electricity? What a tick measures of the samples, and what the rows so far
give rise to.

    quality = Quality(real, generator, inputs)     # once; then at each tick
    quality()                                      # {"swd": 31.2, ..., "spread": 0.97, "sharpness": 1.1, ...}
    alarms(rows)                                   # {} or {"collapse": "the samples are 0.04 times as varied as ..."}

`alarms` looks at the rows of metrics.jsonl and at nothing else, so a resumed run is warned of what an
unbroken one would be.
"""

from collections.abc import Callable

import numpy as np

from keras_dcgan.errors import argument
from keras_dcgan.measure import metrics
from keras_dcgan.pictures.draw import CHUNK, draw

PATIENCE = 3  # ticks in a row: one bad one happens in healthy runs
COLLAPSED = 0.25  # of the real images' spread; healthy runs are at 0.8 to 1.1 after their first ticks
ALIKE = 1.0  # grey level: real images that differ by less are no measure
IMPROVED = 0.999  # times the best distance so far: a generator that hardly moves drifts by less
LOST = 2.0  # times the best distance so far
# times the lowest distance: up to there it says nothing of which generator is the better one. Near its floor it goes
# up and down by a third while a classifier's fid falls from tick to tick: see tools/experiments/RECIPE.md
ALIKE_FAR = 1.5
EXPLODED = 100  # a loss in logits; healthy runs are below 15 from their first tick on
TORN = 50  # a run that was torn apart had a mean of 143 over the 2 kimg in which that happened
# times the real detail at the finest level; runs of demo are at 1.4 after their first tick, at 1.1 at their
# end
GRAINY = 2.0
WON = 0.9995  # D's accuracy on both kinds; 0.99 is what clean, simple images have in a healthy run


class Diverged(ArithmeticError):
    """A loss or a weight is no longer a number; the message says which. `received`: a signal of the same
    step."""

    received: int | None = None


class Quality:
    """SWD, spread and sharpness of what the averaged generator draws of always the same inputs, against the
    same real images; no spread where those are all alike."""

    def __init__(self, real: np.ndarray, generator: Callable, inputs: list[np.ndarray]):
        self.generator, self.inputs = generator, inputs
        self.real: np.ndarray | None = real

    def __call__(self) -> dict[str, float]:
        if (
            self.real is not None
        ):  # not sooner: it takes a second, which would be one more until the first step
            self.reference = metrics.SlicedWasserstein(self.real, patches=32)
            self.real_detail = metrics.detail(self.real)
            self.real_spread, self.real = metrics.spread(self.real), None
        fakes = np.stack(list(draw(self.generator, *self.inputs)))
        spread = {"spread": metrics.spread(fakes) / self.real_spread} if self.real_spread >= ALIKE else {}
        return {**self.reference.distance(fakes), **spread, **metrics.sharpness(fakes, self.real_detail)}


def sample_count(tick_images: float) -> int:
    """How many samples a tick can afford to measure: a tenth of the images it trains on, which costs 2 to 3 %
    of its time."""
    return int(np.clip(tick_images / 10, 64, 2048)) // CHUNK * CHUNK


def alarms(rows: list[dict]) -> dict[str, str]:
    """name -> sentence, for what the last PATIENCE rows have in common; {} for a healthy run, and in its
    first ticks."""
    before, recent = rows[:-PATIENCE], rows[-PATIENCE:]
    if not before:
        return {}
    swds = ((row["swd"], place) for place, row in enumerate(before) if "swd" in row)
    best, place = min(swds, default=(None, 0))
    return _alarms(best, max(map(_loss, before[place:])), recent)


def began(rows: list[dict]) -> list[tuple[float, str]]:
    """(kimg, what) of all that went wrong in a run, each at the tick at which it began: alarms, as they were
    told then, and rollbacks."""
    found, ringing, rollbacks, best, worst = [], {}, 0, None, 0.0
    for end, row in enumerate(rows, 1):
        if row.get("rollbacks", 0) > rollbacks:
            rollbacks = row["rollbacks"]
            found.append((row["kimg"], f"rollback {rollbacks}: a loss or a weight was not a number"))
        if end <= PATIENCE:
            continue
        before = rows[end - PATIENCE - 1]
        worst = max(worst, _loss(before))
        if "swd" in before and (best is None or before["swd"] < best):
            best, worst = before["swd"], _loss(before)
        now = _alarms(best, worst, rows[end - PATIENCE : end])
        found += [(row["kimg"], f"{name}: {now[name]}") for name in now if name not in ringing]
        ringing = now
    return found


def _loss(row: dict) -> float:
    return max(abs(row["d_loss"]), abs(row["g_loss"]))


def _alarms(best: float | None, worst: float, recent: list[dict]) -> dict[str, str]:
    """`best`: the lowest swd before the recent rows; None where nothing was measured. `worst`: the largest loss from
    there up to the recent rows."""
    if best is not None and any(row["swd"] < IMPROVED * best for row in recent):
        return {}  # it is still getting better; the first ticks of a healthy run look like a collapse
    found = {}
    if all(row.get("spread", 1) < COLLAPSED for row in recent):
        found["collapse"] = f"the samples are {recent[-1]['spread']:.2f} times as varied as the real images"
    if best is not None and all(row["swd"] > LOST * best for row in recent):
        found["quality lost"] = f"swd is {recent[-1]['swd']:.0f}, and was {best:.0f} at its best"
    if all(row.get("sharpness", 1) > GRAINY for row in recent):
        found["grain"] = (
            f"the samples have {recent[-1]['sharpness']:.1f} times the fine detail of the real images"
        )
    remedy = f"lower {argument('d_lr')} and {argument('g_lr')}"
    if all(_loss(row) > EXPLODED for row in recent):
        found["losses exploded"] = f"{recent[-1]['d_loss']:.0f} and {recent[-1]['g_loss']:.0f}; {remedy}"
    elif found and (worst := max(worst, *map(_loss, recent))) > TORN:
        found["losses exploded"] = (
            f"one was {worst:.0f} over a tick, and it has not recovered; {remedy} in another run"
        )
    if all(min(row["real_acc"], row["fake_acc"]) > WON for row in recent):
        found["discriminator won"] = (
            "it tells every real image from every generated one, and the samples do not improve"
        )
    return found


def best_step(rows: list[dict]) -> int | None:
    """The step of the newest row whose swd is not clearly above the lowest; None where nothing was measured."""
    measured = [row for row in rows if "swd" in row]
    most = ALIKE_FAR * min((row["swd"] for row in measured), default=0.0)
    return next((row["step"] for row in reversed(measured) if row["swd"] <= most), None)


def not_finite(gan) -> list[str]:
    """The names of the weights that hold NaN or infinity, the discriminator's first: it is the first to learn
    in a step."""
    networks = (gan.discriminator, gan.generator, gan.ema_generator)
    return [
        f"{network.name}/{weight.path}"
        for network in networks
        for weight in network.weights
        if not np.isfinite(weight.numpy()).all()
    ]
