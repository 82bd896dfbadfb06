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
    ".".join([*parents, *path.relative_to(ROOT).with_suffix("").parts]): path
    for package, parents in (("keras_dcgan", []), ("export", ["keras_dcgan"]))
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name != "__init__.py"
}
# Who imports whom: module by module, verbs first. Nobody imports a verb, and every arrow goes down.
IMPORTS = {
    "fit": ("cli config data.prepare devices process runs.directory training.forecast training.loop"),
    "sample": (
        "cli devices errors files pictures.draw pictures.images pictures.latents process progress "
        "runs.checkpoints runs.directory"
    ),
    "explore": (
        "cli devices errors files pictures.draw pictures.images pictures.latents process progress "
        "runs.checkpoints runs.directory"
    ),
    "edit": (
        "cli config data.prepare devices errors files pictures.blend pictures.draw pictures.images "
        "pictures.inversion pictures.latents process progress runs.checkpoints runs.directory"
    ),
    "evaluate": (
        "addresses cli config data.prepare devices errors files measure.embeddings measure.evaluation "
        "measure.metrics measure.page process progress runs.checkpoints runs.directory"
    ),
    "features": (
        "cli config data.prepare devices errors files measure.metrics model.extractor "
        "pictures.images process runs.checkpoints runs.directory"
    ),
    "demo": "cli data.portraits errors files process progress",
    "pack": (
        "addresses cli config data.beam data.manifest data.prepare data.sets data.shards errors files process"
    ),
    "cli": "addresses errors files process",
    "config": "addresses cli errors model.shapes",
    "devices": "errors process",
    "files": "errors",
    "library": (
        "config data.feed devices errors model.augment model.gan model.losses model.networks model.optimizers "
        "pictures.draw pictures.latents process runs.checkpoints runs.directory training.build training.forecast "
        "training.loop"
    ),
    "progress": "process",
    "data.__main__": "cli data.cache process",
    "data.beam": "data.formats.kinds data.lists data.prepare data.shards data.sources errors threads",
    "data.cache": "errors files",
    "data.decode": (
        "data.formats.colour data.formats.heic data.formats.jpeg data.formats.kinds "
        "data.formats.netpbm data.formats.png data.formats.tiff"
    ),
    "data.feed": "data.manifest data.rows errors",
    "data.formats.heic": "data.formats.kinds",
    "data.formats.jpeg": "data.formats.kinds",
    "data.formats.netpbm": "data.formats.kinds",
    "data.formats.png": "data.formats.kinds",
    "data.formats.tiff": "data.formats.kinds",
    "data.lists": "errors",
    "data.prepare": (
        "addresses data.cache data.decode data.manifest data.sets data.shards data.sources errors "
        "progress threads"
    ),
    "data.rows": "errors",
    "data.sets": "data.feed data.manifest data.rows",
    "data.shards": "addresses data.feed data.manifest errors",
    "data.sources": (
        "addresses data.cache data.decode data.formats.kinds data.lists data.portraits data.tables "
        "data.tars errors layout"
    ),
    "data.tables": "data.formats.kinds data.lists errors",
    "data.tars": "data.formats.kinds",
    "measure.embeddings": "devices errors versions",
    "measure.evaluation": (
        "data.cache data.rows data.sets data.shards errors measure.embeddings measure.metrics "
        "model.networks pictures.draw pictures.latents progress"
    ),
    "measure.page": "data.rows measure.evaluation pictures.charts pictures.images",
    "model.extractor": "files model.networks pictures.images progress",
    "model.gan": "model.augment model.losses model.networks model.penalties model.program",
    "model.networks": "model.shapes",
    "model.penalties": "model.losses model.networks",
    "model.student": "model.gan model.losses model.networks",
    "pictures.draw": "pictures.images",
    "pictures.images": "errors files threads",
    "pictures.inversion": "pictures.latents",
    "pictures.latents": "errors files",
    "runs.checkpoints": (
        "config data.manifest devices errors files model.gan model.networks model.shapes runs.directory versions"
    ),
    "runs.directory": "addresses config data.manifest errors files layout versions",
    "training.build": (
        "config devices errors model.augment model.cpu_layers model.gan model.losses model.networks "
        "model.optimizers"
    ),
    "training.forecast": "config devices errors model.gan progress",
    "training.loop": (
        "config data.feed data.sets data.shards devices errors model.gan pictures.images "
        "pictures.latents process progress runs.checkpoints runs.directory training.build training.forecast "
        "training.records training.report training.ticks training.watchdog"
    ),
    "training.records": (
        "errors files pictures.draw pictures.images runs.directory training.ticks training.watchdog"
    ),
    "training.report": (
        "config data.manifest data.prepare errors files pictures.charts progress runs.directory "
        "training.records training.ticks training.watchdog"
    ),
    "training.student": (
        "config devices model.gan model.student progress runs.checkpoints runs.directory training.build"
    ),
    "training.ticks": "config errors model.gan progress training.watchdog",
    "training.watchdog": "errors measure.metrics pictures.draw",
    "export.__main__": (
        "cli devices errors export.card export.convert export.parity export.quality process "
        "runs.checkpoints runs.directory training.student"
    ),
    "export.card": "config data.manifest errors pictures.images runs.directory",
    "export.convert": (
        "devices errors export.card export.graph export.metadata export.parity export.quality files model.networks "
        "pictures.images pictures.latents process"
    ),
    "export.parity": "export.edge_sample pictures.images",
    "export.quality": "export.edge_sample measure.embeddings measure.metrics pictures.images",
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


VERBS = [f"keras_dcgan.{verb}" for verb in __main__.VERBS]


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
    assert modules <= {"keras_dcgan", *VERBS}
    assert {"keras_dcgan.fit", "keras_dcgan.sample", "keras_dcgan.export"} <= modules
    guard = 'if __name__ == "__main__":'
    runnable = {path.stem for path in ROOT.glob("keras_dcgan/*.py") if guard in path.read_text("utf-8")}
    assert runnable - {"__main__"} | {"data", "export", "export.web"} == set(__main__.VERBS)
    for module in modules:
        assert module in MODULES or f"{module}.__main__" in MODULES


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
