"""The page of an export in a real Chromium, as a phone and as a desktop shows it.

TEST_EVERYTHING=1 pytest tests/export/test_web.py  # needs chromium and npm; .ci/run installs both
"""

import functools
import gzip
import hashlib
import http.client
import http.server
import json
import os
import shutil
import threading
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import lively_generator
from PIL import Image

from keras_dcgan.export import convert, parity, web
from keras_dcgan.export.web.__main__ import Handler, Server, main, outward, server
from keras_dcgan.pictures import images
from keras_dcgan.pictures.draw import draw
from keras_dcgan.pictures.latents import labels, latents, slerp

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 800}
CLASSES = ("cat", "dog")
FILE = "generator_fp32.tflite"
POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"  # as strict as a host's may be
SHIFTS = """window.shifts = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => shifts += entry.value))
        .observe({type: 'layout-shift', buffered: true});"""


@pytest.fixture(scope="module")
def model():
    return lively_generator(latent_dim=12, classes=len(CLASSES), blocks=1)


@pytest.fixture(scope="module")
def out(model, tmp_path_factory):
    if not os.environ.get("TEST_EVERYTHING"):
        pytest.skip("a browser is tested with TEST_EVERYTHING=1 only")
    out = tmp_path_factory.mktemp("web") / "export"
    convert.export(model, ["fp32"], out, "tiny", CLASSES, licence="CC0-1.0", data_note="64 cats & dogs")
    assert any(web.install(out) for _ in range(3)), "npm could not fetch LiteRT.js"
    return out


@contextmanager
def serving(folder, policy=None, handler=Handler):
    """The address of a host with that Content-Security-Policy."""

    class Host(handler):
        def end_headers(self):
            if policy:
                self.send_header("Content-Security-Policy", policy)
            super().end_headers()

    with Server(("127.0.0.1", 0), functools.partial(Host, directory=str(folder))) as host:
        threading.Thread(target=host.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{host.server_port}"
        host.shutdown()


@pytest.fixture(scope="module")
def address(out):
    with serving(out, POLICY) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, address, size, query="", ready="0", script=SHIFTS):
    """The page once it has drawn; afterwards nothing may have left the origin or been complained of."""
    context = browser.new_context(viewport=size)
    context.add_init_script(script)
    page, elsewhere, complaints = context.new_page(), [], []
    page.on(
        "request",
        lambda request: None if request.url.startswith((address, "blob:")) else elsewhere.append(request.url),
    )
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}/web/{query}")
    wait_until_drawn(page, ready)
    yield page
    assert elsewhere == [] and complaints == []
    assert page.is_hidden("#problem")
    context.close()


def wait_until_drawn(page, seed="0"):
    page.wait_for_selector(f"body[data-ready='{seed}'] #controls:enabled", timeout=60_000)


def is_complaint(message) -> bool:
    return message.type == "error" and not message.text.startswith(
        ("INFO: ", "WARNING: ")
    )  # LiteRT's C++ knows stderr only


def drawn(page) -> np.ndarray:
    """What is shown, before it is enlarged: uint8 (H, W, 4)."""
    script = """() => import('./app.js').then(({image}) => [image.height, image.width,
        Array.from(image.getContext('2d').getImageData(0, 0, image.width, image.height).data)])"""
    height, width, values = page.evaluate(script)
    return np.array(values, np.uint8).reshape(height, width, 4)


def eventually(says):
    """Until that is true; wait_for_function would evaluate a string, which the policy forbids."""
    end = time.monotonic() + 60
    while not says():
        assert time.monotonic() < end
        time.sleep(0.05)


def problem(page) -> str:
    page.wait_for_selector("#problem:visible", timeout=60_000)
    return page.text_content("#problem p").strip()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_seed_7_is_the_image_that_sample_draws(browser, address, model, size):
    with opened(browser, address, size, f"?file={FILE}") as page:
        assert page.evaluate("shifts") == 0
        page.fill("#seed", "7")
        page.press("#seed", "Enter")
        wait_until_drawn(page, "7")
        (expected,) = draw(model, latents([7], 12), labels([7], None, CLASSES))
        shown = drawn(page)
        error = parity.psnr(images.from_uint8(expected), images.from_uint8(shown[..., :3]))
        assert error >= 40 and (shown[..., 3] == 255).all() and expected.std() > 10
        heights = (
            "[...document.querySelectorAll('main :is(button, select), #seed')].map((e) => e.offsetHeight)"
        )
        assert set(page.evaluate(heights)) <= {44, 0}  # for a thumb; 0: what is closed
        assert page.text_content("h1") == "tiny"
        about = page.text_content("#about")
        assert "trained on 64 cats & dogs. Licence: CC0-1.0." in about and "nothing you do leaves it" in about
        assert f" ms an image, {FILE} on the CPU" in page.text_content("#status")


