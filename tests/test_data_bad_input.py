"""Tables with something wrong in them → the error or the warning that says where and what to do."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tfpipe.data import Dataset, open_dataset

Write = Callable[[str, str | bytes], str]
GOOD = "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(200))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


def texts_of(dataset: Dataset) -> list[str]:
    return [text for split in dataset.splits.values() for text in split.texts()]


def jsonl(*rows: object) -> str:
    good = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)]
    return "".join(json.dumps(row) + "\n" for row in [*good, *rows])


LATIN1 = b"text,label\n" + b"x" * 3_000_000 + b",a\ncaf\xe9,b\n"
ERRORS = {
    "empty.csv": ("", r"empty\.csv is empty\. It needs a header row and data rows"),
    "blank.jsonl": ("\n \n", r"blank\.jsonl is empty\. It needs an object a line"),
    "header.csv": ("text,label\n", r"header\.csv has no data rows"),
    "missing.csv": (
        "title_de,label\na,b\n",
        r"no text column is known among 'title_de', 'label'.*--text-column NAME.*header",
    ),
    "semicolons.csv": ("title_de;label\na;b\n", r"among 'title_de', 'label'.*commas or tabs"),
    "semicolon_cells.csv": ("text;label\na;b;c\n", "line 2 has 3 cells, the header has 2"),
    "keys.jsonl": ('{"text": "a", "kind": "b"}\n', r"no label column .* 'text', 'kind'"),
    "twice.csv": ("text,label,text\na,b,c\n", r"column 'text' is there 2 times"),
    "one_label.csv": (
        "text,label\na,x\nb,x\n",
        r"every row has the label 'x'.*at least 2 labels",
    ),
    "unlabelled.csv": (
        "text,label\na,\n,x\n",
        r"none of the 2 rows has a text in 'text' and a label in 'label' "
        r"\(1 with no label, 1 with no text\)",
    ),
    "too_few.csv": (
        "text,label\na,x\nb,y\nc,y\n",
        r"3 different texts with 2 labels are too few to split.*2 more.*validation and test",
    ),
    "latin1.csv": (
        LATIN1,
        rf"byte 0xE9 at offset {LATIN1.index(0xE9)}\. .*iconv -f WINDOWS-1252 -t UTF-8",
    ),
    "latin1.csv.gz": (
        gzip.compress(LATIN1),
        rf"byte 0xE9 at offset {LATIN1.index(0xE9)} of the unpacked text",
    ),
    "cut_utf8.csv": ("text,label\na,é".encode()[:-1], r"byte 0xC3 at offset 13\b"),
    "utf16.csv": ("text,label\na,b\n".encode("utf-16"), r"0xFF at offset 0.*iconv -f UTF-16"),
    "packed.csv": (gzip.compress(b"text,label\n"), r"gzip data without \.gz in its name: add it"),
    "workbook.csv": (b"PK\x03\x04\xff\xfe", r"a workbook: unpack it, or save the sheet as CSV"),
    "broken.csv.gz": (
        gzip.compress(b"text,label\n" + bytes(range(65, 91)) * 999)[:-9],
        r"broken\.csv\.gz is not a whole gzip file",
    ),
    "unpacked.csv.gz": (b"text,label\na,b\n", r"is not a whole gzip file \(Not a gzipped file"),
    "flipped.csv.gz": (
        gzip.compress(b"text,label\n" + b"a,b\n" * 99)[:12] + b"\xff" * 40,
        r"is not a whole gzip file",
    ),
    "ragged.csv": (
        f'text,label\n{GOOD}"two\nlines",a\nno, quotes,b\n',
        r"line 204 has 3 cells, the header has 2 \('text', 'label'\).*quotes",
    ),
    "short.tsv": ("text\tlabel\na\tx\nb\n", r"line 3 has 1 cells, the header has 2"),
    "open.csv": (
        f'text,label\n{GOOD}a,x\n"never closed,y\nmore,x\n',
        r"a quote opened in the row at line 203 is never closed",
    ),
    "inner.csv": ('text,label\n"say "hi"",x\n', r'line 2: .*write a quote twice \(""\)'),
    "broken.jsonl": (jsonl() + '{"text": "a",\n', r"line 21 is not JSON \(.*one JSON object"),
    "deep.jsonl": (jsonl() + "[" * 100_000 + "\n", r"line 21 is not JSON"),
    "list.jsonl": (jsonl(["text", "label"]), r"line 21 is a list\..*one JSON object"),
    "number.jsonl": (jsonl(5), r"line 21 is a number or null"),
    "text_list.jsonl": (
        jsonl({"text": ["a"], "label": "a"}),
        r"line 21: the text in 'text' is a list\. It must be a string",
    ),
    "label_list.jsonl": (
        jsonl({"text": "a", "label": ["a"]}),
        r"line 21: the label in 'label' is a list, but one label.*--multi-label",
    ),
    "label_object.jsonl": (
        jsonl({"text": "a", "label": {"name": "a"}}),
        r"line 21: the label in 'label' is an object\. It must be a string",
    ),
    "label_lines.csv": (
        'text,label\na,"x\ny"\n',
        r"line 2: the label in 'label' holds a line end: 'x\\ny'",
    ),
    "table.xlsx": ("", r"table\.xlsx: unknown kind of file.*\.csv, \.tsv or \.jsonl"),
    "ids.csv": (
        "text,label\n" + "".join(f"a,{i}\n" for i in range(10_001)),
        r"more than 10000 different labels.*--label-column",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_table_is_refused_with_a_reason(name: str, write: Write) -> None:
    content, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        open_dataset(write(name, content))


def test_missing_column_lists_those_there(write: Write) -> None:
    path = write("rows.csv", "text,label\na,b\n")
    with pytest.raises(ValueError, match=r"no column 'txt' among 'text', 'label'.*--text-column"):
        open_dataset(path, text_column="txt")
    with pytest.raises(ValueError, match=r"no column 'y' among 'text', 'label'.*--label-column"):
        open_dataset(path, label_column="y")
    with pytest.raises(ValueError, match=r"column 'text' cannot be the text and the label"):
        open_dataset(path, label_column="text")


def test_unknown_source_is_refused_with_the_packaged_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"topic is neither .*\(languages, topics\).*'topics'\?"):
        open_dataset("topic")
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path))} is not a file"):
        open_dataset(str(tmp_path))


def test_test_file_with_unknown_label_is_refused(write: Write) -> None:
    train = write("train.csv", f"text,label\n{GOOD}")
    test = Path(write("test.csv", "text,label\nnew,a\nnewer,A\nnewest,c\n"))
    with pytest.raises(ValueError, match=r"2 of its labels are not in the training.*'A', 'c'"):
        open_dataset(train, test=test)


def test_test_file_that_is_the_training_file_is_refused(write: Write) -> None:
    path = write("train.csv", f"text,label\n{GOOD}")
    with pytest.raises(ValueError, match=r"train\.csv is the training file"):
        open_dataset(path, test=Path(path))


def test_test_file_without_the_training_column_is_refused(write: Write) -> None:
    train = write("train.csv", f"text,label\n{GOOD}")
    test = Path(write("test.csv", "sentence,label\nnew,a\n"))
    with pytest.raises(ValueError, match=r"no column 'text' among 'sentence', 'label'"):
        open_dataset(train, test=test)


@pytest.mark.parametrize("content", [GOOD.replace("text 5", "text X"), GOOD * 2])
def test_file_that_changes_after_opening_is_refused(content: str, write: Write) -> None:
    dataset = open_dataset(write("rows.csv", f"text,label\n{GOOD}"))
    write("rows.csv", f"text,label\n{content}")
    with pytest.raises(ValueError, match=r"rows\.csv changed since it was opened"):
        list(dataset.splits["train"].texts())


def test_file_that_is_only_touched_is_read(write: Write) -> None:
    path = write("rows.csv", f"text,label\n{GOOD}")
    dataset = open_dataset(path)
    Path(path).touch()
    assert len(texts_of(dataset)) == 200


def test_cell_above_the_limit_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("rows.csv", f"text,label\n{GOOD}" + '"' + "long\n" * 300 + '",a\n')
    monkeypatch.setattr("tfpipe.data.table.MAX_CELL_CHARACTERS", 1000)
    before = csv.field_size_limit(1000)
    try:
        with pytest.raises(ValueError, match=r"row at line 202 has a cell of more than 1000"):
            open_dataset(path)
    finally:
        csv.field_size_limit(before)


def test_line_above_the_limit_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("rows.jsonl", jsonl({"text": "x" * 2000, "label": "a"}))
    monkeypatch.setattr("tfpipe.data.text_file.MAX_CELL_CHARACTERS", 1000)
    with pytest.raises(ValueError, match=r"has a line of more than 1000 characters"):
        open_dataset(path)


def test_targets_above_the_limit_are_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("rows.csv", f"text,label\n{GOOD}")
    monkeypatch.setattr("tfpipe.data.split.MAX_TARGET_BYTES", 300)
    with pytest.raises(ValueError, match=r"targets of 2 labels need 400 bytes, more than 300"):
        open_dataset(path, multi_label=True)


def test_huge_cell_is_cut_and_counted(write: Write) -> None:
    huge = "ab cd " * 1_700_000  # 10 MB
    dataset = open_dataset(write("rows.csv", f"text,label\n{GOOD}{huge},a\n{huge}x,a\n"))
    lengths = sorted(map(len, texts_of(dataset)))
    assert lengths[-3:] == [8, 1_000_000, 1_000_000]
    assert any(
        "2 of 202 rows have a text of more than 1000000 characters, cut there (first at line 202)"
        in warning
        for warning in dataset.warnings
    )


WARNINGS = {
    "nul.csv": ("a\0b,a\n", r"1 of 201 rows have NUL characters in the text, read as spaces"),
    "unlabelled.csv": ("x,\ny,\n", r"2 of 202 rows have no label and were skipped"),
    "empty_text.csv": ('"",a\n" ",b\n', r"2 of 202 rows have no text and were skipped"),
    "spaces.csv": ("x, a \n", r"1 of 201 rows have spaces around the label.*first at line 202"),
    "case.csv": ("x,A\ny,A\nz,b c\nu,B  C\n", r"Labels 'A', 'a' differ only by case or space"),
    "single.csv": ("x,once\n", r"1 of 3 labels have a single text, .* training: 'once'\."),
    "untested.csv": ("x,once\n", r"1 of 3 labels have no test example: 'once'\."),
    "repeated.csv": ("text 0,a\ntext 1,b\n", r"2 of 202 rows repeat the text of another row"),
    "contradiction.csv": ("text 0,b\n", r"same text has different labels in 1 cases"),
    "pipes.csv": ("x,a|b\ny,b|c\n", r"2 of 4 labels hold '\|'.*use --multi-label"),
    "few.csv": ("", r"The test split has only 30 examples.* standard error of 9 points"),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_odd_rows_are_counted_in_a_warning(name: str, write: Write) -> None:
    content, message = WARNINGS[name]
    dataset = open_dataset(write(name, f"text,label\n{GOOD}{content}"))
    assert any(re.search(message, warning) for warning in dataset.warnings), dataset.warnings
    kept = sum(split.num_examples for split in dataset.splits.values())
    assert kept + sum(dataset.skipped.values()) == dataset.num_rows


def test_label_with_a_single_text_goes_to_training(write: Write) -> None:
    for seed in range(20):
        path = write("rows.csv", f"text,label\n{GOOD}x,once\n")
        counts = open_dataset(path, seed=seed).label_counts
        assert [counts[split]["once"] for split in counts] == [1, 0, 0]


def test_half_a_surrogate_pair_is_replaced_and_counted(write: Write) -> None:
    row = '{"text": "bad \\ud800 half, \\ud83c\\udf89 whole", "label": "a"}\n'
    dataset = open_dataset(write("rows.jsonl", jsonl() + row))
    assert "bad \ufffd half, 🎉 whole" in texts_of(dataset)
    assert any("1 of 21 rows have half a surrogate pair" in w for w in dataset.warnings)


def test_texts_shared_by_train_and_test_are_counted(write: Write) -> None:
    train = write("train.csv", f"text,label\n{GOOD}")
    test = Path(write("test.csv", "text,label\ntext 0,a\ntext 1,b\nText 0,a\n"))
    warnings = open_dataset(train, test=test).warnings
    assert any("2 of 3 test rows have a text that is also in the training" in w for w in warnings)


def test_json_row_without_the_keys_is_skipped_and_counted(write: Write) -> None:
    path = write("rows.jsonl", jsonl({"text": "a"}, {"label": "a"}, {"text": "b", "label": None}))
    assert open_dataset(path).skipped == {"no label": 2, "no text": 1}
