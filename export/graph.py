"""The graph as devices like it.

    generator = folded(generator)          # before the conversion: batch norm where the converter would leave it
    generator = for_cpu(generator)         # or, of the files for CPUs: convolutions in place of transposed ones
    content = for_gpu(content)             # after it: nothing that a phone's GPU or an older runtime does not take
    content = with_metadata(content, ...)  # what Android Studio, Netron and MediaPipe show
    operations(content)                    # [("FULLY_CONNECTED", 1), ("RESHAPE", 1), ("TRANSPOSE_CONV", 3), ("RELU", 1), ...]
    least_runtime(content)                 # "2.3.0": the oldest TensorFlow Lite that knows all of them

The converter fuses ReLU into TRANSPOSE_CONV, which makes that operation version 4. The GPU delegates know it
up to version 3 and leave the rest to the CPU, without a word (TensorFlow 2.21); runtimes before 2.12 refuse
the file. Taken apart again the graph draws the same bits on a CPU, and runs wholly on a GPU. So it does where the
vectors of the classes, which the GPU does not read in float16, are of float32 in a file of float16 too.
"""

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

LATEST_FOR_GPU = 3  # of TRANSPOSE_CONV: with a bias, without an activation
LOWEST_INT8 = -128
RUNTIME = b"min_runtime_version"  # the converter's own key
# The TensorFlow Lite that brought each version of an operation, from version 1 on. TensorFlow keeps this table in
# lite/tools/versioning/runtime_version.cc, where Python does not reach it; of what generators are made of.
SINCE = {
    "ADD": ("1.5.0", "1.14.0"),
    "CAST": ("1.5.0",),
    "CONCATENATION": ("1.5.0", "1.14.0"),
    "CONV_2D": ("1.5.0", "1.14.0", "1.14.0", "2.3.0", "2.4.0"),
    "DEPTH_TO_SPACE": ("2.1.0", "2.5.0"),
    "DEQUANTIZE": ("1.13.1", "1.14.0", "1.15.0"),
    "FULLY_CONNECTED": ("1.5.0", "1.10.0", "1.14.0", "1.14.0", "2.0.0", "2.1.0", "2.3.0", "2.3.0", "2.3.0"),
    "GATHER": ("1.6.0", "1.14.0"),
    "LEAKY_RELU": ("1.13.1", "2.3.0"),
    "LESS": ("1.14.0",),
    "MUL": ("1.5.0", "1.14.0"),
    "PAD": ("1.5.0", "1.14.0"),
    "QUANTIZE": ("1.14.0",),
    "RELU": ("1.5.0", "2.1.0"),
    "RESHAPE": ("1.5.0",),
    "SELECT": ("1.14.0",),
    "STRIDED_SLICE": ("1.6.0", "1.14.0"),
    "TANH": ("1.14.0", "1.14.0"),
    "TILE": ("1.10.1", "2.2.0", "2.8.0"),
    "TRANSPOSE_CONV": ("1.9.0", "2.2.0", "2.3.0", "2.13.0"),
}


def folded(generator: keras.Model, kinds: tuple = (keras.layers.Dense,)) -> keras.Model:
    """The same generator with the batch norms of such layers inside of them. The converter folds those of
    convolutions itself, and their ReLU with them, but not across the reshape after a dense layer. Needs
    models.generator's names: the norm of NAME is NAME_norm."""
    after = {f"{layer.name}_norm" for layer in generator.layers if isinstance(layer, kinds)}
    norms = {layer.name: layer for layer in generator.layers if layer.name in after}

    def clone(layer):
        if layer.name in norms:
            return keras.layers.Identity(name=layer.name)
        return type(layer).from_config(
            layer.get_config() | ({"use_bias": True} if f"{layer.name}_norm" in norms else {})
        )

    def call(layer, *inputs, **options):
        return (
            layer(*inputs) if layer.name in norms else layer(*inputs, **options)
        )  # batch norm alone knows a mask

    result = keras.models.clone_model(generator, clone_function=clone, call_function=call)
    for layer in generator.layers:
        if norm := norms.get(f"{layer.name}_norm"):
            result.get_layer(layer.name).set_weights(_with_norm(layer, norm))
        elif layer.name not in norms:
            result.get_layer(layer.name).set_weights(layer.get_weights())
    return result


