"""tfpipe.devices.environment: another TFLite runtime on this machine, or a reason why not."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tfpipe.devices import environment, open_device
from tfpipe.devices.environment import NoEnvironmentError, Runtime, environment_python
from tfpipe.devices.environment import parse_runtime as parse
from tfpipe.export import model_file
from tfpipe.export.artifact import export_artifact
from tfpipe.export.options import ExportOptions, default_name
from tfpipe.export.target import ExportError
from tfpipe.train import train
from tfpipe.verify import verify

OLD = Runtime("tflite-runtime", "2.14.0")
needs_pip = pytest.mark.skipif(
    "TFPIPE_TFLITE_RUNTIME_PYTHON" not in os.environ,
    reason="installs tflite-runtime with pip: done where .ci/run has shown that it can be",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, request):
    if "needs_pip" not in request.keywords and not request.node.get_closest_marker("skipif"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_runtime_is_a_name_and_a_version():
    assert parse("oldest") == OLD and OLD.spec == "tflite-runtime==2.14.0"
    assert parse("ai-edge-litert==2.3.0") == Runtime("ai-edge-litert", "2.3.0")
    names = [default_name(ExportOptions(runtime=runtime)) for runtime in (None, "oldest")]
    assert names == ["cpu-float32", "cpu-float32-tflite-runtime-2.14.0"]


@pytest.mark.parametrize("text", ["tflite-runtime", "tensorflow==2.21", "tflite-runtime==-r/x", ""])
def test_other_runtimes_are_refused(text):
    with pytest.raises(ValueError, match="is unknown. Use oldest, tflite-runtime==VERSION or"):
        open_device(f"local?runtime={text}")


def test_a_device_keeps_the_runtime_that_it_has():
    with pytest.raises(ValueError, match="has a runtime, which only local can choose"):
        open_device("ssh://pi@board?runtime=oldest")
    with pytest.raises(ExportError, match="only files for target cpu are made for a TFLite"):
        model_file.open_runtime(ExportOptions(target="onnx", runtime="oldest"))


def test_no_python_for_the_old_runtime_is_said(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(NoEnvironmentError, match="no wheel for Python 3.13. Put one of python3.11"):
        environment_python(OLD)


def test_failed_install_leaves_nothing(tmp_path, monkeypatch):
    base = tmp_path / "python3.11"
    base.write_text("#!/bin/sh\necho 'No matching distribution' >&2; exit 1\n")
    base.chmod(0o755)
    monkeypatch.setattr(environment, "_base_python", lambda runtime: base)
    with pytest.raises(NoEnvironmentError, match="for python3.11: No matching distribution. Check"):
        environment_python(OLD)
    assert list((tmp_path / "cache" / "tfpipe" / "runtimes").iterdir()) == []


def test_environment_that_is_whole_is_used_again(tmp_path, monkeypatch):
    base = tmp_path / "python3.11"
    base.write_text(
        '#!/bin/sh\nmkdir -p "$3/bin"; printf "#!/bin/sh\\n" > "$3/bin/python"; '
        'chmod +x "$3/bin/python"; echo made >> "$0.log"\n'
    )
    base.chmod(0o755)
    monkeypatch.setattr(environment, "_base_python", lambda runtime: base)
    first = environment_python(OLD)
    assert first.is_file() and environment_python(OLD) == first
    assert Path(f"{base}.log").read_text() == "made\n"


def test_export_without_that_runtime_is_marked(exported_run, tmp_path, monkeypatch):
    def refuse(name):
        if "runtime" in name:
            raise NoEnvironmentError("runtime=tflite-runtime==2.14.0 has no wheel for Python 3.13.")
        return open_device(name)

    monkeypatch.setattr(model_file, "open_device", refuse)
    run = shutil.copytree(exported_run, tmp_path / "run")
    file = run / "exports" / "cpu-float32" / "model.tflite"
    jobs = []

    def convert(job, folder, child):
        jobs.append(job)
        return Path(shutil.copy(file, folder / "out"))

    monkeypatch.setattr(model_file, "convert", convert)
    result = export_artifact(run, ExportOptions(lowering="unrolled", runtime="oldest"))
    proof = json.loads((Path(result["artifact"]) / "check.json").read_text())["proof"]
    assert proof["proven"] is False
    assert proof["reason"].startswith("not verified on this Python: runtime=tflite-runtime==2.14.0")
    assert jobs[0]["runtime"] == "tflite-runtime==2.14.0"


@needs_pip
def test_old_runtime_refuses_the_usual_file_and_proves_its_own(
    make_colours, small_recipe, tmp_path
):
    run = tmp_path / "run"
    # Kernels of 1,024 numbers: smaller ones stay float32, in products that every runtime has.
    recipe = small_recipe("transformer", "model.num_heads=2", "model.embedding_dim=32")
    train(make_colours(tmp_path / "colours.csv"), run, recipe=recipe)
    usual = export_artifact(run, ExportOptions(scheme="dynamic_int8"))
    with pytest.raises(ValueError, match="tflite-runtime 2.14.0: Didn't find op .*FULLY_CONNECTED"):
        verify(usual["artifact"], device="local?runtime=oldest")
    own = export_artifact(run, ExportOptions(scheme="dynamic_int8", runtime="oldest"))
    assert own["name"] == "cpu-dynamic_int8-tflite-runtime-2.14.0"
    result = verify(own["artifact"], device="local?runtime=oldest")
    assert (result["runtime"], result["runtime_version"]) == ("tflite-runtime", "2.14.0")
    assert result["passed"] is True
    assert verify(own["artifact"])["runtime"] == "ai-edge-litert"
    # The mean over a text's tokens divides, in float32: that runtime has no int8 DIV.
    whole = export_artifact(run, ExportOptions(scheme="int8", runtime="oldest"))
    facts = json.loads((Path(whole["artifact"]) / "check.json").read_text())
    assert facts["proof"]["proven"] is True and facts["ops"]["DIV"] >= 1
