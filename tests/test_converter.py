"""The converter's child process: each way it can die is one clear ExportError."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfpipe.export import converter
from tfpipe.export.child import DONE
from tfpipe.export.converter import REFUSAL_FILE, open_converter, run_job
from tfpipe.export.target import ExportError

JOB = {
    "run": "run",
    "variant": "base",
    "target": "cpu",
    "scheme": "int8",
    "lowering": "unrolled",
}


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a program in the place of Python, which is run for each job; returns a job's folder."""

    def make(program: str) -> Path:
        path = tmp_path / "python"
        path.write_text(
            f"#!{sys.executable}\nimport json, os, pathlib, signal, sys, time\n"
            "for line in sys.stdin:\n"
            "    job_path = pathlib.Path(json.loads(line))\n"
            "    log = os.open(job_path.with_name('log.txt'), os.O_WRONLY | os.O_CREAT)\n"
            "    answers = os.dup(1); os.dup2(log, 1); os.dup2(log, 2)\n"
            "    job = json.loads(job_path.read_text())\n"
            + textwrap.indent(program, "    ")
            + f"\n    os.write(answers, {DONE!r})\n"
        )
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        folder = tmp_path / "work"
        folder.mkdir()
        return folder

    return make


def convert(job: dict[str, Any], folder: Path, **limits: float) -> Path:
    with open_converter(job["target"]) as child:
        return converter.convert(job, folder, child, **limits)


def convert_each(
    job: dict[str, Any], folder: Path, lowerings: list[str], **limits: float
) -> dict[str, Path | ExportError]:
    with open_converter(job["target"]) as child:
        return converter.convert_each(job, folder, lowerings, child, **limits)


def test_file_of_the_child_is_returned(child: Callable[[str], Path]) -> None:
    folder = child("pathlib.Path(job['output']).write_bytes(b'file of ' + job['scheme'].encode())")
    assert convert(JOB, folder).read_bytes() == b"file of int8"


def test_child_runs_the_converter_and_no_module_of_the_present_folder(
    child: Callable[[str], Path],
) -> None:
    folder = child("pathlib.Path(job['output']).write_text(' '.join(sys.argv[1:]))")
    assert convert(JOB, folder).read_text() == "-P -m tfpipe.export.jobs tfpipe.export.convert"


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV", "SIGKILL"])
def test_death_by_signal_is_named(child: Callable[[str], Path], name: str) -> None:
    folder = child(
        "print('loc(\"x\"): error: last words', file=sys.stderr, flush=True)\n"
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"os.kill(os.getpid(), signal.{name})"
    )
    with pytest.raises(ExportError) as caught:
        convert(JOB, folder)
    message = str(caught.value)
    assert message.startswith(
        f"scheme=int8 lowering=unrolled: the converter's process was ended by {name}. "
        "Try another --scheme or --lowering."
    )
    assert message.endswith("error: last words")


def test_job_of_another_module_returns_its_file_or_says_how_it_died(
    child: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = child(
        "if job['dies']:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "pathlib.Path(job['output']).write_text(sys.argv[-1])"
    )
    job = {"target": "cpu", "output": str(tmp_path / "out.json")}
    with pytest.raises(ExportError, match=r"looking: the converter's process was ended by SIGKILL"):
        run_job("some.module", {**job, "dies": True}, folder, what="looking", time_limit=60)
    path = run_job("some.module", {**job, "dies": False}, folder, what="looking", time_limit=60)
    assert path.read_text() == "some.module"


def test_death_by_a_signal_without_a_name_has_its_number() -> None:
    assert "ended by signal 99. " in converter.describe_death(-99, "")


@pytest.mark.parametrize(
    ("log", "op"),
    [
        ("error: 'tf.Foo' op is neither a custom op nor a flex op", "tf.Foo"),
        (
            "error: failed to legalize operation 'tfl.bar' that was explicitly marked illegal",
            "tfl.bar",
        ),
        ("error: 'tfl.split' op operand #1 must be tensor", "tfl.split"),
        ("Op type not registered 'Baz' in binary", "Baz"),
        ("Some ops are not supported\nFlex ops: FlexErf, FlexSize\nDetails:", "FlexErf, FlexSize"),
    ],
)
def test_op_at_fault_is_named(child: Callable[[str], Path], log: str, op: str) -> None:
    folder = child(
        f"print({log!r}, file=sys.stderr)\n"
        "print('\\n  File \"x.py\", line 1\\nI0000 00:00:00 noise', file=sys.stderr)\n"
        "sys.stderr.buffer.write(b'\\xff broken bytes\\n')\nsys.exit(1)"
    )
    with pytest.raises(ExportError) as caught:
        convert(JOB, folder)
    message = str(caught.value)
    assert f"the converter failed with exit code 1 at op {op}. Try another" in message
    assert "\ufffd broken bytes" in message
    assert "noise" not in message and "File" not in message


def test_silent_child_says_so(child: Callable[[str], Path]) -> None:
    folder = child("sys.exit(3)")
    with pytest.raises(ExportError, match=r"exit code 3\. [^\n]*\n  \(it printed nothing\)"):
        convert(JOB, folder)


def test_long_log_is_cut_to_its_end(child: Callable[[str], Path]) -> None:
    folder = child("[print(f'line {i} ' + 'x' * 1000) for i in range(100)]; sys.exit(1)")
    with pytest.raises(ExportError) as caught:
        convert(JOB, folder)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split()[1] for line in lines] == [str(i) for i in range(94, 100)]
    assert max(map(len, lines)) <= 302


