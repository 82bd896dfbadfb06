"""The graph as devices like it.

    generator = folded(generator)          # before the conversion: no batch norm is left of its own
    content = for_gpu(content)             # after it: nothing that a phone's GPU does not take
    operations(content)                    # [("FULLY_CONNECTED", 1), ("RESHAPE", 1), ("TRANSPOSE_CONV", 3), ("RELU", 1), ...]

The converter fuses ReLU into TRANSPOSE_CONV, which makes that operation version 4. The GPU delegates know it up to version 3 and
leave the rest to the CPU, without a word (TensorFlow 2.21). Taken apart again the graph draws the same bits on a CPU, and runs
wholly on a GPU.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

LATEST_FOR_GPU = 3  # of TRANSPOSE_CONV: with a bias, without an activation


def folded(generator):
    """The same generator with its first batch norm inside of the dense layer before it: the converter folds those of convolutions,
    but not across the reshape between these two. Needs the layers that models.generator names project and project_norm."""
    import keras

    dense, norm = generator.get_layer("project"), generator.get_layer("project_norm")

    def clone(layer):
        if layer is norm:
            return keras.layers.Identity(name=layer.name)
        return type(layer).from_config(layer.get_config() | ({"use_bias": True} if layer is dense else {}))

    def call(layer, *inputs, **options):
        return layer(*inputs) if layer.name == norm.name else layer(*inputs, **options)  # batch norm alone knows a mask

    result = keras.models.clone_model(generator, clone_function=clone, call_function=call)
    for layer in generator.layers:
        if layer not in (dense, norm):
            result.get_layer(layer.name).set_weights(layer.get_weights())
    *gamma, beta, mean, variance = (np.asarray(weight, np.float64) for weight in norm.get_weights())
    scale = np.prod(gamma, axis=0) / np.sqrt(variance + norm.epsilon)  # of a conditional generator it has no gamma
    kernel = np.asarray(dense.kernel, np.float64).reshape(dense.kernel.shape[0], -1, len(scale)) * scale
    bias = np.broadcast_to(beta - mean * scale, kernel.shape[1:])
    result.get_layer("project").set_weights([kernel.reshape(dense.kernel.shape), bias.reshape(-1)])
    return result


def for_gpu(content: bytes) -> bytes:
    """Every TRANSPOSE_CONV with a fused ReLU becomes one without, and a RELU. Other graphs come back as they were."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    transposed = [code for code in model.operatorCodes if _builtin(code) == schema.BuiltinOperator.TRANSPOSE_CONV]
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
                raise ValueError(f"expected TRANSPOSE_CONV with ReLU or none, received {options.fusedActivationFunction}")
    is_changed = len(operators) > len(subgraph.operators)
    subgraph.operators = operators
    return is_changed


def _relu(model, subgraph, operator):
    """A RELU from a new tensor, which the operator now writes, to the one that it wrote."""
    (output,) = operator.outputs
    before, after = schema.TensorT(), subgraph.tensors[output]
    before.name, before.shape, before.shapeSignature = after.name + b"/linear", after.shape, after.shapeSignature
    before.type, before.hasRank, before.quantization = after.type, after.hasRank, after.quantization
    before.buffer = 0  # the empty one: no constant
    subgraph.tensors.append(before)
    relu = schema.OperatorT()
    relu.opcodeIndex = _code(model, schema.BuiltinOperator.RELU)
    operator.outputs, relu.inputs, relu.outputs = [len(subgraph.tensors) - 1], [len(subgraph.tensors) - 1], [output]
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
    used = [model.operatorCodes[operator.opcodeIndex] for subgraph in model.subgraphs for operator in subgraph.operators]
    return [(names[_builtin(code)], code.version) for code in used]