def test_the_address_holds_what_is_shown(browser, address, model):
    state = "#seed=13&d1=2&d3=-1.5&truncation=0.7&class=dog"
    with opened(browser, address, DESKTOP, state, ready="13") as page:
        about = page.evaluate("fetch('../model.json').then((answer) => answer.json())")
        first, _, third = np.array(about["directions"][:3])
        z = 0.7 * latents([13], 12) + 2 * first - 1.5 * third
        (expected,) = draw(model, z.astype(np.float32), np.array([1], np.int32))
        shown = drawn(page)
        assert parity.psnr(images.from_uint8(expected), images.from_uint8(shown[..., :3])) >= 40
        page.locator("#sliders input").first.fill("-3")
        page.select_option("#class", "each in turn")
        eventually(lambda: page.evaluate("location.hash") == "#seed=13&d1=-3&d3=-1.5&truncation=0.7")
        shown = drawn(page)
        page.reload()
        wait_until_drawn(page, "13")
        np.testing.assert_array_equal(drawn(page), shown)
        walked = "#seed=1&to=3&at=0.400"  # where a walk was stopped
        # as when what was changed last is told between the new address and its event
        page.evaluate(
            "(walked) => { const {hash} = location; location.hash = walked; history.replaceState(0, '', hash); }",
            walked,
        )
        wait_until_drawn(page, "1")
        eventually(lambda: page.evaluate("location.hash") == walked)
        (expected,) = draw(model, slerp(*latents([1, 3], 12), 0.4)[None], np.array([1], np.int32))
        assert parity.psnr(images.from_uint8(expected), images.from_uint8(drawn(page)[..., :3])) >= 40
        assert page.text_content("#edited") == "1 to 3"
        page.evaluate("location.hash = '#seed=1e99&d1=x&class=cow&to=&at=7'")  # nothing that it could be
        wait_until_drawn(page, str(2**32 - 1))
        eventually(lambda: page.evaluate("location.hash") == f"#seed={2**32 - 1}")


def test_what_is_shown_is_what_is_marked(browser, address):
    with opened(browser, address, DESKTOP) as page:
        seen = [drawn(page)]
        marked = page.locator("#tiles [aria-pressed=true]")

        def changes_to(words, act):
            act()
            eventually(lambda: (drawn(page) != seen[-1]).any())
            seen.append(drawn(page))
            assert (page.text_content("#edited"), page.is_enabled("#reset")) == (words, words != "")

        assert page.evaluate(
            "[...document.querySelectorAll('[type=range]')].every(({labels}) => labels.length)"
        )
        direction = page.locator("#sliders input").first
        changes_to("changed", lambda: direction.fill("3"))
        changes_to("", lambda: page.click("#tiles button:nth-child(4)"))  # a tile is the seed's own image
        assert (direction.input_value(), page.input_value("#seed")) == ("0", "3")
        tile = "document.querySelector('#tiles button:nth-child(4) canvas').toDataURL()"
        before = page.evaluate(tile)
        page.locator("#variety input").fill("-0.8")
        eventually(lambda: page.evaluate(tile) != before and page.is_enabled("#reset"))
        page.click("#reset")
        eventually(lambda: page.evaluate(tile) == before and (drawn(page) == seen[-1]).all())
        changes_to("", lambda: page.select_option("#class", "cat"))
        eventually(lambda: page.evaluate(tile) != before)
        page.evaluate("document.querySelector('#pace').append(new Option('', 0.2, true, true))")
        page.evaluate("""() => { window.passed = [];
            new MutationObserver(() => passed.push(document.body.dataset.ready))
                .observe(document.body, {attributeFilter: ['data-ready']}); }""")
        page.click("#walk")
        assert page.text_content("#walk") == "Stop"
        eventually(lambda: {"5", "7", "1"} <= set(page.evaluate("passed")))  # round and round
        page.click("#walk")
        assert (page.text_content("#walk"), marked.get_attribute("aria-label")) == (
            "Walk",
            f"seed {page.input_value('#seed')}",
        )
        page.emulate_media(reduced_motion="reduce")
        page.click("#tiles button:nth-child(1)")
        stops = page.evaluate("""() => new Promise((resolve) => {
            const words = new Set();
            document.querySelector('#walk').click();
            setTimeout(() => resolve([...words]), 700);
            setInterval(() => words.add(document.querySelector('#edited').textContent), 5); })""")
        assert stops == [""]  # from seed to seed, with nothing between


def saved(page, what, size="1 0"):
    page.click("#save")
    page.select_option("#what", what)
    page.select_option("#size", size)
    with page.expect_download(timeout=120_000) as download:
        page.click("#download")
    page.click("#close")
    return download.value.suggested_filename, download.value.path()


