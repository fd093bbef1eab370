"""A scanned table and the split of each row → targets, and texts read from disk when asked."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tfpipe.data.scan import Labels, Scan, clean_text
from tfpipe.data.stratify import LEFT_OUT, SPLIT_NAMES, TEST
from tfpipe.data.table import Table
from tfpipe.data.text_file import FileStamp

MAX_TARGET_BYTES = 1024**3  # of a multi-label target matrix, one byte a row and label
Targets = NDArray[np.int32] | NDArray[np.uint8]


class Split:
    """The examples of one split. Texts stay on disk, in the order of their rows.

    Attributes:
        num_examples: Number of examples.
        targets: int32 `(num_examples,)`, indices into the labels; for multi-label uint8
            `(num_examples, num_labels)` of 0 and 1.
    """

    def __init__(
        self,
        table: Table,
        stamp: FileStamp,
        *,
        chosen: NDArray[np.bool_],
        targets: Targets,
    ) -> None:
        self.targets = targets
        self.num_examples = len(targets)
        self._table = table
        self._stamp = stamp
        self._chosen = chosen  # one a row of the file, also of rows that were skipped

    def texts(self) -> Iterator[str]:
        """Reads the texts from disk, from the first, each time it is called.

        Raises:
            ValueError: The file is no longer the one that was opened.
        """
        self._stamp.check_unchanged()
        for chosen, cells in zip(self._chosen.tobytes(), self._table.rows(), strict=False):
            if chosen:
                yield clean_text(cells.text)
        self._stamp.check_unchanged()


def target_table(labels: Labels, names: list[str], *, multi_label: bool) -> Targets:
    """Returns the target of each set of labels: an index, or a row of bits."""
    rank = {labels.names[name]: index for index, name in enumerate(names)}
    if not multi_label:
        return np.array([rank[only] for (only,) in labels.sets], dtype=np.int32)
    bits = np.zeros((len(labels.sets), len(names)), dtype=np.uint8)
    for row, indices in enumerate(labels.sets):
        bits[row, [rank[index] for index in indices]] = 1
    return bits


def make_splits(
    scans: list[Scan],
    stamps: list[FileStamp],
    assigned: list[NDArray[np.uint8]],
    targets: Targets,
) -> dict[str, Split]:
    num_bytes = sum(len(scan.codes) for scan in scans) * targets[0].nbytes
    if num_bytes > MAX_TARGET_BYTES:
        raise ValueError(
            f"the targets of {len(targets.T)} labels need {num_bytes} bytes, more than "
            f"{MAX_TARGET_BYTES}. Use fewer rows or fewer labels."
        )
    splits = {}
    for number, name in enumerate(SPLIT_NAMES):
        which = len(scans) - 1 if number == TEST else 0
        kept = np.frombuffer(scans[which].kept, dtype=np.bool_)
        split_of_row = np.full(len(kept), LEFT_OUT, dtype=np.uint8)
        split_of_row[kept] = assigned[which]
        codes = scans[which].code_array()[assigned[which] == number]
        splits[name] = Split(
            scans[which].table,
            stamps[which],
            chosen=split_of_row == number,
            targets=targets[codes],
        )
    return splits
