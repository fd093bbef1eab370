"""Tests of loading a .tflite file: real models, damaged ones, and runtimes that are not there."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_runner import runtimes
from device_runner.interpreter import MAX_THREADS, load_model
from device_runner.runtimes import RuntimeNotFoundError, import_runtime

IDS = np.array([[1, 3, 4, 5, 0, 0, 0, 0]], np.int32)


def test_real_model_gives_what_numpy_gives(tiny_model: Any) -> None:
    model = load_model(tiny_model.path)
    outputs = model.run(IDS)
    assert outputs.shape == (3,) and outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, tiny_model.probabilities(IDS[0].tolist()), atol=1e-6)


def test_model_says_what_really_runs_it(tiny_model: Any) -> None:
    import ai_edge_litert

    model = load_model(tiny_model.path, num_threads=2)
    assert (model.runtime, model.runtime_version) == ("ai-edge-litert", ai_edge_litert.__version__)
    assert (model.delegate, model.num_threads) == ("cpu", 2)
    assert (model.sequence_length, model.num_classes) == (8, 3)
    assert model.init_ns > 0


# TensorFlow says that its own interpreter will go: it is the last choice.
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_runtime_can_be_asked_for(tiny_model: Any) -> None:
    pytest.importorskip("tensorflow")
    model = load_model(tiny_model.path, runtime="tensorflow")
    assert model.runtime == "tensorflow"
    np.testing.assert_allclose(model.run(IDS), tiny_model.probabilities(IDS[0].tolist()), atol=1e-6)


def test_input_is_not_kept_from_the_call_before(tiny_model: Any) -> None:
    model = load_model(tiny_model.path)
    first = model.run(IDS)
    model.run(np.full((1, 8), 7, np.int32))
    np.testing.assert_array_equal(model.run(IDS), first)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS[:, :7], r"token_ids is int32 \(1, 7\), the model takes int32 \(1, 8\)"),
        (IDS.astype(np.int64), r"token_ids is int64 \(1, 8\), the model takes int32 \(1, 8\)"),
        (IDS[0], r"token_ids is int32 \(8,\), the model takes int32 \(1, 8\)"),
    ],
)
def test_input_of_another_kind_is_refused(tiny_model: Any, ids: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_model(tiny_model.path).run(ids)


def test_runtime_failing_in_a_call_is_an_error_with_its_text(tiny_model: Any) -> None:
    with pytest.raises(
        ValueError, match=r"failed on token ids from 999 to 999: gather index out of bounds"
    ):
        load_model(tiny_model.path).run(np.full((1, 8), 999, np.int32))


@pytest.mark.parametrize("num_threads", [0, -1, MAX_THREADS + 1])
def test_number_of_threads_outside_its_range_is_refused(tiny_model: Any, num_threads: int) -> None:
    with pytest.raises(ValueError, match=rf"num_threads={num_threads}, expected 1 to 256"):
        load_model(tiny_model.path, num_threads)


@pytest.mark.parametrize(
    ("data", "found"),
    [(b"", "b''"), (b"PK\x03\x04 a zip file", r"b' a z'"), (b"\x1c\0\0\0TFL2" * 9, "b'TFL2'")],
)
def test_foreign_file_is_refused_with_size_and_expectation(
    tmp_path: Path, data: bytes, found: str
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    with pytest.raises(
        ValueError,
        match=rf"m\.tflite \({len(data)} bytes\) is not a TFLite model: bytes 4 to 8 are {found}, "
        "expected b'TFL3'",
    ):
        load_model(path)


@pytest.mark.parametrize("size", [100, 500, -100])
def test_truncated_file_is_refused_with_the_runtimes_words(
    tiny_model: Any, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(tiny_model.path.read_bytes()[:size])
    with pytest.raises(
        ValueError, match=r"cut\.tflite \(\d+ bytes\) was refused by .*: .+ cut off"
    ):
        load_model(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tflite"):
        load_model(tmp_path / "nowhere.tflite")


def test_other_inputs_are_refused_with_what_was_found(
    tmp_path: Path, convert_tiny: Callable[..., bytes]
) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(convert_tiny(lambda values: values * 2.0, dtype="float32"))
    with pytest.raises(
        ValueError, match=r"float\.tflite: inputs are float32 \[1, 8\], expected one int32 \[1, N\]"
    ):
        load_model(path)


def test_other_outputs_are_refused_with_what_was_found(
    tmp_path: Path, convert_tiny: Callable[..., bytes]
) -> None:
    path = tmp_path / "int.tflite"
    path.write_bytes(convert_tiny(lambda ids: ids + 1))
    with pytest.raises(
        ValueError, match=r"int\.tflite: outputs are int32 \[1, 8\], expected one float32 \[1, N\]"
    ):
        load_model(path)


def fake_runtime(monkeypatch: pytest.MonkeyPatch, interpreter: Any) -> None:
    """Puts a module in the place of ai-edge-litert's."""
    module = types.ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = interpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            ValueError("Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'."),
            r"'FULLY_CONNECTED' version '12'\. The file's ops are newer than this runtime: .* "
            r"export again for this one: tfpipe export … --runtime ai-edge-litert==",
        ),
        (
            RuntimeError("Select TensorFlow op(s), included in the given model, is(are) not"),
            r"No device has TensorFlow's own ops: export the model with builtin ops only",
        ),
        (SystemError("something else."), r"something else\. Expected a whole TFLite model"),
    ],
)
def test_refusal_of_the_runtime_comes_with_advice(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Any, said: Exception, advice: str
) -> None:
    def refuse(**_: Any) -> None:
        raise said

    fake_runtime(monkeypatch, refuse)
    with pytest.raises(ValueError, match=r"tiny\.tflite \(\d+ bytes\) was refused by .*" + advice):
        load_model(tiny_model.path)