SHEET = """window.MediaRecorder = class extends MediaRecorder {
        constructor(...given) { super(...given); window.recorder = this; } };
    navigator.canShare = () => true;
    navigator.share = async ({files}) => { window.shared = [files[0].name, files[0].type, files[0].size]; };"""


def test_what_is_saved_is_what_is_shown_and_tells_its_seed(browser, address):
    with opened(browser, address, PHONE, "#seed=6", ready="6", script=SHEET) as page:
        shown = drawn(page)
        name, path = saved(page, "image")
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image.convert("RGBA")), shown)
            assert (name, image.text["Seed"], image.text["Title"]) == ("seed-0006.png", "6", "tiny")
            assert (image.text["Copyright"], image.text["Source"]) == ("CC0-1.0", "64 cats & dogs")
        _, path = saved(page, "image", "4 0")
        np.testing.assert_array_equal(
            np.asarray(Image.open(path).convert("RGBA")), shown.repeat(4, 0).repeat(4, 1)
        )
        name, path = saved(page, "tiles", "4 1")
        with Image.open(path) as image:
            assert (name, image.size, image.text["Seed"]) == (
                "seeds.png",
                (4 * 64, 2 * 64),
                "0 1 2 3 4 5 6 7",
            )
        name, path = saved(page, "walk", "4 0")
        assert name in ("walk.mp4", "walk.webm") and path.stat().st_size > 1000
        page.locator("#sliders input").first.fill("1")
        eventually(lambda: page.text_content("#edited") == "changed")
        name, path = saved(page, "image")
        assert name == "seed-0006-changed.png"  # no seed's any more
        page.click("#save")
        page.evaluate("Object.defineProperty(navigator, 'userActivation', {value: undefined})")  # Safari 15
        page.click("#share")
        eventually(lambda: page.evaluate("window.shared") == [name, "image/png", path.stat().st_size])
        page.evaluate("""() => { const of = HTMLCanvasElement.prototype, own = of.toBlob;
            of.toBlob = function (done) { of.toBlob = own; window.goOn = () => own.call(this, done); }; }""")
        page.select_option("#size", "8 0")
        page.click("#share")
        eventually(lambda: page.evaluate("'goOn' in window"))
        assert page.evaluate("document.activeElement.id") == "close"  # and not nowhere, while the others rest
        page.select_option("#size", "1 0")  # while it is still made
        page.evaluate("goOn()")
        page.click("#share:enabled")
        eventually(lambda: page.evaluate("window.shared") == [name, "image/png", path.stat().st_size])
        eventually(lambda: page.evaluate("document.activeElement.id") == "share")
        page.select_option("#what", "walk")
        page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        page.click("#share")
        eventually(lambda: "keep this page in front" in page.text_content("#saved"))
        page.evaluate("delete document.hidden")
        page.click("#share:enabled")
        eventually(lambda: page.evaluate("window.recorder?.state") == "recording")
        page.click("#close")
        eventually(lambda: page.evaluate("window.recorder.state") == "inactive")
        with page.expect_download() as download:  # before it has been drawn
            page.evaluate("""const at = (id) => document.getElementById(id);
                at('what').value = 'image';
                at('seed').value = 9;
                at('seed').onchange({target: at('seed')});
                at('save').onclick();
                at('download').onclick();""")
        page.wait_for_selector("body[data-ready='9']")
        with Image.open(download.value.path()) as image:
            assert (download.value.suggested_filename, image.text["Seed"]) == ("seed-0009.png", "9")
            pixels = np.asarray(image.convert("RGBA"))
        np.testing.assert_array_equal(pixels, drawn(page))


@contextmanager
def answering(page, address, **answer):
    """The host's own answer replaced by that one, or by none."""
    page.route(address, lambda route: route.fulfill(**answer) if answer else route.abort())
    yield
    page.unroute(address)


