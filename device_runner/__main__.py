"""`python -m device_runner COMMAND` → JSON on stdout; exit 0 done, 1 failed, 2 usage."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

from device_runner import __version__
from device_runner.op_command import add_op_command
from device_runner.run_command import add_run_command

# NumPy and the runtime are imported by the commands that need them, so that `info` can say what
# is missing on a bare device.


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one command and returns its exit code.

    Args:
        arguments: Those of the command line; None takes the process's own.
    """
    options = make_parser().parse_args(arguments)
    try:
        value, code = options.command(options)
        _write_json(sys.stdout, value)
        return int(code)
    except BrokenPipeError:  # the reader, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        _write_text(sys.stderr, f"Error: {error or type(error).__name__}\n")
        return 1


def _info(options: argparse.Namespace) -> Tuple[Any, int]:
    from device_runner import hardware, machine, runtimes

    value: Dict[str, Any] = {
        "runner_version": __version__,
        "fingerprint": machine.read_fingerprint(),
        "load_average": machine.read_load_average(),
        "hardware": hardware.read_hardware(),
        "delegates": hardware.read_delegates(),
        "numpy": None,
        "runtimes": runtimes.installed_runtimes(),
        "runtime": None,
        "message": "",
    }
    try:
        import numpy

        value["numpy"] = numpy.__version__
        value["runtime"] = runtimes.import_runtime()[0]
    except ImportError as error:
        value["message"] = (
            f"NumPy is not installed ({error}): python -m pip install -r "
            "device_runner/requirements.txt"
        )
    except RuntimeError as error:
        value["message"] = str(error)
    return value, 0


def _predict(options: argparse.Namespace) -> Tuple[Any, int]:
    from device_runner.runnable import open_runnable
    from device_runner.texts import check_text, read_texts

    if bool(options.texts) == bool(options.file):
        raise ValueError(
            f"{len(options.texts)} texts and file={options.file}, expected either. Give TEXT… or "
            "--file FILE."
        )
    runnable = open_runnable(options.artifact, options.num_threads, delegate=options.delegate)
    predictions = []
    for text in read_texts(options.file) if options.file else map(check_text, options.texts):
        prediction = {"text": text}
        prediction.update(runnable.decode(runnable.run(runnable.encode(text))))
        predictions.append(prediction)
    return {"predictions": predictions}, 0


def _verify(options: argparse.Namespace) -> Tuple[Any, int]:
    from device_runner.runnable import check_goldens, open_runnable

    runnable = open_runnable(options.artifact, options.num_threads, delegate=options.delegate)
    value = {
        "artifact": options.artifact,
        "model_sha256": runnable.model_sha256,
        "runtime": runnable.model.runtime,
        "runtime_version": runnable.model.runtime_version,
    }
    value.update(check_goldens(runnable))
    if not value["passed"]:
        _write_text(sys.stderr, f"Error: {options.artifact}: {'; '.join(value['failures'])}\n")
    return value, 0 if value["passed"] else 1


def _bench(options: argparse.Namespace) -> Tuple[Any, int]:
    from device_runner.benchmark import benchmark
    from device_runner.files import write_json_atomic
    from device_runner.profiles import choose_profile
    from device_runner.progress import ProgressLines

    profile = choose_profile(options.profile, duration_s=options.duration, rate_hz=options.rate)
    results = benchmark(
        options.artifacts,
        texts=options.texts,
        token_ids=options.token_ids,
        profile=profile,
        num_threads=options.num_threads,
        delegate=options.delegate,
        progress=ProgressLines(profile, len(options.artifacts), sys.stderr),
    )
    if not options.output:
        return {"results": results}, 0
    write_json_atomic(options.output, {"results": results})
    short = [{k: r[k] for k in r if not k.endswith("latencies_ns")} for r in results]
    return {"output": options.output, "results": short}, 0


def _memory(options: argparse.Namespace) -> Tuple[Any, int]:
    from device_runner.benchmark import measure_memory

    return measure_memory(
        options.artifact, num_threads=options.num_threads, delegate=options.delegate
    ), 0


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    text = "Runs and measures tfpipe's text models on this device."
    parser = argparse.ArgumentParser(prog="python -m device_runner", description=text)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Any, text: str, example: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=text, description=text, epilog="Example: python -m device_runner " + example
        )
        made.set_defaults(command=command)
        if name != "info":
            made.add_argument("--num-threads", type=int, default=1, help="CPU threads (1)")
            made.add_argument(
                "--delegate",
                help="cpu, xnnpack, none, gpu or edgetpu; else what the artifact is made for",
            )
        return made

    add("info", _info, "Says what this device is and which TFLite runtime it has.", "info")
    _add_commands_on_texts(add)
    _add_commands_on_time(add)
    add_op_command(add)
    return parser


def _add_commands_on_texts(add: Callable[..., argparse.ArgumentParser]) -> None:
    predict = add("predict", _predict, "Labels texts.", 'predict exports/lstm -- "what a film"')
    predict.add_argument("artifact", help="artifact folder")
    predict.add_argument("texts", nargs="*", metavar="TEXT", help="texts; they may follow --")
    predict.add_argument("--file", help=".jsonl with a text in each line's object, or plain lines")
    verify = add("verify", _verify, "Checks digests and goldens.", "verify exports/lstm")
    verify.add_argument("artifact", help="artifact folder")
    add_run_command(add)


def _add_commands_on_time(add: Callable[..., argparse.ArgumentParser]) -> None:
    bench = add(
        "bench", _bench, "Measures latency.", "bench exports/lstm exports/int8 --texts test.jsonl"
    )
    bench.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="folders or .tflite files")
    bench.add_argument(
        "--texts",
        action="append",
        default=[],
        help="file of texts, .jsonl or plain lines; once for all, or once for each artifact",
    )
    bench.add_argument("--token-ids", help=".npy file, for bare .tflite files")
    bench.add_argument(
        "--profile", default="quick", help="quick (default), mlperf, sustained or paced"
    )
    bench.add_argument("--duration", type=float, help="seconds, for sustained and paced")
    bench.add_argument("--rate", type=float, help="requests a second, for paced")
    bench.add_argument("--output", help="file for the whole record; else it goes to stdout")
    memory = add("memory", _memory, "Measures peak memory.", "memory exports/lstm")
    memory.add_argument("artifact", help="artifact folder or .tflite file")


def _write_json(stream: Any, value: Any) -> None:
    _write_text(stream, json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def _write_text(stream: Any, text: str) -> None:
    """Writes UTF-8 whatever the locale says: a board's is often "C"."""
    data = text.encode("utf-8", errors="backslashreplace")
    stream.flush()
    if hasattr(stream, "buffer"):
        stream.buffer.write(data)
        stream.buffer.flush()
    else:  # a test's StringIO
        stream.write(data.decode("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
