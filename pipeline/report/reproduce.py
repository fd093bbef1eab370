"""run.json and artifacts → the commands that make the run and its artifacts again."""

from __future__ import annotations

import shlex
from typing import Any

from tfpipe.data import PACKAGED
from tfpipe.report.read import Node
from tfpipe.variant import IMPORTED_MODELS

# A run keeps these as names, but they are what the commands do without an option: the trained
# weights, and a model without recurrence.
_NO_OPTION = ("base", "static")


def reproduction_commands(run: Node, name: str, artifacts: list[dict[str, Any]]) -> list[str]:
    """Returns shell commands that make everything again in a run folder NAME-again.

    They run in the folder that holds the run, whose place on the machine is not told.

    Args:
        run: run.json. It says where the data files lie as seen from that folder.
        name: Name of the run folder.
        artifacts: The artifacts of report.json.
    """
    again = f"{name}-again"
    data = run.child("data")
    source = data.text("source_path") or data.text("source") or "DATA"
    imported = run.text("model") in IMPORTED_MODELS
    words = ["tfpipe", "train", source, "--run", again]
    words += ["--model", run.text("model") or "MODEL", "--recipe", f"{name}/recipe.toml"]
    words += [*_data_options(run), *_teaching_options(run)]
    commands = [] if imported else [shlex.join(words)]
    for artifact in artifacts:
        words = ["tfpipe", "export", again, "--as", artifact["name"]]
        words += _keras_options(run, name, source) if imported else []
        for key in ("target", "scheme", "lowering", "variant"):
            if artifact[key] and artifact[key] not in _NO_OPTION:
                words += [f"--{key}", artifact[key]]
        commands.append(shlex.join(words))
    folders = [shlex.quote(f"{again}/exports/{artifact['name']}") for artifact in artifacts]
    commands += [f"tfpipe verify {folder}" for folder in folders]
    return commands + ([f"tfpipe bench {' '.join(folders)}"] if folders else [])


def _keras_options(run: Node, name: str, source: str) -> list[str]:
    """Returns the options that bring a Keras file, which is where the user has it."""
    recipe = run.child("recipe")
    tokenizer = recipe.child("tokenizer")
    kept = {key: f"{name}/{key}.txt" for key in ("vocabulary", "labels")}
    words = ["--keras", recipe.child("model").text("file") or "MODEL", "--data", source]
    for key, value in {**kept, "tokenizer": tokenizer.text("kind")}.items():
        words += [f"--{key}", value] if value else []
    words.append("--lowercase" if tokenizer.text("lowercase") == "true" else "--keep-case")
    length = recipe.child("data").integer("sequence_length")
    return [*words, "--sequence-length", str(length), *_data_options(run)]


def _data_options(run: Node) -> list[str]:
    """Returns the options that say how the table was read; a packaged one has none."""
    data = run.child("data")
    words = []
    if data.text("source") not in PACKAGED:
        options = {
            "--test": data.text("test_path") or data.text("test_source"),
            "--text-column": data.text("text_column"),
            "--label-column": data.text("label_column"),
        }
        for option, value in options.items():
            words += [option, value] if value else []
    return words + ["--multi-label"] * bool(run.flag("multi_label"))


def _teaching_options(run: Node) -> list[str]:
    """Returns the options that say who taught, if anybody did."""
    teaching = run.child("teaching")
    words = [word for path in teaching.texts("teachers") for word in ("--teacher", path)]
    unlabelled = teaching.text("unlabelled")
    return words + (["--unlabelled", unlabelled] if unlabelled else [])
