"""A page that draws with the exported .tflite files in a browser: static files, no framework, no build step.

    install(out)        # puts the page into out/web; it reads out/model.json and out/*.tflite
    python -m keras_dcgan.export.web --run runs/imgs      # and shows it on this machine

The runtime is LiteRT.js, pinned. It is fetched with npm where npm is, so that the page needs no other site;
else the page points at a CDN's copy of the same version.
"""

import html
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from keras_dcgan import files

VERSION = "2.5.3"  # of @litertjs/core
CDN = f"https://cdn.jsdelivr.net/npm/@litertjs/core@{VERSION}"
PAGE = ("index.html", "style.css", "boot.js", "app.js", "draw.js", "files.js", "latents.js", "runtime.js")
PAGE += ("save.js", "sw.js", "manifest.webmanifest", "icon.svg", "icon.png")
PACKAGES = {
    f"@litertjs/core@{VERSION}": {
        "dist/index.js": "index.js",
        **{
            f"wasm/litert_wasm_{kind}internal.{end}": ""
            for kind in ("", "compat_", "threaded_")
            for end in ("js", "wasm")
        },
    },
    f"@litertjs/wasm-utils@{VERSION}": {"dist/index.js": "wasm-utils.js"},
}


def install(out: Path) -> bool:
    """Writes out/web anew, for the run that out/model.json tells of -> whether the runtime lies there too.
    Raises OSError where it cannot be written."""
    # convert.alone keeps other exports out, where the system has locks.
    place, beside = out / "web", out / ".web.part"
    about = json.loads((out / "model.json").read_text(encoding="utf-8"))
    for left in out.glob(".web*.part"):  # by a kill
        shutil.rmtree(left, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        for name in PAGE:
            shutil.copy(Path(__file__).with_name(name), beside / name)
        introduce(beside, about)
        has_runtime = fetch_runtime(beside / "litert")
        point_at_runtime(beside / "runtime.js", has_runtime)
        shutil.rmtree(place, ignore_errors=True)
        files.rename(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return has_runtime


def fetch_runtime(folder: Path) -> bool:
    """-> False, and nothing in the folder, where npm is not there or cannot reach its registry."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        for package, wanted in PACKAGES.items():
            # Into the folder where it is called; without asking the network for what has been fetched before.
            npm = shutil.which("npm") or "npm"  # npm.cmd on Windows
            command = [npm, "pack", "--silent", "--prefer-offline", "--fetch-retries=0", package]
            try:
                subprocess.run(command, cwd=scratch, capture_output=True, timeout=120, check=True)
                (archive,) = Path(scratch).glob("*.tgz")
                with tarfile.open(archive) as members:
                    found = {
                        name or Path(file).name: members.extractfile(f"package/{file}").read()
                        for file, name in wanted.items()
                    }
            except (
                OSError,
                subprocess.SubprocessError,
                tarfile.TarError,
                ValueError,
                KeyError,
            ):  # or it left something else
                shutil.rmtree(folder, ignore_errors=True)
                return False
            archive.unlink()
            folder.mkdir(exist_ok=True)
            for name, content in found.items():
                (folder / name).write_bytes(content)
    return True


def introduce(page: Path, about: dict):
    """What has to be right before any script runs: the name, also on a phone's home screen, and the shape."""
    replace(page / "index.html", "Made-up images", html.escape(about["name"]))
    replace(page / "manifest.webmanifest", '"Made-up images"', json.dumps(about["name"]))
    replace(page / "style.css", "--aspect: 1;", f"--aspect: {about['width'] / about['height']:.6g};")


def point_at_runtime(module: Path, is_beside: bool):
    replace(module, "VERSION = '0'", f"VERSION = '{VERSION}'")
    if is_beside:  # no import map, which a host's Content-Security-Policy may refuse
        replace(module.parent / "litert" / "index.js", '"@litertjs/wasm-utils"', '"./wasm-utils.js"')
    else:
        replace(module, "./litert/index.js", f"{CDN}/+esm")
        replace(module, "./litert/", f"{CDN}/wasm/")


def replace(file: Path, old: str, new: str):
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
