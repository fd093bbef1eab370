"""What peers.py measured and computed → the tables of its page; a table has measured columns and
computed ones, and none that mixes them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpipe.compare.bootstrap import CONFIDENCE, MAX_UNITS, REPLICATES, ratio_of_medians

BASELINE = "tfidf-logistic-regression"
TEXTS = {"real": "real texts", "full": "every text filled to 64 tokens"}
# Beyond this multiple of its bound a file's profile is shown.
FAR = 1.5
NUM_OPS = 6


@dataclass(frozen=True)
class Goal:
    """One line of what the project wants to reach; ratios, so that less is better.

    Attributes:
        model: Of the benchmark.
        ours: A scheme, or "best" for the fastest of tfpipe's files for CPUs.
        against: A file of another exporter, or "best" for the fastest of them.
        reach: What must be reached.
        goal: What is wanted.
    """

    model: str
    ours: str
    against: str
    reach: float
    goal: float


@dataclass(frozen=True)
class Results:
    """What was measured and computed of one model, with one thread.

    Attributes:
        latencies: "real" | "full" → {"latencies_ns": {file: samples}}.
        lengths: The same of tfpipe's files with both kinds of texts, the second named
            "FILE, full"; "real_share" is the real tokens' share of the texts' room.
        bounds: File → "real" | "full" → its roofline bound; or {"error"}.
        old_runtime: Latencies in tflite-runtime 2.14.0, {"error"}, or None where not asked for.
    """

    latencies: dict[str, dict[str, Any]]
    lengths: dict[str, Any]
    bounds: dict[str, Any]
    old_runtime: dict[str, Any] | None = None


GOALS = (
    Goal("lstm-128", "best", "stock-float32", 0.20, 0.14),
    Goal("lstm-128", "best", "stock-dynamic_int8", 0.30, 0.20),
    Goal("lstm-128", "int8", "stock-int8", 0.065, 0.045),
    Goal("lstm-128", "float32", "stock-float32", 0.80, 0.60),
    Goal("lstm-128", "best", "onnxruntime-dynamic_int8", 0.80, 0.60),
    Goal("lstm-256", "best", "stock-float32", 0.25, 0.17),
    Goal("transformer-2x128", "best", "stock-float32", 0.50, 0.38),
    Goal("transformer-2x128", "best", "best", 0.95, 0.80),
    Goal("transformer-2x128", "int8", "stock-int8", 0.62, 0.45),
)
# Mean over real lengths against the same file with every text of full length: at most this, and
# the wish is the real tokens' share of all times this.
REACH_LENGTHS, GOAL_LENGTHS = 0.60, 1.2
GOAL_ROOFLINE = 1.2
REACH_OLD, GOAL_OLD = 0.70, 0.50


def medians(found: dict[str, Any], base: str, name: str) -> str:
    """Returns the ratio of medians of two files of one measurement, as text."""
    samples = found["latencies_ns"]
    ratio = ratio_of_medians(samples[base], samples[name], paired=False)
    return f"{ratio.ratio:.3f} ({ratio.low:.3f}–{ratio.high:.3f})"


def means(base: list[int], samples: list[int]) -> tuple[float, float, float]:
    """Returns the ratio of means, B to A, and its interval by the bootstrap of `ratio_of_medians`:
    stretches of calls are drawn with replacement, of each side by itself."""
    random = np.random.default_rng(1)
    drawn = []
    for side in (base, samples):
        units = np.array([part.mean() for part in np.array_split(np.asarray(side), MAX_UNITS)])
        places = random.integers(0, MAX_UNITS, (REPLICATES, MAX_UNITS))
        drawn.append(units[places].mean(axis=1))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn[1] / drawn[0], [tail, 100 - tail])
    return float(np.mean(samples) / np.mean(base)), float(low), float(high)


def latency_table(title: str, files: dict[str, dict[str, Any]], found: dict[str, Any]) -> str:
    """Returns one measurement's table; each ratio is to the stock float32 file in it."""
    samples = found["latencies_ns"]
    lines = [
        f"\n## {title}\n",
        "| file | kB | agreement | p50 µs | n | × stock float32 (95 % interval) |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for name in sorted(samples, key=lambda name: float(np.median(samples[name]))):
        entry = files.get(name, {})
        size = f"{entry['size_bytes'] / 1000:.0f}" if entry else "–"
        agreement = f"{entry['agreement']:.4f}" if entry else "–"
        ratio = medians(found, "stock-float32", name) if "stock-float32" in samples else "–"
        p50 = np.median(samples[name]) / 1000
        cells = [name, size, agreement, f"{p50:.0f}", str(len(samples[name])), ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def failure_list(model: str, files: dict[str, dict[str, Any]]) -> str:
    """Returns which files of a model could not be measured, each with its own words."""
    lines = []
    for name, entry in files.items():
        if "right" not in entry or not entry["right"]:
            reason = entry.get("error") or f"agreement {entry['agreement']:.4f}: wrong, not timed"
            lines.append(f"- `{name}`: {reason}")
    return "\n".join([f"\nNot measured of {model}:\n", *lines]) + "\n" if lines else ""


def length_table(model: str, found: dict[str, Any]) -> str:
    """Returns the table of real lengths against full ones, of one measurement; see `Results`."""
    samples, share = found["latencies_ns"], found["real_share"]
    lines = [
        f"\n## {model}, 1 thread: mean over real lengths against full length\n",
        f"Real tokens are {share:.2f} of the texts' room. Measured in one process, means.\n",
        "| file | mean µs, real texts | mean µs, filled | ratio (95 % interval) | reach | goal |",
        "|---|--:|--:|---|--:|--:|",
    ]
    for name in (name for name in samples if not name.endswith(", full")):
        real, full = samples[name], samples[f"{name}, full"]
        ratio, low, high = means(full, real)
        cells = [
            name, f"{np.mean(real) / 1000:.0f}", f"{np.mean(full) / 1000:.0f}",
            f"{ratio:.3f} ({low:.3f}–{high:.3f})", f"{REACH_LENGTHS:.2f}",
            f"{GOAL_LENGTHS * share:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def old_runtime_table(model: str, found: dict[str, Any]) -> str:
    """Returns the table of the oldest runtime; each ratio is to the fastest stock file there."""
    head = f"\n## {model} in tflite-runtime 2.14.0, 1 thread, real texts\n"
    if "error" in found:
        return f"{head}\nNot measured: {found['error']}\n"
    samples = found["latencies_ns"]
    ordered = sorted(samples, key=lambda name: float(np.median(samples[name])))
    base = next((name for name in ordered if name.startswith("stock-")), ordered[0])
    lines = [
        head,
        f"To reach: {REACH_OLD:.2f} of the fastest stock file that loads there; the goal is "
        f"{GOAL_OLD:.2f}.\n",
        f"| file | p50 µs | n | × {base} (95 % interval) |",
        "|---|--:|--:|---|",
    ]
    for name in ordered:
        p50 = np.median(samples[name]) / 1000
        ratio = medians(found, base, name)
        lines.append(f"| {name} | {p50:.0f} | {len(samples[name])} | {ratio} |")
    lines += [f"\n`{name}` does not run there: {said}" for name, said in found["failed"].items()]
    return "\n".join(lines) + "\n"


def ceiling_table(rows: list[dict[str, Any]]) -> str:
    """Returns the table of the measured peaks."""
    lines = [
        "\n## Peaks of this machine through the same runtime, 1 thread\n",
        "Chains of products of a (rows, n) matrix with (n, n) weights, one FULLY_CONNECTED each.\n",
        "| weights | values | rows | n | chain | p50 µs | 10⁹ multiply-adds/s | GB/s |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        types = {"float32": "float32 | float32", "int8": "int8 | int8"}
        cells = [
            types.get(row["kind"], "int8 | float32"), str(row["rows"]), str(row["size"]),
            str(row["depth"]), f"{row['p50_ns'] / 1000:.1f}",
            f"{row['multiply_adds'] / row['p50_ns']:.1f}",
            f"{row['moved_bytes'] / row['p50_ns']:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def roofline_table(title: str, bounds: dict[str, Any], found: dict[str, Any]) -> str:
    """Returns the table of one measurement's medians against the files' bounds."""
    lines = [
        f"\n## Roofline: {title}\n",
        "| file | computed: 10⁶ multiply-adds | MB moved | bound µs | of it moving bytes "
        "| measured: p50 µs | measured / bound |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    rows = [
        (np.median(samples) / bounds[name]["bound_ns"], name, bounds[name], np.median(samples))
        for name, samples in found["latencies_ns"].items()
        if name in bounds
    ]
    for ratio, name, bound, p50_ns in sorted(rows, key=lambda row: row[0]):
        cells = [
            name, f"{bound['multiply_adds'] / 1e6:.2f}", f"{bound['moved_bytes'] / 1e6:.2f}",
            f"{bound['bound_ns'] / 1000:.1f}", f"{100 * bound['moving_share']:.0f} %",
            f"{p50_ns / 1000:.0f}", f"{ratio:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def far_from(bounds: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Returns the files that take more than `FAR` times their bound, the fastest first."""
    p50_ns = {name: float(np.median(samples)) for name, samples in found["latencies_ns"].items()}
    far = [name for name, bound in bounds.items() if p50_ns[name] > FAR * bound["bound_ns"]]
    return sorted(far, key=lambda name: p50_ns[name])


def profile_list(profiles: dict[str, Any]) -> str:
    """Returns for each file where the time of a call goes, as the runtime's profiler says."""
    lines = [
        "\nWhere the time goes, as shares of the ops' time in a profiled call of full length:\n"
    ]
    for name, profile in profiles.items():
        if "error" in profile:
            lines.append(f"- `{name}`: no profile: {profile['error']}")
            continue
        nodes = profile["nodes"]
        shares = ", ".join(
            f"{op['op']} × {op['count']} {100 * op['share']:.0f} %"
            for op in profile["ops"][:NUM_OPS]
        )
        lines.append(
            f"- `{name}`: {shares}; {nodes['delegated']} of {nodes['total']} nodes of the first "
            f"graph in {nodes['partitions']} XNNPACK partitions"
        )
    return "\n".join(lines) + "\n"


def goal_table(results: dict[str, Results]) -> str:
    """Returns what is wanted beside what was measured, of all models."""
    lines = [
        "\n## Against the goals\n",
        "Ratios with 95 % intervals, one thread: of medians, on real texts and on texts of full "
        "length; of real lengths against full ones, of means.\n",
        "| model | file | against | real texts | full texts | reach | goal |",
        "|---|---|---|---|---|--:|--:|",
    ]
    rows = [goal_cells(goal, results[goal.model]) for goal in GOALS if goal.model in results]
    for model, found in results.items():
        rows += [length_cells(model, found), roofline_cells(model, found)]
        if found.old_runtime is not None:
            rows.append(old_runtime_cells(model, found.old_runtime))
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join(lines) + "\n"


def goal_cells(goal: Goal, found: Results) -> list[str]:
    """Returns the cells of one of `GOALS`."""
    cells, ours, theirs = [], [], []
    for texts in TEXTS:
        pair = contestants(goal, found.latencies[texts]["latencies_ns"])
        if pair is None:
            cells.append("not measured")
            continue
        ours.append(pair[0])
        theirs.append(pair[1])
        cells.append(medians(found.latencies[texts], pair[1], pair[0]))
    names = [name_of(ours, goal.ours), name_of(theirs, goal.against)]
    return [goal.model, *names, *cells, f"{goal.reach}", f"{goal.goal}"]


def length_cells(model: str, found: Results) -> list[str]:
    """Returns the cells of the fastest file at real lengths against itself at full length."""
    samples = found.lengths["latencies_ns"]
    own = [name for name in samples if not name.endswith(", full")]
    best = min(own, key=lambda name: float(np.mean(samples[name])))
    ratio, low, high = means(samples[f"{best}, full"], samples[best])
    goal = f"{GOAL_LENGTHS * found.lengths['real_share']:.2f}"
    cells = [f"{ratio:.3f} ({low:.3f}–{high:.3f})", "–", f"{REACH_LENGTHS:.2f}", goal]
    return [model, name_of([best], "best"), "itself at full length", *cells]


def roofline_cells(model: str, found: Results) -> list[str]:
    """Returns the cells of the fastest file against its own bound."""
    cells, names = [], []
    for texts in TEXTS:
        samples = found.latencies[texts]["latencies_ns"]
        p50_ns = {
            name: float(np.median(samples[name]))
            for name, entry in found.bounds.items()
            if name.startswith("tfpipe-cpu-") and texts in entry
        }
        if not p50_ns:
            cells.append("not known")
            continue
        best = min(p50_ns, key=p50_ns.__getitem__)
        names.append(best)
        cells.append(f"{p50_ns[best] / found.bounds[best][texts]['bound_ns']:.2f}")
    return [model, name_of(names, "best"), "its roofline bound", *cells, "–", f"{GOAL_ROOFLINE}"]


def old_runtime_cells(model: str, found: dict[str, Any]) -> list[str]:
    """Returns the cells of the fastest file in the oldest runtime against the fastest stock one."""
    ends = [f"{REACH_OLD:.2f}", f"{GOAL_OLD:.2f}"]
    samples = found.get("latencies_ns", {})
    ordered = sorted(samples, key=lambda name: float(np.median(samples[name])))
    ours = [name for name in ordered if name.startswith("tfpipe-")][:1]
    theirs = [name for name in ordered if name.startswith("stock-")][:1]
    ratio = medians(found, theirs[0], ours[0]) if ours and theirs else "not measured"
    names = [name_of(ours, "best"), name_of(theirs, "best")]
    return [f"{model}, tflite-runtime 2.14.0", *names, ratio, "–", *ends]


def name_of(names: list[str], wanted: str) -> str:
    """Returns the files that were compared, and that they are the best where that was asked."""
    found = ", ".join(dict.fromkeys(names))
    return f"best: {found}" if found and wanted == "best" else found or wanted


def contestants(goal: Goal, samples: dict[str, list[int]]) -> tuple[str, str] | None:
    """Returns which two files a goal is about; None where one was not measured."""
    ordered = sorted(samples, key=lambda name: float(np.median(samples[name])))
    ours = [
        name
        for name in ordered
        if name.startswith("tfpipe-cpu-")
        and (goal.ours == "best" or name == f"tfpipe-cpu-{goal.ours}")
    ]
    theirs = [
        name
        for name in ordered
        if not name.startswith("tfpipe-") and name != BASELINE and goal.against in ("best", name)
    ]
    return (ours[0], theirs[0]) if ours and theirs else None
