"""The device_runner that is installed → one zip application, the same bytes every time."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import device_runner
from device_runner.files import write_file_atomic

# The earliest time that a zip file can hold.
_TIME = (1980, 1, 1, 0, 0, 0)
_MAIN = '''\
"""The device runner as one file: python FILE.pyz COMMAND."""
import sys

if sys.version_info < (3, 7):
    sys.exit("Error: Python %s, expected 3.7 or newer. Use another." % sys.version.split()[0])
from device_runner.__main__ import main

sys.exit(main())
'''


def build_runner(output: str | Path) -> dict[str, Any]:
    """Writes the zip application; `python OUTPUT info` runs it on Python 3.7 and newer.

    Args:
        output: The file to write, such as runner.pyz.

    Returns:
        `output`, `bytes`, `sha256` and `runner_version`.

    Raises:
        OSError: The file cannot be written.
    """
    data = runner_bytes()
    write_file_atomic(output, data)
    return {
        "output": str(output),
        "bytes": len(data),
        "sha256": runner_sha256(),
        "runner_version": device_runner.__version__,
    }


@cache
def runner_bytes() -> bytes:
    """Returns the bytes of the zip application: sorted names, fixed times and modes."""
    folder = Path(device_runner.__file__).parent
    files = {"__main__.py": _MAIN.encode()}
    for path in sorted([*folder.glob("*.py"), folder / "requirements.txt"]):
        files[f"device_runner/{path.name}"] = without_words(path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, whatever made it
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


def without_words(path: Path) -> bytes:
    """Returns a file's content, of a Python file without the lines that are comments or docstrings
    of functions and classes; the others keep their numbers, so that a traceback names the line that
    one finds in the source."""
    data = path.read_bytes()
    if path.suffix != ".py":
        return data
    lines = data.splitlines(keepends=True)
    for token in tokenize.tokenize(io.BytesIO(data).readline):
        row = token.start[0] - 1
        if token.type == tokenize.COMMENT and lines[row].lstrip().startswith(b"#"):
            lines[row] = b"\n"
    for node in ast.walk(ast.parse(data)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            words, *rest = node.body
            # Where there is nothing else, the docstring is the body.
            for row in range(words.lineno - 1, words.end_lineno or 0) if rest else ():
                lines[row] = b"\n"
    return b"".join(lines)


def runner_sha256() -> str:
    """Returns the SHA-256 of `runner_bytes`."""
    return hashlib.sha256(runner_bytes()).hexdigest()
