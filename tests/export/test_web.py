"""The page of an export in a real Chromium, as a phone and as a desktop shows it.

TEST_EVERYTHING=1 pytest tests/test_web.py         # needs chromium and npm; .ci/run installs both
"""

import functools
import http.server
import os
import shutil
import threading
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import lively_generator

from export import convert, parity, web
from export.web.__main__ import Handler, main, server
from keras_dcgan.pictures import images
from keras_dcgan.pictures.draw import draw
from keras_dcgan.pictures.latents import labels, latents, slerp

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 800}
CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def model():
    return lively_generator(latent_dim=12, classes=len(CLASSES))


@pytest.fixture(scope="module")
def out(model, tmp_path_factory):
    if not os.environ.get("TEST_EVERYTHING"):
        pytest.skip("a browser is tested with TEST_EVERYTHING=1 only")
    out = tmp_path_factory.mktemp("web") / "export"
    convert.export(model, ["fp32"], out, "tiny", CLASSES)
    assert web.install(out), "npm could not fetch LiteRT.js"
    return out


@pytest.fixture(scope="module")
def address(out):
    serving = server(out, 0)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, address, size, query=""):
    """The page once it has drawn; afterwards nothing may have left the origin or been complained of."""
    context = browser.new_context(viewport=size)
    page, elsewhere, complaints = context.new_page(), [], []
    page.on(
        "request",
        lambda request: None if request.url.startswith((address, "blob:")) else elsewhere.append(request.url),
    )
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}/web/{query}")
    page.wait_for_selector("body[data-ready='0']", timeout=60_000)
    yield page
    assert elsewhere == [] and complaints == []
    assert page.text_content("#problem") == ""
    context.close()


def is_complaint(message) -> bool:
    return message.type == "error" and not message.text.startswith(
        ("INFO: ", "WARNING: ")
    )  # LiteRT's C++ knows stderr only


def picture(page) -> np.ndarray:
    """What the large canvas shows: uint8 (H, W, 4)."""
    script = """() => { const c = document.getElementById('picture');
        return [c.height, c.width, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]; }"""
    height, width, values = page.evaluate(script)
    return np.array(values, np.uint8).reshape(height, width, 4)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_seed_7_is_the_picture_that_sample_draws(browser, address, model, size):
    with opened(browser, address, size, "?file=generator_fp32.tflite") as page:
        page.fill("#seed", "7")
        page.press("#seed", "Enter")
        page.wait_for_selector("body[data-ready='7']")
        (expected,) = draw(model, latents([7], 12), labels([7], None, CLASSES))
        shown = picture(page)
        error = parity.psnr(images.from_uint8(expected), images.from_uint8(shown[..., :3]))
        assert error >= 40 and (shown[..., 3] == 255).all() and expected.std() > 10
        assert page.evaluate(
            "document.documentElement.scrollWidth <= innerWidth"
        )  # nothing to scroll sideways
        targets = page.evaluate(
            "[...document.querySelectorAll('.row button, .row select')].map((e) => e.offsetHeight)"
        )
        assert min(targets) >= 44  # for a thumb
        assert page.text_content("h1") == "tiny"
        assert " ms a picture, generator_fp32.tflite on the CPU" in page.text_content("#status")


def test_controls_change_the_picture_and_the_walk_walks(browser, address):
    with opened(browser, address, DESKTOP) as page:
        seen = [picture(page)]
        assert saved(page) == "seed-0000.png"

        def differs_after(act):
            act()
            page.wait_for_timeout(300)
            seen.append(picture(page))
            assert (seen[-1] != seen[-2]).any()

        differs_after(lambda: page.locator("#sliders input").first.fill("3"))
        differs_after(lambda: page.locator("#truncation").fill("0.2"))
        assert saved(page) == "picture.png"  # no seed's any more
        differs_after(lambda: page.select_option("#class", "dog"))
        assert (
            page.locator("#grid [aria-pressed=true]").get_attribute("data-seed") == "0"
        )  # the new ones of another class as well
        differs_after(lambda: page.locator("#grid button").nth(3).click())
        assert page.input_value("#seed") == "3"
        differs_after(lambda: page.click("#walk"))
        differs_after(lambda: None)  # still walking
        page.click("#walk")
        assert page.get_attribute("#walk", "aria-pressed") == "false"
        differs_after(lambda: page.click("#new"))
        page.evaluate("document.getElementById('accelerator').append(new Option('none', 'none'))")
        before = picture(page)
        page.select_option("#accelerator", "none")
        page.wait_for_function("document.getElementById('problem').textContent")
        assert (picture(page) == before).all() and "on the CPU" in page.text_content(
            "#status"
        )  # the old one goes on
        page.select_option("#accelerator", "wasm")
        page.wait_for_function("!document.getElementById('problem').textContent")


def saved(page) -> str:
    with page.expect_download() as download:
        page.click("#save")
    return download.value.suggested_filename


def test_after_a_model_that_fails_another_can_be_chosen(browser, address):
    page = browser.new_context().new_page()
    page.route("**/generator_fp32.tflite", lambda route: route.abort())
    page.goto(f"{address}/web/")
    page.wait_for_selector("#problem:not(:empty)")
    page.unroute("**/generator_fp32.tflite")
    page.evaluate("document.getElementById('file').onchange()")
    page.wait_for_selector("body[data-ready='0']", timeout=60_000)
    assert page.text_content("#problem") == "" and page.locator("#grid canvas").count() == 8
    page.click("#grid button:nth-child(4)")
    page.wait_for_selector("body[data-ready='3']")
    page.context.close()


