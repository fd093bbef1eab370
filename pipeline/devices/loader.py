"""The host's mark and a folder → the line of Python that starts the runner on a bare device."""

from __future__ import annotations

import json

from tfpipe.devices.runner_zip import runner_bytes, runner_sha256

# Run on the device before anything of ours is there. `{…}` are JSON literals.
_LOADER = """
import hashlib, json, os, sys
sys.path[:] = [path for path in sys.path if path]
mark, root, sha256, size = {mark}, {root}, {sha256}, {size}
def say(value):
    sys.stdout.write(mark + json.dumps(value) + "\\n")
    sys.stdout.flush()
def whole():
    return os.path.isfile(path) and hashlib.sha256(open(path, "rb").read()).hexdigest() == sha256
try:
    if sys.version_info < (3, 7):
        raise ValueError("Python %s is there, expected 3.7 or newer. Give the path of a newer one "
            "with --device-python." % sys.version.split()[0])
    folder = os.path.join(os.path.abspath(os.path.expanduser(root)), "runners")
    os.makedirs(folder, 0o700, exist_ok=True)
    path = os.path.join(folder, sha256)
    if not whole():
        say(dict(need=size))
        part = path + ".%d" % os.getpid()
        try:
            with open(part, "wb") as file:
                file.write(sys.stdin.buffer.read(size))
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.unlink(part)
        if not whole():
            raise ValueError("the runner arrived damaged. Try again, or use another disk.")
    os.utime(path)
    sys.path.insert(0, path)
    from device_runner.serve import serve
except Exception as error:
    say(dict(error="%s" % error))
else:
    serve(mark, root)
"""


def loader_line(mark: str, folder: str) -> bytes:
    """Returns one line of ASCII, which a device's Python executes.

    It looks for the zip application under its digest; where that is missing or damaged it says
    `{"need": SIZE}` and reads it from stdin. Then the runner's server takes over.

    Args:
        mark: What every answer begins with.
        folder: Where the runner keeps files on the device; "~" is its user's home.
    """
    values = {
        "mark": mark,
        "root": folder,
        "sha256": runner_sha256(),
        "size": len(runner_bytes()),
    }
    loader = _LOADER.format(**{key: json.dumps(value) for key, value in values.items()})
    # A JSON string is a Python string too, and has no line end.
    return f"exec({json.dumps(loader)})\n".encode("ascii")
