"""A file or a packaged name → a Dataset: labels, seeded splits, and texts read from disk."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.data.findings import find_warnings
from tfpipe.data.packaged import COLUMNS, PACKAGED
from tfpipe.data.scan import Labels, Scan, scan_table
from tfpipe.data.split import Split, make_splits, target_table
from tfpipe.data.stratify import TEST, TEST_FRACTION, assign_splits
from tfpipe.data.table import Table, describe_need, open_table, shorten
from tfpipe.data.text_file import FileStamp, sha256_of, stamp_file


@dataclass(frozen=True)
class Dataset:
    """Labelled texts in three splits.

    Attributes:
        source: The path or the packaged name it was opened by.
        labels: All labels, sorted; targets are indices into them.
        multi_label: Whether a text may have several labels.
        num_rows: Rows read from all files; those in splits and those skipped.
        fingerprint_sha256: SHA-256 of the training file's bytes, followed by the test file's.
        text_column: Name of the column with the texts.
        label_column: Name of the column with the labels.
        test_source: Path of the test file; None if test was split from the source.
        skipped: Number of rows left out, by reason.
        warnings: Sentences about what was found in the data.
        splits: "train", "validation" and "test".
    """

    source: str
    labels: list[str]
    multi_label: bool
    num_rows: int
    fingerprint_sha256: str
    text_column: str
    label_column: str
    test_source: str | None
    skipped: dict[str, int]
    warnings: list[str]
    splits: dict[str, Split]

    @property
    def own_test(self) -> str | None:
        """Path of the test file, unless it is the one that a packaged data set brings."""
        packaged = PACKAGED.get(self.source)
        brought = packaged is not None and self.test_source == packaged.test.name
        return None if brought else self.test_source

    @property
    def label_counts(self) -> dict[str, dict[str, int]]:
        """Number of examples of each label in each split."""
        return {name: self._count(split.targets) for name, split in self.splits.items()}

    def _count(self, targets: NDArray[Any]) -> dict[str, int]:
        if self.multi_label:
            counts = targets.sum(axis=0, dtype=np.int64)
        else:
            counts = np.bincount(targets, minlength=len(self.labels))
        return dict(zip(self.labels, counts.tolist(), strict=True))


def open_dataset(
    source: str,
    *,
    test: Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    multi_label: bool = False,
    seed: int = 1,
) -> Dataset:
    """Reads a data set once and splits it.

    Without a test file, 15 % of the different texts become the test split; 10 % of the rest
    become the validation split. Splits are stratified, keep equal texts together, and depend on
    the texts and the seed alone.

    Args:
        source: Path of a `.csv`, `.tsv` or `.jsonl` file (each also `.gz`), or a name of
            `PACKAGED`.
        test: File whose rows are the test split.
        text_column: Name of the column with the texts; None looks for a usual name.
        label_column: Name of the column with the labels; None looks for a usual name.
        multi_label: Whether labels are several a text, separated by `|` or as a JSON list.
        seed: Another seed gives another split.

    Raises:
        ValueError: The data cannot be trained on; the message says where and what to do.
    """
    tables = open_tables(source, test, text_column, label_column)
    stamps = [stamp_file(table.path) for table in tables]
    labels, scans = scan_tables(tables, multi_label=multi_label)
    for stamp in stamps:
        stamp.check_unchanged()
    assigned = assign_rows(scans, labels, seed=seed)
    names = sorted(labels.names)
    targets = target_table(labels, names, multi_label=multi_label)
    return Dataset(
        source=source,
        labels=names,
        multi_label=multi_label,
        num_rows=sum(scan.num_rows for scan in scans),
        fingerprint_sha256=fingerprint(stamps),
        text_column=tables[0].text_column,
        label_column=tables[0].label_column,
        test_source=str(test) if test else (tables[1].path.name if tables[1:] else None),
        skipped=merge_skipped(scans),
        warnings=find_warnings(scans, labels, assigned, multi_label=multi_label),
        splits=make_splits(scans, stamps, assigned, targets),
    )


def open_tables(
    source: str, test: Path | None, text_column: str | None, label_column: str | None
) -> list[Table]:
    """Returns the table to train on and, where there is one, the table to test on."""
    packaged = PACKAGED.get(source)
    train_path = packaged.train if packaged else Path(source)
    check_file(train_path, source)
    tables = [
        open_table(
            train_path,
            text_column=text_column,
            label_column=label_column,
            columns=COLUMNS if packaged else None,
        )
    ]
    if test is not None:
        check_file(test, str(test))
        if test.samefile(train_path):
            raise ValueError(f"test={test} is the training file. Give another, or none.")
        columns = {"text_column": tables[0].text_column, "label_column": tables[0].label_column}
        tables.append(open_table(test, **columns))
    elif packaged:
        tables.append(open_table(packaged.test, columns=COLUMNS))
    return tables


def check_file(path: Path, name: str) -> None:
    if path.is_file():
        return
    if path.exists():
        raise ValueError(f"{name} is not a file. Give a .csv, .tsv or .jsonl file.")
    close = difflib.get_close_matches(name, PACKAGED, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"{name} is neither a file nor a packaged data set ({', '.join(sorted(PACKAGED))}).{hint}"
    )


def scan_tables(tables: list[Table], *, multi_label: bool) -> tuple[Labels, list[Scan]]:
    """Scans the training table and then, where there is one, the test table."""
    labels = Labels()
    scans: list[Scan] = []
    for table in tables:
        known = len(labels.names) if scans else None
        scans.append(scan_table(table, labels, multi_label=multi_label))
        check_scan(scans[-1], labels, known=known)
    return labels, scans


def assign_rows(scans: list[Scan], labels: Labels, *, seed: int) -> list[NDArray[np.uint8]]:
    """Returns the split of each kept row, for each table."""
    train = assign_splits(
        scans[0].hash_array(),
        scans[0].code_array(),
        list(labels.sets),
        test_fraction=0 if scans[1:] else TEST_FRACTION,
        seed=seed,
    )
    return [train, *(np.full(len(scan.codes), TEST, dtype=np.uint8) for scan in scans[1:])]


def check_scan(scan: Scan, labels: Labels, *, known: int | None) -> None:
    """Refuses a table nothing can be learned from, and test labels that training lacks.

    Args:
        known: Number of labels of the training table; None if this is the training table.
    """
    path = scan.table.path
    if not scan.num_rows:
        raise ValueError(f"{path} has no data rows. It needs {describe_need(scan.table.format)}.")
    if not scan.codes:
        reasons = ", ".join(f"{count} with {why}" for why, count in scan.skipped.items())
        raise ValueError(
            f"{path}: none of the {scan.num_rows} rows has a text in {scan.table.text_column!r} "
            f"and a label in {scan.table.label_column!r} ({reasons}). Name the columns with "
            f"--text-column and --label-column."
        )
    if known is None and len(labels.names) == 1:
        raise ValueError(
            f"{path}: every row has the label {next(iter(labels.names))!r}. "
            f"Classification needs at least 2 labels."
        )
    unknown = sorted(list(labels.names)[known:]) if known is not None else []
    if unknown:
        raise ValueError(
            f"{path}: {len(unknown)} of its labels are not in the training data: "
            f"{shorten(unknown, 10)}. Correct them, or add training rows."
        )


def fingerprint(stamps: list[FileStamp]) -> str:
    """Returns the SHA-256 of the files' bytes, one after the other."""
    return stamps[0].sha256 if len(stamps) == 1 else sha256_of(*(stamp.path for stamp in stamps))


def merge_skipped(scans: list[Scan]) -> dict[str, int]:
    merged = dict(scans[0].skipped)
    for scan in scans[1:]:
        merged.update({f"{why} (test file)": count for why, count in scan.skipped.items()})
    return merged
