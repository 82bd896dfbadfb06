"""The model card of an export: what the Hub reads of it, that its snippets run, and whose texts stand in it."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import lively_generator
from markdown_it import MarkdownIt
from PIL import Image

from keras_dcgan.config import resolve
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.export import card, convert
from keras_dcgan.export.__main__ import main
from keras_dcgan.pictures.draw import draw
from keras_dcgan.pictures.latents import latents
from keras_dcgan.runs.directory import Run

CLASSES = ("blue", "green", "red")
# huggingface_hub's repocard.py: how the Hub finds the metadata.
METADATA = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")
NASTY = "a|b\n---\n# <script>alert(1)</script> [x](javascript:1) ![y](z) `c` **d** __e__ f_g $h$ \\(i\\) &lt; \"j\": 'k'"


@pytest.fixture(scope="module")
def model():
    return lively_generator(latent_dim=12)


@pytest.fixture(scope="module")
def out(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("card") / "export"
    convert.export(model, ["fp32"], out, "tiny")
    return out


def metadata(page: str) -> dict:
    """The YAML of the card, of which it uses little: plain words, strings as in JSON, and one list."""
    found = {}
    for line in METADATA.search(page)[2].splitlines():
        if line.startswith("- "):
            found.setdefault("tags", []).append(line[2:])
        elif line != "tags:":
            name, value = line.split(": ", 1)
            # Unquoted, a licence of the name `no` would be false.
            found[name] = json.loads(value) if name in ("license_name", "license_link") else value
    return found


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def run_snippets(folder: Path):
    """Each of the card's Python snippets as it stands, in a copy of the folder and nowhere near this package."""
    page = (folder / "README.md").read_text()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}
    install, *commands = snippets(page, "bash")
    assert install == "pip install numpy pillow ai-edge-litert\n"
    for command in commands:
        subprocess.run(["bash", "-ec", command], cwd=folder, env=environment, check=True)
    for program in snippets(page, "python"):
        (folder / "program.py").write_text(program)
        subprocess.run([sys.executable, "program.py"], cwd=folder, env=environment, check=True)


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file)).astype(int)


@pytest.mark.parametrize("classes", [(), CLASSES])
def test_the_python_snippets_draw_the_images_at_the_top_of_the_card(classes, model, out, tmp_path):
    folder = tmp_path / "elsewhere"
    if classes:
        model = lively_generator(latent_dim=12, classes=len(classes))
        convert.export(model, ["fp32"], folder, "tiny", classes)
    else:
        shutil.copytree(out, folder)
    run_snippets(folder)
    shown, grid, image = (pixels(folder / name) for name in ("samples.png", "grid.png", "image.png"))
    assert shown.shape == (2 * 16, 8 * 16, 3) and grid.shape == (4 * 16, 4 * 16, 3)
    assert np.abs(shown[:16, :16] - grid[:16, :16]).max() <= 1
    assert np.abs(shown[:16, :16] - image[..., :3]).max() <= 1 and (image[..., 3] == 255).all()
    labels = np.arange(16) % len(classes) if classes else None
    ours = np.stack(list(draw(model, latents(range(16), 12), labels)))
    np.testing.assert_array_equal(shown.reshape(2, 16, 8, 16, 3).swapaxes(1, 2).reshape(-1, 16, 16, 3), ours)


def test_the_snippet_of_a_saved_model_draws(model, tmp_path, monkeypatch):
    convert.export(model, ["saved_model"], tmp_path, "tiny")
    page = (tmp_path / "README.md").read_text()
    assert not (tmp_path / "edge_sample.py").exists() and "edge_sample" not in page and "Android" not in page
    assert "library_name" not in metadata(page)
    monkeypatch.chdir(tmp_path)
    (program,) = snippets(page, "python")
    exec(program, {})  # TensorFlow is imported here already
    assert pixels(tmp_path / "image.png").shape == (16, 16, 4)


def test_the_android_snippet_calls_what_the_app_calls(out):
    (kotlin,) = snippets((out / "README.md").read_text(), "kotlin")
    app = Path(card.__file__).parent / "android" / "app"
    source = "".join(file.read_text() for file in (app / "src" / "main" / "kotlin").glob("*.kt"))
    for name in set(re.findall(r"^import .*|\w+\.\w+(?=\()|\.\w+(?=\()", kotlin, re.M)):
        assert name in source or "andom" in name, name  # Java's
    assert f'"com.google.ai.edge.litert:litert:{card.LITERT}"' in (app / "build.gradle.kts").read_text()


