"""What a .tflite file tells of itself: in TensorFlow Lite's standard form, which Android Studio, Netron and
MediaPipe show, and as the JSON that edge_sample.py reads.

    content = described(content, description)      # the standard form, within the flatbuffer
    append(Path("generator_fp16.tflite"), description)      # the JSON, in a zip at the end

`description` is that of convert.describe, with "licence", "author" and "data_note" where the user gave them.
"""

import json
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

STANDARD, JSON = b"TFLITE_METADATA", "metadata.json"
# From here on the numbers are those of tensorflow_lite_support/metadata/metadata_schema.fbs: of its file, its
# unions, an enumeration and, below, the fields of its tables. No package that installs beside TensorFlow has it.
IDENTIFIER, PARSER_VERSION = b"M001", "1.0.0"
FEATURE, IMAGE, NORMALIZATION = 1, 2, 1
COLOUR_SPACES = {1: 2, 3: 1}  # by channels: grey, RGB; for RGBA it has none


def append(file: Path, description: dict):
    """A zip with metadata.json at the end of the file, where LiteRT does not look, and where the standard
    keeps its own files."""
    with zipfile.ZipFile(file, "a") as archive:
        # ZipInfo's date is fixed: the same bytes every time
        archive.writestr(zipfile.ZipInfo(JSON), json.dumps(description))


def described(content: bytes, description: dict) -> bytes:
    """The same graph with a table TFLITE_METADATA: name, author, licence, and for each signature its tensors,
    with the (x - mean) / std that makes 0 to 255 of an image."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    names = {signature.subgraphIndex: signature.signatureKey.decode() for signature in model.signatureDefs}
    tensors = {
        signature.signatureKey.decode(): {
            entry.tensorIndex: entry.name.decode() for entry in (*signature.inputs, *signature.outputs)
        }
        for signature in model.signatureDefs
    }
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = STANDARD, len(model.buffers)
    order = [
        (names[number], [tensors[names[number]][index] for index in (*graph.inputs, *graph.outputs)])
        for number, graph in enumerate(model.subgraphs)
    ]
    buffer.data = np.frombuffer(_table_of(description, order), np.uint8)
    model.metadata.append(entry)
    model.buffers.append(buffer)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _table_of(description: dict, order: list[tuple[str, list[str]]]) -> bytes:
    """`order`: for each subgraph its signature, and the names of its inputs and outputs as they come."""
    builder = flatbuffers.Builder()
    graphs = []
    for signature, names in order:
        told = description["signatures"][signature]
        inputs, outputs = (
            _vector(
                builder, [_tensor(builder, name, told[side][name]) for name in names if name in told[side]]
            )
            for side in ("inputs", "outputs")
        )
        graphs.append(_table(builder, {0: builder.CreateString(signature), 2: inputs, 3: outputs}))
    fields = {0: description["name"], 1: about(description), 2: description["made_by"]}
    fields |= {4: description.get("author", ""), 5: description.get("licence", ""), 7: PARSER_VERSION}
    root = {slot: builder.CreateString(text) for slot, text in fields.items() if text}
    builder.Finish(_table(builder, root | {3: _vector(builder, graphs)}), IDENTIFIER)
    return bytes(builder.Output())


def about(description: dict) -> str:
    size = f"{description['width']}x{description['height']}"
    kind = " and a class" if description["classes"] else ""
    drawn = f"Draws images of {size} with {description['channels']} channels from a latent{kind}."
    return " ".join(
        [drawn, *([f"Trained on: {description['data_note']}"] if "data_note" in description else [])]
    )


def _tensor(builder, name: str, told: dict) -> int:
    fields = {0: builder.CreateString(name)}
    if name in ("images", "pixels"):
        least, most = told["range"]
        normalization = {0: _floats(builder, [least]), 1: _floats(builder, [(most - least) / 255])}
        unit = _table(builder, {1: _table(builder, normalization)}, {0: NORMALIZATION})
        image = _table(builder, {}, {0: COLOUR_SPACES.get(told["shape"][-1], 0)})
        fields[3] = _table(builder, {1: image}, {0: IMAGE})
        fields[4] = _vector(builder, [unit])
        fields[5] = _table(builder, {0: _floats(builder, [most]), 1: _floats(builder, [least])})
    else:
        text = told.get("distribution") or "from {} to {}".format(*told["range"])
        fields[1] = builder.CreateString(text)
        fields[3] = _table(builder, {1: _table(builder, {})}, {0: FEATURE})
    return _table(builder, fields)


def _table(builder, offsets: dict[int, int], numbers: dict[int, int] | None = None) -> int:
    builder.StartObject(1 + max([*offsets, *(numbers or {})], default=-1))
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, number in (numbers or {}).items():
        builder.PrependUint8Slot(slot, number, 0)
    return builder.EndObject()


def _vector(builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder, values: list[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()
