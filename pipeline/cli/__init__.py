"""The tfpipe command: options → one library call → one record on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfpipe import __version__
from tfpipe.cli.bench import bench
from tfpipe.cli.check import check
from tfpipe.cli.compare import compare
from tfpipe.cli.compress import compress
from tfpipe.cli.devices import deploy, list_devices, runner
from tfpipe.cli.keras import find_run, keras_options
from tfpipe.cli.output import Commands, format_export, format_exports, format_option, print_result
from tfpipe.cli.paths import FILE, RUN
from tfpipe.cli.predict import predict
from tfpipe.cli.serve import serve
from tfpipe.cli.teachers import refuse_teacher_settings, teacher_options
from tfpipe.cli.verify import verify
from tfpipe.config import COMPRESS, MODEL_NAMES, load_recipe, read_packaged


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tfpipe")
def cli() -> None:
    """A table of texts to a small text model, exported, verified and measured.

    \b
    Example:
      tfpipe train topics --run runs/topics --model lstm
      tfpipe export runs/topics --target cpu --scheme dynamic_int8
      tfpipe verify runs/topics/exports/cpu-dynamic_int8
      tfpipe bench runs/topics/exports/cpu-dynamic_int8
      tfpipe report runs/topics
    """


@cli.command()
@click.argument("data")
@click.option("--run", type=RUN, required=True, help="Folder to write the run to.")
@click.option("--test", type=FILE, help="File with the test split; else one is cut from DATA.")
@click.option("--model", type=click.Choice(MODEL_NAMES), default="lstm", show_default=True)
@click.option("--task", type=click.Choice(["classify"]), default="classify", show_default=True)
@click.option("--recipe", type=FILE, help="TOML file; see `tfpipe recipe MODEL`.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One recipe value.")
@click.option("--text-column", help="Column with the texts.")
@click.option("--label-column", help="Column with the labels.")
@click.option("--multi-label", is_flag=True, help="Labels are separated by |.")
@teacher_options
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace the run.")
@format_option
def train(data: str, run: Path, **options: Any) -> None:
    """Train a model on DATA: a .csv, .tsv or .jsonl (also .gz) file, or a packaged data set.

    Packaged data sets: topics (English definitions, 6 classes) and languages (27 languages).

    \b
    Example:
      tfpipe train reviews.csv --run runs/reviews --model transformer --set train.epochs=5
    """
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume and --overwrite exclude each other.")
    refuse_teacher_settings(options["overrides"], options["teachers"])
    recipe = load_recipe(options["model"], path=options["recipe"], overrides=options["overrides"])
    from tfpipe.cli.output import format_training
    from tfpipe.cli.progress import ProgressDisplay
    from tfpipe.quiet import import_tensorflow

    import_tensorflow()
    from tfpipe.train import DataOptions, train
    from tfpipe.train.teacher import Teaching

    teaching = Teaching.of(options["teachers"], options["unlabelled"])
    existing = "resume" if options["resume"] else "overwrite" if options["overwrite"] else "refuse"
    columns = {key: options[key] for key in ("test", "text_column", "label_column", "multi_label")}
    with ProgressDisplay() as progress:
        result = train(
            data,
            run,
            recipe=recipe,
            options=DataOptions(**columns, teaching=teaching),
            existing=existing,
            progress=progress,
        )
    for warning in result["data"]["warnings"]:
        click.echo(f"Warning: {warning}", err=True)
    print_result(result, options["output_format"], format_training)


@cli.command()
@click.argument("run", type=RUN, required=False)
@click.option("--target", default="cpu", show_default=True, help="cpu, gpu, edgetpu, onnx or web.")
@click.option(
    "--scheme",
    "schemes",
    multiple=True,
    help="float32, float16, dynamic_int8, dynamic_int4 or int8; several: an artifact of each.",
)
@click.option(
    "--lowering",
    default="auto",
    show_default=True,
    help="How a recurrence is written: loop, unrolled or fused; how a Transformer is: branches or "
    "static; auto = for cpu the fastest here.",
)
@click.option("--variant", default="base", show_default=True, help="Which weights of the run.")
@click.option(
    "--runtime",
    metavar="NAME==VERSION",
    help="TFLite runtime that must run it, such as tflite-runtime==2.14.0, or oldest.",
)
@click.option(
    "--buckets",
    metavar="auto|N,N",
    help="Further graphs in the file for shorter texts; auto chooses their lengths.",
)
@click.option("--num-segments", default=1, show_default=True, help="Edge TPUs that share it.")
@click.option("--as", "name", help="Name of the artifact; else made of target and scheme.")
@click.option("--overwrite", is_flag=True, help="Replace an existing artifact.")
@keras_options
@format_option
def export(
    run: Path | None,
    keras_file: Path | None,
    schemes: tuple[str, ...],
    overwrite: bool,
    output_format: str,
    **options: Any,
) -> None:
    """Export a trained run for one target; `tfpipe verify` proves the file.

    With --keras, RUN (else runs/NAME) is made of your own Keras model first.

    \b
    Example:
      tfpipe export runs/topics --target cpu --scheme int8
      tfpipe export runs/topics --scheme float32 --scheme dynamic_int8
      tfpipe export runs/mine --keras model.keras --vocabulary words.txt \\
        --labels labels.txt --data texts.csv --scheme int8
    """
    if options["name"] and len(schemes) > 1:
        raise click.UsageError("--as names one artifact. Give one --scheme, or leave --as out.")
    run = find_run(run, keras_file, options, overwrite=overwrite)
    from tfpipe.export.artifact import ExportOptions, export_artifact, export_schemes
    from tfpipe.export.target import default_scheme

    if len(schemes) > 1:
        made = export_schemes(run, ExportOptions(**options), schemes, overwrite=overwrite)
        print_result(made, output_format, format_exports)
        if made["failures"]:
            raise click.ClickException("\n".join(entry["error"] for entry in made["failures"]))
        return
    scheme = schemes[0] if schemes else default_scheme(options["target"])
    result = export_artifact(run, ExportOptions(scheme=scheme, **options), overwrite=overwrite)
    print_result(result, output_format, format_export)


@cli.command()
@click.argument("run", type=RUN)
@format_option
def report(run: Path, output_format: str) -> None:
    """Write RUN/report.html, report.json and report.md from what the run folder holds.

    \b
    Example:
      tfpipe report runs/topics --format text
    """
    from tfpipe.report import format_table, write_report

    print_result(write_report(run), output_format, format_table)


@cli.command()
@click.argument("name", type=click.Choice([*MODEL_NAMES, COMPRESS]))
def recipe(name: str) -> None:
    """Print the packaged recipe of a model or of compress, every key commented.

    \b
    Example:
      tfpipe recipe lstm > my.toml
    """
    click.echo(read_packaged(name), nl=False)


cli.add_command(check)
cli.add_command(compare)
cli.add_command(compress)
cli.add_command(bench)
cli.add_command(deploy)
cli.add_command(list_devices)
cli.add_command(predict)
cli.add_command(runner)
cli.add_command(serve)
cli.add_command(verify)


def main() -> None:
    """Runs the command line."""
    cli.main(prog_name="tfpipe")
