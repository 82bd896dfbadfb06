"""Draws with the exported files as an ARM board does, on any Debian, and holds its images against this
machine's.

    python -m tools.arm --export runs/demo/export

`export/edge_sample.py` runs with LiteRT's aarch64 wheel in Debian's arm64 Python, in QEMU's emulation of a
Raspberry Pi's CPU. All of it is fetched with apt-get and pip into build/arm (600 MB, once; no root is
needed). Prints for every file and processor how far images and pixels are from this machine's, and fails
where that is more than MOST_ERROR. It says nothing about speed.
"""

import importlib.metadata
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from keras_dcgan import cli

PROCESSORS = {
    "cortex-a72": "0xd08",
    "cortex-a76": "0xd0b",
}  # of Raspberry Pi 4 and 5: QEMU's name, and ARM's number
CPUINFO = """processor\t: 0
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {}
CPU revision\t: 0
"""
EDGE_SAMPLE = Path(__file__).parents[1] / "export" / "edge_sample.py"
DRAW = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import edge_sample, numpy
model, out, seeds = Path(sys.argv[2]), sys.argv[3], range(16)
edge_sample.main(["--model", str(model), "--seeds", "0-15", "--out", out + ".png"])
runner, latent_dim, takes_label = edge_sample.load(model, signature="sample")
inputs = {"z": edge_sample.latents(seeds, latent_dim)}
if takes_label:
    inputs["label"] = edge_sample.labels(seeds, None, edge_sample.read_description(model)["classes"])
numpy.save(out, numpy.stack(list(edge_sample.draw(runner, inputs))))
"""
# Of images in [-1, 1]. In the int8 file activations are rounded as they come, and a last bit, each
# processor's own, can turn one of them; int8_full has no last bits.
MOST_ERROR = {
    "generator_fp32": 1e-5,
    "generator_fp16": 1e-5,
    "generator_int8": 0.02,
    "generator_int8_full": 0,
}


def main(arguments: list[str] | None = None) -> int:
    parser = cli.Parser("tools.arm", __doc__)
    parser.add_argument(
        "--export",
        type=cli.place,
        required=True,
        metavar="DIR",
        help="what python -m keras_dcgan.export made",
    )
    parser.add_argument(
        "--work", type=cli.place, default="build/arm", metavar="DIR", help="for what is fetched [%(default)s]"
    )
    flags = parser.parse_args(arguments)
    faults = []
    with cli.user_errors(parser.verb):
        files = [file for name in MOST_ERROR if (file := flags.export / f"{name}.tflite").is_file()]
        if not files:
            raise FileNotFoundError(
                f"--export: expected a folder with .tflite files, received {flags.export}"
            )
        root = prepare(flags.work.resolve())
        print(f"{'':27} {'processor':12} {'images, worst of [-1, 1]':>26} {'pixels that differ':>20}")
        for file in files:
            here = draw([sys.executable], file)
            for processor in PROCESSORS:
                error, pixels = differences(here, draw(emulated(root, processor), file))
                print(f"{file.name:27} {processor:12} {error:26.1e} {pixels:20}", flush=True)
                if not error <= MOST_ERROR[file.stem]:
                    faults.append(f"{file.name} on {processor}")
    print(
        f"Too far from {platform.machine()}: {', '.join(faults)}"
        if faults
        else f"As on {platform.machine()}."
    )
    return 1 if faults else 0


def prepare(work: Path) -> Path:
    """-> a root directory with an arm64 Python, QEMU, and the wheels; only the first time is it fetched."""
    root = work / "root"
    if not (root / "site").is_dir():
        root.mkdir(parents=True, exist_ok=True)
        own = run(["dpkg", "--print-architecture"]).strip()
        with tempfile.TemporaryDirectory() as folder:
            for architecture, *packages in (("arm64", "python3", "libstdc++6"), (own, "qemu-user-static")):
                for package in fetch(Path(folder) / architecture, architecture, packages):
                    run(["dpkg", "-x", str(package), str(root)])
        version = python_of(root).name.removeprefix("python")
        wheels = [f"ai-edge-litert=={importlib.metadata.version('ai-edge-litert')}", "numpy", "pillow"]
        tags = [f"--platform=manylinux_2_{glibc}_aarch64" for glibc in range(17, 37)] + [
            "--platform=manylinux2014_aarch64"
        ]
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--python-version",
            version,
            "--implementation",
            "cp",
            *tags,
        ]
        run([*pip, "--only-binary=:all:", "--target", str(root / "site.part"), *wheels])
        (root / "site.part").rename(root / "site")
    return root


def fetch(folder: Path, architecture: str, packages: list[str]) -> list[Path]:
    """Debian packages of an architecture and all that they depend on, with lists of its own: the system's
    stay as they are."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()  # nothing is installed
    places = {"Dir::State": "state", "Dir::State::status": "status", "Dir::Cache": "cache"}
    options = [f"-o={name}={folder / place}" for name, place in places.items()]
    apt = [
        "apt-get",
        *options,
        f"-o=APT::Architecture={architecture}",
        f"-o=APT::Architectures={architecture}",
    ]
    run([*apt, "update"])
    run([*apt, "--yes", "--download-only", "--no-install-recommends", "install", *packages])
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def python_of(root: Path) -> Path:
    return min((root / "usr" / "bin").glob("python3.*[0-9]"))


def emulated(root: Path, processor: str) -> list[str]:
    """The command that starts the arm64 Python."""
    # LiteRT reads this to choose its kernels; without it it would read this machine's, and crash.
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(CPUINFO.format(PROCESSORS[processor]), encoding="utf-8")
    environment = ["-E", f"PYTHONHOME={root / 'usr'}", "-E", f"PYTHONPATH={root / 'site'}"]
    qemu = root / "usr" / "bin" / "qemu-aarch64-static"
    return [str(qemu), "-cpu", processor, "-L", str(root), *environment, str(python_of(root))]


def draw(python: list[str], file: Path) -> tuple[np.ndarray, np.ndarray]:
    """16 seeds of a .tflite file -> the images, float32 in [-1, 1], and the grid of pixels that edge_sample
    saves."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "drawn"
        run([*python, "-c", DRAW, str(EDGE_SAMPLE.parent), str(file.resolve()), str(out)])
        return np.load(out.with_suffix(".npy")), np.asarray(Image.open(out.with_suffix(".png")))


def differences(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> tuple[float, int]:
    """-> the worst difference of the images, and how many values of the pixels are not the same."""
    return float(np.abs(one[0] - other[0]).max()), int((one[1] != other[1]).sum())


def run(command: list[str]) -> str:
    """-> what it prints. Raises OSError with what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip())[-400:]
        raise OSError(f"{' '.join(command[:3])} failed with {done.returncode}: {complaint}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
