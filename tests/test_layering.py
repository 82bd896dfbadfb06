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
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in ("keras_dcgan", "export")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name != "__init__.py"
}
# Who imports whom: module by module, verbs first. Nobody imports a verb, and every arrow goes down.
IMPORTS = {
    "fit": "checkpoints cli config devices directory errors forecast loop prepare process",
    "sample": "checkpoints cli devices directory draw errors files images latents process progress",
    "explore": "checkpoints cli devices directory draw errors files images latents process progress",
    "edit": (
        "blend checkpoints cli config devices directory draw errors files images inversion latents "
        "prepare process progress"
    ),
    "evaluate": (
        "checkpoints cli config devices directory embeddings errors evaluation files metrics page "
        "prepare process progress"
    ),
    "features": (
        "checkpoints cli config devices directory errors extractor files images metrics prepare process"
    ),
    "demo": "cli errors files portraits process progress",
    "pack": "addresses cli config errors files prepare process sets shards",
    "data": "cache cli process",
    "build": "augment config cpu_layers devices errors gan losses models optimizers",
    "cache": "errors files",
    "checkpoints": "config devices directory errors files gan manifest models versions",
    "cli": "addresses errors files process",
    "config": "addresses cli errors",
    "decode": "colour formats heic jpeg netpbm png tiff",
    "devices": "errors process",
    "directory": "addresses config errors files manifest names versions",
    "draw": "images",
    "embeddings": "errors versions",
    "evaluation": "cache draw embeddings errors latents metrics progress rows sets shards",
    "extractor": "files images progress",
    "feed": "errors rows",
    "files": "errors",
    "forecast": "config devices gan progress",
    "gan": "augment losses penalties",
    "heic": "formats",
    "images": "errors files threads",
    "inversion": "latents",
    "jpeg": "formats",
    "latents": "errors files",
    "loop": (
        "build checkpoints config devices directory errors feed forecast gan images latents "
        "progress records sets shards ticks watchdog"
    ),
    "netpbm": "formats",
    "page": "evaluation images rows",
    "penalties": "losses models",
    "png": "formats",
    "prepare": "addresses cache decode errors manifest progress sets shards sources threads",
    "progress": "process",
    "records": "directory draw errors files images ticks watchdog",
    "rows": "errors",
    "sets": "feed manifest rows",
    "shards": "addresses errors feed manifest",
    "sources": "addresses cache decode errors names portraits",
    "ticks": "config errors gan progress watchdog",
    "tiff": "formats",
    "watchdog": "draw errors metrics",
    "export.__main__": "checkpoints cli devices directory export.convert export.parity process",
    "export.convert": "errors export.graph export.parity files latents",
    "export.parity": "export.edge_sample images",
    "export.web.__main__": "cli errors process",
}


def imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, also inside a function; not for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {short(name) for name in names if name in MODULES}


def short(module: str) -> str:
    return module.removeprefix("keras_dcgan.")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_are_those_of_the_table(module):
    assert imported(MODULES[module]) == set(IMPORTS.get(short(module), "").split())


def test_the_table_has_a_row_for_each_module_that_imports_another():
    assert set(IMPORTS) == {short(module) for module, path in MODULES.items() if imported(path)}


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
