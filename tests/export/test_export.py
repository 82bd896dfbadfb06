"""`python -m keras_dcgan.export`: what the files are, that each is the Keras generator, and that one which is not never
ships."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import conftest
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers.number_types import Float32Flags
from flatbuffers.table import Table

from keras_dcgan.export import convert, edge_sample, graph, parity, quality
from keras_dcgan.export.__main__ import main
from keras_dcgan.measure import embeddings
from keras_dcgan.pictures.latents import directions, latents

REPOSITORY = Path(__file__).resolve().parents[2]
LATENT_DIM = 12
CLASSES = ("blue", "green", "red")
FOR_GPU = ("generator_fp32.tflite", "generator_fp16.tflite", "generator_int8.tflite")
TFLITE = (*FOR_GPU, "generator_int8_full.tflite")
WITHOUT_QUALITY = ("--samples", "0")  # of 2,000 images it takes longer than all else
BESIDE = ("README.md", "edge_sample.py", "model.json", "samples.png")
FOR_CPU = ("generator_fp32.tflite", "generator_int8.tflite")  # without transposed convolutions


lively_generator = functools.partial(conftest.lively_generator, latent_dim=LATENT_DIM)


@pytest.fixture(scope="module")
def model():
    return lively_generator()


def drawn(file, signature="sample", **inputs):
    return np.stack(list(edge_sample.draw(edge_sample.load(file, signature=signature)[0], inputs)))


def save_run(model, folder, classes=()):
    folder.mkdir()
    model.save(folder / "generator.keras")
    (folder / "data.json").write_text(json.dumps({"classes": classes}))
    return folder


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    return save_run(model, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def command(run):
    """The user's own command, once."""
    # the page is test_web's
    typed = [*WITHOUT_QUALITY, "--run", run, "--formats", "saved_model,fp32,fp16,int8,int8_full"]
    return subprocess.run(
        [sys.executable, "-m", "keras_dcgan.export", *typed], cwd=REPOSITORY, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def out(run, command):
    assert command.returncode == 0, command.stderr
    return run / "export"


@pytest.fixture(scope="module")
def conditional_model():
    return lively_generator(classes=len(CLASSES))


@pytest.fixture(scope="module")
def conditional_out(conditional_model, tmp_path_factory):
    run = save_run(conditional_model, tmp_path_factory.mktemp("runs") / "conditional", CLASSES)
    main(["--run", str(run), "--formats", "saved_model,fp32"])
    return run / "export"


def test_the_command_says_what_it_made_and_what_to_type_next_and_nothing_else(command, out):
    assert command.stderr == ""
    header, notes, columns, *rows, card, following = command.stdout.splitlines()
    assert columns.split() == ["MB", "dB", "ms", "TFLite", "swd", "fid"]
    assert [row.split()[0] for row in rows] == ["saved_model", *TFLITE]
    assert (
        card.split()
        == "README.md the model card: no figures (python -m keras_dcgan.evaluate), no licence (--licence)".split()
    )
    assert following == f"Next: python {out}/edge_sample.py --model {out} --seeds 0-15 --out grid.png"
    assert sorted(path.name for path in out.iterdir()) == sorted(["saved_model", *TFLITE, *BESIDE])


@pytest.mark.parametrize("name", TFLITE)
def test_a_file_has_three_named_signatures_of_fixed_shapes(out, name):
    interpreter = Interpreter(str(out / name))
    assert interpreter.get_signature_list() == {
        "sample": {"inputs": ["z"], "outputs": ["images"]},
        "sample_rgb": {"inputs": ["z"], "outputs": ["pixels"]},
        "sample_rgba": {"inputs": ["z"], "outputs": ["pixels"]},
    }
    outputs = {
        "sample": ("images", np.float32, 3),
        "sample_rgb": ("pixels", np.uint8, 3),
        "sample_rgba": ("pixels", np.uint8, 4),
    }
    for signature, (output, dtype, channels) in outputs.items():
        runner = interpreter.get_signature_runner(signature)
        z, image = runner.get_input_details()["z"], runner.get_output_details()[output]
        assert (z["shape"].tolist(), z["shape_signature"].tolist(), z["dtype"]) == (
            [1, 12],
            [1, 12],
            np.float32,
        )
        assert image["shape"].tolist() == image["shape_signature"].tolist() == [1, 16, 16, channels]
        assert image["dtype"] == dtype


def operations_of(file):
    flatbuffer = flatbuffer_utils.read_model(file)
    operations = [
        flatbuffer_utils.opcode_to_name(flatbuffer, index) for index in range(len(flatbuffer.operatorCodes))
    ]
    assert [code.customCode for code in flatbuffer.operatorCodes] == [None] * len(operations)
    return operations


@pytest.mark.parametrize("name", TFLITE)
def test_a_file_needs_builtin_operations_only(out, name):
    operations = operations_of(out / name)
    assert ("CONV_2D" if name in FOR_CPU else "TRANSPOSE_CONV") in operations and "CUSTOM" not in operations


@pytest.mark.parametrize("name", FOR_GPU)
def test_a_phones_gpu_takes_the_whole_graph(out, name):
    found = [
        operation for operation in graph.operations((out / name).read_bytes()) if operation[0] != "DEQUANTIZE"
    ]  # of fp16
    int8 = "int8" in name
    dense = [
        ("FULLY_CONNECTED", 9 if int8 else 1),
        ("RESHAPE", 1),
    ]  # with its ReLU, which every GPU knows there
    as_convolution = [("PAD", 1), ("CONV_2D", 5 if int8 else 1), ("DEPTH_TO_SPACE", 1), ("STRIDED_SLICE", 1)]
    doubling = as_convolution if name in FOR_CPU else [("TRANSPOSE_CONV", 3)]
    layers = sorted(dense + doubling + [("RELU", 1)] + doubling + [("TANH", 1)])
    pixels = [("MUL", 1), ("ADD", 1), ("CAST", 1)]
    assert sorted(found) == sorted(3 * layers + 2 * pixels + [("CONCATENATION", 1)])
    model = flatbuffer_utils.read_model(out / name)
    options = [operator.builtinOptions for subgraph in model.subgraphs for operator in subgraph.operators]
    fused = {
        option.fusedActivationFunction
        for option in options
        if isinstance(option, schema.TransposeConvOptionsT)
    }
    assert fused == (set() if name in FOR_CPU else {schema.ActivationFunctionType.NONE})


def test_between_its_float_ends_int8_full_is_int8_alone(out):
    """What an NPU gets: the rest of the graph is the way in, QUANTIZE, and the way out, DEQUANTIZE and for
    pixels CAST."""
    layers = ["FULLY_CONNECTED", "RESHAPE", "TRANSPOSE_CONV", "TRANSPOSE_CONV", "TANH"]
    pixels = ["MUL", "ADD"]
    assert [name for name, _ in graph.operations((out / TFLITE[3]).read_bytes())] == [
        *("QUANTIZE", *layers, "DEQUANTIZE"),
        *("QUANTIZE", *layers, *pixels, "DEQUANTIZE", "CAST"),
        *("QUANTIZE", *layers, *pixels, "CONCATENATION", "DEQUANTIZE", "CAST"),
    ]
    model, between = flatbuffer_utils.read_model(out / TFLITE[3]), ("QUANTIZE", "DEQUANTIZE", "CAST")
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) not in between:
                assert {subgraph.tensors[tensor].type for tensor in operator.outputs} == {
                    schema.TensorType.INT8
                }
            if flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) == "FULLY_CONNECTED":
                kernel = subgraph.tensors[operator.inputs[1]]
                assert len(kernel.quantization.scale) == 1  # TensorFlow Lite Micro and NPUs take no more


