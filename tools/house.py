"""How hard the package is to change, in numbers: `python -m tools.house [CHECKOUT ...]`, a column each.

Everything is read out of the syntax trees; what an idea touches are the modules of keras_dcgan and export that
spell one of its words outside of docstrings.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

VERBS = {
    "data",
    "fit",
    "sample",
    "explore",
    "edit",
    "evaluate",
    "features",
    "demo",
    "pack",
    "__main__",
    "cli",
}
TRAINING = ("training/", "fit.py", "callbacks.py", "watchdog.py")
IDEAS = {
    "add a loss": r"least_squares",
    "add a metric to the tick": r"^spread$",
    "add a data source": r"^\.npz$",
    "add an export variant": r"int8_full",
    "rename a file in the run": r"metrics\.jsonl",
}
RUN_FILES = re.compile(r"^(config|data)\.json$|^metrics\.jsonl$|^generator(_last)?\.keras$")
# Of these verbs; other programs have theirs.
OURS = "data run size crop channels kimg seed batch loss r1 r2 g-lr d-lr d-norm augment filters latent-dim preset conditional"
OURS += " background max-pixels cache strategy precision jit threads metrics features out class seeds latent held-out init-from"
FLAG = re.compile(rf"(?<![\w-])--({OURS.replace(' ', '|')})\b")


def modules(root: Path) -> dict[str, ast.Module]:
    """Of the package and of export, by their paths."""
    files = [file for folder in ("keras_dcgan", "export") for file in sorted((root / folder).rglob("*.py"))]
    return {str(file.relative_to(root)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def strings(tree: ast.AST) -> Iterator[str]:
    """The text in the code: not docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and has_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def has_docstring(node) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield node.id if isinstance(node, ast.Name) else node.attr


def imports_in_functions(tree: ast.AST) -> int:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {
        id(node)
        for each in functions
        for node in ast.walk(each)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    return len(inside)


def renames(tree: ast.AST) -> int:
    """Calls of os.replace and os.rename, and of a path's own."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    methods = [func for func in calls if isinstance(func, ast.Attribute)]
    of_os = sum(ast.unparse(func) in ("os.replace", "os.rename", "files.replace") for func in methods)
    of_paths = sum(
        func.attr in ("rename", "replace")
        and re.search(r"beside|unfinished|part|workshop", ast.unparse(func.value)) is not None
        for func in methods
    )
    return of_os + of_paths


def vague_annotations(tree: ast.AST) -> int:
    """Any and object in signatures."""
    found = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            annotations = [argument.annotation for argument in arguments] + [node.returns]
            found += sum(
                annotation is not None and bool({"Any", "object"} & set(names(annotation)))
                for annotation in annotations
            )
        if isinstance(node, ast.AnnAssign):
            found += bool({"Any", "object"} & set(names(node.annotation)))
    return found


def code_lines(files: list[Path]) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    total = 0
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        rows = {node.lineno for node in ast.walk(tree) if hasattr(node, "lineno")}
        rows |= {node.end_lineno for node in ast.walk(tree) if hasattr(node, "end_lineno")}
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and has_docstring(node):
                rows -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
        total += len(rows)
    return total


def measure(root: Path) -> dict[str, int]:
    trees = modules(root)
    texts = {name: list(strings(tree)) for name, tree in trees.items()}
    library = [name for name in trees if Path(name).stem not in VERBS and not name.startswith("export/")]
    found = {
        f"files that a change touches: {idea}": sum(
            any(re.search(word, text) for text in texts[name]) for name in trees
        )
        for idea, word in IDEAS.items()
    }
    found["imports inside functions"] = sum(map(imports_in_functions, trees.values()))
    found["files that know a run's file names"] = sum(
        any(RUN_FILES.match(text) for text in texts[name])
        for name in trees
        if name.startswith("keras_dcgan/")
    )
    found["places that rename into place"] = sum(map(renames, trees.values()))
    found["library strings with flags"] = sum(
        bool(FLAG.search(text)) for name in library for text in texts[name]
    )
    found["Any or object in signatures of training"] = sum(
        vague_annotations(tree) for name, tree in trees.items() if any(part in name for part in TRAINING)
    )
    found["largest module, lines of code"] = max(code_lines([root / name]) for name in trees)
    found["modules of keras_dcgan"] = sum(name.startswith("keras_dcgan/") for name in trees)
    found["lines of code: keras_dcgan, export"] = code_lines([root / name for name in trees])
    found["lines of code: tests"] = code_lines(sorted((root / "tests").rglob("*.py")))
    return found


def main(checkouts: list[str]):
    columns = [measure(Path(checkout)) for checkout in checkouts or ["."]]
    for name in columns[0]:
        print(f"{name:55}" + "".join(f"{column[name]:>10,}" for column in columns))


if __name__ == "__main__":
    main(sys.argv[1:])
