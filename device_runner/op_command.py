"""The command `python -m device_runner ops`: a model → its per-op profile."""

from __future__ import annotations

import argparse
from typing import Any, Callable, Tuple


def add_op_command(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the runner's, through the function that adds one."""
    ops = add("ops", _ops, "Says where the time of a call goes, op by op.", "ops exports/lstm")
    ops.add_argument("artifact", help="artifact folder or .tflite file")
    ops.add_argument("--runs", type=int, default=500, help="calls to average (500)")
    ops.add_argument("--texts", help="file of texts, .jsonl or plain lines")


def _ops(options: argparse.Namespace) -> Tuple[Any, int]:
    from device_runner.op_profile import profile_ops

    return profile_ops(
        options.artifact,
        num_threads=options.num_threads,
        delegate=options.delegate,
        num_runs=options.runs,
        texts=options.texts,
    ), 0