def test_sample_rgba_of_int8_full_is_opaque(out):
    assert (drawn(out / TFLITE[3], "sample_rgba", z=latents(range(8), LATENT_DIM))[..., 3] == 255).all()


@pytest.mark.parametrize("weights, activations", [("float32", 0), ("int8", 0), ("int8", 8)])
def test_without_fused_relus_a_graph_draws_the_same_bits(model, tmp_path, monkeypatch, weights, activations):
    rows = convert.inputs_of(range(activations), LATENT_DIM, 0) if activations else None
    convert.write_saved_model(graph.folded(model), tmp_path / "saved", batch=1)
    (tmp_path / "gpu.tflite").write_bytes(convert.to_tflite(tmp_path / "saved", weights, rows))
    monkeypatch.setattr(graph, "for_gpu", lambda content: content)
    fused = convert.to_tflite(tmp_path / "saved", weights, rows)
    (tmp_path / "fused.tflite").write_bytes(fused)
    assert ("TRANSPOSE_CONV", 4) in graph.operations(fused) and graph.least_runtime(fused) == "2.13.0"
    unfused = (tmp_path / "gpu.tflite").read_bytes()
    assert ("TRANSPOSE_CONV", 3) in graph.operations(unfused)
    assert graph.least_runtime(unfused) == "2.3.0"
    z = latents(range(8), LATENT_DIM)
    ours, theirs = (drawn(tmp_path / name, "sample_rgb", z=z) for name in ("gpu.tflite", "fused.tflite"))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("options", [{}, {"upsample": "nearest"}, {"size": (17, 24), "classes": 2}])