def test_dynamic_shape_is_refused(monkeypatch: pytest.MonkeyPatch, tiny_model: Any) -> None:
    class Interpreter:
        def __init__(self, **_: Any) -> None: ...

        def allocate_tensors(self) -> None: ...

        def get_input_details(self) -> list[dict[str, Any]]:
            return [{"index": 0, "dtype": np.int32, "shape_signature": np.array([1, -1])}]

        def get_output_details(self) -> list[dict[str, Any]]:
            return []

    fake_runtime(monkeypatch, Interpreter)
    with pytest.raises(
        ValueError, match=r"inputs are int32 \[1, -1\], expected one int32 \[1, N\]"
    ):
        load_model(tiny_model.path)


def test_unknown_runtime_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"runtime='tvm' is unknown. Use one of: ai-edge-litert, t"
    ):
        import_runtime("tvm")


def test_no_runtime_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, _ in runtimes.RUNTIMES.values():
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        RuntimeNotFoundError,
        match=r"no TFLite runtime works here \(ai-edge-litert: .*pip install -r",
    ):
        import_runtime()


def test_runtime_that_cannot_be_imported_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    fake = types.ModuleType("tflite_runtime.interpreter")
    fake.Interpreter = object  # type: ignore[attr-defined]
    package = types.ModuleType("tflite_runtime")
    package.__version__ = "2.99.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", fake)
    monkeypatch.setattr(np, "__version__", "1.26.4")
    assert import_runtime() == ("tflite-runtime", "2.99.0", object)
    # Its extension module would raise a SystemError without a word about NumPy.
    monkeypatch.setattr(np, "__version__", "2.4.6")
    with pytest.raises(
        RuntimeNotFoundError, match=r"tflite-runtime: built for NumPy 1, found 2.4.6: .*'numpy<2'"
    ):
        import_runtime("tflite-runtime")


def test_loading_does_not_grow_memory_over_calls(tiny_model: Any) -> None:
    psutil = pytest.importorskip("psutil")
    model = load_model(tiny_model.path)
    for _ in range(2000):
        model.run(IDS)
    before = psutil.Process().memory_info().rss
    for _ in range(20000):
        model.run(IDS)
    # A leak of one output, 12 bytes and an array's 100, in every call would be 2.2 MB.
    assert psutil.Process().memory_info().rss - before < 1_000_000
