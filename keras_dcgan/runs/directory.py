"""The run directory: which file lies where, what they say, and who may write them. Knows nothing of TensorFlow.

run = Run("runs/imgs")                  # raises Unavailable where there is no run
run.config.size, run.classes, run.metrics[-1]["swd"]

with begin(config, manifest) as run:    # a new directory, or an old one that fits; locked against a second process
    ...
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import keras_dcgan
from keras_dcgan import files, versions
from keras_dcgan.addresses import is_pattern, is_shards, without_pattern
from keras_dcgan.config import TrainConfig, as_text, resolve
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.errors import Refused, Unavailable, argument, counted, renamed
from keras_dcgan.layout import (
    BEST,
    CHECKPOINTS,
    CONFIG,
    EVALUATION,
    EXPORT,
    LAST,
    LOCK,
    LOGS,
    MANIFEST,
    METRICS,
    REPORT,
    SAMPLES,
)

SCHEMA = 1  # of config.json; a run directory of a later schema is refused
# What a killed training of any version leaves; others write into the folders of a run as well.
LEFTOVERS = {
    "": re.compile(
        rf"\.({'|'.join(map(re.escape, (CONFIG, MANIFEST, METRICS, BEST, LAST, REPORT)))})\b.*\.part"
    ),
    CHECKPOINTS: re.compile(r"\..*\.part"),
    SAMPLES: re.compile(r"\.(reals|[\d.]+kimg)\.png\b.*\.part"),
    LOGS: re.compile(r"\..*\.part"),
}
SHOWN_RUNS = 8  # where another one is missing
SUMS = "sha256.json"  # in a checkpoint
PACKAGES = ("tensorflow", "keras", "numpy", "pillow")  # whose versions config.json holds
Value = TypeVar("Value")


class Run:
    """One run directory."""

    def __init__(self, path: str | Path, is_new: bool = False):
        """Raises Unavailable, with the runs that there are, where `path` is none; not where it may be a new
        one."""
        self.path = Path(path)
        if not is_new and not (self.has_begun or self.generator().is_file()):
            raise _no_run(self.path)
        self.written_with = self._written_with()  # now: `begin` writes other versions

    @property
    def has_begun(self) -> bool:
        return (self.path / CONFIG).is_file()

    def generator(self, last: bool = False) -> Path:
        """The file of the generator to use, or of the last one."""
        return self.path / (LAST if last else BEST)

    def generator_sha256(self, last: bool = False) -> str:
        """By which figures and exports say of which generator they are."""
        return hashlib.sha256(self.generator(last).read_bytes()).hexdigest()

    @property
    def metrics_file(self) -> Path:
        return self.path / METRICS

    @property
    def samples(self) -> Path:
        return self.path / SAMPLES

    @property
    def logs(self) -> Path:
        return self.path / LOGS

    @property
    def export(self) -> Path:
        return self.path / EXPORT

    @property
    def evaluation(self) -> Path:
        return self.path / EVALUATION

    @property
    def report(self) -> Path:
        return self.path / REPORT

    def about(self, name: str):
        """What config.json says beside the settings: its "versions", or what a preset has "chosen"; None where
        it does not tell."""
        return _json(self.path / CONFIG, name)

    @functools.cached_property
    def config(self) -> TrainConfig:
        """Raises Refused where config.json belongs to another version, or is none."""
        file = self.path / CONFIG
        if not file.is_file():
            raise _no_run(self.path)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            schema, settings = content["schema"], content["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused("run", "the config.json of a run", f"{file} ({error!r})") from error
        if schema != SCHEMA:
            raise Refused("run", f"a run directory of schema {SCHEMA}", f"schema {schema} in {file}")
        try:
            return TrainConfig.from_json(settings)
        except ValueError as error:
            why = versions.why_not(error, versions.newer(self.written_with))
            raise Refused("run", "a run that this version can read", f"{file} ({why})") from error

    @property
    def settings(self) -> dict:
        """What config.json says, as it stands there; {} where there is no run yet, or none that this version
        can read, as beginning it will say."""
        try:
            return _json(self.path / CONFIG, "settings") if self.config else {}
        except (Refused, Unavailable):
            return {}

    def _written_with(self) -> dict[str, str]:
        """{package: version} of what a run was last trained with and is read with; {} where it does not
        tell."""
        there = self.about("versions")
        names = ("keras_dcgan", "tensorflow", "keras")
        return {name: there[name] for name in names if name in there} if isinstance(there, dict) else {}

    @functools.cached_property
    def manifest(self) -> Manifest:
        """What data.json says of the images that the run was begun with."""
        return self._from_manifest(Manifest.from_json)

    @property
    def classes(self) -> list[str]:
        """Their names in the order of their labels; [] of a run that is not conditional. Who has a generator
        and these needs no more of data.json."""
        return self._from_manifest(lambda content: content["classes"])

    def _from_manifest(self, read: Callable[[dict], Value]) -> Value:
        file = self.path / MANIFEST
        try:
            return read(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Refused("run", "the data.json of a run", f"{file} ({error!r})") from error

    @property
    def metrics(self) -> list[dict]:
        """The rows of metrics.jsonl; a row that a kill has torn is left out."""
        file, rows = self.metrics_file, []
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                rows += [row] if isinstance(row, dict) and {"step", "kimg"} <= row.keys() else []
        return rows

    @property
    def checkpoints(self) -> list[Path]:
        """Finished ones, oldest first."""
        found = (self.path / CHECKPOINTS).glob("step-*")
        return sorted(place for place in found if re.fullmatch(r"step-\d{9,}", place.name))  # no copy of one

    def checkpoint(self, step: int) -> Path:
        return self.path / CHECKPOINTS / f"step-{step:09d}"

    def seconds(self, step: int) -> float | None:
        """How long the run had been trained at the checkpoint of that step; None where that does not tell, as
        of an older version."""
        return _json(self.checkpoint(step) / SUMS, "seconds")

    def check_trained(self):
        """Raises Refused where the run is untrained: at once, since TensorFlow's import takes seconds. Who
        has nothing but a generator has a trained one."""
        if not self.has_begun:
            return
        rows = self.metrics_file
        is_without_ticks = (
            not rows.read_text(encoding="utf-8").strip() if rows.is_file() else not self.generator().is_file()
        )
        has_steps = any(place.name > "step-000000000" for place in self.checkpoints)
        if is_without_ticks and not has_steps and not self.config.init_from:
            received = f"{self.path}, which is untrained: it has not ended its first tick"
            raise Refused("run", "a trained run", received)

    def check_nothing_is_lost(self):
        """Raises Unavailable where a run has been trained and its checkpoints are gone: their disk may be
        away, and to begin anew would replace all that is left. What a run killed before its first checkpoint
        has written is nothing to lose."""
        if self.checkpoints:
            return
        rows = [row for row in self.metrics if row["step"] > 0]
        generators = [file.name for file in (self.generator(), self.generator(last=True)) if file.exists()]
        if rows or generators:
            left = f"{rows[-1]['kimg']:g} kimg in {METRICS}" if rows else generators[0]
            received = f"{self.path} with {left} and nothing in {self.path / CHECKPOINTS}: "
            advice = f"put them back, or give another {argument('run')} to start anew"
            raise Unavailable("run", "checkpoints to resume from", received + advice)

    def write_json(self, name: str, content: dict):
        files.write(self.path / name, json.dumps(content, indent=1) + "\n")

    def sweep(self):
        """Removes unfinished files of a training that was killed."""
        for folder, pattern in LEFTOVERS.items():
            files.sweep(self.path / folder, pattern=pattern)


def _json(file: Path, name: str):
    try:
        return json.loads(file.read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _no_run(path: Path) -> Unavailable:
    """Says also which runs there are: beside it, inside it, and where fit makes them."""
    places = {file.parent for root in (path.parent, path, Path("runs")) for file in root.glob(f"*/{CONFIG}")}
    found = [str(place) for place in sorted(places) if (place / MANIFEST).is_file()]
    there = f"; there are {', '.join(found[:SHOWN_RUNS])}" if found else ""
    there += f" and {len(found) - SHOWN_RUNS} more" if len(found) > SHOWN_RUNS else ""
    return Unavailable("run", "a run directory", f"{path} (no {path / CONFIG}{there})")


def default_path(data: str) -> str:
    """runs/NAME-OF-THE-DATA: './imgs/' -> 'runs/imgs', 'cats.zip' -> 'runs/cats', 'shards/*.tfrecord' ->
    'runs/shards', 'imgs-{000..009}.tar' -> 'runs/imgs'."""
    if is_pattern(data) and not os.path.exists(data):
        data = without_pattern(data)
    # Not pathlib's: those raise where a folder may not be entered, a name is too long or a link leads to
    # itself.
    path = Path(os.path.realpath(data.replace(os.sep, "/").rpartition("/")[0] if is_shards(data) else data))
    name = path.name if os.path.isdir(path) else path.stem
    name = os.fsencode(name).decode(errors="replace").replace("\ufffd", "_")
    return str(Path("runs") / (name.translate(dict.fromkeys(map(ord, files.PATTERN), "_")) or "images"))


def settings_of(typed: dict, images: int | None = None) -> TrainConfig:
    """What was typed, what the run began with, and the number of images, once it is known -> all settings.
    Raises Refused."""
    path = typed.get("run", default_path(typed["data"]))
    return resolve({**typed, "run": path}, images, Run(path, is_new=True).settings)


def check_fits(config: TrainConfig):
    """What can be told before anything is prepared. Raises Refused, naming each setting that differs and may
    not, where `config.run` is a run that has begun with others; Unavailable where there is something else, or
    nothing to begin from."""
    run = Run(config.run, is_new=True)
    files.check_place(run.path, "run")
    # A kill may have left a lock.
    names = [] if run.has_begun or not run.path.is_dir() else [entry.name for entry in run.path.iterdir()]
    if any(not name.startswith(".") for name in names):
        raise Unavailable("run", "a new or empty directory, or a run of this program", run.path)
    if config.init_from and not run.checkpoints:
        with renamed(run="init_from"):
            Run(config.init_from).check_trained()
    if not run.has_begun:
        return
    before = run.config
    fixed = [row.name for row in dataclasses.fields(TrainConfig) if not row.metadata["resume"]]
    against = {
        name: f"the run has {as_text(getattr(before, name))}, received {as_text(getattr(config, name))}"
        for name in fixed
        if getattr(before, name) != getattr(config, name)
    }
    if against:
        first, *others = against
        all_of_them = "; ".join([against[first], *(f"{argument(name)}: {against[name]}" for name in others)])
        raise Refused(first, all_of_them + _anew(run.path))
    run.check_nothing_is_lost()


def _anew(path: Path) -> str:
    return f" (the run is {path}; give another {argument('run')} to start anew)"


@contextlib.contextmanager
def begin(config: TrainConfig, manifest: Manifest, chosen: str = "") -> Iterator[Run]:
    """Yields the Run of `config.run`, new or found again, and holds its lock meanwhile. `chosen`: what an
    adaptive preset chose and why, for config.json.

    Raises Refused, naming each setting that differs, where a run is there that these settings or images do
    not fit; Unavailable where the directory is not ours, cannot be written, or is in use by another process.
    """
    run = Run(config.run, is_new=True)
    check_fits(config)
    # A run with checkpoints has a data.json: without it nobody can tell whether these are its images.
    if (run.path / MANIFEST).is_file() or run.checkpoints:
        before = run.manifest
        if before.fingerprint != manifest.fingerprint:
            raise Refused(
                "data",
                f"the run has {counted(before.count, 'image')} of fingerprint {before.fingerprint}, "
                f"received {manifest.count:,} of {manifest.fingerprint}{_anew(run.path)}",
            )
    run.path.mkdir(parents=True, exist_ok=True)
    with _locked(run.path):
        run.sweep()
        here = {name: importlib.metadata.version(name) for name in PACKAGES}
        here = {"keras_dcgan": keras_dcgan.__version__, **here}
        about = {"schema": SCHEMA, "settings": config.to_json(), "versions": here}
        if chosen:
            about["chosen"] = chosen
        reached = [int(place.name.removeprefix("step-")) for place in run.checkpoints]
        # Else it is finished, and they tell how it was trained.
        if max(reached, default=0) < config.total_steps:
            run.write_json(CONFIG, about)
            run.write_json(MANIFEST, manifest.to_json())
        yield run


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time. The system drops the lock with the process, however that ends."""
    with open(path / LOCK, "wb") as file:
        try:
            _lock(file)
        except OSError as error:
            # These on Lustre, and some FUSE.
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP):
                raise Unavailable("run", "a run that nobody trains at the moment", path) from error
            print(
                f"warning: {path} lies where nothing can be locked: see to it that nobody else trains it",
                file=sys.stderr,
            )
        yield


def _lock(file):
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
