"""tfpipe.run_folder: which folder a training may use, and what a finished run must hold."""

import json
from pathlib import Path

import pytest

from tfpipe.run_folder import RunFolder


def begun(path):
    folder = RunFolder(path)
    folder.check("refuse")
    folder.begin(overwrite=False)
    return folder


def foreign(path):
    (path / "train").mkdir(parents=True)
    (path / "train" / "photo.jpg").write_text("mine")
    return path


def test_missing_and_empty_folders_may_be_used(tmp_path):
    for existing in ("refuse", "resume", "overwrite"):
        RunFolder(tmp_path / "new").check(existing)
        (tmp_path / "killed" / "train").mkdir(parents=True, exist_ok=True)
        RunFolder(tmp_path / "killed").check(existing)


def test_begun_run_needs_a_flag(tmp_path):
    folder = begun(tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"run='.*run' exists\. Give --resume .* --overwrite"):
        folder.check("refuse")
    # Killed before the plan was made: there is nothing but the mark, and both ways are open.
    folder.check("resume")
    folder.check("overwrite")


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        ("refuse", "exists. Give --resume"),
        ("resume", "holds no training to resume. Remove it or give another"),
        ("overwrite", "exists and is no run of tfpipe, so --overwrite leaves it alone"),
    ],
)
def test_folder_that_is_no_run_is_left_alone(tmp_path, existing, message):
    path = foreign(tmp_path / "photos")
    file = tmp_path / "file"
    file.write_text("mine")
    for place in (path, file):
        with pytest.raises((ValueError, FileExistsError), match=message):
            RunFolder(place).check(existing)
    assert (path / "train" / "photo.jpg").read_text() == file.read_text() == "mine"


def test_other_word_is_refused(tmp_path):
    with pytest.raises(ValueError, match="existing='replace' must be one of refuse, resume, over"):
        RunFolder(tmp_path).check("replace")


def test_overwriting_empties_the_folder(tmp_path):
    folder = begun(tmp_path / "run")
    folder.plan_json.write_text("{}")
    folder.export("old").mkdir(parents=True)
    folder.run_json.write_text("{}")
    outside = foreign(tmp_path / "outside")
    (folder.path / "link").symlink_to(outside)
    through = RunFolder(tmp_path / "linked")
    through.path.symlink_to(folder.path)
    through.check("overwrite")
    through.begin(overwrite=True)
    assert [file.name for file in folder.path.rglob("*")] == ["train", "started"]
    assert through.path.is_symlink() and (outside / "train" / "photo.jpg").is_file()


def test_run_half_overwritten_is_still_a_run(tmp_path, monkeypatch):
    folder = begun(tmp_path / "run")
    for name in ("a", "z"):
        (folder.path / name).write_text("x")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            folder.begin(overwrite=True)
    assert (folder.path / "z").exists()
    folder.check("overwrite")


def test_finished_run_is_read(tmp_path):
    folder = begun(tmp_path / "run")
    folder.run_json.write_text(json.dumps({"recipe": {}, "model": "lstm"}))
    assert folder.read() == {"recipe": {}, "model": "lstm"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"run\.json is not JSON \(.*\)\. Train the run again with --overwrite"),
        (b"\xff", "is not JSON"),
        (b"[]", "is not a run's. Train the run again with --overwrite"),
        (b"{}", "is not a run's"),
    ],
)
def test_damaged_run_is_refused(tmp_path, content, message):
    folder = RunFolder(tmp_path)
    folder.run_json.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        folder.read()


def test_folder_without_a_finished_run_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="none' does not exist, .* Make one with `tfpipe train"):
        RunFolder(tmp_path / "none").read()
    with pytest.raises(ValueError, match="holds no run.json, so it is no finished run. Make one"):
        RunFolder(tmp_path).read()
    folder = begun(tmp_path / "run")
    folder.plan_json.write_text("{}")
    with pytest.raises(ValueError, match="Finish it with `tfpipe train … --resume`"):
        folder.read()


def test_files_are_where_the_design_says(tmp_path):
    folder = RunFolder(tmp_path)
    places = {
        folder.run_json: "run.json",
        folder.recipe_toml: "recipe.toml",
        folder.vocabulary: "vocabulary.txt",
        folder.labels: "labels.txt",
        folder.plan_json: "train/plan.json",
        folder.checkpoint: "train/checkpoint.npz",
        folder.history_csv: "train/history.csv",
        folder.tensorboard: "train/tensorboard",
        folder.examples("test"): "data/test.jsonl",
        folder.weights("base"): "variants/base/weights.npz",
        folder.export("cpu-int8"): "exports/cpu-int8",
        folder.bench: "bench",
    }
    for path, place in places.items():
        assert path == tmp_path / place
