"""Writes docs/python-api.md from the docstrings of what `import keras_dcgan` makes public. Reads the sources, so that
it needs no TensorFlow:

python -m tools.python_api
"""

import ast
import importlib.util
import re
import textwrap
from pathlib import Path

import keras_dcgan as kd
from keras_dcgan.config import PRESETS

PAGE = Path(__file__).parents[1] / "docs" / "python-api.md"
# Beside the class itself.
METHODS = {
    "DCGAN": ("of", "compile", "fit", "draw", "call", "predict", "recompute_statistics"),
    "Run": ("load_generator",),
    "ImageSet": ("evenly", "labels_of"),
}
HEAD = """# Python

Generated from the docstrings by `python -m tools.python_api`. What stands here is public and stays; the rest of the
package may change with any version. All of it is imported as `import keras_dcgan as kd`, which is quick: each name
brings TensorFlow along when it is first used, if it needs it. Import it before TensorFlow and Keras: on x86 CPUs
without VNNI, AVX512-BF16 or AMX a step otherwise takes 1.5 times as long there.
[examples/notebook.ipynb](../examples/notebook.ipynb) shows it at work.
"""


def page() -> str:
    return "\n".join([HEAD, *(part for name in kd.__all__ for part in parts(name))])


def parts(name: str) -> list[str]:
    source = importlib.util.find_spec(kd._HOME[name]).origin
    found = _named(ast.parse(Path(source).read_text(encoding="utf-8")), name)
    shown = [f"## {name}\n", *described(found)]
    for method in METHODS.get(name, ()):
        shown += [f"### {name}.{method}\n", *described(_named(found, method))]
    return shown


def _named(tree, name: str):
    return next(node for node in tree.body if getattr(node, "name", None) == name)


def described(node) -> list[str]:
    return [f"```python\n{signature(node)}\n```\n", f"{escaped(ast.get_docstring(node) or '')}\n"]


def signature(node) -> str:
    """As the source has it, but for the values of the preset."""
    name = node.name
    if isinstance(node, ast.ClassDef):
        made = [method for method in node.body if getattr(method, "name", None) == "__init__"]
        if not made:
            fields = [ast.unparse(field) for field in node.body if isinstance(field, ast.AnnAssign)]
            kind = next((f"({ast.unparse(base)})" for base in reversed(node.bases)), "")
            return "\n".join([f"class {name}{kind}", *(f"    {field}" for field in fields)])
        node = made[0]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = re.sub(r"^(self|cls)(, )?", "", ast.unparse(node.args))
    text = re.sub(
        r"AUTO\['(\w+)'\]", lambda found: repr(PRESETS["auto"][found[1]]), f"{name}({arguments}){returns}"
    )
    return "\n".join(textwrap.wrap(text, 100, subsequent_indent="    ", break_long_words=False))


def escaped(doc: str) -> str:
    """Indented examples stay as they are; elsewhere no character of a docstring is Markdown's."""
    lines = doc.splitlines()
    return "\n".join(line if line.startswith("    ") else line.replace("*", r"\*") for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
