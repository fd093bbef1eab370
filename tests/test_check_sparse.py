"""`tfpipe check` on sparse weights, against what the runtimes compute by default."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfpipe.check import check

HERE = Path(__file__).parent
LITERT = "ai-edge-litert==2.3.0"
TFLITE = "tflite-runtime==2.14.0"
# Prints what the first output is for a fixed input, with the runtime's default kernels.
RUN = """
import json, sys
import numpy as np
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
item = interpreter.get_input_details()[0]
values = np.random.default_rng(9).normal(size=item["shape"]).astype(np.float32)
interpreter.set_tensor(item["index"], values)
interpreter.invoke()
print(json.dumps(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist()))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sparse")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    program = [sys.executable, "-P", HERE / "sparse_files.py", folder]
    done = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def difference(python: str, files: Path, name: str) -> float | None:
    """How far sparse and dense twin lie apart, in shares of the largest value; None if the sparse
    one does not load."""
    found = []
    for kind in ("dense", "sparse"):
        done = subprocess.run(
            [python, "-c", RUN, files / f"{name}-{kind}.tflite"], capture_output=True, text=True
        )
        if done.returncode:
            assert kind == "sparse", done.stderr[-2000:]
            return None
        found.append(np.array(json.loads(done.stdout)))
    dense, sparse = found
    return float(np.abs(dense - sparse).max() / np.abs(dense).max())


# A file that starts to run right makes its row, and the rule of `check` behind it, obsolete.
@pytest.mark.parametrize(
    ("name", "code", "right"),
    [
        ("float32", None, True),
        ("dynamic", "sparse-int8", False),
        ("unpacked", "sparse-unpacked", None),
        ("int8", None, True),
        ("one-scale", None, True),
        ("unpacked-int8", "sparse-unpacked", None),
    ],
)
def test_verdict_on_litert(files: Path, name: str, code: str | None, right: bool | None) -> None:
    apart = difference(sys.executable, files, name)
    assert (None if apart is None else apart < 0.05) is right
    found = check(files / f"{name}-sparse.tflite", runtime=LITERT)
    assert [entry["code"] for entry in found["findings"]] == ([code] if code else [])
    assert found["ok"] is (code is None)
    assert check(files / f"{name}-dense.tflite", runtime=LITERT)["findings"] == []


@pytest.mark.parametrize(
    ("name", "code"),
    [("float32", None), ("int8", "sparse-int8"), ("one-scale", None), ("unpacked-int8", None)],
)
def test_verdict_on_tflite_runtime(
    files: Path, tflite_runtime_python: str, name: str, code: str | None
) -> None:
    apart = difference(tflite_runtime_python, files, name)
    assert apart is not None and (apart < 0.05) is (code is None)
    found = check(files / f"{name}-sparse.tflite", runtime=TFLITE)
    assert [entry["code"] for entry in found["findings"]] == ([code] if code else [])


@pytest.mark.parametrize("runtime", ["ai-edge-litert==2.1.2", "tensorflow==2.21.0"])
def test_unpacked_layer_of_int8_values_is_refused_by_newer_litert_only(
    files: Path, runtime: str
) -> None:
    assert check(files / "unpacked-int8-sparse.tflite", runtime=runtime)["ok"]
    assert not check(files / "unpacked-sparse.tflite", runtime=runtime)["ok"]
