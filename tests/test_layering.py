"""Who may import whom, and what a verb's --help may cost."""

import ast
import configparser
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from keras_dcgan import __main__

ROOT = Path(__file__).parent.parent
NOTHING = set()
MAY_IMPORT = {
    "keras_dcgan.cli": NOTHING,
    "keras_dcgan.threads": NOTHING,
    "keras_dcgan.images": {"threads"},
    "keras_dcgan.latents": NOTHING,
    "keras_dcgan.models": NOTHING,
    "keras_dcgan.losses": NOTHING,
    "keras_dcgan.devices": {"cli"},
    "keras_dcgan.formats": NOTHING,
    "keras_dcgan.png": {"formats"},
    "keras_dcgan.jpeg": {"formats"},
    "keras_dcgan.tiff": {"formats"},
    "keras_dcgan.netpbm": {"formats"},
    "keras_dcgan.heic": {"formats"},
    "keras_dcgan.colour": NOTHING,
    "keras_dcgan.decode": {"colour", "formats", "heic", "jpeg", "netpbm", "png", "tiff"},
    "keras_dcgan.feed": NOTHING,
    "keras_dcgan.files": NOTHING,
    "keras_dcgan.versions": NOTHING,
    "keras_dcgan.config": {"cli", "versions"},
    "keras_dcgan.progress": {"cli"},
    "keras_dcgan.demo": {"cli", "config", "progress"},
    "keras_dcgan.metrics": NOTHING,
    "keras_dcgan.embeddings": {"versions"},
    "keras_dcgan.sources": {"cli", "decode", "demo"},
    "keras_dcgan.data": {"cli", "decode", "feed", "files", "progress", "sources", "threads"},
    "keras_dcgan.augment": NOTHING,
    "keras_dcgan.cpu_layers": NOTHING,
    "keras_dcgan.optimizers": NOTHING,
    "keras_dcgan.penalties": {"losses", "models"},
    "keras_dcgan.gan": {"augment", "losses", "penalties"},
    "keras_dcgan.runs": {
        "augment",
        "cli",
        "config",
        "cpu_layers",
        "devices",
        "files",
        "gan",
        "losses",
        "models",
        "optimizers",
    }
    | {"versions"},
    "keras_dcgan.watchdog": {"images", "metrics"},
    "keras_dcgan.callbacks": {"config", "files", "images", "progress", "watchdog"},
    "keras_dcgan.fit": {
        "callbacks",
        "cli",
        "config",
        "data",
        "devices",
        "feed",
        "images",
        "latents",
        "progress",
        "runs",
    }
    | {"watchdog"},
    "keras_dcgan.sample": {"cli", "config", "devices", "files", "images", "latents", "progress", "runs"},
    "keras_dcgan.explore": {"cli", "config", "devices", "images", "latents", "progress", "runs"},
    "keras_dcgan.inversion": {"latents"},
    "keras_dcgan.blend": NOTHING,
    "keras_dcgan.edit": {
        "blend",
        "cli",
        "config",
        "data",
        "devices",
        "images",
        "inversion",
        "latents",
        "progress",
        "runs",
    },
    "keras_dcgan.features": {"cli", "config", "data", "devices", "images", "metrics", "progress", "runs"},
    "keras_dcgan.evaluate": {"cli", "config", "data", "devices", "embeddings", "feed", "files", "images"}
    | {"latents", "metrics", "progress", "runs"},
    "export.edge_sample": NOTHING,
    "export.graph": NOTHING,
    "export.parity": {"edge_sample", "images", "latents"},
    "export.metadata": NOTHING,
    "export.quality": {"edge_sample", "embeddings", "images", "metrics"},
    "export.convert": {"config", "graph", "metadata", "parity", "quality", "runs", "latents", "images"},
    "export.web.__main__": {"cli", "config"},
    "export.__main__": {"cli", "config", "convert", "devices", "parity", "runs", "web"},
}
FILES = sorted(
    path
    for package in ("keras_dcgan", "export")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)


def imported(path: Path) -> set[str]:
    """The modules of ours that a file names in any import, also inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    found = {re.match(r"(?:keras_dcgan|export)\.(\w+)", name) for name in names}
    modules = {path.stem for path in FILES}
    return {match[1] for match in found if match and match[1] in modules}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_imports_keep_to_the_layers(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if name == "keras_dcgan.__main__":
        assert imported(path) == NOTHING
    else:
        assert name in MAY_IMPORT, f"{name} has no row in MAY_IMPORT: which modules may it import?"
        assert imported(path) <= MAY_IMPORT[name]


VERBS = ["export" if verb == "export" else f"keras_dcgan.{verb}" for verb in __main__.VERBS]


@pytest.mark.parametrize("verb", VERBS)
def test_help_answers_without_tensorflow(verb):
    # fit is what a user types first.
    command = f"slow = {['numpy'] if verb == 'keras_dcgan.fit' else []}\n"
    command += "import runpy, sys; sys.argv[1:] = ['--help']\n"
    command += f"try: runpy.run_module({verb!r}, run_name='__main__', alter_sys=True)\n"
    command += "finally: print(sorted({'tensorflow', 'keras', 'ai_edge_litert', *slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "usage: python -m " + verb in done.stdout
    assert done.stdout.endswith("[]\n")


def test_the_list_of_verbs_names_modules_that_exist():
    done = subprocess.run(
        [sys.executable, "-m", "keras_dcgan"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules = set(re.findall(r"python -m ([\w.]+)", done.stdout))
    assert modules <= {"keras_dcgan", *(f"keras_dcgan.{verb}" for verb in __main__.VERBS), "export"}
    assert {"keras_dcgan.fit", "keras_dcgan.sample", "export"} <= modules
    for module in modules:
        parts = module.split(".")
        assert (ROOT / Path(*parts) / "__main__.py").is_file() or (ROOT / Path(*parts)).with_suffix(
            ".py"
        ).is_file()


def test_what_is_required_is_bounded_on_both_sides_and_is_what_is_tested():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    required = {line.name: line for line in map(Requirement, setup["options"]["install_requires"].split())}
    assert {"tensorflow", "keras", "numpy", "pillow", "tensorboard", "ai-edge-litert"} == required.keys()
    for name, line in required.items():
        assert importlib.metadata.version(name) in line.specifier
        # Pillow raises its major number every year, and mends what a picture can do to it.
        assert ("999.0" in line.specifier) == (name == "pillow") and "0.1" not in line.specifier
    assert (
        "2.20.0" not in required["tensorboard"].specifier
    )  # asks for pkg_resources, which setuptools 82 has no more
    assert (
        "2.1.4" not in required["ai-edge-litert"].specifier
    )  # its CompiledModel cannot be asked about outputs
