"""What edgetpu_compiler printed, versions 2.0 to 16.0 → every fact in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MAPPED = "Mapped to Edge TPU"
SUBGRAPH = "More than one subgraph is not supported"
LIMITATION = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
DATA_TYPE = "Operation is working on an unsupported data type"
UNSUPPORTED = "Operation not supported"
VERSION = "Operation version not supported"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"
TWO_DIMENSIONS = "For example, a fully-connected or softmax layer with 2D output"
STATUSES = (
    MAPPED, SUBGRAPH, LIMITATION, DATA_TYPE, UNSUPPORTED, VERSION, RANK, NOT_CONSTANT,
    TWO_DIMENSIONS,
)  # fmt: skip

UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
# Key of the result → the line that holds it. Compilers before 2.1 say "available for caching".
SIZES = {
    "input_bytes": r"Input size: ",
    "output_bytes": r"Output size: ",
    "cached_bytes": r"On-chip memory used for caching model parameters: ",
    "cache_left_bytes": r"On-chip memory (?:remaining|available) for caching model parameters: ",
    "streamed_bytes": r"Off-chip memory used for streaming uncached model parameters: ",
}
NUMBERS = {
    "milliseconds": r"Model compiled successfully in (\d+) ms",
    "num_subgraphs": r"Number of Edge TPU subgraphs: (\d+)",
    "num_operations": r"Total number of operations: (\d+)",
    "num_on_edgetpu": r"Number of operations that will run on Edge TPU: (\d+)",
    "num_on_cpu": r"Number of operations that will run on CPU: (\d+)",
}
ROW = re.compile(r"(\S+)\s+(\d+)\s+(\S.*?)\s*")
# What a failing compiler says → what it means, from the reports of its users.
FAILURES = {
    "Model not quantized": "the file holds float ops; it must be int8 throughout",
    "Didn't find op for builtin opcode": "an op is newer than the compiler's TensorFlow",
    "Op builtin_code out of range": "an op (GELU, for one) is newer than the compiler's TensorFlow",
    "dynamic-sized tensors": "a shape is not fixed, or a loop is left in the graph",
    "large activation tensors": "activations are too large: use a smaller data.sequence_length or "
    "fewer units",
    "Internal compiler error": "the compiler gives no reason; try another version or model",
    "Model could not be parsed": "the file is damaged or newer than the compiler",
    "Model failed in Tflite interpreter": "the compiler's TensorFlow cannot run the file",
    "Invalid model": "the compiler does not take the file",
    "Compilation failed": "the compiler gives no reason; a smaller model may pass",
}


def parse_log(text: str) -> dict[str, Any]:
    """Reads the whole of a compiler's output, or of its operation log.

    Args:
        text: Standard output and error, or the content of NAME_edgetpu.log.

    Returns:
        "version" (None where it is not said); "succeeded": whether it says so, which it does with
        no op mapped too; the keys of `SIZES` in bytes and of `NUMBERS`, None where they are not
        said; "operations": [{"op", "count", "status"}] in the log's order, statuses verbatim, one
        op possibly on several rows; "failure": what a failing compiler means, or None.
    """
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    found: dict[str, Any] = {"version": version[1] if version else None}
    found["succeeded"] = "Model compiled successfully" in text and "Compilation failed" not in text
    for key, pattern in SIZES.items():
        match = re.search(rf"{pattern}([\d.]+)(B|KiB|MiB|GiB)", text)
        found[key] = round(float(match[1]) * UNITS[match[2]]) if match else None
    for key, pattern in NUMBERS.items():
        match = re.search(pattern, text)
        found[key] = int(match[1]) if match else None
    found["operations"] = parse_table(text)
    meanings = [f"{sign} ({meaning})" for sign, meaning in FAILURES.items() if sign in text]
    found["failure"] = None if found["succeeded"] or not meanings else meanings[0]
    return found


def parse_table(text: str) -> list[dict[str, Any]]:
    """Returns the rows of the table of operations; without one, none."""
    lines = iter(text.splitlines())
    for line in lines:
        if re.fullmatch(r"Operator\s+Count\s+Status\s*", line):
            break
    rows = []
    for line in lines:
        match = ROW.fullmatch(line)
        if match:
            rows.append({"op": match[1], "count": int(match[2]), "status": match[3]})
        elif line.strip():
            break
    return rows


def count_statuses(operations: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Returns how many ops are "mapped", "unmapped" and of "unknown" status."""
    counts = {"mapped": 0, "unmapped": 0, "unknown": 0}
    for row in operations:
        status = row["status"]
        kind = "mapped" if status == MAPPED else "unmapped" if status in STATUSES else "unknown"
        counts[kind] += row["count"]
    return counts
