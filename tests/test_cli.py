"""The command line: help, exit codes, what goes to stdout, and no traceback for bad input."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import tfpipe
import tfpipe.bench
from tfpipe.cli import cli
from tfpipe.config import MODEL_NAMES, load_recipe

COMMANDS = sorted(cli.commands)
HEAVY = ("tensorflow", "tf_keras", "numpy", "sklearn", "tokenizers", "ai_edge_litert")


def invoke(*arguments: str | Path) -> Result:
    """Runs a command in this process; a traceback fails the test."""
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="tfpipe")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert "Traceback" not in done.output
    return done


def start(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tfpipe.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_commands_are_those_of_the_contract() -> None:
    verbs = "bench check compare compress deploy devices export predict recipe report runner"
    assert COMMANDS == f"{verbs} serve train verify".split()


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_an_example_to_paste(command: str, flag: str) -> None:
    done = invoke(*filter(None, [command, flag]))
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: tfpipe {command}".rstrip())
    example = done.stdout.split("Example:\n", 1)[1].splitlines()[0]
    assert re.match(rf"    tfpipe {command or 'train'} ", example), example


@pytest.mark.parametrize("command", COMMANDS)
def test_example_names_only_options_that_are_there(command: str) -> None:
    made = cli.commands[command]
    groups = [made, *getattr(made, "commands", {}).values()]
    known = {name for one in groups for option in one.params for name in option.opts}
    assert set(re.findall(r"tfpipe .*", made.help or "")), command
    for line in re.findall(r"^ *tfpipe (.*)", made.help or "", re.MULTILINE):
        assert set(re.findall(r"--[\w-]+", line)) <= known


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help_or_choices(command: str) -> None:
    for option in cli.commands[command].params:
        if isinstance(option, click.Option):
            assert option.help or isinstance(option.type, click.Choice), option.name


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(command: str) -> None:
    program = (
        "import sys\nfrom tfpipe.cli import main\n"
        f"sys.argv = ['tfpipe', *{[command, '--help'] if command else ['--help']!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"
    assert done.stdout.startswith(f"Usage: tfpipe {command}".rstrip())


def test_name_and_version() -> None:
    done = start("--version")
    assert (done.returncode, done.stdout) == (0, f"tfpipe, version {tfpipe.__version__}\n")
    assert start().stderr.startswith("Usage: tfpipe [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "No such command 'fly'"),
        (["train", "topics"], "Missing option '--run'"),
        (["train", "topics", "--run", "x", "--model", "lstn"], "'lstn' is not one of"),
        (["train", "topics", "--run", "x", "--resume", "--overwrite"], "exclude each other"),
        (["train", "topics", "--run", "x", "--test", "none.csv"], "'none.csv' does not exist"),
        (["recipe", "lstn"], "'lstn' is not one of"),
        (["verify", "none"], "'none' does not exist"),
        (["predict", "none", "text"], "'none' does not exist"),
        (["bench"], "Missing argument 'PATHS...'"),
        (["bench", ".", "--num-threads", "0"], "0 is not in the range x>=1"),
        (["report"], "Missing argument 'RUN'"),
        (["export", ".", "--format", "xml"], "'xml' is not one of 'json', 'text'"),
        (["compress", ".", "--as", "x", "--qat", "--no-scan"], "--no-scan would change nothing"),
        (["compress", ".", "--as", "x", "--qat", "--block-size", "4"], "--block-size would change"),
        (
            ["compress", ".", "--as", "x", "--low-rank", "few"],
            "'few' is neither a whole number nor",
        ),
        (["compress", ".", "--as", "x", "--qat", "--scan"], "--scan .* Give --prune SHARE"),
        (
            ["train", "topics", "--run", "x", "--set", "train.teacher_weight=0.5"],
            "--set train.teacher_weight=0.5 would change nothing here: nobody teaches. Give",
        ),
        (
            ["bench", ".", "--device-python", "python3"],
            "--device-python python3 would change nothing here: only devices reached by ssh or adb",
        ),
        (
            ["verify", ".", "--device", "browser", "--runtime", "oldest"],
            "--runtime oldest would change nothing here: only this machine",
        ),
        (
            ["bench", ".", "--device", "adb", "--benchmark-model", __file__, "--profile-ops"],
            "--profile-ops would change nothing here: --benchmark-model times whole calls",
        ),
    ],
)
def test_usage_error_is_exit_2(arguments: list[str], message: str) -> None:
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.search(message, " ".join(done.stderr.split()))
    assert "Usage: tfpipe" in done.stderr


@pytest.mark.parametrize(
    "options",
    [["--device", "local"], ["--num-threads", 1], ["--profile", "quick", "--delegate=cpu"]],
)
def test_files_of_results_are_not_measured_again(tmp_path: Path, options: list[str]) -> None:
    files = [tmp_path / "old.json", tmp_path / "new.json"]
    for file in files:
        file.write_text("{}")
    done = invoke("compare", *files, *options)
    assert done.exit_code == 2
    told = " ".join(done.stderr.split())
    assert f"{options[0]}" in told and "two files of results are measured already" in told


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", "recipe key 'train.epoch' is unknown for model 'lstm'. Did you mean"),
        ("model.num_heads=2", "recipe key 'model.num_heads' is unknown for model 'lstm'"),
        ("model.dropout=2", "model.dropout=2.0 lies outside 0 to 0.95"),
        ("train.batch_size=0", "train.batch_size=0 lies outside 1 to 65536"),
        ("train.epochs=many", "train.epochs='many' must be a whole number"),
        ("train.epochs", "--set 'train.epochs' is not KEY=VALUE"),
    ],
)
def test_bad_recipe_value_is_exit_1(tmp_path: Path, override: str, message: str) -> None:
    done = invoke("train", "topics", "--run", tmp_path / "run", "--set", override)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {message}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"data\.csv is empty\. It needs a header row and data rows"),
        ("text,label\n", r"data\.csv has no data rows"),
        ("title_de,label\na,b\n", r"no text column is known among 'title_de', 'label'"),
        ("text,label\na,x\nb,x\nc,x\n", "every row has the label 'x'"),
    ],
)
def test_bad_table_is_exit_1_and_leaves_no_run(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "data.csv").write_text(content)
    done = invoke("train", tmp_path / "data.csv", "--run", tmp_path / "run")
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.search(f"^Error: .*{message}", done.stderr, re.MULTILINE), done.stderr
    assert not (tmp_path / "run" / "run.json").exists()


def test_systems_own_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("tfpipe.devices.runner_zip.build_runner", refuse)
    done = invoke("runner", "build", "--output", tmp_path / "runner.pyz")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert "runner.pyz: Read-only file system. Give a path that can be written." in done.stderr


@pytest.mark.parametrize(
    "command",
    [["runner", "build"], ["bench", "."], ["compare", ".", "."], ["serve", "."]],
)
def test_output_without_a_folder_is_refused_before_any_work(
    tmp_path: Path, command: list[str]
) -> None:
    done = invoke(*command, "--output", tmp_path / "none" / "file")
    assert done.exit_code == 2
    told = " ".join(done.stderr.split())
    assert re.search(r"'--output': '.*none' is no folder. Make it, or give another path.", told)


def test_settings_that_contradict_each_other_leave_no_run(tmp_path: Path) -> None:
    rows = "".join(f"text {index},{'ab'[index % 2]}\n" for index in range(20))
    (tmp_path / "data.csv").write_text(f"text,label\n{rows}")
    done = invoke(
        *("train", tmp_path / "data.csv", "--run", tmp_path / "run"),
        *("--model", "transformer", "--set", "model.num_heads=3"),
    )
    assert done.exit_code == 1
    assert "Error: num_heads=3 does not divide embedding_dim=64. Use one of" in done.stderr
    assert not (tmp_path / "run").exists()


def test_run_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = invoke("train", "topics", "--run", tmp_path / "file" / "run")
    assert done.exit_code == 1
    assert re.search(r"^Error: run='.*run' lies below '.*file', which is a file", done.stderr)


def test_predict_reads_lines_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    found = {"predictions": []}
    monkeypatch.setattr(
        "tfpipe.shards.predict_fleet", lambda *arguments: seen.append(arguments) or found
    )
    lines = "\ufeffgrün 🌻\n\nlast".encode()
    done = CliRunner().invoke(cli, ["predict", ".", "--file", "-"], input=lines)
    assert done.exit_code == 0
    assert seen == [(Path("."), ["grün 🌻", "", "last"], ("local",))]


def test_data_that_is_not_there_is_exit_1(tmp_path: Path) -> None:
    done = invoke("train", tmp_path / "none.csv", "--run", tmp_path / "run")
    assert done.exit_code == 1
    assert re.search(r"^Error: .*none\.csv is neither a file nor", done.stderr, re.MULTILINE)


def test_run_that_exists_is_refused(trained_runs: dict[str, Path]) -> None:
    before = (trained_runs["lstm"] / "run.json").read_bytes()
    done = invoke("train", "topics", "--run", trained_runs["lstm"])
    assert done.exit_code == 1
    assert "exists. Give --resume to go on with it, --overwrite to replace it" in done.stderr
    assert (trained_runs["lstm"] / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "RUN"], "cpu-float32' exists. Give --overwrite"),
        (
            ["export", "RUN", "--target", "tpu"],
            "target='tpu' is unknown. Use one of ['cpu', 'edgetpu', 'gpu', 'onnx', 'web']",
        ),
        (["export", "RUN", "--scheme", "int4"], "scheme='int4' does not run on target 'cpu'"),
        (["export", "RUN", "--lowering", "rolled"], "lowering='rolled' does not run"),
        (["export", "RUN", "--variant", "x"], "variant='x' is not in"),
        (["export", "RUN", "--as", "../x"], "name='../x' must be 1 to 100 of"),
        (["export", "RUN/none"], "none' does not exist, so it is no finished run"),
        (["verify", "RUN"], "is a run, expected one of its artifacts, which lie in"),
        (["predict", "RUN", "text"], "is a run, expected one of its artifacts, which lie in"),
        (["bench", "RUN"], "is a run, expected one of its artifacts, which lie in"),
        (["bench", "RUN/exports/cpu-float32", "--device", "moon"], "device='moon' is unknown"),
        (["bench", "RUN/exports/cpu-float32", "--profile", "x"], "profile='x' is unknown"),
        (["bench", "RUN/run.json"], "is not a TFLite model"),
        (["report", "RUN/none"], "none"),
    ],
)
def test_failure_is_exit_1_with_one_message(
    exported_run: Path, arguments: list[str], message: str
) -> None:
    done = invoke(*[argument.replace("RUN", str(exported_run)) for argument in arguments])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ") and message in done.stderr


def test_bench_that_lost_one_prints_the_others_and_is_exit_1(
    exported_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"results": [], "failures": [{"artifact": "x", "error": "x: ended by SIGSEGV."}]}
    monkeypatch.setattr("tfpipe.fleet.bench", lambda paths, **options: found)
    done = invoke("bench", exported_run)
    assert (done.exit_code, done.stderr) == (1, "Error: x: ended by SIGSEGV.\n")
    assert json.loads(done.stdout) == found


def test_verify_and_predict_write_json_or_text(exported_run: Path) -> None:
    artifact = exported_run / "exports" / "cpu-float32"
    done = invoke("verify", artifact)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["passed"] is True
    done = invoke("predict", artifact, "apple cherry", "sky sea")
    labels = [entry["label"] for entry in json.loads(done.stdout)["predictions"]]
    assert labels == ["red", "blue"]
    done = invoke("predict", artifact, "apple cherry", "--format", "text")
    assert re.fullmatch(r"red\t[01]\.\d{4}\tapple cherry\n", done.stdout)


def test_train_prints_its_outcome_in_both_formats(
    trained_runs: dict[str, Path], tmp_path: Path
) -> None:
    data = trained_runs["lstm"].parent / "colours.csv"
    small = ["train.epochs=1", "tokenizer.kind=word", "model.embedding_dim=4"]
    sets = [part for value in small for part in ("--set", value)]
    command = ["train", data, "--run", tmp_path / "run", "--model", "average", *sets]
    done = invoke(*command)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    done = invoke(*command, "--overwrite", "--format", "text")
    assert done.exit_code == 0, done.stderr
    lines = dict(re.split(r"  +", line) for line in done.stdout.splitlines())
    assert lines["parameters"] == f"{result['parameters']:,}"
    assert lines["average (test, n=36)"] == f"{result['metrics']['test']['accuracy']:.4f}"
    assert lines["majority class"] == "0.3333"


def test_compress_recipe_is_taken_and_the_command_line_is_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def compress(run: Path, name: str, options: Any, **_: Any) -> dict[str, Any]:
        asked.append(options)
        raise ValueError("that will do")

    monkeypatch.setattr("tfpipe.compress.variant.compress", compress)
    (tmp_path / "my.toml").write_text(
        invoke("recipe", "compress").stdout.replace("prune = 0.0", "prune = 0.8")
        + "\n[train]\nepochs = 3\n"
    )
    recipe = ["--recipe", tmp_path / "my.toml"]
    command = ["compress", tmp_path, "--as", "x", *recipe]
    for more in ([], ["--prune", "0.5", "--cluster", "16", "--no-scan"], ["--prune", "0"]):
        assert "that will do" in invoke(*command, *more).stderr
    wanted = [(0.8, True, 0), (0.5, False, 16), (0.0, True, 0)]
    assert [(each.prune, each.scan, each.cluster) for each in asked] == wanted
    (tmp_path / "my.toml").write_text("[compress]\nqat = true\nscan = false\n")
    invoke(*command, "--no-qat", "--scan", "--prune", "0.5")
    assert (asked[-1].qat, asked[-1].scan) == (False, True)
    in_vain = invoke(*command, "--prune", "0", "--no-scan")
    assert in_vain.exit_code == 2 and "--no-scan would change nothing" in in_vain.output


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_recipe_is_toml_that_can_be_given_back(name: str, tmp_path: Path) -> None:
    done = invoke("recipe", name)
    assert done.exit_code == 0
    assert tomllib.loads(done.stdout) == load_recipe(name).sections()
    (tmp_path / "my.toml").write_text(done.stdout)
    assert load_recipe(name, path=tmp_path / "my.toml") == load_recipe(name)


def test_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """As with `tfpipe predict … | head`: nothing on stderr."""
    program = (
        "import os, sys\nfrom tfpipe.cli import main\nos.close(1)\nread, write = os.pipe()\n"
        "os.close(read)\nsys.stdout = open(write, 'w')\nsys.argv = ['tfpipe', 'recipe', 'lstm']\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
