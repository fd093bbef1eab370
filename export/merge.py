"""Files of one model at several lengths → one file, a signature for each, constants stored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from device_runner.signatures import bucket_name
from tfpipe.export.min_runtime import raise_min_runtime
from tfpipe.export.pack import pack_model

# Options that name a subgraph of the file: those of WHILE.
SUBGRAPH_FIELDS = ("condSubgraphIndex", "bodySubgraphIndex")


def merge_files(files: Sequence[bytes], bucket_lengths: Sequence[int]) -> bytes:
    """Puts the graphs of several .tflite files into one file.

    The weights of one model are equal at every length, and so are those that int8 rounds, whatever
    the ranges of the values between them are: they are stored once.

    Args:
        files: As the converter writes them, each with one signature; the full length first.
        bucket_lengths: Token ids that each but the first takes.

    Returns:
        The file: subgraph 0 and its signature are those of `files[0]`, the others' signatures are
        named by `bucket_name`.
    """
    merged = schema.ModelT.InitFromPackedBuf(files[0], 0)
    codes = {code_key(code): index for index, code in enumerate(merged.operatorCodes)}
    for data, length in zip(files[1:], bucket_lengths, strict=True):
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        first = len(merged.subgraphs)
        for graph in model.subgraphs:
            for tensor in graph.tensors:
                tensor.buffer += len(merged.buffers)
            adopt_operators(merged, codes, graph, model.operatorCodes)
        merged.buffers += model.buffers
        merged.subgraphs += model.subgraphs
        (signature,) = model.signatureDefs
        signature.signatureKey = bucket_name(length).encode()
        signature.subgraphIndex += first
        merged.signatureDefs.append(signature)
        raise_min_runtime(merged, model)
    return pack_model(merged)


def adopt_operators(
    merged: Any, codes: dict[tuple[Any, ...], int], graph: Any, own_codes: Sequence[Any]
) -> None:
    """Gives a graph's operators the merged file's numbers of operator codes and subgraphs.

    To be called before the graph's file is appended.
    """
    first = len(merged.subgraphs)
    for operator in graph.operators:
        code = own_codes[operator.opcodeIndex]
        if code_key(code) not in codes:
            codes[code_key(code)] = len(merged.operatorCodes)
            merged.operatorCodes.append(code)
        operator.opcodeIndex = codes[code_key(code)]
        for name in SUBGRAPH_FIELDS:
            if hasattr(operator.builtinOptions, name):
                index = getattr(operator.builtinOptions, name)
                setattr(operator.builtinOptions, name, first + index)


def code_key(code: Any) -> tuple[Any, ...]:
    """Returns what tells one operator code from another."""
    return code.builtinCode, code.customCode, code.version
