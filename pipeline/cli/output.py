"""A command's result → stdout, as JSON or as text; its expected errors → one message, exit 1."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import click

# How to go on after an interrupt.
GO_ON = {"compress": " The same call goes on.", "train": " Go on with --resume."}

# What the system refused → what to do about it.
CURES = {
    errno.EACCES: "Fix its permissions, or give another path.",
    errno.EISDIR: "Give a file.",
    errno.ENOENT: "Make the folder, or give another path.",
    errno.ENOSPC: "Free space.",
    errno.ENOTDIR: "Give a path whose folders are folders.",
    errno.EPERM: "Fix its permissions, or give another path.",
    errno.EROFS: "Give a path that can be written.",
}


def explain(error: OSError) -> str:
    """Returns an error's own words, and what to do where the words are the system's.

    >>> explain(OSError(errno.ENOSPC, "No space left on device", "run.json"))
    'run.json: No space left on device. Free space.'
    """
    if error.filename is None or error.errno not in CURES:
        return str(error)
    return f"{error.filename}: {error.strerror}. {CURES[error.errno]}"


class Commands(click.Group):
    """A group whose commands' expected errors become one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; an interrupt ends with 130, as of a process that SIGINT ended."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader, such as `head`, has gone; click ends quietly
            raise
        except OSError as error:
            raise click.ClickException(explain(error)) from error
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            hint = GO_ON.get(str(ctx.invoked_subcommand), "")
            click.echo(f"\nInterrupted.{hint}", err=True)
            ctx.exit(130)


format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["json", "text"]),
    default="json",
    show_default=True,
    help="How the result is written to stdout.",
)


def print_result(result: Any, output_format: str, text: Callable[[Any], str]) -> None:
    """Writes a record as JSON, or as the text that `text` makes of it."""
    as_json = output_format == "json"
    click.echo(json.dumps(result, indent=1, ensure_ascii=False) if as_json else text(result))


def format_lines(result: dict[str, Any]) -> str:
    """Returns a flat record as aligned `key  value` lines."""
    width = max(len(key) for key in result)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in result.items())


def format_export(result: dict[str, Any]) -> str:
    """Returns an artifact's facts, and in words whether MediaPipe takes its file."""
    reason = result["mediapipe"]["reason"]
    return format_lines({**result, "mediapipe": f"no: {reason}" if reason else "yes"})


def format_exports(result: dict[str, Any]) -> str:
    """Returns the facts of several artifacts, one after the other."""
    return "\n\n".join(map(format_export, result["artifacts"]))


def format_training(result: dict[str, Any]) -> str:
    """Returns a training's outcome beside its honest baselines."""
    test, baseline = result["metrics"]["test"], result["metrics"]["baseline"]
    linear = baseline["tfidf_logistic_regression"]
    return format_lines(
        {
            f"{result['model']} (test, n={test['num_examples']:,})": f"{test['accuracy']:.4f}",
            f"TF-IDF + logistic regression ({linear['analyzer']})": f"{linear['accuracy']:.4f}",
            "majority class": f"{baseline['majority']['accuracy']:.4f}",
            "parameters": f"{result['parameters']:,}",
            "epochs (best)": "{epochs_run} ({best_epoch})".format(**result["training"]),
        }
    )


def format_compression(result: dict[str, Any]) -> str:
    """Returns a variant's outcome beside that of the variant it was made of."""
    figures = result["metrics"]
    lines = {
        f"{result['name']} (test, n={figures['test']['num_examples']:,})": (
            f"{figures['test']['accuracy']:.4f}"
        ),
        f"{result['from']} (test)": f"{figures['from_test']['accuracy']:.4f}",
    }
    for entry in result["training"]:
        lines[f"{entry['method']}, epochs (best)"] = f"{entry['epochs']} ({entry['best_epoch']})"
        lines |= {f"  {name}": told for name, told in format_scan(entry.get("scan")).items()}
        lines |= {f"  {name}": told for name, told in format_columns(entry).items()}
    for name, sizes in (
        ("weights", result["sizes"]["after"]),
        ("before", result["sizes"]["before"]),
    ):
        lines[f"{name}: plain, zip, zstd"] = " · ".join(f"{size:,} B" for size in sizes.values())
    return format_lines(lines)


def format_columns(entry: dict[str, Any]) -> dict[str, str]:
    """Returns {"columns of the embedding": how many are left, and what that costs untrained}."""
    if "columns" not in entry:
        return {}
    columns, last = entry["columns"], entry["tried"][-1]
    told = (
        f"{columns['after']} of {columns['before']}; untrained they cost {100 * last['drop']:.1f}"
    )
    return {"columns of the embedding": f"{told} points of {entry['metric']} on validation"}


def format_scan(scan: dict[str, Any] | None) -> dict[str, str]:
    """Returns {layer: what pruning it alone cost, and to what it was pruned}."""
    lines: dict[str, str] = {}
    if scan is None:
        return lines
    for layer in scan["layers"]:
        drop, sparsity = 100 * layer["tried"][0]["drop"], 100 * layer["sparsity"]
        done = "left alone" if not sparsity else f"pruned to {sparsity:.4g} %"
        lines[layer["name"]] = f"{done}; {100 * scan['asked']:.4g} % alone costs {drop:.1f} points"
    return lines
