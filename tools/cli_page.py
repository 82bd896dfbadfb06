"""`python -m tools.cli_page`: writes docs/cli.md out of the --help of every command."""

import itertools
import os
import pathlib
import re
import subprocess
import sys

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "cli.md"
COMMANDS = {
    "keras-dcgan fit": "-m keras_dcgan.fit",
    "keras-dcgan sample": "-m keras_dcgan.sample",
    "keras-dcgan explore": "-m keras_dcgan.explore",
    "keras-dcgan edit": "-m keras_dcgan.edit",
    "keras-dcgan evaluate": "-m keras_dcgan.evaluate",
    "keras-dcgan features": "-m keras_dcgan.features",
    "keras-dcgan demo": "-m keras_dcgan.demo",
    "keras-dcgan data": "-m keras_dcgan.data",
    "keras-dcgan pack": "-m keras_dcgan.pack",
    "keras-dcgan export": "-m keras_dcgan.export",
    "python -m keras_dcgan.export.web": "-m keras_dcgan.export.web",
    "python export/edge_sample.py": "export/edge_sample.py",
}
HEAD = """# Commands

Every flag of every command, with its default in square brackets. `python -m tools.cli_page` writes this page from `--help`.
`keras-dcgan VERB` and `python -m keras_dcgan.VERB` are the same command; in a clone `python -m export` is so too.
"""


def help_of(arguments: str) -> str:
    """What --help prints where no line is wrapped."""
    wide = os.environ | {"COLUMNS": "9999"}
    command = [sys.executable, *arguments.split(), "--help"]
    return subprocess.run(
        command, env=wide, cwd=PAGE.parents[1], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout


def section(command: str, text: str) -> str:
    """The help of one command -> a heading, its first sentence, and a table for each group of flags.

    The usage line and -h are left out: the tables say the same.
    """
    summary, *groups = text.partition("\n\n")[2].split("\n\n")
    summary = " ".join(itertools.takewhile(lambda line: not line.startswith(" "), summary.splitlines()))
    parts = [f"## {command}", summary]
    for group in groups:
        title, _, body = group.partition("\n")
        if not re.fullmatch(r"[\w ]+:", title) or not body.startswith("  "):
            continue
        flags = [
            row
            for row in re.findall(r"^  (\S.*?)(?: {2,}|\n {4,}|$)(.*)$", body, re.M)
            if "-h," not in row[0]
        ]
        if flags:
            name = title[:-1] if title != "options:" else "flag"
            rows = [f"| `{cell(flag)}` | {cell(meaning)} |" for flag, meaning in flags]
            parts.append("\n".join([f"| {name} | |", "| --- | --- |", *rows]))
    return "\n\n".join(parts)


def cell(text: str) -> str:
    return text.strip().replace("|", r"\|")


def page() -> str:
    sections = [section(command, help_of(arguments)) for command, arguments in COMMANDS.items()]
    return "\n\n".join([HEAD.strip(), *sections]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