def test_an_error_names_its_cause_and_goes_when_all_is_well(browser, address):
    page = browser.new_context().new_page()
    answers = {
        "model.json is not on this host (404)": {"status": 404},
        "model.json is not on this host, which answers with a web page": {
            "content_type": "text/html",
            "body": "<p>",
        },
        "model.json is a web page on this host": {
            "content_type": "application/json",
            "body": "<!doctype html>",
        },
        "model.json is cut off or damaged": {"body": '{"name": "ti'},
        "this page is too old for it": {"json": {"format_version": 2}},
    }
    for says, answer in answers.items():
        with answering(page, "**/model.json", **answer):
            page.goto(f"{address}/web/")
            assert says in problem(page) and page.is_visible("#retry")
            assert page.is_hidden("#loading") and page.is_disabled("#new")
    page.clock.install()
    page.route("**/model.json", lambda route: None)  # answers never
    page.reload()
    page.wait_for_selector("#loading:visible")
    page.clock.fast_forward(31_000)
    assert problem(page) == "The host stopped answering while model.json was fetched."
    page.unroute("**/model.json")
    page.click("#retry")
    wait_until_drawn(page)
    assert page.is_hidden("#problem")
    whole = page.request.get(f"{address}/{FILE}").body()
    answers = {
        "is not on this host (404)": {"status": 404},
        f"is cut off: 500 bytes of {len(whole)}": {"body": whole[:500]},
        "is not the file that model.json describes": {"body": whole[:-1] + b"?"},
        "could not be fetched": {},
    }
    before = drawn(page)
    for says, answer in answers.items():
        page.evaluate("caches.delete('keras-dcgan')")
        with answering(page, "**/*.tflite?*", **answer):
            page.evaluate("document.querySelector('#file').onchange()")
            assert f"{FILE} {says}" in problem(page)
        page.locator("#sliders input").first.fill("1")  # what drew before goes on
        page.wait_for_selector("#problem", state="hidden")
        page.click("#reset")
        eventually(lambda: (drawn(page) == before).all())
    page.context.close()


def test_the_file_that_is_advised_comes_first_and_then_the_smallest(browser, address):
    page = browser.new_context().new_page()
    about = page.request.get(f"{address}/model.json").json()
    sizes = {"fp32": 4, "fp16": 3, "int8": 2, "int8_full": 1}
    of = about["files"][FILE]
    about["files"] = {f"generator_{name}.tflite": of | {"bytes": size} for name, size in sizes.items()}
    with answering(page, "**/model.json", json=about):
        page.goto(f"{address}/web/")
        problem(page)  # these files are not here
        listed = page.evaluate("[...document.querySelector('#file').options].map((o) => o.value)")
    assert listed == [f"generator_{name}.tflite" for name in ("int8", "int8_full", "fp16", "fp32")]
    page.context.close()


def test_after_a_model_that_fails_another_can_be_chosen(browser, address):
    page = browser.new_context().new_page()
    with answering(page, f"**/{FILE}?*"):
        page.goto(f"{address}/web/")
        assert f"{FILE} could not be fetched" in problem(page)
    assert page.is_visible("#file") and page.is_disabled("#new")
    page.evaluate("document.querySelector('#edges').onchange()")  # has nothing to show anew
    assert f"{FILE} could not be fetched" in problem(page)
    adapter = "navigator.gpu?.requestAdapter().then(Boolean)"
    processors = ["wasm", "webgpu"] if page.evaluate(adapter) else ["wasm"]
    assert (
        page.evaluate("[...document.querySelector('#accelerator').options].map((o) => o.value)") == processors
    )
    page.evaluate("document.querySelector('#accelerator').append(new Option('none', 'none', true, true))")
    page.evaluate("document.querySelector('#file').onchange()")
    eventually(lambda: "could not be fetched" not in problem(page))
    page.select_option("#accelerator", "wasm")
    wait_until_drawn(page)
    wait_until_kept(page)
    page.select_option("#accelerator", "none")
    problem(page)
    assert page.input_value("#accelerator") == "wasm"  # the list says what draws
    page.context.close()


def test_what_keeps_the_page_from_starting_is_said(browser, out):
    page = browser.new_context().new_page()
    page.goto((out / "web" / "index.html").as_uri())
    assert "Open this page through a server" in problem(page) and page.is_hidden("#retry")
    for policy, refused in (("script-src 'self'", "wasm-eval"), ("connect-src 'none'", "connect-src")):
        with serving(out, policy) as address:
            page.goto(f"{address}/web/")
            says = problem(page)
            assert "Content-Security-Policy refuses" in says and refused in says
    with serving(out, "script-src 'none'") as address:
        page.goto(f"{address}/web/")
        assert page.is_visible("#silent") and page.is_hidden("#loading")
    with serving(out) as address:
        with answering(page, "**/latents.js", status=404):
            page.goto(f"{address}/web/")
            assert "could not be fetched: app.js, or what it imports" in problem(page)
        with answering(page, "**/app.js", content_type="text/javascript", body="let of = a ??=? b"):
            page.goto(f"{address}/web/")
            assert "This browser is too old for the page" in problem(page) and page.is_hidden("#retry")
    page.context.close()