def test_no_file_is_an_error(child: Callable[[str], Path]) -> None:
    folder = child("print('all is well')")
    with pytest.raises(ExportError, match="ended without writing a file.*\n  all is well"):
        convert(JOB, folder)


def test_time_limit_ends_the_child(child: Callable[[str], Path], tmp_path: Path) -> None:
    folder = child(
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    )
    with pytest.raises(ExportError, match="not done after 2 s and was ended. Use a smaller"):
        convert(JOB, folder, time_limit=2)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_refusal_is_the_whole_message(child: Callable[[str], Path]) -> None:
    folder = child(
        f"(job_path.parent / {REFUSAL_FILE!r}).write_text('Bad run: ä.', 'utf-8')"
        "\nprint('noise'); sys.exit(1)"
    )
    with pytest.raises(ExportError, match="^Bad run: ä.$"):
        convert(JOB, folder)


MANY = {key: value for key, value in JOB.items() if key != "lowering"}
# Writes the files of its job, and says which; dies at lowerings whose name begins with "bad".
MAKER = f"""
print("starts with", *job["outputs"], flush=True)
for lowering, output in job["outputs"].items():
    if lowering == "refused":
        (job_path.parent / {REFUSAL_FILE!r}).write_text("Bad run.", "utf-8")
        sys.exit(1)
    if lowering.startswith("bad"):
        print(f"last words of {{lowering}}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    pathlib.Path(output).write_text(lowering)
"""


def test_one_child_makes_all_lowerings(child: Callable[[str], Path]) -> None:
    folder = child(MAKER)
    found = convert_each(MANY, folder, ["loop", "unrolled"])
    assert [path.read_text() for path in found.values()] == ["loop", "unrolled"]
    assert [path.parent for path in found.values()] == [folder / "loop", folder / "unrolled"]
    assert (folder / "loop" / "log.txt").read_text() == "starts with loop unrolled\n"
    assert not (folder / "unrolled" / "log.txt").exists()


def test_after_a_death_another_child_makes_the_rest(child: Callable[[str], Path]) -> None:
    folder = child(MAKER)
    found = convert_each(MANY, folder, ["loop", "bad1", "refused", "unrolled", "bad2"])
    assert found["loop"].read_text() == "loop" and found["unrolled"].read_text() == "unrolled"
    said = [str(found[name]) for name in ("bad1", "refused", "bad2")]
    assert said[0].startswith("scheme=int8 lowering=bad1: the converter's process was ended by")
    assert said[0].endswith("last words of bad1")
    assert said[1] == "Bad run."
    assert said[2].startswith("scheme=int8 lowering=bad2") and "words of bad2" in said[2]
    assert all(isinstance(found[name], ExportError) for name in ("bad1", "refused", "bad2"))


def test_time_limit_is_for_each_lowering(child: Callable[[str], Path]) -> None:
    folder = child("time.sleep(60)")
    found = convert_each(MANY, folder, ["loop", "unrolled"], time_limit=1)
    assert "lowering=loop: the converter was not done after 2 s and" in str(found["loop"])
    assert "lowering=unrolled: the converter was not done after 1 s" in str(found["unrolled"])