def _with_norm(layer, norm) -> list[np.ndarray]:
    """-> kernel and bias."""
    *gamma, beta, mean, variance = (np.asarray(weight, np.float64) for weight in norm.get_weights())
    scale = np.prod(gamma, axis=0) / np.sqrt(
        variance + norm.epsilon
    )  # a conditional generator's first norm has no gamma
    kernel = np.asarray(layer.kernel, np.float64)
    if isinstance(layer, keras.layers.Conv2DTranspose):  # its outputs come last but one
        return [kernel * scale[:, None], beta - mean * scale]
    cells = kernel.shape[-1] // len(
        scale
    )  # of a dense layer before a reshape: each channel comes once a cell
    return [kernel * np.tile(scale, cells), np.tile(beta - mean * scale, cells)]


def for_cpu(generator: keras.Model) -> keras.Model:
    """The same images by ordinary convolutions, 2.2 times as fast in float32 (`tools.bench edge`, one
    thread of an AMD EPYC): it seems that XNNPACK reads all weights of a transposed one again for each row of
    the output."""
    generator = folded(generator, (keras.layers.Dense, keras.layers.Conv2DTranspose, keras.layers.Conv2D))

    def clone(layer):
        kind = Subpixel if isinstance(layer, keras.layers.Conv2DTranspose) else type(layer)
        return kind.from_config(layer.get_config())

    result = keras.models.clone_model(generator, clone_function=clone)
    result.set_weights(generator.get_weights())
    return result


class Subpixel(keras.layers.Conv2DTranspose):
    """A transposed convolution of 4x4 and stride 2 as one of 2x2 with four times the channels, which are then
    the pixels of 2x2 cells (Shi et al., "Is the deconvolution layer the same as a convolutional layer?",
    arXiv:1609.07009, 2016)."""

    def call(self, inputs):
        # Row y of the output takes rows i of the input by the kernel's row y + 1 - 2 * i. Of the padded input
        # a convolution at p sees i = p - 1 and p, and makes y = 2 * p - 1 and 2 * p: those of the first and
        # the last p that lie outside are cut off.
        out, into = self.kernel.shape[2:]
        kernel = tf.reshape(self.kernel, (2, 2, 2, 2, out, into))[::-1, :, ::-1]
        kernel = tf.reshape(tf.transpose(kernel, (0, 2, 5, 1, 3, 4)), (2, 2, into, 4 * out))
        cells = tf.nn.conv2d(tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]]), kernel, 1, "VALID") + tf.tile(
            self.bias, [4]
        )
        return tf.nn.depth_to_space(cells, 2)[:, 1:-1, 1:-1]