@pytest.mark.parametrize("channels", [3, 4])
def test_android_gets_colours_multiplied_by_their_alpha(channels):
    about = {"latent_dim": 100, "width": 64, "height": 64, "classes": [], "channels": channels}
    (kotlin,) = snippets("\n".join(card.on_android("f.tflite", about)), "kotlin")
    assert ("rgba[i - i % 4 + 3]" in kotlin) == (channels == 4)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("", {}),
        ("CC0-1.0", {"license": "cc0-1.0"}),
        (" Apache 2.0\n", {"license": "apache-2.0"}),
        ("openrail++", {"license": "openrail++"}),
        ("My: licence", {"license": "other", "license_name": "my-licence"}),
        ("no", {"license": "other", "license_name": "no"}),
        ("other", {"license": "other", "license_name": "other"}),
        ("許諾", {"license": "other"}),
        (
            "Ours, see https://example.org/l?a=1.",
            {"license": "other", "license_name": "ours-see", "license_link": "https://example.org/l?a=1"},
        ),
        ('x"\n---\nlicense: mit', {"license": "other", "license_name": "x-license-mit"}),
    ],
)
def test_the_hub_reads_the_licence_that_was_given_and_no_other(licence, expected, model):
    page = card.page(described(model, licence=licence), None, False)
    assert metadata(page) == expected | {
        "library_name": "litert",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["dcgan", "gan", "keras_dcgan"],
    }
    assert ("no licence was given" in page) == (not licence)


def described(model, classes=(), name="tiny", **about):
    entry = {
        "weights": "int8",
        "activations": "float32",
        "bytes": 1_234_567,
        "psnr": 50.26,
        "max_error": 0.01,
    }
    files = {"generator_int8.tflite": entry | {"min_runtime": "2.4.0"}}
    return convert.describe(model, name, classes) | about | {"files": files}


def test_whatever_a_name_or_a_note_holds_it_is_shown_as_text():
    classes = (NASTY, "~~s~~", "\ud800", "\u202e")
    model = lively_generator(latent_dim=12, classes=len(classes))
    about = {"licence": NASTY, "author": NASTY, "data_note": NASTY}
    page = card.page(described(model, classes, NASTY, **about), None, True)
    body = page[METADATA.search(page).end() :].encode().decode()  # no lone surrogate, which is no UTF-8
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(body)
    tags = set("h1 h2 p img em table thead tbody tr th td code pre ul li".split())
    assert set(re.findall(r"<(\w+)", rendered)) <= tags
    assert rendered.count("<em>") == rendered.count("<img") == 1  # ours
    shown = html.unescape(rendered)
    assert shown.count(" ".join(NASTY.split())) == 5  # name, licence, author, note, one class
    assert "<h1>a|b --- # " in shown and "$" not in body and "\\\\" not in body
    assert rendered.count("<td>") == 2 * 4 + 2 * 1 + 5 * 1  # no cell more


# ------------------------------------------------------------------------
# what the run tells


@pytest.fixture
def run(model, tmp_path):
    """A run of 12 kimg, whose last generator is not generator.keras, of settings that are not all the preset's."""
    run = Run(tmp_path / "runs" / "discs", is_new=True)
    run.path.mkdir(parents=True)
    model.save(run.generator())
    run.generator(last=True).write_bytes(b"another one")
    typed = {"filters": 8, "size": (16, 16), "init_from": "/home/me/runs/other", "seed": 5}
    config = resolve({"data": "/home/me/secret", "run": str(run.path), **typed}, 1234)
    versions = {"keras_dcgan": "0.2.0", "tensorflow": "2.21.0", "keras": "3.15.1", "numpy": "2.4.6"}
    run.write_json("config.json", {"schema": 1, "settings": config.to_json(), "versions": versions})
    manifest = Manifest(
        source="/home/me/secret",
        kind="folder",
        size=(16, 16),
        channels=3,
        count=1234,
        classes=[],
        fingerprint="abc",
    )
    run.write_json("data.json", manifest.to_json())
    rows = [
        {"step": step, "kimg": step / 10, "swd": swd} for step, swd in ((40, 30.0), (80, 10.0), (120, 20.0))
    ]
    run.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.evaluation.mkdir()
    return Run(run.path)


def evaluated(run, **changes):
    """As `evaluate` writes it: tests/verbs/test_evaluate.py."""
    return {
        "generator_sha256": run.generator_sha256(),
        "data": {"fingerprint": "abc"},
        "features": "random-1",
        "size": [16, 16, 3],
        "images": {"real": 2000, "fake": 2000, "memorised_fake": 2000},
        "metrics": {"swd": 20.25, "kid": 0.5, "kid_ci95": 0.25, "memorised": 0.0125},
    } | changes


