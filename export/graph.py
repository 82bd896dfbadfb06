"""The graph as devices like it.

    generator = folded(generator)          # before the conversion: batch norm where the converter would leave it
    generator = for_cpu(generator)         # or, of the file for CPUs: convolutions in place of transposed ones
    content = for_gpu(content)             # after it: nothing that a phone's GPU does not take
    operations(content)                    # [("FULLY_CONNECTED", 1), ("RESHAPE", 1), ("TRANSPOSE_CONV", 3), ("RELU", 1), ...]

The converter fuses ReLU into TRANSPOSE_CONV, which makes that operation version 4. The GPU delegates know it
up to version 3 and leave the rest to the CPU, without a word (TensorFlow 2.21). Taken apart again the graph
draws the same bits on a CPU, and runs wholly on a GPU.
"""

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

LATEST_FOR_GPU = 3  # of TRANSPOSE_CONV: with a bias, without an activation


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
    """The same pictures by ordinary convolutions, 2.2 times as fast in float32 (`tools.bench edge`, one
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
    """Every TRANSPOSE_CONV with a fused ReLU becomes one without, and a RELU. Other graphs come back as they
    were."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    transposed = [
        code for code in model.operatorCodes if _builtin(code) == schema.BuiltinOperator.TRANSPOSE_CONV
    ]
    taken_apart = [_take_apart(model, subgraph, transposed) for subgraph in model.subgraphs]
    if not any(taken_apart):
        return content
    for code in transposed:
        code.version = min(code.version, LATEST_FOR_GPU)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _take_apart(model, subgraph, transposed: list) -> bool:
    operators = []
    for operator in subgraph.operators:
        operators.append(operator)
        if model.operatorCodes[operator.opcodeIndex] in transposed:
            options, activations = operator.builtinOptions, schema.ActivationFunctionType
            if options.fusedActivationFunction == activations.RELU:
                options.fusedActivationFunction = activations.NONE
                operators.append(_relu(model, subgraph, operator))
            elif options.fusedActivationFunction != activations.NONE:
                raise ValueError(
                    f"expected TRANSPOSE_CONV with ReLU or none, received {options.fusedActivationFunction}"
                )
    is_changed = len(operators) > len(subgraph.operators)
    subgraph.operators = operators
    return is_changed


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
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    used = [
        model.operatorCodes[operator.opcodeIndex]
        for subgraph in model.subgraphs
        for operator in subgraph.operators
    ]
    return [(names[_builtin(code)], code.version) for code in used]