def for_gpu(content: bytes) -> bytes:
    """The same graph without what a phone's GPU does not take. Every TRANSPOSE_CONV with a fused ReLU becomes one
    without, and a RELU; in int8 one without alone, since there the smallest number stands for 0 and the rounding
    cuts off what is below. A table of float16, which GATHER reads, becomes one of float32. Other graphs come back
    as they were."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    tables: dict[int, int] = {}
    for subgraph in model.subgraphs:
        _widen_tables(model, subgraph, tables)
    read = {
        subgraph.tensors[tensor].buffer
        for subgraph in model.subgraphs
        for operator in subgraph.operators
        for tensor in operator.inputs
        if tensor >= 0
    }
    for narrow in tables.keys() - read:
        model.buffers[narrow].data = None
    transposed = [
        code for code in model.operatorCodes if _builtin(code) == schema.BuiltinOperator.TRANSPOSE_CONV
    ]
    is_taken = all(code.version <= LATEST_FOR_GPU for code in transposed)
    if is_taken and not tables:
        return content
    if not is_taken:
        for subgraph in model.subgraphs:
            _take_apart(model, subgraph, transposed)
        for code in transposed:
            code.version = min(code.version, LATEST_FOR_GPU)
    versions = [_since(*operation) for operation in _operations(model)]
    if all(versions):
        _buffer(model, RUNTIME).data = np.frombuffer(
            max(versions, key=version_numbers).encode().ljust(16, b"\0"), np.uint8
        )
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _widen_tables(model, subgraph, tables: dict[int, int]):
    """`tables`: of each buffer of float16 that stood for a table, the one that does now."""
    makers = {
        operator.outputs[0]: operator
        for operator in subgraph.operators
        if _builtin(model.operatorCodes[operator.opcodeIndex]) == schema.BuiltinOperator.DEQUANTIZE
    }
    gone = set()
    for operator in subgraph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        maker = makers.get(operator.inputs[0]) if _builtin(code) == schema.BuiltinOperator.GATHER else None
        if not maker or subgraph.tensors[maker.inputs[0]].type != schema.TensorType.FLOAT16:
            continue
        narrow = subgraph.tensors[maker.inputs[0]].buffer
        if narrow not in tables:
            wide = schema.BufferT()
            numbers = np.asarray(model.buffers[narrow].data, np.uint8).view(np.float16)
            wide.data = numbers.astype(np.float32).view(np.uint8)
            model.buffers.append(wide)
            tables[narrow] = len(model.buffers) - 1
        subgraph.tensors[operator.inputs[0]].buffer = tables[narrow]
        gone.add(id(maker))
    subgraph.operators = [operator for operator in subgraph.operators if id(operator) not in gone]


def _take_apart(model, subgraph, transposed: list):
    operators = []
    for operator in subgraph.operators:
        operators.append(operator)
        if model.operatorCodes[operator.opcodeIndex] in transposed:
            options, activations = operator.builtinOptions, schema.ActivationFunctionType
            if options.fusedActivationFunction == activations.RELU:
                options.fusedActivationFunction = activations.NONE
                if not _is_cut_at_zero(subgraph.tensors[operator.outputs[0]]):
                    operators.append(_relu(model, subgraph, operator))
            elif options.fusedActivationFunction != activations.NONE:
                raise ValueError(
                    f"expected TRANSPOSE_CONV with ReLU or none, received {options.fusedActivationFunction}"
                )
    subgraph.operators = operators


def _is_cut_at_zero(tensor) -> bool:
    return tensor.type == schema.TensorType.INT8 and list(tensor.quantization.zeroPoint) == [LOWEST_INT8]


def _relu(model, subgraph, operator):
    """A RELU from a new tensor, which the operator now writes, to the one that it wrote."""
    (output,) = operator.outputs
    before, after = schema.TensorT(), subgraph.tensors[output]
    before.name, before.shape, before.shapeSignature = (
        after.name + b"/linear",
        after.shape,
        after.shapeSignature,
    )
    before.type, before.hasRank, before.quantization = after.type, after.hasRank, after.quantization
    before.buffer = 0  # the empty one: no constant
    subgraph.tensors.append(before)
    relu = schema.OperatorT()
    relu.opcodeIndex = _code(model, schema.BuiltinOperator.RELU)
    operator.outputs, relu.inputs, relu.outputs = (
        [len(subgraph.tensors) - 1],
        [len(subgraph.tensors) - 1],
        [output],
    )
    return relu


def _code(model, builtin: int) -> int:
    for number, code in enumerate(model.operatorCodes):
        if _builtin(code) == builtin:
            return number
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _builtin(code) -> int:
    return max(code.builtinCode, code.deprecatedBuiltinCode)  # older files have only the second


def operations(content: bytes) -> list[tuple[str, int]]:
    """The operations of all signatures, in their order: (name, version), such as ("TRANSPOSE_CONV", 3)."""
    return _operations(flatbuffer_utils.read_model_from_bytearray(bytearray(content)))


def _operations(model) -> list[tuple[str, int]]:
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    used = [
        model.operatorCodes[operator.opcodeIndex]
        for subgraph in model.subgraphs
        for operator in subgraph.operators
    ]
    return [(names[_builtin(code)], code.version) for code in used]


def least_runtime(content: bytes) -> str:
    """The oldest TensorFlow Lite that knows every operation of a file, as the file itself says."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    return bytes(_buffer(model, RUNTIME).data).rstrip(b"\0").decode()


def _buffer(model, name: bytes):
    (number,) = [entry.buffer for entry in model.metadata if entry.name == name]
    return model.buffers[number]


def _since(name: str, version: int) -> str:
    """The empty string where SINCE does not know."""
    return "".join(SINCE.get(name, ())[version - 1 : version])


def version_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
