"""Two artifacts, or two files of results → how much slower B is than A, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device_runner.files import write_file_atomic
from device_runner.profiles import as_profile, longest_ns, profile_options
from tfpipe.bench import bench_together, placed
from tfpipe.bench.file import format_record
from tfpipe.bench.subject import MeasureOptions as MeasureOptions
from tfpipe.bench.subject import refuse_unread, subject_of
from tfpipe.compare.bootstrap import CONFIDENCE, REPLICATES, Ratio, ratio_of_medians
from tfpipe.compare.comparable import match_results, read_results, refuse_differences
from tfpipe.compare.text import format_comparison as format_comparison
from tfpipe.devices import open_device
from tfpipe.verb import make_callable

VERDICTS = ("pass", "warn", "fail")  # from good to bad
_SIDE_KEYS = (
    *("artifact", "name", "model_sha256", "num_runs", "p50_ns", "p90_ns", "device", "device_kind"),
    *("runtime", "runtime_version", "delegate", "num_threads", "validity"),
)
_METHOD = (
    f"ratio of medians; {CONFIDENCE:.0%} percentile interval of a block bootstrap with "
    f"{REPLICATES:,} replicates, blocks of consecutive calls being the resampling unit"
)


def compare(
    a: Path,
    b: Path,
    *,
    max_regression: float = 0.05,
    allow_different: Sequence[str] = (),
    options: MeasureOptions | None = None,
    output: Path | None = None,
) -> dict[str, Any]:
    """Compares the latency of B with that of A.

    Artifacts and .tflite files are measured now: A, A once more and B in turn, block by block, in
    one process of the device. A against itself gives the noise floor: how far apart two
    measurements of the same thing lie there. Of files of results (.json), those of the same name
    are compared, or the only two there are; their noise floor comes from the two halves of A,
    which knows nothing of the differences between one run and the next.

    The verdict is "fail" when the whole interval lies above 1 + `max_regression` and the ratio
    above the noise; "pass" when the whole interval lies below and the noise floor is smaller than
    `max_regression`; else "warn": more measuring is needed to tell.

    Args:
        a: What was: artifact folder, .tflite or results .json.
        b: What is, of the same sort.
        max_regression: Share that B may be slower, from 0 to 10.
        allow_different: Keys of `tfpipe.compare.comparable.FIELDS` that may differ.
        options: How to measure artifacts; files of results need none of it.
        output: Where to write the record, with all samples if it was measured now.

    Returns:
        `verdict` (the worst), `comparisons`: for each pair `name`, `a`, `b` (what was measured),
        `ratio`, `interval`, `noise_floor` (a share), `noise_floor_source`, `verdict`, `reasons`,
        `notes`; `max_regression`, `allowed_differences`, `method`, `created`.

    Raises:
        ValueError: The two do not compare, a result is invalid or too small, an artifact is not
            verified, or a setting is out of range.
        OSError: A file cannot be read or written.
    """
    if not 0 <= max_regression <= 10:
        raise ValueError(
            f"max_regression={max_regression}, expected 0 to 10, a share. Use 0.05 for 5 %."
        )
    are_files = [Path(path).suffix == ".json" for path in (a, b)]
    if are_files[0] != are_files[1]:
        raise ValueError(
            f"{a} and {b}: one is a file of results, the other is not. Give two artifacts, which "
            "are then measured, or two files of results."
        )
    results: list[dict[str, Any]] = []
    triples: list[tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]]
    if are_files[0]:
        pairs = match_results(read_results(Path(a)), read_results(Path(b)))
        triples = [(first, None, second) for first, second in pairs]
    else:
        results = _measure(Path(a), Path(b), options or MeasureOptions())
        triples = [(results[0], results[1], results[2])]
    for first, _, second in triples:
        refuse_differences(first, second, allow_different)
    comparisons = [_compare(*triple, max_regression) for triple in triples]
    record = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": max((item["verdict"] for item in comparisons), key=VERDICTS.index),
        "max_regression": max_regression,
        "allowed_differences": list(allow_different),
        "method": _METHOD,
        "comparisons": comparisons,
    }
    if output is not None:
        write_file_atomic(output, format_record({**record, "results": results}))
    return record


def _measure(a: Path, b: Path, options: MeasureOptions) -> list[dict[str, Any]]:
    """Returns the results of A, of A once more, and of B."""
    profile = as_profile(options.profile)
    device = open_device(options.device)
    subjects = [subject_of(path, options.texts, options.delegate) for path in (a, a, b)]
    refuse_unread(subjects, options.texts)
    words = [*options.loading_words, *profile_options(profile), *options.token_id_words]
    results = bench_together(device, subjects, words, longest_ns(profile, len(subjects)) / 1e9)
    return [placed(result, device, {}) for result in results]


def _compare(
    a: dict[str, Any], again: dict[str, Any] | None, b: dict[str, Any], max_regression: float
) -> dict[str, Any]:
    found = ratio_of_medians(a["latencies_ns"], b["latencies_ns"], paired=again is not None)
    if again is not None:
        noise = ratio_of_medians(a["latencies_ns"], again["latencies_ns"], paired=True)
        source = "A against itself, measured in turn with B"
    else:
        half = len(a["latencies_ns"]) // 2
        noise = ratio_of_medians(a["latencies_ns"][:half], a["latencies_ns"][half:], paired=False)
        source = "the two halves of A; differences between runs are not in it"
    verdict, reasons = judge(found, noise.distance, max_regression)
    return {
        "name": b["name"] if a["name"] == b["name"] else f"{a['name']} → {b['name']}",
        "a": _side(a),
        "b": _side(b),
        "ratio": found.ratio,
        "interval": [found.low, found.high],
        "num_units": found.num_units,
        "interleaved": found.paired,
        "noise_floor": noise.distance,
        "noise_floor_source": source,
        "verdict": verdict,
        "reasons": reasons,
        "notes": [
            f"{side}: {reason}"
            for side, result in (("A", a), ("B", b))
            for reason in result.get("validity_reasons", [])
        ]
        + _tokens_note(a, b),
    }


def _tokens_note(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Returns what to know where two tokenizers make another number of tokens of the texts."""
    means = [result.get("mean_tokens") for result in (a, b)]
    if means[0] == means[1] or None in means:
        return []
    return [f"a text has {means[0]:.1f} tokens in A and {means[1]:.1f} in B, in the mean"]


def judge(found: Ratio, noise_floor: float, max_regression: float) -> tuple[str, list[str]]:
    """Returns "pass", "warn" or "fail", and why.

    Args:
        found: B to A.
        noise_floor: Share by which A may differ from itself.
        max_regression: Share by which B may be slower.
    """
    limit = 1 + max_regression
    if found.low > limit and found.ratio - 1 > noise_floor:
        return "fail", [
            f"B takes {found.ratio:.3f} times as long as A, at least {found.low:.3f}; "
            f"{limit:.3f} is allowed"
        ]
    reasons = []
    if found.high > limit:
        reasons.append(
            f"the interval reaches {found.high:.3f}, above the allowed {limit:.3f}: a regression "
            "is not excluded"
        )
    if noise_floor > max_regression:
        reasons.append(
            f"the noise floor is {noise_floor:.1%}, above the allowed {max_regression:.1%}: this "
            "device is too restless to tell"
        )
    return ("warn" if reasons else "pass"), reasons


def _side(result: dict[str, Any]) -> dict[str, Any]:
    """Returns what was measured, without its samples."""
    return {key: result.get(key) for key in _SIDE_KEYS}


make_callable(__name__, compare)
