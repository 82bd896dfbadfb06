"""The .tflite files wholly on LiteRT's GPU accelerator, which here draws with a Vulkan made of software:
Chromium's SwiftShader.

TEST_EVERYTHING=1 pytest tests/training/test_gpu.py  # needs chromium's libraries; .ci/run installs them
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import lively_generator

from keras_dcgan.export import convert, edge_sample, graph
from keras_dcgan.pictures.latents import latents

VULKAN = Path("/usr/lib/chromium")
LATENT_DIM = 12
INPUTS = {"z": latents([7], LATENT_DIM), "label": np.array([1], np.int32)}
pytestmark = pytest.mark.skipif(
    "TEST_EVERYTHING" not in os.environ, reason="software Vulkan is tested with TEST_EVERYTHING=1 only"
)


def draw_on_gpu(file: str):
    """Prints {signature: values} as JSON; fails where the graph does not compile for the GPU alone."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    model = CompiledModel.from_file(file, hardware_accel=HardwareAccelerator.GPU)
    assert model.is_fully_accelerated()
    drawn = {}
    for signature, parts in model.get_signature_list().items():
        (output,) = parts["outputs"]
        inputs = {name: model.create_input_buffer_by_name(signature, name) for name in parts["inputs"]}
        for name, buffer in inputs.items():
            buffer.write(INPUTS[name])
        image = model.create_output_buffer_by_name(signature, output)
        model.run_by_name(signature, inputs, {output: image})
        count = 16 * 16 * (4 if signature == "sample_rgba" else 3)
        drawn[signature] = (
            np.asarray(image.read(count, np.float32 if output == "images" else np.uint8)).ravel().tolist()
        )
    print(json.dumps(drawn))


def on_gpu(file: Path) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "VK_ICD_FILENAMES": str(VULKAN / "vk_swiftshader_icd.json"),
        "LD_LIBRARY_PATH": str(VULKAN),
    }
    tests = Path(__file__).parent.parent
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (tests.parent, tests)))
    return subprocess.run(
        [sys.executable, __file__, str(file)], capture_output=True, text=True, env=environment, timeout=120
    )


@pytest.fixture(scope="module")
def model():
    return lively_generator(latent_dim=LATENT_DIM)


@pytest.fixture(scope="module")
def out(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu")
    convert.export(model, ["fp32", "fp16", "int8"], out, "tiny")
    return out


def compare_with_cpu(file: Path, tolerance: float, inputs: dict):
    done = on_gpu(file)
    assert done.returncode == 0, done.stderr
    for signature, values in json.loads(done.stdout.splitlines()[-1]).items():
        expected = next(edge_sample.draw(edge_sample.load(file, signature=signature)[0], inputs))
        scale = 1 if expected.dtype == np.float32 else 127.5
        difference = np.abs(np.array(values) - expected.ravel().astype(np.float64)).max()
        assert difference <= max(tolerance * scale, 0 if scale == 1 else 1), signature


# An int8 file's dense layer multiplies rounded activations on the CPU, and not on the GPU.
@pytest.mark.parametrize("name, tolerance", [("fp32", 1e-5), ("fp16", 1e-5), ("int8", 0.1)])
def test_the_gpu_alone_draws_what_the_cpu_draws(out, name, tolerance):
    compare_with_cpu(out / f"generator_{name}.tflite", tolerance, {"z": INPUTS["z"]})


@pytest.mark.parametrize("options", [{}, {"blocks": 1}])
def test_so_it_does_of_a_class_that_is_asked_for(tmp_path, options):
    generator = lively_generator(latent_dim=LATENT_DIM, classes=3, **options)
    of_file = {"fp32": 1e-5, "fp16": 1e-5, "int8": 0.1}
    convert.export(generator, of_file, tmp_path, "tiny", ["a", "b", "c"])
    for name, tolerance in of_file.items():
        compare_with_cpu(tmp_path / f"generator_{name}.tflite", tolerance, INPUTS)


def test_as_the_converter_leaves_it_the_graph_does_not_run_there(model, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "for_gpu", lambda content: content)
    convert.write_saved_model(model, tmp_path / "saved", batch=1)
    (tmp_path / "stock.tflite").write_bytes(convert.to_tflite(tmp_path / "saved", "float32"))
    done = on_gpu(tmp_path / "stock.tflite")
    assert done.returncode != 0 and "TRANSPOSE_CONV" in done.stderr


if __name__ == "__main__":
    draw_on_gpu(sys.argv[1])