def test_no_name_makes_it_scroll_sideways(browser, address, out):
    about = json.loads((out / "model.json").read_text())
    about["name"], about["classes"] = "a" * 300, ["<b>" + "c" * 300, "d" * 300]
    about |= {"direction_names": ["hair " * 60, "", "e" * 300], "licence": "f" * 300, "data_note": "g" * 300}
    page = browser.new_context().new_page()
    page.route("**/model.json", lambda route: route.fulfill(json=about))
    page.route("**/*.wasm?*", lambda route: route.abort())  # the layout stands before anything draws
    page.goto(f"{address}/web/#class=" + "d" * 300)
    assert "could not be fetched" in problem(page)
    for width, height in ((320, 568), (390, 844), (844, 390), (768, 1024), (1280, 800)):
        page.set_viewport_size({"width": width, "height": height})
        wide = page.evaluate(
            "[document.documentElement, document.querySelector('main')].map((e) => e.scrollWidth - e.clientWidth)"
        )
        assert (wide, width) == ([0, 0], width)
    assert page.locator("#sliders span").all_text_contents()[:3] == ["hair " * 60, "Direction 2", "e" * 300]
    page.context.close()


class Caching(http.server.SimpleHTTPRequestHandler):
    """An ordinary host: for an hour no browser asks again."""

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, *_):
        pass


def other_export(out, place):
    """As of another run: the largest weights with their signs turned, another name, the same file names."""
    from ai_edge_litert.tools import flatbuffer_utils

    shutil.copytree(out, place)
    model = flatbuffer_utils.read_model_from_bytearray(bytearray((place / FILE).read_bytes()))
    largest = max((buffer for buffer in model.buffers if buffer.data is not None), key=lambda b: len(b.data))
    largest.data = np.frombuffer((-np.asarray(largest.data).view(np.float32)).tobytes(), np.uint8)
    data = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    (place / FILE).write_bytes(data)
    about = json.loads((place / "model.json").read_text()) | {"name": "other"}
    about["files"][FILE] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (place / "model.json").write_text(json.dumps(about))
    return about["files"][FILE]["sha256"]


def kept(page) -> list[str]:
    script = "caches.open('keras-dcgan').then((c) => c.keys()).then((keys) => keys.map((key) => key.url))"
    return page.evaluate(script)


def wait_until_kept(page):
    """Until all that an offline visit needs is in the cache, and somebody is there to look for it."""
    needed = """[location.origin + location.pathname,
        ...performance.getEntriesByType('resource').map((entry) => entry.name)]"""
    eventually(
        lambda: (
            page.evaluate("navigator.serviceWorker.controller !== null")
            and set(page.evaluate(needed)) <= set(kept(page))
        )
    )


def test_while_a_host_answers_wrongly_the_page_is_the_one_from_before(browser, out, tmp_path):
    answers = []

    class Failing(Caching):
        def send_head(self):
            if not answers or "model.json" not in self.path:
                return super().send_head()
            status, kind = answers[0]
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(out, handler=Failing) as address:
        page = browser.new_context().new_page()
        page.goto(f"{address}/web/")
        wait_until_drawn(page)
        wait_until_kept(page)
        for answer in ((503, "application/json"), (200, "text/html")):
            answers[:] = [answer]
            page.reload()
            wait_until_drawn(page)
            assert page.is_hidden("#problem")
        page.context.close()


CHOOSE = "(name) => { const list = document.querySelector('#file'); list.value = name; list.onchange(); }"


@contextmanager
def loading(page, name):
    """While that file is on its way."""
    held = []
    page.route(f"**/{name}?*", lambda route: held.append(route))
    page.evaluate(CHOOSE, name)
    eventually(lambda: page.evaluate("1") and held)
    yield held[0]
    page.unroute(f"**/{name}?*")


@pytest.fixture(scope="module")
def three_files(out, tmp_path_factory):
    """An export whose second and third file are of another generator."""
    folder = tmp_path_factory.mktemp("three")
    export, other = shutil.copytree(out, folder / "export"), folder / "other"
    other_export(out, other)
    about, of_other = (json.loads((each / "model.json").read_text()) for each in (export, other))
    for name in ("second.tflite", "third.tflite"):
        about["files"][name] = of_other["files"][FILE]
        shutil.copy(other / FILE, export / name)
    about["files"][FILE]["bytes"] = 1  # and so the first of the list
    (export / "model.json").write_text(json.dumps(about))
    with serving(export) as address:
        yield address


def test_a_file_that_is_chosen_while_another_loads_is_the_next_to_draw(browser, three_files):
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{three_files}/web/")
    wait_until_drawn(page)
    with loading(page, "second.tflite") as second:
        page.evaluate(CHOOSE, "third.tflite")
        second.continue_()
        eventually(lambda: page.evaluate("1") and any("third.tflite" in url for url in asked))
        assert page.input_value("#file") == "third.tflite"
    page.close()