def test_batch_norm_folded_into_the_layers_changes_nothing(options):
    model = lively_generator(**options)
    inputs = [latents(range(4), LATENT_DIM), np.array([0, 1, 1, 0])][: len(model.inputs)]
    dense, every = graph.folded(model), graph.for_cpu(model)
    norms = [
        {weight.path.split("/")[0] for weight in network.weights if "norm" in weight.path}
        for network in (dense, every)
    ]
    assert norms == [{"up_0_norm"}, set()]
    for network in dense, every:
        np.testing.assert_allclose(
            network(convert.as_keras_takes(inputs)), model(convert.as_keras_takes(inputs)), atol=1e-5
        )


def test_a_transposed_convolution_as_an_ordinary_one_draws_the_same():
    options = {"strides": 2, "padding": "same", "bias_initializer": "normal"}
    grid = keras.Input((5, 3, 4), name="grid")
    transposed = keras.Model(grid, keras.layers.Conv2DTranspose(6, 4, **options)(grid))
    ordinary = graph.for_cpu(transposed)
    values = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("float32")
    np.testing.assert_allclose(ordinary(values), transposed(values), atol=1e-6)
    assert isinstance(ordinary.layers[1], graph.Subpixel)


@pytest.mark.parametrize("options", [{}, {"upsample": "nearest", "classes": 2}, {"blocks": 1, "classes": 2}])
def test_our_table_of_runtimes_is_the_converters(options, tmp_path):
    """Held against what it writes into files that we leave as they are: without transposed convolutions."""
    model = lively_generator(**options)
    convert.write_saved_model(graph.for_cpu(model), tmp_path / "saved", batch=1)
    rows = convert.inputs_of(range(8), LATENT_DIM, options.get("classes", 0))
    for weights, calibration in (("float32", None), ("float16", None), ("int8", None), ("int8", rows)):
        content = convert.to_tflite(tmp_path / "saved", weights, calibration)
        versions = [graph.SINCE[name][version - 1] for name, version in graph.operations(content)]
        newest = max(versions, key=lambda version: [int(part) for part in version.split(".")])
        assert graph.least_runtime(content) == newest


def test_the_vectors_of_many_classes_are_in_a_file_once(tmp_path):
    """Of float16 in float32, which a phone's GPU reads."""
    model = lively_generator(classes=300)
    convert.write_saved_model(model, tmp_path / "saved", batch=1)
    content = convert.to_tflite(tmp_path / "saved", "float16")
    table = model.get_layer("meaning").embeddings.shape
    flatbuffer = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    sizes = [len(buffer.data) for buffer in flatbuffer.buffers if buffer.data is not None]
    assert sizes.count(4 * table[0] * table[1]) == 1 and sizes.count(2 * table[0] * table[1]) == 0
    (tmp_path / "many.tflite").write_bytes(content)
    inputs = {"z": latents([5], LATENT_DIM), "label": np.array([299], np.int32)}
    (image,) = drawn(tmp_path / "many.tflite", "sample", **inputs)
    np.testing.assert_allclose(image, model([inputs["z"], inputs["label"]])[0], atol=0.01)


def test_the_signatures_share_their_weights_which_each_variant_makes_smaller(model, out):
    def bytes_of_tensors(name):
        flatbuffer = flatbuffer_utils.read_model(out / name)
        used = {tensor.buffer for graph in flatbuffer.subgraphs for tensor in graph.tensors}
        data = [flatbuffer.buffers[number].data for number in used]
        return sum(len(content) for content in data if content is not None)

    fp32, fp16, int8, int8_full = map(bytes_of_tensors, TFLITE)
    weights = 4 * model.count_params()
    assert 0.95 * weights < fp32 < 1.1 * weights  # once, for both signatures
    assert fp16 < 0.6 * fp32 and int8 < 0.5 * fp32 and int8_full < 0.5 * fp32


