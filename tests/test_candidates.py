"""tfpipe.export.candidates: the fastest right file is taken, and every other one says why not."""

import shutil

import numpy as np
import pytest

from tfpipe.devices import RunnerDiedError
from tfpipe.export import candidates
from tfpipe.export.candidates import Candidate, convert_fastest, fastest
from tfpipe.export.converter import KERAS_FILE
from tfpipe.export.target import ExportError
from tfpipe.run_model import ModelRun

JOB = {"scheme": "int8"}
TOKEN_IDS = np.ones((4, 8), np.int32)
KERAS = np.full((4, 2), 0.5, np.float32)
CHILD = object()


class FakeDevice:
    """Gives each file the p50 that its name stands for, or dies."""

    def __init__(self, p50_ns, *, dies=False):
        self.p50_ns, self.dies, self.measured = p50_ns, dies, []

    def run(self, arguments, *, time_limit_s):
        if self.dies:
            raise RunnerDiedError("SIGSEGV")
        paths = arguments[arguments.index("--") + 1 :]
        self.measured += [path.split("/")[-2] for path in paths]
        found = [self.p50_ns[path.split("/")[-2]] for path in paths]
        return {"results": [{"p50_ns": value, "num_runs": 90} for value in found]}


@pytest.fixture
def choose(tmp_path, monkeypatch):
    """Runs convert_fastest with files of the given sizes and mean errors; None: not converted."""

    def run(files, device):
        def convert_each(job, work, lowerings, child):
            assert child is CHILD
            assert np.array_equal(np.load(job["probe"]), TOKEN_IDS)
            np.save(work / KERAS_FILE, KERAS)
            return {lowering: make_file(lowering, work / lowering) for lowering in lowerings}

        def make_file(lowering, folder):
            folder.mkdir()
            if files[lowering] is None:
                return ExportError(f"{lowering} does not convert")
            (folder / "out").write_bytes(b"x" * files[lowering][0])
            return folder / "out"

        def run_model(path, folder, *, token_ids, device):
            error = files[folder.name][1]
            if error is None:
                raise RunnerDiedError("ended by SIGABRT")
            return ModelRun(token_ids, KERAS + np.float32(error), "fake", "1")

        monkeypatch.setattr(candidates, "convert_each", convert_each)
        monkeypatch.setattr(candidates, "run_model", run_model)
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        path, lowering, found = convert_fastest(
            JOB, work, list(files), token_ids=TOKEN_IDS, device=device, child=CHILD
        )
        assert path == work / lowering / "out"
        return lowering, {entry["lowering"]: entry for entry in found}

    return run


def test_the_fastest_right_file_is_taken(choose):
    device = FakeDevice({"unrolled": 100, "fused": 300})
    lowering, found = choose({"unrolled": (50, 0.0), "fused": (20, 0.01)}, device)
    assert lowering == "unrolled"
    assert [found[name]["p50_ns"] for name in ("unrolled", "fused")] == [100, 300]
    assert found["fused"]["mean_abs_error"] == pytest.approx(0.01, abs=1e-6)
    assert found["fused"]["model_size_bytes"] == 20
    assert all(entry["error"] is None and entry["num_runs"] == 90 for entry in found.values())


def test_a_wrong_file_is_not_even_measured(choose):
    device = FakeDevice({"unrolled": 1, "fused": 300, "loop": 200})
    files = {"unrolled": (50, 0.2), "fused": (20, 0.0), "loop": (20, 0.0)}
    lowering, found = choose(files, device)
    assert lowering == "loop" and device.measured == ["fused", "loop"]
    assert found["unrolled"]["error"] == "mean_abs_error=0.2 is over 0.05"


def test_what_does_not_convert_or_run_says_why(choose):
    files = {"unrolled": None, "fused": (20, None), "loop": (30, 0.0)}
    lowering, found = choose(files, FakeDevice({}))
    assert lowering == "loop"
    assert found["unrolled"]["error"] == "unrolled does not convert"
    assert found["fused"]["error"] == "ended by SIGABRT"
    assert found["loop"]["p50_ns"] is None  # alone: nothing to choose


def test_nothing_converted_is_the_first_ones_error(choose):
    with pytest.raises(ExportError, match="unrolled does not convert"):
        choose({"unrolled": None, "fused": None}, FakeDevice({}))


def test_of_wrong_files_the_nearest_is_left_to_verification(choose):
    lowering, found = choose({"unrolled": (50, 0.3), "fused": (20, 0.2)}, FakeDevice({}))
    assert lowering == "fused"
    assert all("is over" in entry["error"] for entry in found.values())


def test_a_crash_of_the_measurement_keeps_the_first(choose):
    device = FakeDevice({}, dies=True)
    lowering, found = choose({"unrolled": (50, 0.0), "fused": (20, 0.0)}, device)
    assert lowering == "unrolled"
    assert found["fused"]["error"] == "not measured: SIGSEGV"


def test_of_equally_fast_files_the_smallest_is_taken():
    big = Candidate("unrolled", model_size_bytes=50, p50_ns=100)
    small = Candidate("fused", model_size_bytes=20, p50_ns=104)
    slow = Candidate("loop", model_size_bytes=10, p50_ns=106)
    assert fastest([big, small, slow]) is small
    assert fastest([big, slow]) is big
    assert fastest([]) is None