def test_what_is_asked_for_while_a_file_loads_is_what_comes_of_it(browser, three_files):
    page = browser.new_context().new_page()
    page.goto(f"{three_files}/web/")
    wait_until_drawn(page)
    of_first = drawn(page)
    with loading(page, "second.tflite") as second:
        page.click("#save")
        page.select_option("#size", "1 0")
        with page.expect_download() as download:
            page.click("#download")
            page.click("#close")
            second.continue_()
        with Image.open(download.value.path()) as image:  # of the file that its address names
            assert "file=second.tflite" in image.text["Address"]
            saved = np.asarray(image.convert("RGBA"))
    eventually(lambda: (drawn(page) != of_first).any())
    np.testing.assert_array_equal(saved, drawn(page))
    of_second = drawn(page)
    eventually(lambda: page.evaluate("location.hash") == "#seed=0&file=second.tflite")
    page.evaluate("location.hash = '#seed=0'")  # of the first again
    eventually(lambda: (drawn(page) == of_first).all())
    assert page.input_value("#file") == FILE
    page.evaluate("caches.delete('keras-dcgan')")
    with loading(page, "second.tflite") as second:
        page.evaluate("location.hash = '#seed=5&file=second.tflite'")
        page.locator("#sliders input").first.fill("1")
        eventually(lambda: page.evaluate("location.hash") == "#seed=5&d1=1&file=second.tflite")
        second.abort()
        assert "second.tflite could not be fetched" in problem(page)
        wait_until_drawn(page, "5")
        eventually(lambda: page.evaluate("location.hash") == "#seed=5&d1=1")
        assert page.is_visible("#problem")  # though something was drawn after it
    assert (page.input_value("#seed"), page.input_value("#file")) == ("5", FILE)
    page.evaluate("location.hash = '#seed=5&file=second.tflite'")  # once more
    eventually(lambda: "second.tflite on the CPU" in page.text_content("#status"))
    page.goto(f"{three_files}/web/#file=constructor")
    page.reload()
    wait_until_drawn(page)
    assert (drawn(page) == of_first).all() and (drawn(page) != of_second).any()
    page.context.close()


def test_an_export_that_cannot_be_fetched_leaves_the_one_that_is_kept(browser, out, tmp_path):
    export = shutil.copytree(out, tmp_path / "export")
    with serving(export) as address:
        page = browser.new_context().new_page()
        page.goto(f"{address}/web/index.html")
        wait_until_drawn(page)
        wait_until_kept(page)
        about = json.loads((export / "model.json").read_text())
        about["files"][FILE]["sha256"] = "0" * 64
        (export / "model.json").write_text(json.dumps(about))
        (export / FILE).rename(export / "not_yet_here")
        page.reload()
        assert "is not on this host (404)" in problem(page)
        page.context.set_offline(True)
        page.reload()
        wait_until_drawn(page)
        page.context.close()


def test_an_address_that_is_given_while_the_page_loads_is_what_it_draws(browser, address):
    page, held = browser.new_page(), []
    page.route(f"**/{FILE}?*", lambda route: held.append(route))
    page.goto(f"{address}/web/")
    eventually(lambda: page.evaluate("1") and held)
    page.evaluate("location.hash = '#seed=5&d1=2'")
    held[0].continue_()
    page.unroute(f"**/{FILE}?*")
    wait_until_drawn(page, "5")
    eventually(lambda: page.evaluate("location.hash") == "#seed=5&d1=2")
    page.close()