def test_the_saved_model_takes_any_batch(model, out):
    saved = tf.saved_model.load(str(out / "saved_model"))
    assert set(saved.signatures) == {"sample", "sample_rgb", "sample_rgba", "serving_default"}
    z = latents(range(5), LATENT_DIM)
    images = saved.signatures["sample"](z=tf.constant(z))["images"]
    np.testing.assert_allclose(images, model(z), atol=1e-5)


def test_every_file_draws_what_keras_draws(model, out):
    z = latents(range(100, 116), LATENT_DIM)  # other seeds than those that the export itself compared
    reference = model.predict(z, verbose=0)
    assert np.ptp(reference) > 1.5
    for name, tolerance in zip(TFLITE, (1e-4, 0.01, 0.2, 0.4), strict=True):
        assert np.abs(drawn(out / name, z=z) - reference).max() < tolerance, name


@pytest.mark.parametrize("damage", ["other weights", "NaN", "constant"])
def test_a_file_that_is_not_the_generator_is_refused(damage, run, out, tmp_path, monkeypatch, capsys):
    shutil.copytree(out, tmp_path / "export")  # an earlier export
    other = lively_generator()
    for weight in other.get_layer("to_image").weights:
        weight.assign(weight * {"other weights": -1, "NaN": np.nan, "constant": 0}[damage])
    convert.write_saved_model(other, tmp_path / "other", batch=1)
    sound = convert.to_tflite
    monkeypatch.setattr(
        convert,
        "to_tflite",
        lambda path, weights, _: sound(tmp_path / "other" if weights == "int8" else path, weights),
    )
    with pytest.raises(SystemExit) as stop:
        main(
            [*WITHOUT_QUALITY, "--run", str(run), "--out", str(tmp_path / "export"), "--formats", "fp32,int8"]
        )

    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "generator_int8.tflite" in line
    assert {"other weights": "at least 30 dB", "NaN": "NaN", "constant": "same image"}[damage] in line
    assert {path.name for path in (tmp_path / "export").iterdir()} == {"generator_fp32.tflite", *BESIDE}
    assert list(json.loads((tmp_path / "export" / "model.json").read_text())["files"]) == [
        "generator_fp32.tflite"
    ]


def test_where_nothing_passes_the_earlier_export_stays(run, out, tmp_path, monkeypatch, capsys):
    shutil.copytree(out, tmp_path / "export")
    before = {path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.is_file()}
    monkeypatch.setattr(
        convert, "to_tflite", lambda *_: (out / "generator_int8_full.tflite").read_bytes()
    )  # 42 dB are too few
    with pytest.raises(SystemExit) as stop:
        main(["--run", str(run), "--out", str(tmp_path / "export"), "--formats", "fp32,web"])
    assert stop.value.code == 1 and "generator_fp32.tflite is not written" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("again", [0, 1, 3, 5])
def test_an_export_that_is_stopped_while_it_is_put_in_place_leaves_the_earlier_one(
    again, tmp_path, monkeypatch
):
    """After any number of moves; putting it back is itself stopped after `again` more."""
    new = ("saved_model/weights", *TFLITE[:2], "web/index.html", "README.md", "samples.png", "model.json")
    old = ("model.json", "web/index.html", TFLITE[0], TFLITE[3], "README.md")
    rename, left = convert.files.rename, 0

    def move(here, there):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        rename(here, there)

    def write(folder, names, text):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    monkeypatch.setattr(convert.files, "rename", move)
    for moves in range(11):  # five out, and of six in all but the last
        out = tmp_path / str(moves)
        workshop = out / convert.WORKSHOP
        write(out, old, "old")
        write(out, ["samples.png"], "my own")
        write(workshop, new, "new")
        left = moves
        with pytest.raises(KeyboardInterrupt):
            made = ["saved_model", *TFLITE[:2], "web", "README.md"]
            convert.put_in_place(workshop, out, made, foreign=["samples.png"])
        for moves_back in (again, 99):
            left = moves_back
            with contextlib.suppress(KeyboardInterrupt):
                convert.put_back(workshop, out)
        (workshop / "README.md").unlink()  # a kill while the workshop is removed
        convert.put_back(workshop, out)
        shutil.rmtree(workshop)
        there = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
        assert there == dict.fromkeys(old, "old") | {"samples.png": "my own"}


