"""Scans of the files and their splits → sentences that warn the user."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from tfpipe.data.scan import LABEL_SEPARATOR, MAX_TEXT_CHARACTERS, Labels, Scan
from tfpipe.data.stratify import TEST, TRAIN
from tfpipe.data.table import shorten

FEW_TEST_EXAMPLES = 100  # an accuracy near 0.5 then has a standard error of 5 points
MANY_LABELS_WITH_SEPARATOR = 0.2  # share of the labels that looks like several labels in one

NOTES = {
    "cut": f"a text of more than {MAX_TEXT_CHARACTERS} characters, cut there",
    "nul": "NUL characters in the text, read as spaces",
    "surrogate": "half a surrogate pair in the text, read as U+FFFD",
    "stripped": "spaces around the label, taken off",
}


def find_warnings(
    scans: list[Scan],
    labels: Labels,
    assigned: list[NDArray[np.uint8]],
    *,
    multi_label: bool,
) -> list[str]:
    """Returns what a user should know about the data, one sentence each.

    Args:
        scans: The training table's scan and, if there is a test file, its.
        labels: The labels of both.
        assigned: The split of each kept row, for each scan.
        multi_label: Whether a text may have several labels.
    """
    warnings = [sentence for scan in scans for sentence in about_rows(scan)]
    warnings += about_label_names(list(labels.names), multi_label=multi_label)
    warnings += about_rare_labels(scans[0], labels)
    warnings += about_duplicates(scans[0])
    if scans[1:]:
        warnings += about_shared_texts(scans[0], scans[1])
    codes = [scan.code_array() for scan in scans]
    warnings += about_test_split(np.concatenate(codes), np.concatenate(assigned), labels)
    return warnings


def about_rows(scan: Scan) -> list[str]:
    name, total = scan.table.path.name, scan.num_rows
    found = [
        f"{name}: {count} of {total} rows have {why} and were skipped."
        for why, count in scan.skipped.items()
    ]
    found += [
        f"{name}: {count} of {total} rows have {NOTES[what]} (first at line "
        f"{scan.first_lines[what]})."
        for what, count in scan.notes.items()
    ]
    return found


def about_label_names(names: list[str], *, multi_label: bool) -> list[str]:
    alike = defaultdict(list)
    for name in sorted(names):
        alike["".join(name.casefold().split())].append(name)
    found = [
        f"Labels {shorten(group)} differ only by case or space; they are kept as "
        f"{len(group)} labels."
        for group in alike.values()
        if len(group) > 1
    ]
    with_separator = [name for name in names if LABEL_SEPARATOR in name]
    if not multi_label and len(with_separator) > MANY_LABELS_WITH_SEPARATOR * len(names):
        found.append(
            f"{len(with_separator)} of {len(names)} labels hold {LABEL_SEPARATOR!r}. If it "
            f"separates several labels of a text, use --multi-label."
        )
    return found


def about_rare_labels(scan: Scan, labels: Labels) -> list[str]:
    """Names the labels that have one text in the training table."""
    hashes, codes = scan.hash_array(), scan.code_array()
    order = np.lexsort((hashes, codes))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(codes[order]) != 0) | (np.diff(hashes[order]) != 0)
    texts_of_set = np.bincount(codes[order][new], minlength=len(labels.sets))
    num_texts = np.zeros(len(labels.names), dtype=np.int64)
    for indices, count in zip(labels.sets, texts_of_set.tolist(), strict=True):
        num_texts[list(indices)] += count
    rare = sorted(name for name, index in labels.names.items() if num_texts[index] == 1)
    if not rare:
        return []
    return [
        f"{len(rare)} of {len(labels.names)} labels have a single text, which is kept for "
        f"training: {shorten(rare, 10)}."
    ]


def about_duplicates(scan: Scan) -> list[str]:
    hashes, codes = scan.hash_array(), scan.code_array()
    num_texts = len(np.unique(hashes))
    pairs = np.unique(np.stack([hashes, codes.astype(np.uint64)], axis=1), axis=0)
    num_contradictory = int(np.count_nonzero(np.unique(pairs[:, 0], return_counts=True)[1] > 1))
    found = []
    if num_texts < len(hashes):
        found.append(
            f"{len(hashes) - num_texts} of {len(hashes)} rows repeat the text of another row; "
            f"equal texts were kept in one split."
        )
    if num_contradictory:
        found.append(f"The same text has different labels in {num_contradictory} cases.")
    return found


def about_shared_texts(train: Scan, test: Scan) -> list[str]:
    shared = int(np.count_nonzero(np.isin(test.hash_array(), train.hash_array())))
    if not shared:
        return []
    return [
        f"{shared} of {len(test.codes)} test rows have a text that is also in the training file: "
        f"the test scores are too good by what the model remembers."
    ]


def about_test_split(
    codes: NDArray[np.int32], assigned: NDArray[np.uint8], labels: Labels
) -> list[str]:
    sets = list(labels.sets)
    tested = {c for code in np.unique(codes[assigned == TEST]) for c in sets[code]}
    trained = {c for code in np.unique(codes[assigned == TRAIN]) for c in sets[code]}
    untested = sorted(n for n, c in labels.names.items() if c in trained and c not in tested)
    found = []
    if untested:
        found.append(
            f"{len(untested)} of {len(labels.names)} labels have no test example: "
            f"{shorten(untested, 10)}."
        )
    num_test = int(np.count_nonzero(assigned == TEST))
    if num_test < FEW_TEST_EXAMPLES:
        error = 50 / num_test**0.5
        found.append(
            f"The test split has only {num_test} examples: an accuracy near 50 % then has a "
            f"standard error of {error:.0f} points."
        )
    return found