def test_another_export_at_the_same_address_is_what_is_shown_also_offline(browser, out, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(out, first)
    sha256 = other_export(out, second)
    with serving(first, handler=Caching) as address:
        page = browser.new_context().new_page()
        page.goto(f"{address}/web/index.html")  # an installed page opens at ./
        wait_until_drawn(page)
        wait_until_kept(page)
        shown = drawn(page)
        first.rename(tmp_path / "gone")
        second.rename(first)
        page.reload()
        wait_until_drawn(page)
        assert page.title() == "other" and (drawn(page) != shown).any()
        other = drawn(page)
        eventually(lambda: [url for url in kept(page) if ".tflite" in url] == [f"{address}/{FILE}?{sha256}"])
        wait_until_kept(page)
        page.context.set_offline(True)
        page.goto(f"{address}/web/?file={FILE}#seed=0")
        page.reload()
        wait_until_drawn(page)
        np.testing.assert_array_equal(drawn(page), other)
        eventually(lambda: f"file={FILE}" in page.evaluate("location.hash"))  # else ?file= would win for ever
        page.evaluate("caches.delete('keras-dcgan')")
        page.evaluate("document.querySelector('#file').onchange()")
        assert problem(page) == f"There is no network, and {FILE} has not been fetched before."
        page.context.close()


def test_seeds_and_arcs_are_those_of_python(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/web/icon.svg")  # of that origin, and nothing to wait for
    for seed in (0, 7, 2**32 - 1):
        z = page.evaluate(f"import('/web/latents.js').then((m) => Array.from(m.latent({seed}, 101)))")
        np.testing.assert_allclose(z, latents([seed], 101)[0], atol=1e-6)
    a, b = latents([1, 2], 12)
    script = "([a, b]) => import('/web/latents.js').then((m) => Array.from(m.slerp(a, b, 0.3)))"
    np.testing.assert_allclose(page.evaluate(script, [a.tolist(), b.tolist()]), slerp(a, b, 0.3), atol=1e-6)
    page.close()


ABOUT = {"name": '<cats> & "dogs"', "width": 96, "height": 64}


def install_for(about, out) -> bool:
    (out / "model.json").write_text(json.dumps(about))
    return web.install(out)


def test_what_a_killed_export_left_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / ".web.123.part" / "litert").mkdir(parents=True)
    (tmp_path / ".web.part").mkdir()
    install_for(ABOUT, tmp_path)
    assert not list(tmp_path.glob(".web*"))


def test_without_npm_the_page_points_at_the_pinned_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not install_for(ABOUT, tmp_path)
    runtime = (tmp_path / "web" / "runtime.js").read_text()
    assert f"'{web.CDN}/+esm'" in runtime and f"PLACE = '{web.CDN}/wasm/'" in runtime
    assert f"VERSION = '{web.VERSION}'" in runtime and "./litert" not in runtime
    assert sorted(path.name for path in (tmp_path / "web").iterdir()) == sorted(web.PAGE)


def test_the_page_knows_its_run_before_any_script(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    install_for(ABOUT, tmp_path)
    page = (tmp_path / "web" / "index.html").read_text()
    for tag in ("<title>{}</title>", '<h1 id="title">{}</h1>', 'apple-mobile-web-app-title" content="{}">'):
        assert tag.format("&lt;cats&gt; &amp; &quot;dogs&quot;") in page
    assert json.loads((tmp_path / "web" / "manifest.webmanifest").read_text())["name"] == ABOUT["name"]
    assert "--aspect: 1.5;" in (tmp_path / "web" / "style.css").read_text()


def test_the_page_is_small():
    page = Path(web.__file__).parent
    assert (
        sum(len((page / name).read_bytes()) for name in web.PAGE if name.endswith((".html", ".css", ".js")))
        < 41_300
    )


def test_an_npm_that_packs_nothing_is_as_none(tmp_path, monkeypatch):
    (tmp_path / "npm").write_text("#!/bin/sh\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert not web.fetch_runtime(tmp_path / "litert") and not (tmp_path / "litert").exists()
    (tmp_path / "npm").write_text("#!/bin/sh\ntouch other.tgz\n")
    assert not web.fetch_runtime(tmp_path / "litert") and not (tmp_path / "litert").exists()


@pytest.fixture
def asked(tmp_path):
    """A folder with a page, and what its server answers: (path, **headers) -> status, headers, body."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("<h1>here</h1>" * 99)
    (tmp_path / "model.json").write_text("{}")
    host = server(tmp_path, 0)
    threading.Thread(target=host.serve_forever, args=(0.01,), daemon=True).start()

    def ask(path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", host.server_port)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return SimpleNamespace(status=answer.status, headers=answer.headers, body=answer.read())

    yield ask
    host.shutdown()
    host.server_close()


def test_the_server_leads_to_the_page_and_lets_no_browser_keep_it(asked):
    for path in ("/", "/web"):
        answer = asked(path + "?file=a")
        assert (answer.status, answer.headers["Location"]) == (302, "/web/?file=a")
    answer = asked("/web/")
    assert (answer.status, answer.body[:13]) == (200, b"<h1>here</h1>")
    # or another run's page would be mixed up with this one
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_server_answers_for_no_name_that_somebody_else_gave_it(asked):
    names = {
        "localhost:80": 200,
        "192.168.1.7:8000": 200,
        "evil.test:8000": 421,
        "127.0.0.1.evil.test": 421,
        "": 421,
    }
    for name, status in names.items():
        assert (name, asked("/model.json", Host=name).status) == (name, status)


def test_a_phone_in_the_same_network_is_told_the_address_and_answered(tmp_path, monkeypatch, capsys):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("here")
    answers = []

    def serve_once(host):
        (address,) = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "http" in line]
        threading.Thread(target=host.handle_request, daemon=True).start()
        answers.append(
            (address, urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address).read())
        )

    monkeypatch.setattr(Server, "serve_forever", serve_once)
    for host, told in (("0.0.0.0", outward()), ("127.0.0.2", "127.0.0.2")):
        main(["--run", str(tmp_path), "--port", "0", "--host", host])
        address, answer = answers.pop()
        assert (urllib.parse.urlsplit(address).hostname, answer) == (told, b"here")


def test_by_that_address_it_draws_the_same(browser, address, out):
    if outward() == "127.0.0.1":
        pytest.skip("this machine is in no network")
    images = []
    with server(out, 0, "0.0.0.0") as host:
        threading.Thread(target=host.serve_forever, args=(0.01,), daemon=True).start()
        for place in (address, f"http://{outward()}:{host.server_port}"):
            page = browser.new_page()
            page.goto(f"{place}/web/")
            wait_until_drawn(page)
            images.append(drawn(page))
            is_secure = page.evaluate("isSecureContext")  # without it no digest, no cache, no threads
            page.close()
        host.shutdown()
    assert not is_secure and np.array_equal(*images)


@pytest.mark.parametrize(
    "host, complaint",
    [
        ("my-laptop", "expected an IPv4 address, or 0.0.0.0 for all of them, received 'my-laptop'"),
        (
            "203.0.113.99",
            "expected an IPv4 address, or 0.0.0.0 for all of them, of this machine, received 203.0.113.99",
        ),
    ],
)
def test_an_address_of_nobody_here_is_one_line(host, complaint, asked, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--run", str(tmp_path), "--port", "0", "--host", host])
    assert (stop.value.code, capsys.readouterr().err) == (2, f"web: --host: {complaint}\n")


def test_the_server_stays_in_the_folder(asked, tmp_path):
    (tmp_path / "web" / "out.html").symlink_to("/etc/hostname")
    (tmp_path / "web" / "in.json").symlink_to(tmp_path / "model.json")
    (tmp_path / "up").symlink_to("/etc")
    paths = {"/web/in.json": 200, "/web/out.html": 404, "/up/hostname": 404, "/../../etc/hostname": 404}
    for path, status in (paths | {"/a%00b": 404, "/none": 404, "/up/": 404}).items():
        assert (path, asked(path).status) == (path, status)


def test_the_server_packs_what_packs_well(asked, tmp_path):
    answer = asked("/web/", **{"Accept-Encoding": "gzip, br"})
    whole = (tmp_path / "web" / "index.html").read_bytes()
    assert answer.headers["Content-Encoding"] == "gzip" and len(answer.body) < len(whole)
    assert gzip.decompress(answer.body) == whole
    assert asked("/web/").headers["Content-Encoding"] is None


@pytest.fixture
def cdn(out, tmp_path):
    """The address of another origin, which serves LiteRT.js as jsDelivr does: `+esm` is a package whose
    imports are paths there."""
    runtime, packages = out / "web" / "litert", tmp_path / "cdn" / "npm" / "@litertjs"
    shutil.copytree(runtime, packages / "core" / "wasm")
    (packages / "wasm-utils").mkdir()
    (packages / "wasm-utils" / "+esm").write_bytes((runtime / "wasm-utils.js").read_bytes())
    core = (runtime / "index.js").read_text().replace('"./wasm-utils.js"', '"/npm/@litertjs/wasm-utils/+esm"')
    (packages / "core" / "+esm").write_text(core)

    class Cdn(http.server.SimpleHTTPRequestHandler):
        extensions_map = Handler.extensions_map | {"": "text/javascript"}

        def end_headers(self):
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Cross-Origin-Resource-Policy", "cross-origin")
            super().end_headers()

        def log_message(self, *_):
            pass

    with serving(tmp_path / "cdn", handler=Cdn) as address:
        yield f"{address}/npm/@litertjs/core"


def test_with_the_runtime_from_elsewhere_it_draws_and_works_offline_too(
    browser, out, cdn, tmp_path, monkeypatch
):
    export = shutil.copytree(out, tmp_path / "export")
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm
    monkeypatch.setattr(web, "CDN", cdn)
    assert not web.install(export)
    with serving(export) as address:
        page = browser.new_context().new_page()
        with answering(page, f"{cdn}/**"):
            page.goto(f"{address}/web/")
            assert "LiteRT.js, which draws here, could not be fetched" in problem(page)
        page.click("#retry")
        wait_until_drawn(page)
        wait_until_kept(page)
        page.context.set_offline(True)
        page.reload()
        wait_until_drawn(page)
        page.context.close()


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
        "web: --run: expected an export with a page (python -m keras_dcgan.export), received "
    )
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("")
    with server(tmp_path, 0) as first, pytest.raises(SystemExit) as stop:
        main(["--run", str(tmp_path), "--port", str(first.server_port)])
    taken = f"web: --port: expected a free one, received {first.server_port} (Address already in use)\n"
    assert (stop.value.code, capsys.readouterr().err) == (2, taken)