def test_the_card_tells_of_data_and_training_but_not_of_places_on_this_machine(run, model):
    page = card.page(
        described(model, data_note="drawn by us"), card.of_run(run, run.generator_sha256()), False
    )
    for row in (
        "| where the images came from | drawn by us |",
        "| images | 1,234 |",
        "| prepared as | 16x16, 3 channels, crop center |",
        "| fingerprint | abc |",
        "| preset | auto |",
        "| settings that differ from it | init_from other, filters 8 |",
        "| real images shown | 12,000, but fewer to this generator, which was kept for its swd |",
        "| seed | 5 |",
        "| trained with | keras_dcgan 0.2.0, tensorflow 2.21.0, keras 3.15.1 |",
        "| `generator_int8.tflite` | 1.23 | 50.3 | int8 | 2.4.0 |",
    ):
        assert row in page.splitlines(), row
    assert "secret" not in page and "/home" not in page
    assert "not evaluated" in page and "was not measured" in page


def test_figures_are_told_only_of_the_generator_that_is_exported(run, model):
    others = evaluated(run, generator_sha256="0"), evaluated(run, images={}), []
    for number, content in enumerate((evaluated(run), *others)):
        (run.evaluation / f"{number}.json").write_text(json.dumps(content))
    (run.evaluation / "1-last.json").write_text(json.dumps(others[0]))
    history = card.of_run(run, run.generator_sha256())
    assert [file.name for file in history.passed_over] == ["1.json", "2.json", "3.json"]
    page = card.page(described(model), history, False)
    assert page.count("2,000 generated and 2,000 real images of 16x16x3; features: random-1\n") == 1
    assert "| kid | 0.5000 ± 0.2500 | kernel distance of the features: lower is better |" in page
    assert "- Copies: 1.2 % of 2,000 generated images" in page and "not evaluated" not in page
    assert not re.search("was not measured|those of the training", page)
    (run.evaluation / "0-last.json").write_text(json.dumps(evaluated(run)))  # the last is the one to use
    assert card.page(described(model), card.of_run(run, run.generator_sha256()), False) == page
    (run.evaluation / "0.json").write_text(json.dumps(evaluated(run, data={"fingerprint": "other"})))
    assert "the real images are not those of the training" in card.page(
        described(model), card.of_run(run, run.generator_sha256()), False
    )


# ------------------------------------------------------------------------
# whose file it is


@pytest.fixture
def quick(out, monkeypatch):
    """The conversion has been done."""
    monkeypatch.setattr(convert, "write_saved_model", lambda *_, **__: None)
    monkeypatch.setattr(convert, "to_tflite", lambda *_: (out / "generator_fp32.tflite").read_bytes())


def export(run: Run, *more: str) -> Path:
    main(["--run", str(run.path), "--formats", "fp32", "--samples", "0", *more])
    return run.export


def test_a_file_that_no_export_wrote_stays_and_the_user_is_told(run, quick, capsys):
    run.export.mkdir()
    (run.export / "README.md").write_text("my own")
    out = export(run)
    told = capsys.readouterr().out
    assert (out / "README.md").read_text() == "my own" and "README.md: left as it is" in told
    assert "the model card" not in told and "samples.png:" not in told and (out / "samples.png").exists()
    (out / "README.md").unlink()
    export(run)
    assert (
        "the model card: no figures (python -m keras_dcgan.evaluate), no licence (--licence)"
        in capsys.readouterr().out
    )
    page = (out / "README.md").read_text()
    export(run, "--licence", "MIT")
    assert "license: mit" in (out / "README.md").read_text() != page
    assert "left as it is" not in capsys.readouterr().out
    (out / "README.md").write_text(page + "And a sentence of mine.\n")
    export(run)
    assert (out / "README.md").read_text().endswith("mine.\n")


@pytest.mark.parametrize("is_placed", [False, True])
def test_the_card_of_an_export_that_was_killed_is_no_users(is_placed, out, tmp_path):
    """Between model.json, which goes first and comes last, and the end: the old card in place, or the new one."""
    shutil.copytree(out, tmp_path / "out")
    workshop = tmp_path / "out" / convert.WORKSHOP
    (workshop / convert.EARLIER).mkdir(parents=True)
    new = json.loads((out / "model.json").read_text())
    old = new | {"beside": {name: "0" for name in convert.BESIDE}}
    if not is_placed:
        old, new = new, old
    (workshop / "model.json").write_text(json.dumps(new))
    (workshop / convert.EARLIER / "model.json").write_text(json.dumps(old))
    (tmp_path / "out" / "model.json").unlink()
    assert convert.not_ours(tmp_path / "out") == []
    (tmp_path / "out" / "README.md").write_text("my own")
    assert convert.not_ours(tmp_path / "out") == ["README.md"]
