"""A job file → a .onnx file and what it holds; run as a process of its own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from tfpipe.export.convert import build_function, build_model, lengths_of, save_refusal
from tfpipe.export.converter import FACTS_FILE
from tfpipe.export.lowering import INPUT_NAME, OUTPUT_NAME
from tfpipe.export.onnx_form import HANDLERS, ONNX_LAYERS
from tfpipe.sizes import file_sizes

# The newest that tf2onnx 1.17 writes well and that has LayerNormalization; ONNX Runtime has it
# from 1.12 of July 2022 on (https://onnxruntime.ai/docs/reference/compatibility.html).
OPSET = 17
MIN_ONNXRUNTIME = "1.12"


def main(job_path: Path) -> None:
    """Reads a job as `tfpipe.export.convert` does; writes the model and FACTS_FILE beside it."""
    job = json.loads(job_path.read_text("utf-8"))
    with save_refusal(job_path):
        # The trace remembers the variables that it read: the model has to outlive it.
        keras_model = build_model(job)
        concrete = build_function(keras_model, job, ONNX_LAYERS, lengths_of(job)[0])
    token_ids = tf.TensorSpec(concrete.inputs[0].shape, tf.int32, name=INPUT_NAME)
    model, _ = tf2onnx.convert.from_function(
        tf.function(lambda token_ids: concrete(token_ids), autograph=False),
        input_signature=[token_ids],
        opset=OPSET,
        custom_op_handlers=HANDLERS,
    )
    output = Path(job["output"])
    onnx.save(model, output)
    if job["scheme"] == "int8":
        calibration = np.load(job["calibration"], allow_pickle=False)
        quantize(output, calibration, per_channel=not keras_model.per_tensor)
    facts = inspect_onnx(output)
    (job_path.parent / FACTS_FILE).write_text(json.dumps(facts), "utf-8")


def quantize(path: Path, calibration: Any, *, per_channel: bool) -> None:
    """Rewrites a model with int8 weights; activations of the products are uint8.

    Lookups and products get ranges from `calibration`, int32 `(n, sequence_length)`. An LSTM node
    has no such form in ONNX Runtime: its weights are int8, its activations are quantized at run
    time. What is left is float, where each of ONNX Runtime's integer kernels costs more than it
    saves.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

    model = onnx.load(path)
    constants = {constant.name for constant in model.graph.initializer}
    products = [
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "Gather", "Gemm", "MatMul") and constants & set(node.input)
    ]
    quantize_static(
        path,
        path,
        CalibrationReader(calibration),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
        nodes_to_quantize=products,
    )
    if any(node.op_type == "LSTM" for node in model.graph.node):
        quantize_dynamic(
            path,
            path,
            op_types_to_quantize=["LSTM"],
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
        )


class CalibrationReader:
    """Feeds token ids, int32 `(n, sequence_length)`, one text at a time, as ONNX Runtime asks."""

    def __init__(self, token_ids: Any) -> None:
        self.rows = iter(token_ids)

    def get_next(self) -> dict[str, Any] | None:
        """Returns the next input, None after the last."""
        row = next(self.rows, None)
        return None if row is None else {INPUT_NAME: row[None]}


def inspect_onnx(path: Path) -> dict[str, Any]:
    """Returns what check.json holds of an ONNX file: the keys of `tfpipe.check.inspect_tflite` and
    "opset", "ir_version".

    Raises:
        ValueError: The ONNX checker refuses the file, or its input and output have other names.
    """
    data = path.read_bytes()
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    names = ([value.name for value in graph] for graph in (model.graph.input, model.graph.output))
    if (found := list(names)) != [[INPUT_NAME], [OUTPUT_NAME]]:
        raise ValueError(f"the ONNX graph's inputs and outputs are {found}. Report this.")
    sizes: Counter[str] = Counter()
    for constant in model.graph.initializer:
        array = onnx.numpy_helper.to_array(constant)
        sizes[str(array.dtype)] += array.nbytes
    operators = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return {
        "min_runtime": MIN_ONNXRUNTIME,
        "opset": operators["ai.onnx"],
        "ir_version": model.ir_version,
        "ops": dict(Counter(node.op_type for node in model.graph.node).most_common()),
        "bytes_by_dtype": dict(sizes.most_common()),
        **file_sizes(data),
    }
