"""The house rules that a program can check: who imports whom, sizes, names, banned texts."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "device_runner": "device_runner",
    "pipeline": "tfpipe",
    "models": "tfpipe.models",
    "export": "tfpipe.export",
}
# From left to right: a module imports its own stage and those before it. Modules of one stage are
# free to import each other, but never in a circle.
STAGES = {
    "shared": "arrays config metrics quiet recipes resumable run_folder sizes staging verb "
    "versions weight_schemes",
    "data": "data",
    "tokenizer": "tokenizer",
    "models": "models",
    "train": "baseline fit_progress train variant",
    "compress": "compress",
    # What the following stages read and run a file with; it knows nothing of how one is made.
    "file": "check devices run_model thresholds web",
    "export": "export",
    "verify": "layers predict verify",
    "import": "import_keras keras_file",
    "bench": "bench compare deploy fleet inventory serve shards",
    "report": "report",
    "commands": "cli",
}
RANKS = {name: rank for rank, modules in enumerate(STAGES.values()) for name in modules.split()}
RUNTIMES = {"ai_edge_litert", "onnxruntime", "tflite_runtime", "tensorflow"}
MAX_MODULE_LINES = 250
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 6
# Constructors and model builders take a recipe's section as keywords: each key is a parameter.
MANY_PARAMETERS = re.compile(r"__init__|build_\w+_classifier")
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "tools"}
# Each pattern is written so that it does not match itself.
BANNED_TEXTS = {
    "a registry's address": r"(?i)\b(?:files[.]pythonhosted|pypi[.]org/simple|artifactor[y]|nexu[s]"
    r"|index[-_]ur[l]|extra[-]index|trusted[-]hos[t])",
    "an absolute path of one machine": r"(?<![\w.])/(?:roo[t]|wor[k]|hom[e]|User[s])/\w",
}


def source_files() -> list[Path]:
    return sorted(path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([PACKAGES[folder], *(part for part in rest if part != "__init__")])


FILES = {module_name(path): path for path in source_files()}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}


def imported(node: ast.AST) -> Iterator[str]:
    """The modules that an import statement names; a name taken from a module is that module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full in FILES else str(node.module)


def stage_of(name: str) -> str | None:
    """The second part of tfpipe.NAME…; None for the package itself and for others."""
    package, _, rest = name.partition(".")
    return rest.split(".")[0] if package == "tfpipe" and rest else None


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node


def test_every_module_has_a_place_on_the_road() -> None:
    found = {stage_of(name) for name in FILES} - {None}
    assert found == set(RANKS), "give a new module its place in STAGES, and take a gone one out"


@pytest.mark.parametrize("name", [name for name in FILES if stage_of(name)])
def test_module_imports_only_to_its_left(name: str) -> None:
    rank = RANKS[str(stage_of(name))]
    for node in ast.walk(TREES[name]):
        for target in imported(node):
            stage = stage_of(target)
            assert stage is None or RANKS[stage] <= rank, f"{name} imports {target}"


def test_no_imports_in_a_circle() -> None:
    graph = {
        name: {
            target
            for node in tree.body
            for target in imported(node)
            if target in FILES and target != name
        }
        for name, tree in TREES.items()
    }
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("device_runner")])
def test_device_runner_stands_alone(name: str) -> None:
    allowed = sys.stdlib_module_names | RUNTIMES | {"numpy", "device_runner"}
    for node in ast.walk(TREES[name]):
        for target in imported(node):
            assert target.split(".")[0] in allowed, f"{name} imports {target}"


def test_files_import_by_the_installed_names() -> None:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            for target in imported(node):
                assert target.split(".")[0] not in ("pipeline", "models", "export"), name


@pytest.mark.parametrize("name", FILES)
def test_module_says_what_it_is_and_is_short(name: str) -> None:
    text = FILES[name].read_text("utf-8")
    docstring = ast.get_docstring(TREES[name])
    assert docstring, f"{name} begins with a line that says what goes in and what comes out"
    assert len(docstring.splitlines()[0]) <= 100
    data = name == "device_runner.unicode_table"  # generated
    assert data or text.count("\n") <= MAX_MODULE_LINES, f"{name}: {text.count(chr(10))} lines"


def test_functions_are_short() -> None:
    """Of the body: the signature and the docstring are as long as the callers need."""
    too_long = {}
    for name, node in functions():
        body = node.body[1 if ast.get_docstring(node) is not None else 0 :]
        lines = int(body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        if lines > MAX_FUNCTION_LINES:
            too_long[name] = lines
    assert not too_long


def test_functions_take_few_parameters() -> None:
    too_many = {}
    for name, node in functions():
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(argument.arg not in ("self", "cls") for argument in given)
        if count > MAX_PARAMETERS and not MANY_PARAMETERS.fullmatch(node.name):
            too_many[name] = count
    assert not too_many


def test_no_module_is_a_drawer_for_everything() -> None:
    parts = {part for name in FILES for part in name.split(".")}
    assert not parts & BANNED_NAMES


@pytest.mark.parametrize("what", BANNED_TEXTS)
def test_no_tracked_file_holds(what: str) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.suffix == ".gz" or not path.is_file():
            continue
        for number, line in enumerate(path.read_text("utf-8").split("\n"), start=1):
            if re.search(BANNED_TEXTS[what], line):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert not found
