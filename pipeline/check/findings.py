"""The stable codes of `tfpipe check`: what each means, how bad it is, and what cures it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Code:
    """One kind of finding.

    Attributes:
        severity: "error" where the file does not load and run whole there; "warning" where it is
            unwise; "info" where it is good to know. A target can raise it: docs/check.md says so.
        meaning: What was found.
        fix: The flag or action that cures it.
    """

    severity: str
    meaning: str
    fix: str


@dataclass(frozen=True)
class Finding:
    """One fact about one file, on one target and runtime."""

    code: str
    severity: str
    message: str
    fix: str

    def to_json(self) -> dict[str, str]:
        """Returns the finding as JSON has it."""
        return asdict(self)


CODES = {
    # The runtime refuses the file.
    "schema-version": Code(
        "error",
        "the file's schema version is not 3, the only one that the runtimes read",
        "Convert the model again with TensorFlow 2.",
    ),
    "op-unknown": Code(
        "error",
        "a builtin op that no release of the runtime has in any version",
        "Convert again with tf.lite.OpsSet.TFLITE_BUILTINS, or rewrite that part of the model.",
    ),
    "op-version": Code(
        "error",
        "an op in a version that is newer than the runtime",
        "Install the named release, or export for the old one: tfpipe export … --runtime "
        "NAME==VERSION.",
    ),
    "flex-op": Code(
        "error",
        "an op of TensorFlow itself (Flex), which needs TensorFlow on the device",
        "Convert with tf.lite.OpsSet.TFLITE_BUILTINS alone; tfpipe export never writes one.",
    ),
    "custom-op": Code(
        "error",
        "a custom op whose kernel is not in the runtime",
        "Rewrite it with builtin ops, or build a runtime with its kernel.",
    ),
    "edgetpu-compiled": Code(
        "error",
        "the file was compiled for the Edge TPU and runs only with its delegate",
        "Give --target edgetpu, or take the file from before the Edge TPU compiler.",
    ),
    "tensor-type": Code(
        "error",
        "a tensor has a type that the runtime does not know",
        "Install a newer runtime, or convert with another scheme.",
    ),
    "tensor-shape": Code(
        "error",
        "a tensor's shape has a negative size; only the shape signature may",
        "Convert the model again.",
    ),
    "tensor-index": Code(
        "error",
        "a graph or an op names a tensor that is not there, or writes the tensor it reads",
        "The file is damaged: copy or convert it again.",
    ),
    "subgraph-index": Code(
        "error",
        "an op or a signature names a subgraph that is not there",
        "The file is damaged: copy or convert it again.",
    ),
    "constant-size": Code(
        "error",
        "a constant has another number of bytes than its shape and type take",
        "The file is damaged or was cut by hand: convert it again.",
    ),
    "constant-variable": Code(
        "error",
        "a variable tensor has constant content, which the runtimes refuse",
        "Convert the model again.",
    ),
    "quantization-parameters": Code(
        "error",
        "a tensor's scales, zero points and quantized dimension do not fit each other",
        "Quantize the model again.",
    ),
    "op-type": Code(
        "error",
        "an op's kernel does not compute the type of its input",
        "Use another scheme, or keep that op in float.",
    ),
    "sparse-unpacked": Code(
        "error",
        "a dense layer with sparse int8 weights behind a DENSIFY: XNNPACK takes the layer and then "
        "fails, so nothing loads",
        "Convert without tf.lite.Optimize.EXPERIMENTAL_SPARSITY; tfpipe export never writes them.",
    ),
    # The file loads, and cannot compute what its model did.
    "sparse-int8": Code(
        "error",
        "a dense layer with sparse int8 weights, whose kernel in this runtime computes something "
        "else (it reads them as dense ones, or one scale for all outputs)",
        "Convert without tf.lite.Optimize.EXPERIMENTAL_SPARSITY; tfpipe export never writes them.",
    ),
    "constant-missing": Code(
        "error",
        "an op reads a constant that the file does not hold: its weights were lost",
        "Convert with TFLiteConverter.from_saved_model or from_keras_model.",
    ),
    "variable-unset": Code(
        "error",
        "a resource variable is read and nothing ever writes it: its weights were lost",
        "Convert with TFLiteConverter.from_saved_model or from_keras_model: "
        "from_concrete_functions does not find the variables of a Keras 3 model.",
    ),
    "tensor-unset": Code(
        "error",
        "an op, or the graph's output, reads a tensor before any op has written it",
        "The file is damaged: convert it again.",
    ),
    # It runs, with an edge.
    "dynamic-shape": Code(
        "warning",
        "a size is only known at run time: accelerators refuse the graph or parts of it, and "
        "memory is planned at every call",
        "Fix the batch and the sequence length before converting, and unroll loops: tfpipe export "
        "… --lowering unrolled.",
    ),
    "variable-tensor": Code(
        "warning",
        "a tensor keeps state between calls: a text's result depends on the text before it unless "
        "the app resets the variables, and LiteRT's CompiledModel refuses the file",
        "Unroll the recurrence: tfpipe export … --lowering unrolled. Or call "
        "Interpreter.resetVariableTensors() (Python: reset_all_variables()) before each text.",
    ),
    "control-flow": Code(
        "info",
        "a loop or branch: it runs on the CPU alone, no accelerator takes it",
        "Write the graph in one piece: tfpipe export … --lowering unrolled (a recurrence) or "
        "static.",
    ),
    "float16-branch": Code(
        "warning",
        "float16 weights within a branch: tflite-runtime 2.11 and 2.14 lose them when "
        "another branch runs, and compute something else; ai-edge-litert 2.3 is right",
        "Write the graph in one piece (tfpipe export … --lowering static), or install "
        "ai-edge-litert.",
    ),
    "float-left": Code(
        "warning",
        "a quantized file still holds large float constants",
        "Quantize them too (tfpipe export … --scheme int8), or leave them float on purpose.",
    ),
    "embedding-guard": Code(
        "warning",
        "Keras 3 wraps negative ids (LESS, ADD, SELECT) around a lookup: integer ops that no text "
        "needs",
        "Look up with tf.gather on the embedding's weights; tfpipe export does.",
    ),
    "dense-two-outputs": Code(
        "warning",
        "an int8 dense layer with 2 outputs and per-channel scales: tflite-runtime 2.14.0 ended "
        "with a segmentation fault on it on arm64 and armv7 (seen under emulation; x86-64 is fine)",
        "Set converter._experimental_disable_per_channel_quantization_for_dense_layers = True, or "
        "install ai-edge-litert.",
    ),
    "min-runtime-understated": Code(
        "warning",
        "the file records an older minimum runtime than its ops need",
        "Trust min_runtime of this report.",
    ),
    "runtime-unknown": Code(
        "info",
        "the named release is newer than those whose ops are known here",
        "Run the file there once.",
    ),
    "several-signatures": Code(
        "info",
        "the file has a graph for each of several signatures: what runs the first alone, as "
        "MediaPipe and TFLite's benchmark_model do, gets that one or refuses the file",
        "For MediaPipe export without --buckets.",
    ),
    "no-ops": Code(
        "warning",
        "the file has no op: it computes nothing",
        "Convert the model again.",
    ),
    "unused-op-code": Code(
        "info",
        "the file lists an op that no graph uses; the runtime must have it all the same",
        "Convert the model again.",
    ),
    # What a target asks for.
    "target-op": Code(
        "error",
        "an op does not run on the target, so the graph is split or refused there",
        "Export for the target: tfpipe export … --target gpu or edgetpu.",
    ),
    "target-io": Code(
        "error",
        "the target's runtime does not take inputs or outputs of this type or shape",
        "Export with float32 outputs and int32 ids of shape (1, sequence_length).",
    ),
    "several-subgraphs": Code(
        "error",
        "MediaPipe's text classifier takes files of one subgraph",
        "Write the graph in one piece (--lowering unrolled, or static where nothing recurs), and "
        "export without --buckets.",
    ),
    "metadata-missing": Code(
        "error",
        "the file lacks the TFLite metadata (tokenizer, vocabulary, labels) that MediaPipe reads",
        "Train with tokenizer.kind=word and tokenizer.lowercase=false, whose rules MediaPipe has: "
        "tfpipe export then writes it.",
    ),
}  # fmt: skip


def finding(
    code: str, message: str, *, severity: str | None = None, fix: str | None = None
) -> Finding:
    """Returns a finding of a known code, with its own severity and fix where none are given."""
    kind = CODES[code]
    return Finding(code, severity or kind.severity, message, fix or kind.fix)
