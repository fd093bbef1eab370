"""A table of texts → a trained, exported, verified and measured text model.

The verbs of the road, as on the command line: `tfpipe.train`, `tfpipe.compress`, `tfpipe.export`,
`tfpipe.check`, `tfpipe.verify`, `tfpipe.bench`, `tfpipe.predict`, `tfpipe.report`. Each is a module
that can be called; it is imported when it is first used, so that `import tfpipe` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfpipe.bench import bench as bench
    from tfpipe.check import check as check
    from tfpipe.compress.variant import compress as compress
    from tfpipe.export.artifact import export_artifact as export
    from tfpipe.import_keras import import_keras as import_keras
    from tfpipe.predict import predict as predict
    from tfpipe.report import write_report as report
    from tfpipe.train import train as train
    from tfpipe.verify import verify as verify

__all__ = [
    "bench", "check", "compress", "export", "import_keras", "predict", "report", "train", "verify",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"tfpipe.{name}")
    raise AttributeError(f"module 'tfpipe' has no attribute {name!r}. It has: {__all__}.")
