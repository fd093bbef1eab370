"""Tables in every format → the splits, targets and counts that are known beforehand."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpipe.data import PACKAGED, Dataset, open_dataset, read_labelled, sample_indices
from tfpipe.data.stratify import SPLIT_NAMES, TEST, TRAIN, VALIDATION, assign_splits, mix64

# By tools/make_datasets.py, of the unpacked files.
PACKAGED_SHA256 = {
    "topics.train": "b4c3fbff0fa9bbfe3c2358f1fea8a2bc42218afd80be4708c98347d327ccc865",
    "topics.test": "c9a766e1bfa8f7776d3b2d138c59abcecfc4d8de6eac3d2fe57e70a13c2327ba",
    "languages.train": "8d160d4f135df11714f53e02e01525d383a749a6fa8fb2e5bd432cc1d53e6c42",
    "languages.test": "4b958674d75fb7258cceb215893fa4f63925dd4ff7cf23db9638a949c325a0f0",
}
# A comma, a tab, quotes, a line end, and scripts beyond the Latin one.
HOSTILE_TEXTS = ["a, b", "tab\there", 'say "hi"', "two\nlines", "日本語", "ไทย", "🎉 |pipe|"]
ROWS = [(text, label) for text in HOSTILE_TEXTS for label in ("x", "y")] + [
    (f"text {i}", "x" if i % 3 else "y") for i in range(40)
]


def csv_quote(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def as_delimited(delimiter: str, line_end: str = "\n", head: str = "") -> bytes:
    lines = [("text", "label"), *ROWS]
    rows = [delimiter.join(map(csv_quote, row)) for row in lines]
    return (head + line_end.join(rows) + line_end).encode()


def as_jsonl() -> bytes:
    rows = [json.dumps({"label": label, "text": text}) for text, label in ROWS]
    return ("\n".join(rows) + "\n\n").encode()


def all_examples(dataset: Dataset) -> list[tuple[str, str]]:
    """Every text with its label, from all splits."""
    return [
        (text, dataset.labels[target])
        for split in dataset.splits.values()
        for text, target in zip(split.texts(), split.targets, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", as_delimited(",")),
        ("rows.CSV", as_delimited(",", "\r\n")),
        ("bom.csv", as_delimited(",", head="\ufeff")),
        ("rows.tsv", as_delimited("\t")),
        ("rows.jsonl", as_jsonl()),
        ("rows.csv.gz", gzip.compress(as_delimited(",", head="\ufeff"))),
        ("rows.tsv.gz", gzip.compress(as_delimited("\t", "\r\n"))),
        ("rows.jsonl.gz", gzip.compress(as_jsonl())),
    ],
)
def test_every_format_gives_the_same_examples(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    dataset = open_dataset(str(path))
    assert sorted(all_examples(dataset)) == sorted(ROWS)
    assert dataset.labels == ["x", "y"]
    assert dataset.num_rows == len(ROWS) and dataset.skipped == {}
    assert dataset.fingerprint_sha256 == hashlib.sha256(content).hexdigest()
    assert (dataset.text_column, dataset.label_column) == ("text", "label")
    assert dataset.test_source is None


def test_texts_come_in_row_order_and_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(as_delimited(","))
    train = open_dataset(str(path)).splits["train"]
    texts = list(train.texts())
    order = [text for text, _ in ROWS]
    positions = [order.index(text) for text in texts]
    assert positions == sorted(positions)
    assert list(train.texts()) == texts
    assert train.num_examples == len(texts) == len(train.targets)
    assert train.targets.dtype == np.int32


def test_plain_quotes_in_tsv_are_characters(tmp_path: Path) -> None:
    texts = ['"Hello" he said', 'un"quoted', '"open', 'and shut"', *(f"t{i}" for i in range(20))]
    path = tmp_path / "rows.tsv"
    path.write_text("label\ttext\n" + "".join(f"{i % 2}\t{t}\n" for i, t in enumerate(texts)))
    assert sorted(t for t, _ in all_examples(open_dataset(str(path)))) == sorted(texts)


def test_columns_are_found_by_usual_names_without_regard_to_case(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id, Sentence ,CATEGORY\n" + "".join(f"{i},s{i},{i % 2}\n" for i in range(20)))
    dataset = open_dataset(str(path))
    assert (dataset.text_column, dataset.label_column) == ("Sentence", "CATEGORY")
    named = open_dataset(str(path), text_column="id", label_column="category")
    assert (named.text_column, named.label_column) == ("id", "CATEGORY")


def test_json_scalars_become_labels_as_json_writes_them(tmp_path: Path) -> None:
    labels = [1, 2.5, True, False, "z"] * 8
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"t{i}", "label": label} for i, label in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert open_dataset(str(path)).labels == ["1", "2.5", "false", "true", "z"]


def test_multi_label_cells_become_bits(tmp_path: Path) -> None:
    cells = ["b|a", " a | c ", "c||c", "|b|", "a"] * 8
    path = tmp_path / "rows.csv"
    path.write_text("text,labels\n" + "".join(f"t{i},{cell}\n" for i, cell in enumerate(cells)))
    dataset = open_dataset(str(path), multi_label=True)
    expected = {0: [1, 1, 0], 1: [1, 0, 1], 2: [0, 0, 1], 3: [0, 1, 0], 4: [1, 0, 0]}
    assert dataset.labels == ["a", "b", "c"]
    for split in dataset.splits.values():
        assert split.targets.dtype == np.uint8
        for text, bits in zip(split.texts(), split.targets.tolist(), strict=True):
            assert bits == expected[int(text[1:]) % 5]
    totals = Counter()
    for counts in dataset.label_counts.values():
        totals.update(counts)
    assert totals == {"a": 24, "b": 16, "c": 16}


def test_multi_label_json_lists_keep_a_separator_in_a_label(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"t{i}", "tags": [["a|b", 1], ["c", None, ""]][i % 2]} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert open_dataset(str(path), multi_label=True).labels == ["1", "a|b", "c"]
    assert next(read_labelled(path, text_column=None, label_column=None, multi_label=True)) == (
        "t0",
        ["a|b", "1"],
    )


def test_split_sizes_are_stated_fractions_of_each_label() -> None:
    sizes = {0: 700, 1: 200, 2: 90, 3: 10}
    codes = np.repeat(list(sizes), list(sizes.values())).astype(np.int32)
    hashes = mix64(np.arange(1000, dtype=np.uint64), 5)
    splits = assign_splits(hashes, codes, [(c,) for c in sizes], test_fraction=0.15, seed=1)
    assert np.bincount(splits).tolist() == [765, 85, 150]
    for code, size in sizes.items():
        counts = np.bincount(splits[codes == code], minlength=3)
        np.testing.assert_allclose(counts, np.array([0.765, 0.085, 0.15]) * size, atol=2)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5)), min_size=30, max_size=200),
    seed=st.integers(-5, 2**70),
    test_fraction=st.sampled_from([0, 0.15]),
)
def test_splits_keep_their_promises(
    rows: list[tuple[int, int]], seed: int, test_fraction: float
) -> None:
    label_sets = [(0,), (1,), (2, 3), (0, 3), (4,), (1, 2, 4)]
    hashes = np.array([text for text, _ in rows], dtype=np.uint64)
    codes = np.array([code for _, code in rows], dtype=np.int32)
    if len(set(hashes.tolist())) < 8:
        return
    splits = assign_splits(hashes, codes, label_sets, test_fraction=test_fraction, seed=seed)
    for text in set(hashes.tolist()):
        assert len(set(splits[hashes == text].tolist())) == 1, "equal texts stand in two splits"
    labels = {c for code in codes for c in label_sets[code]}
    trained = {c for code in codes[splits == TRAIN] for c in label_sets[code]}
    assert trained == labels
    wanted = {TRAIN, VALIDATION, TEST} if test_fraction else {TRAIN, VALIDATION}
    assert set(splits.tolist()) == wanted
    # Another order of the rows: the same split of each text that has one set of labels.
    again = assign_splits(
        hashes[::-1], codes[::-1], label_sets, test_fraction=test_fraction, seed=seed
    )
    if len(set(rows)) == len(set(hashes.tolist())):
        np.testing.assert_array_equal(splits, again[::-1])


def test_seed_decides_the_split(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(as_delimited(","))
    tests = [list(open_dataset(str(path), seed=s).splits["test"].texts()) for s in (1, 1, 2)]
    assert tests[0] == tests[1] != tests[2]


def test_split_does_not_depend_on_hash_randomisation() -> None:
    code = (
        "import hashlib; from tfpipe.data import open_dataset\n"
        "d = open_dataset('languages')\n"
        "texts = '\\n'.join(d.splits['validation'].texts())\n"
        "print(d.labels, hashlib.sha256(texts.encode()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_test_file_is_the_test_split(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.jsonl"
    train.write_bytes(as_delimited(","))
    test.write_text('{"text": "new", "label": "y"}\n{"text": "", "label": "y"}\n')
    dataset = open_dataset(str(train), test=test)
    assert list(dataset.splits["test"].texts()) == ["new"]
    assert dataset.splits["test"].targets.tolist() == [1]
    assert dataset.label_counts["test"] == {"x": 0, "y": 1}
    assert dataset.test_source == str(test)
    assert dataset.num_rows == len(ROWS) + 2
    assert dataset.skipped == {"no text (test file)": 1}
    both = train.read_bytes() + test.read_bytes()
    assert dataset.fingerprint_sha256 == hashlib.sha256(both).hexdigest()
    sizes = {name: split.num_examples for name, split in dataset.splits.items()}
    assert sizes["train"] + sizes["validation"] == len(ROWS)


@pytest.mark.parametrize(
    ("name", "sizes", "num_labels"),
    [("topics", (4345, 483, 1172), 6), ("languages", (1517, 169, 284), 27)],
)
def test_packaged_set_is_the_documented_one(
    name: str, sizes: tuple[int, ...], num_labels: int
) -> None:
    for part, path in (("train", PACKAGED[name].train), ("test", PACKAGED[name].test)):
        content = gzip.decompress(path.read_bytes())
        assert hashlib.sha256(content).hexdigest() == PACKAGED_SHA256[f"{name}.{part}"]
    dataset = open_dataset(name)
    assert tuple(dataset.splits[split].num_examples for split in SPLIT_NAMES) == sizes
    assert len(dataset.labels) == num_labels
    assert dataset.warnings == [] and dataset.skipped == {}


def test_packaged_notice_carries_the_licences() -> None:
    notice = (PACKAGED["topics"].train.parent / "NOTICE").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice
    assert "copyright-free" in notice and "The MIT License" in notice


def test_sample_is_seeded_ascending_and_of_the_size_asked_for() -> None:
    sample = sample_indices(1000, 100, 7)
    assert len(set(sample.tolist())) == 100
    assert sample.tolist() == sorted(sample.tolist())
    assert sample.tolist() == sample_indices(1000, 100, 7).tolist()
    assert sample.tolist() != sample_indices(1000, 100, 8).tolist()
    # 1,000 numbers in ten bins: 10 expected in each, standard deviation 2.8.
    assert np.abs(np.bincount(sample // 100, minlength=10) - 10).max() < 10


def test_mix64_is_splitmix64() -> None:
    # First outputs of the reference implementation (https://prng.di.unimi.it/splitmix64.c)
    # for the state 1234567, which is value 1234567 and seed 0 here.
    values = mix64(np.array([1234567], dtype=np.uint64), 0)
    assert values.tolist() == [6457827717110365317]


def test_semicolons_separate_the_cells_of_a_csv_where_no_comma_does(tmp_path: Path) -> None:
    file = tmp_path / "german.csv"
    file.write_text('\ufefflabel;text;preis\r\nx;"grün; 3,50";1,5\r\ny;rot, rund;2\r\n')
    rows = read_labelled(file, text_column=None, label_column=None, multi_label=False)
    assert [(text, list(labels)) for text, labels in rows] == [
        ("grün; 3,50", ["x"]),
        ("rot, rund", ["y"]),
    ]
