"""Files → what the TFLite runtime that is installed really does with each, crashes included."""

from __future__ import annotations

import json
import os
import sys

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
except ImportError:
    from tflite_runtime.interpreter import Interpreter, OpResolverType


def run(path):
    """Loads, allocates and invokes twice on inputs of small numbers, without delegates."""
    interpreter = Interpreter(
        path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    outputs = []
    for value in (1, 2):
        for item in interpreter.get_input_details():
            values = (np.arange(np.prod(item["shape"])).reshape(item["shape"]) * value) % 7
            interpreter.set_tensor(item["index"], values.astype(item["dtype"]))
        interpreter.invoke()
        for item in interpreter.get_output_details():
            outputs.append(np.asarray(interpreter.get_tensor(item["index"])).astype(str).tolist())
    for key in interpreter.get_signature_list():
        if len(interpreter.get_signature_list()) > 1:
            runner = interpreter.get_signature_runner(key)
            items = runner.get_input_details().items()
            runner(**{name: np.ones(item["shape"], item["dtype"]) for name, item in items})
    return {"ok": True, "outputs": outputs, "places": places(interpreter)}


def places(interpreter):
    """Where the first graph's tensors lie: {index: [address, bytes]}."""
    found = {}
    for item in interpreter.get_tensor_details():
        if np.dtype(item["dtype"]).kind not in "biufc":
            continue  # strings and resources have no array
        try:
            array = interpreter.tensor(item["index"])()
        except (ValueError, RuntimeError):
            continue
        if array is not None:
            found[item["index"]] = [array.__array_interface__["data"][0], array.nbytes]
    return found


def answer(path):
    """The answer of a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            result = run(path)
        except Exception as error:  # whatever the runtime says is the answer
            result = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        with os.fdopen(writer, "w") as file:
            json.dump(result, file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else {"ok": False, "error": f"crash, status {status}"}


if __name__ == "__main__":
    json.dump({path: answer(path) for path in json.load(sys.stdin)}, sys.stdout)
