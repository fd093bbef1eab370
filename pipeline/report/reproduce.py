"""run.json, variants and artifacts → the commands that make all of them again."""

from __future__ import annotations

import shlex
from typing import Any

from tfpipe.config import AUTO
from tfpipe.data import PACKAGED
from tfpipe.report.read import Node
from tfpipe.variant import BASE, IMPORTED_MODELS
from tfpipe.weight_schemes import WEIGHT_SCHEMES

# A run keeps these as names, but they are what the commands do without an option: the trained
# weights, and a model without recurrence.
_NO_OPTION = (BASE, "static")


def reproduction_commands(
    run: Node, name: str, artifacts: list[dict[str, Any]], variants: list[dict[str, Any]]
) -> list[str]:
    """Returns shell commands that make everything again in a run folder NAME-again.

    They run in the folder that holds the run, whose place on the machine is not told.

    Args:
        run: run.json. It says where the data files lie as seen from that folder.
        name: Name of the run folder.
        artifacts: The artifacts of report.json.
        variants: Its variants.
    """
    again = f"{name}-again"
    data = run.child("data")
    source = data.text("source_path") or data.text("source") or "DATA"
    imported = run.text("model") in IMPORTED_MODELS
    words = ["tfpipe", "train", source, "--run", again]
    words += ["--model", run.text("model") or "MODEL", "--recipe", f"{name}/recipe.toml"]
    words += [*_data_options(run), *_teaching_of(run)]
    commands = [] if imported else [shlex.join(words)]
    commands += [_compression(again, variant) for variant in _sources_first(variants)]
    for artifact in artifacts:
        words = ["tfpipe", "export", again, "--as", artifact["name"]]
        words += _keras_options(run, name, source) if imported else []
        for key in ("target", "scheme", "lowering", "variant"):
            if artifact[key] and artifact[key] not in _NO_OPTION:
                words += [f"--{key}", artifact[key]]
        if artifact["buckets"]:
            words += ["--buckets", ",".join(map(str, artifact["buckets"]))]
        words += ["--runtime", artifact["runtime"]] if artifact["runtime"] else []
        segments = artifact["num_segments"] or 1
        words += ["--num-segments", str(segments)] if segments > 1 else []
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
    """Returns the options that say how the table was read; a packaged one has its own columns."""
    data = run.child("data")
    options = {"--test": data.text("test_path")}
    if data.text("source") not in PACKAGED:
        options = {
            "--test": data.text("test_path") or data.text("test_source"),
            "--text-column": data.text("text_column"),
            "--label-column": data.text("label_column"),
        }
    words = []
    for option, value in options.items():
        words += [option, value] if value else []
    return words + ["--multi-label"] * bool(run.flag("multi_label"))


def _teaching_options(teachers: list[str], unlabelled: str | None) -> list[str]:
    """Returns the options that say who taught, if anybody did."""
    words = [word for path in teachers for word in ("--teacher", path)]
    return words + (["--unlabelled", unlabelled] if unlabelled else [])


def _teaching_of(run: Node) -> list[str]:
    teaching = run.child("teaching")
    return _teaching_options(teaching.texts("teachers"), teaching.text("unlabelled"))


def _sources_first(variants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the variants, each behind the one it was made of; by name where that leaves a choice.
    One whose source is gone stands at the end."""
    ordered: list[dict[str, Any]] = []
    left = sorted(variants, key=lambda variant: str(variant["name"]))
    while left:
        waiting = {variant["name"] for variant in left}
        ready = [variant for variant in left if variant["from"] not in waiting] or left
        ordered += ready
        left = [variant for variant in left if variant not in ready]
    return ordered


def _compression(again: str, variant: dict[str, Any]) -> str:
    """Returns the command that makes a variant."""
    options = variant["options"]
    words = ["tfpipe", "compress", again, "--as", variant["name"]]
    words += ["--from", variant["from"]] if variant["from"] != BASE else []
    for key in ("shrink", "low_rank", "prune", "cluster", "epochs", "learning_rate"):
        if options[key]:
            value = options[key] if options[key] == AUTO else f"{options[key]:g}"
            words += [f"--{key.replace('_', '-')}", value]
    # A record that does not say so was made before there was a scan, blocks, or another scheme.
    words += ["--no-scan"] * bool(options["prune"] and not options["scan"])
    words += ["--block-size", str(options["block_size"])] * ((options["block_size"] or 1) > 1)
    words += ["--qat"] * bool(options["qat"])
    words += ["--scheme", options["scheme"]] * (options["scheme"] in WEIGHT_SCHEMES)
    teaching = variant["teaching"] or {"teachers": [], "unlabelled": None}
    return shlex.join([*words, *_teaching_options(**teaching)])