def test_who_stops_reading_the_table_stops_no_export(run, tmp_path):
    flags = ["--run", str(run), "--out", str(tmp_path / "export"), "--formats", "fp32,int8"]
    typed = [sys.executable, "-m", "keras_dcgan.export", *WITHOUT_QUALITY, *flags]
    with subprocess.Popen(
        typed, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert sorted(json.loads((tmp_path / "export" / "model.json").read_text())["files"]) == [
        TFLITE[0],
        TFLITE[2],
    ]


def test_each_file_is_reported_before_the_next_is_made(model, out, tmp_path, monkeypatch):
    events = []
    files = {"float32": TFLITE[0], "int8": TFLITE[2]}
    monkeypatch.setattr(
        convert,
        "to_tflite",
        lambda path, weights, _: events.append(weights) or (out / files[weights]).read_bytes(),
    )
    convert.export(
        model,
        ["fp32", "int8"],
        tmp_path,
        "tiny",
        report=lambda artefact: events.append(artefact.variant.file),
    )
    assert events == ["float32", TFLITE[0], "int8", TFLITE[2]]


def test_an_export_leaves_nothing_of_an_earlier_one(run, out, tmp_path):
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    (tmp_path / "notes.txt").write_text("the user's own")
    main([*WITHOUT_QUALITY, "--run", str(run), "--out", str(tmp_path), "--formats", "int8"])
    assert {path.name for path in tmp_path.iterdir()} == {"generator_int8.tflite", "notes.txt", *BESIDE}


def test_sample_rgb_rounds_the_ends_and_the_middle_as_to_uint8_does(tmp_path):
    model = lively_generator()
    kernel, bias = model.get_layer("to_image").weights
    kernel.assign(kernel * 0)
    bias.assign([50, -50, 0])  # through tanh: 1, -1, 0
    convert.write_saved_model(model, tmp_path / "saved_model", batch=1)
    (tmp_path / "ends.tflite").write_bytes(convert.to_tflite(tmp_path / "saved_model", "float32"))
    z = latents([0], LATENT_DIM)
    for run in (
        lambda: parity.run_tflite(tmp_path / "ends.tflite", {"z": z}),
        lambda: parity.run_saved_model(tmp_path / "saved_model", {"z": z}),
    ):
        (images, pixels, rgba), *_ = run()
        assert np.unique(rgba, axis=2)[0, 0].tolist() == [[255, 0, 128, 255]]
        assert np.unique(images, axis=2)[0, 0].tolist() == [[1, -1, 0]]
        assert np.unique(pixels, axis=2)[0, 0].tolist() == [[255, 0, 128]]


def test_psnr_by_hand():
    black = np.full((2, 4, 4, 3), -1.0, np.float32)
    assert parity.psnr(black, black + 2) == pytest.approx(0)  # the error is the whole range
    assert parity.psnr(black, black + 0.02) == pytest.approx(40, abs=1e-3)  # a hundredth of it: 20 log10(100)
    assert parity.psnr(black, black) > 200


def test_what_no_generator_draws_is_a_fault():
    images = np.linspace(-1, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4, 1)
    assert parity.broken(images) == []
    assert parity.broken(np.where(images > 0.9, np.nan, images)) == ["draws NaN or infinity"]
    assert parity.broken(images[[0, 0]]) == ["draws the same image for every latent"]
    assert parity.too_far(float("nan"), 30) != []
    pixels = np.floor(images * 127.5 + 128).clip(0, 255).astype(np.uint8)
    assert parity.pixels_differ("sample_rgb", images, pixels) == []
    assert "sample_rgb is 1 grey level" in parity.pixels_differ("sample_rgb", images, pixels ^ 1)[0]
    rgba = np.concatenate([pixels] * 3 + [np.full_like(pixels, 255)], -1)
    assert parity.pixels_differ("sample_rgba", parity.with_alpha(images), rgba) == []
    assert parity.pixels_differ("sample_rgba", parity.with_alpha(images), rgba ^ np.uint8([0, 0, 0, 1])) != []


def test_model_json_holds_what_a_device_needs(model, out):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    about = json.loads((out / "model.json").read_text(), parse_constant=refuse)
    assert (about["format_version"], about["name"], about["classes"]) == (1, "tiny", [])
    assert about["signatures"]["sample"]["inputs"] == {
        "z": {"shape": [1, LATENT_DIM], "dtype": "float32", "distribution": "standard normal"}
    }
    assert [about[key] for key in ("height", "width", "channels", "latent_dim")] == [16, 16, 3, LATENT_DIM]
    assert [golden["seed"] for golden in about["seed"]["golden"]] == [0, 1, 2**32 - 1]
    for golden in about["seed"]["golden"]:
        np.testing.assert_array_equal(np.float32(golden["z"]), latents([golden["seed"]], LATENT_DIM)[0, :8])
    assert about["signatures"]["sample_rgb"]["outputs"] == {
        "pixels": {"shape": [1, 16, 16, 3], "dtype": "uint8", "range": [0, 255]}
    }
    assert about["signatures"]["sample_rgba"]["outputs"]["pixels"]["shape"] == [1, 16, 16, 4]
    assert about["directions"] == directions(model).tolist() and len(about["directions"]) == 6
    assert about["direction_names"] == [f"Direction {number}" for number in range(1, 7)]
    assert list(about["files"]) == ["saved_model", *TFLITE]
    for name in TFLITE:
        content, entry = (out / name).read_bytes(), about["files"][name]
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert entry["psnr"] >= entry["least_psnr"]
    runtimes = [about["files"][name]["min_runtime"] for name in TFLITE]
    assert runtimes == ["2.7.0"] * 4  # for three signatures; their operations are older
    assert "min_runtime" not in about["files"]["saved_model"]


def test_every_file_says_within_itself_what_model_json_says(run, out, tmp_path):
    about = json.loads((out / "model.json").read_text())
    del about["files"], about["beside"]
    for name in TFLITE:
        with zipfile.ZipFile(out / name) as archive:
            assert (
                archive.namelist() == ["metadata.json"] and json.loads(archive.read("metadata.json")) == about
            )
    typed = [*WITHOUT_QUALITY, "--run", str(run), "--out", str(tmp_path), "--formats", "int8"]
    with pytest.raises(SystemExit, match="2"):
        main([*typed, "--author", "Jos\udce9"])  # what a byte of Latin-1 becomes
    main([*typed, "--licence", "CC0-1.0", "--author", "A. Person", "--data-note", "drawn by us"])
    with zipfile.ZipFile(tmp_path / "generator_int8.tflite") as archive:
        told = json.loads(archive.read("metadata.json"))
    assert [told[key] for key in ("licence", "author", "data_note")] == [
        "CC0-1.0",
        "A. Person",
        "drawn by us",
    ]
    standard = standard_metadata(tmp_path / "generator_int8.tflite")
    assert [text(standard, field) for field in (0, 4, 5)] == ["tiny", "A. Person", "CC0-1.0"]
    assert "16x16" in text(standard, 1) and "drawn by us" in text(standard, 1)
    graphs = tables(standard, 3)
    assert [text(table, 0) for table in graphs] == list(parity.SIGNATURES)
    ((z,), (images,)), (_, (pixels,)) = [[tables(table, side) for side in (2, 3)] for table in graphs[:2]]
    assert [text(tensor, 0) for tensor in (z, images, pixels)] == ["z", "images", "pixels"]
    for tensor, least, most in ((images, -1, 1), (pixels, 0, 255)):
        (unit,) = tables(tensor, 4)
        mean, std = (number(table(unit, 1), field) for field in (0, 1))
        assert [(end - mean) / std for end in (least, most)] == pytest.approx([0, 255], rel=1e-6)


def standard_metadata(file):
    """The root of the table that TensorFlow Lite's own tools read, its file identifier checked."""
    flatbuffer = flatbuffer_utils.read_model(file)
    (entry,) = [entry for entry in flatbuffer.metadata if entry.name == b"TFLITE_METADATA"]
    content = bytes(flatbuffer.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    return Table(content, int.from_bytes(content[:4], "little"))


def table(parent, field):
    return Table(parent.Bytes, parent.Indirect(parent.Pos + parent.Offset(4 + 2 * field)))


def text(parent, field):
    return parent.String(parent.Pos + parent.Offset(4 + 2 * field)).decode()


def tables(parent, field):
    offset = parent.Offset(4 + 2 * field)
    start = parent.Vector(offset)
    return [
        Table(parent.Bytes, parent.Indirect(start + 4 * index)) for index in range(parent.VectorLen(offset))
    ]


def number(parent, field):
    return parent.Get(Float32Flags, parent.Vector(parent.Offset(4 + 2 * field)))


def test_of_two_exports_at_once_into_one_folder_the_second_is_refused(run, out, tmp_path, capsys):
    shutil.copytree(out, tmp_path / "export")
    before = {path: path.read_bytes() for path in (tmp_path / "export").rglob("*") if path.is_file()}
    with convert.alone(tmp_path / "export"), pytest.raises(SystemExit) as stop:
        main(["--run", str(run), "--out", str(tmp_path / "export"), "--formats", "fp32"])
    assert stop.value.code == 2
    place = tmp_path / "export"
    assert capsys.readouterr().err == (
        f"export: --out: expected a folder that no other export is writing to, received {place}\n"
    )
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    with convert.alone(tmp_path / "new"):  # free again, and one that nobody has filled does not stay
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()


@pytest.fixture
def small_features(monkeypatch):
    network = embeddings.random_network(widths=(8, 8))
    monkeypatch.setattr(embeddings, "load", lambda name: embeddings.Embedding(f"{name}-small", network))


def test_what_rounding_costs_is_0_for_the_same_images_and_grows_with_it(model, out, small_features):
    drawn = quality.KerasImages(model, convert.inputs_of(range(40), LATENT_DIM, 0))
    exact, rounded = (drawn.cost_of(out / name) for name in (TFLITE[0], TFLITE[3]))
    assert exact["swd"] < 1 and exact["fid"] == pytest.approx(0, abs=1e-5)
    assert rounded["swd"] > 3 * exact["swd"] and rounded["fid"] > 10 * exact["fid"]


def test_what_rounding_costs_stands_in_model_json_and_in_the_table(
    conditional_model, tmp_path, small_features, capsys
):
    run = save_run(conditional_model, tmp_path / "conditional", CLASSES)
    main(["--run", str(run), "--formats", "fp32,int8", "--samples", "40"])
    files = json.loads((run / "export" / "model.json").read_text())["files"]
    assert "quality" not in files[TFLITE[0]]
    told = files[TFLITE[2]]["quality"]
    assert (told["samples"], told["features"]) == (40, "random-small") and 0 < told["swd"] < 20
    *_, columns, fp32, int8, _, _ = capsys.readouterr().out.splitlines()
    assert fp32.split()[-3:] == ["2.7.0", "-", "-"]
    assert int8.split()[-3:] == ["2.7.0", str(told["swd"]), str(told["fid"])]


def test_a_conditional_file_takes_a_label_too(conditional_out):
    interpreter = Interpreter(str(conditional_out / "generator_fp32.tflite"))
    for signature in parity.SIGNATURES:
        inputs = interpreter.get_signature_runner(signature).get_input_details()
        assert {
            name: (value["shape_signature"].tolist(), value["dtype"]) for name, value in inputs.items()
        } == {
            "z": ([1, LATENT_DIM], np.float32),
            "label": ([1], np.int32),
        }
    assert "CUSTOM" not in operations_of(conditional_out / "generator_fp32.tflite")


def test_a_label_draws_its_own_class_as_keras_does(conditional_model, conditional_out):
    z, label = latents([5, 5, 5], LATENT_DIM), np.array([2, 0, 1], np.int32)
    reference = conditional_model([z, label]).numpy()
    assert (
        min(np.abs(reference[one] - reference[other]).max() for one, other in ((0, 1), (1, 2), (0, 2))) > 0.5
    )
    np.testing.assert_allclose(
        drawn(conditional_out / "generator_fp32.tflite", z=z, label=label), reference, atol=1e-4
    )
    saved = tf.saved_model.load(str(conditional_out / "saved_model"))
    images = saved.signatures["sample"](z=tf.constant(z), label=tf.constant(label))[
        "images"
    ]  # a batch of three
    np.testing.assert_allclose(images, reference, atol=1e-4)


def test_every_class_is_held_against_keras_be_they_many(tmp_path, monkeypatch):
    held, check = [], parity.check
    monkeypatch.setattr(
        parity,
        "check",
        lambda file, inputs, *more: held.append(inputs["label"]) or check(file, inputs, *more),
    )
    names = [str(number) for number in range(70)]
    convert.export(lively_generator(classes=70), ["int8_full"], tmp_path / "out", "many", names)
    assert set(held[0]) == set(range(70))


def test_model_json_names_the_classes_in_the_order_of_their_labels(conditional_out):
    about = json.loads((conditional_out / "model.json").read_text())
    assert about["classes"] == list(CLASSES)
    for signature in about["signatures"].values():
        assert list(signature["inputs"]) == ["z", "label"]
        assert signature["inputs"]["label"] == {"shape": [1], "dtype": "int32", "range": [0, 2]}
    assert min(entry["psnr"] for entry in about["files"].values()) > 100


def test_the_names_that_somebody_gave_the_directions_stay(tmp_path):
    described = {"directions": [[0.6, 0.8], [0.8, -0.6]], "direction_names": ["Direction 1", "Direction 2"]}
    assert convert.kept_names(tmp_path, described) == ["Direction 1", "Direction 2"]
    (tmp_path / "model.json").write_text(json.dumps(described | {"direction_names": ["hair"]}))
    assert convert.kept_names(tmp_path, described) == ["hair", "Direction 2"]
    other = described | {"directions": [[0, 1], [1, 0]]}
    assert convert.kept_names(tmp_path, other) == ["Direction 1", "Direction 2"]


def test_int8_full_sees_every_class_before_it_rounds(conditional_model, tmp_path):
    (artefact,) = convert.export(conditional_model, ["int8_full"], tmp_path, "other", CLASSES)
    assert artefact.parity.faults == ()


def test_a_file_that_draws_one_class_wrongly_is_refused(conditional_model, tmp_path, monkeypatch):
    other = tf.keras.models.clone_model(conditional_model)
    other.set_weights(conditional_model.get_weights())
    table = other.get_layer("meaning").embeddings
    table.assign(table.numpy()[[0, 1, 1]])
    sound = convert.write_saved_model
    monkeypatch.setattr(
        convert, "write_saved_model", lambda generator, folder, batch: sound(other, folder, batch)
    )
    (artefact,) = convert.export(conditional_model, ["saved_model"], tmp_path, "other", CLASSES)
    assert "dB against Keras" in artefact.parity.faults[0]


def test_a_card_promises_no_page_where_no_file_that_it_draws_with_has_passed(tmp_path, monkeypatch):
    check = convert.parity.check

    def only_keras_own(file, *rest):
        found = check(file, *rest)
        return found if file.is_dir() else dataclasses.replace(found, faults=("wrong",))

    monkeypatch.setattr(convert.parity, "check", only_keras_own)
    convert.export(lively_generator(), ["saved_model", "fp32", "web"], tmp_path, "tiny")
    assert (tmp_path / "saved_model").is_dir() and "web/" not in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("size", "channels", "upsample"),
    [((16, 16), 1, "transpose"), ((24, 17), 4, "nearest"), ((17, 24), 3, "transpose")],
)
def test_other_shapes_convert_and_agree(size, channels, upsample, tmp_path):
    model = lively_generator(size, channels, upsample=upsample)
    (artefact,) = convert.export(model, ["fp32"], tmp_path, name="other")
    assert artefact.parity.faults == ()
    file, z = tmp_path / "generator_fp32.tflite", latents([3], LATENT_DIM)
    (pixels,), (rgba,) = (drawn(file, signature, z=z) for signature in ("sample_rgb", "sample_rgba"))
    assert pixels.shape == (*size, channels) and rgba.shape == (*size, 4)
    np.testing.assert_array_equal(rgba[..., :3], np.broadcast_to(pixels[..., :3], (*size, 3)))


def test_a_mistake_is_one_line_and_status_2(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "no_data").mkdir()
    shutil.copy(run / "generator.keras", tmp_path / "no_data")
    (tmp_path / "foreign" / "saved_model").mkdir(parents=True)
    (tmp_path / "site" / "web").mkdir(parents=True)
    (tmp_path / "site" / "model.json").write_text('{"made_by": "hand"}')
    for flags, words in (
        (
            ["--run", run, "--formats", "fp33"],
            "--formats: expected some of saved_model,fp32,fp16,int8,int8_full,web, received 'fp33'",
        ),
        (
            ["--run", run, "--formats", "saved_model,web"],
            "--formats: expected one of fp32,fp16,int8,int8_full beside web",
        ),
        (["--run", tmp_path / "nowhere"], "--run: expected"),
        (["--run", tmp_path / "no_data"], "--run: expected the data.json of a run"),
        (["--run", run, "--out", tmp_path / "file"], "--out: expected a directory"),
        (["--run", run, "--out", tmp_path / "file" / "x"], "--out: expected a directory, received the file "),
        (["--run", tmp_path / "[old]"], "--run: expected a path without any of"),
        (["--run", run, "--out", tmp_path / "foreign"], "--out: expected a folder of an earlier export"),
        (["--run", run, "--out", tmp_path / "site"], "--out: expected a folder of an earlier export"),
        (
            ["--run", run, "--samples", "1"],
            "--samples: expected 0, or a whole number from 2 on, received '1'",
        ),
        ([], "--run"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([str(flag) for flag in flags])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("export: ") and words in line
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == ["saved_model"]
    assert {path.name for path in (tmp_path / "site").iterdir()} == {"web", "model.json"}