def wait_until_kept(page):
    """Until all that an offline visit needs is in the cache, and somebody is there to look for it."""
    kept = """async () => {
        const kept = (await (await caches.open('keras-dcgan')).keys()).map((request) => request.url);
        const needed = [location.href, ...performance.getEntriesByType('resource').map((entry) => entry.name)];
        return navigator.serviceWorker.controller !== null && needed.every((url) => kept.includes(url)); }"""
    end = time.monotonic() + 60
    while not page.evaluate(
        kept
    ):  # wait_for_function takes a promise for an answer: always yes (Playwright 1.65)
        assert time.monotonic() < end
        page.wait_for_timeout(100)


def test_after_the_first_visit_it_works_offline(browser, address):
    with opened(browser, address, PHONE) as page:
        wait_until_kept(page)
        first = picture(page)
        page.context.set_offline(True)
        page.reload()
        page.wait_for_selector("body[data-ready='0']", timeout=60_000)
        np.testing.assert_array_equal(picture(page), first)


def test_seeds_and_arcs_are_those_of_python(browser, address):
    with opened(browser, address, DESKTOP) as page:
        for seed in (0, 7, 2**32 - 1):
            z = page.evaluate(f"import('./latents.js').then((m) => Array.from(m.latent({seed}, 101)))")
            np.testing.assert_allclose(z, latents([seed], 101)[0], atol=1e-6)
        a, b = latents([1, 2], 12)
        script = "([a, b]) => import('./latents.js').then((m) => Array.from(m.slerp(a, b, 0.3)))"
        np.testing.assert_allclose(
            page.evaluate(script, [a.tolist(), b.tolist()]), slerp(a, b, 0.3), atol=1e-6
        )


def test_without_npm_the_page_points_at_the_pinned_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not web.install(tmp_path)
    page = (tmp_path / "web" / "index.html").read_text()
    assert f"{web.CDN}/+esm" in page and f'LITERT_WASM = "{web.CDN}/wasm/"' in page and "./litert" not in page
    assert sorted(path.name for path in (tmp_path / "web").iterdir()) == sorted(web.PAGE)


def test_an_npm_that_packs_nothing_is_as_none(tmp_path, monkeypatch):
    (tmp_path / "npm").write_text("#!/bin/sh\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert not web.fetch_runtime(tmp_path / "litert") and not (tmp_path / "litert").exists()
    (tmp_path / "npm").write_text("#!/bin/sh\ntouch other.tgz\n")
    assert not web.fetch_runtime(tmp_path / "litert") and not (tmp_path / "litert").exists()


def test_no_browser_keeps_what_another_runs_page_would_be_mixed_up_with(address):
    with urllib.request.urlopen(f"{address}/model.json") as answer:
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.fixture
def cdn(out, tmp_path):
    """The address of another origin, which serves LiteRT.js as jsDelivr does: `+esm` is a package whose
    imports are paths there."""
    runtime, packages = out / "web" / "litert", tmp_path / "cdn" / "npm" / "@litertjs"
    shutil.copytree(runtime, packages / "core" / "wasm")
    (packages / "wasm-utils").mkdir()
    (packages / "wasm-utils" / "+esm").write_bytes((runtime / "wasm-utils.js").read_bytes())
    core = (
        (runtime / "index.js")
        .read_text()
        .replace('"@litertjs/wasm-utils"', '"/npm/@litertjs/wasm-utils/+esm"')
    )
    (packages / "core" / "+esm").write_text(core)

    class Cdn(Handler):
        extensions_map = Handler.extensions_map | {"": "text/javascript"}

        def end_headers(self):
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Cross-Origin-Resource-Policy", "cross-origin")
            super().end_headers()

    serving = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Cdn, directory=str(tmp_path / "cdn"))
    )
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}/npm/@litertjs/core"
    serving.shutdown()


def test_with_the_runtime_from_elsewhere_it_draws_and_works_offline_too(
    browser, out, cdn, tmp_path, monkeypatch
):
    export = shutil.copytree(out, tmp_path / "export")
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm
    monkeypatch.setattr(web, "CDN", cdn)
    assert not web.install(export)
    serving = server(export, 0)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    page = browser.new_context().new_page()
    page.route(f"{cdn}/**", lambda route: route.abort())
    page.goto(f"http://127.0.0.1:{serving.server_port}/web/")
    page.wait_for_selector("#problem:not(:empty)")
    assert "LiteRT.js, which draws here, could not be fetched" in page.text_content("#problem")
    page.unroute(f"{cdn}/**")
    page.reload()
    page.wait_for_selector("body[data-ready='0']", timeout=60_000)
    wait_until_kept(page)
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("body[data-ready='0']", timeout=60_000)
    page.context.close()
    serving.shutdown()


def test_a_page_that_is_closed_while_it_loads_is_no_error(address, out, capsys):
    with server(out, 0) as serving:
        for error, says in ((ConnectionResetError(), False), (ValueError("a mistake of ours"), True)):
            try:
                raise error
            except (OSError, ValueError):
                serving.handle_error(None, ("127.0.0.1", 1))
            assert ("Traceback" in capsys.readouterr().err) == says


def test_no_page_no_server(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--run", str(tmp_path)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(
        "web: --run: expected an export with a page (python -m export), received "
    )
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("")
    with server(tmp_path, 0) as first, pytest.raises(SystemExit) as stop:
        main(["--run", str(tmp_path), "--port", str(first.server_port)])
    taken = f"web: --port: expected a free one, received {first.server_port} (Address already in use)\n"
    assert (stop.value.code, capsys.readouterr().err) == (2, taken)
