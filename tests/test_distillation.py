"""Distillation: the loss against NumPy, the scores against the teachers, and who may not teach."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfpipe.baseline.cross_fit import cross_fit_scores
from tfpipe.compress.options import CompressOptions
from tfpipe.compress.variant import compress
from tfpipe.config import MODEL_NAMES, load_recipe
from tfpipe.data import open_dataset
from tfpipe.fit_progress import Progress
from tfpipe.run_folder import RunFolder
from tfpipe.train import DataOptions, train
from tfpipe.train.distillation import Lessons
from tfpipe.train.teacher import Teaching, open_lessons
from tfpipe.variant import load_model, load_tokenizer

SETTINGS = {"teacher_temperature": 3.0, "teacher_weight": 0.6, "seed": 1}
LOGITS = np.float32([[1.0, -2.0, 0.5], [0.2, 0.1, -0.3]])
SCORES = np.float32([[4.0, 0.0, -1.0], [-2.0, 2.0, 1.0]])
LOSSES = np.float32([0.7, 9.0])


def expected_losses(soft: np.ndarray) -> np.ndarray:
    """The first text has a label, the second has none."""
    return np.array([0.4 * 0.7 + 0.6 * 9 * soft[0], 9 * soft[1]])


def test_loss_equals_numpy() -> None:
    lessons = Lessons(SCORES, 1, SETTINGS)
    lesson = lessons.batch(np.array([0, 1]))
    wanted, found = (np.exp(values.astype(np.float64) / 3) for values in (SCORES, LOGITS))
    wanted, found = (values / values.sum(1, keepdims=True) for values in (wanted, found))
    soft = -(wanted * np.log(found)).sum(1)
    actual = lessons.mix(LOSSES, LOGITS, lesson, multi_label=False)
    np.testing.assert_allclose(actual, expected_losses(soft), rtol=1e-6)


def test_loss_of_several_labels_equals_numpy() -> None:
    lessons = Lessons(SCORES, 1, SETTINGS)
    lesson = lessons.batch(np.array([0, 1]))
    wanted, found = (
        1 / (1 + np.exp(-values.astype(np.float64) / 3)) for values in (SCORES, LOGITS)
    )
    soft = -(wanted * np.log(found) + (1 - wanted) * np.log(1 - found)).mean(1)
    actual = lessons.mix(LOSSES, LOGITS, lesson, multi_label=True)
    np.testing.assert_allclose(actual, expected_losses(soft), rtol=1e-6)


@pytest.fixture(scope="module")
def teachers(trained_runs: dict[str, Path]) -> tuple[Path, ...]:
    return trained_runs["lstm"], trained_runs["transformer"]


@pytest.fixture
def few(tmp_path: Path, make_colours: Callable[..., Path]) -> Path:
    """Eighteen rows: too few to learn the words from."""
    return make_colours(tmp_path / "few.csv", num_rows=18, seed=8)


@pytest.fixture
def unlabelled(tmp_path: Path, make_colours: Callable[..., Path]) -> Path:
    lines = make_colours(tmp_path / "more.csv", seed=9).read_text().splitlines()[1:]
    path = tmp_path / "more.txt"
    path.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    return path


def test_scores_are_the_mean_logits_of_the_teachers(
    teachers: tuple[Path, ...], few: Path, tmp_path: Path
) -> None:
    dataset = open_dataset(str(few), seed=1)
    held_out = next(dataset.splits["test"].texts())
    more = tmp_path / "more.jsonl"
    texts = ["apple of the sky", "", held_out, "big moss leaf"]
    more.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    said: list[str] = []

    def lessons_of() -> tuple[Any, Lessons]:
        teaching = Teaching(teachers, more)
        extended, lessons = open_lessons(
            teaching, dataset, SETTINGS, cache=tmp_path / "cache", progress=said.append
        )
        assert lessons is not None
        return extended, lessons

    extended, lessons = lessons_of()
    known = list(dataset.splits["train"].texts())
    expected_texts = [*known, "apple of the sky", "big moss leaf"]
    assert list(extended.splits["train"].texts()) == expected_texts
    assert lessons.num_labelled == len(known)
    logits = [
        load_model(folder, "base")(
            load_tokenizer(folder, "base").encode_batch(expected_texts, 12)
        ).numpy()
        for folder in map(RunFolder, teachers)
    ]
    np.testing.assert_allclose(lessons.scores, np.mean(logits, 0), rtol=1e-4, atol=1e-5)
    targets = extended.splits["train"].targets
    np.testing.assert_array_equal(targets[: len(known)], dataset.splits["train"].targets)
    np.testing.assert_array_equal(targets[len(known) :], np.mean(logits, 0)[-2:].argmax(1))
    assert len(said) == 2 and lessons_of()[1].scores.shape == lessons.scores.shape
    assert len(said) == 2, "the second call found the scores"


def test_taught_student_knows_words_that_its_labels_never_had(
    teachers: tuple[Path, ...], few: Path, unlabelled: Path, tmp_path: Path, small_recipe: Any
) -> None:
    with unlabelled.open("a") as file:
        file.write("red quokka apple\n" * 50)
    test = tmp_path / "test.csv"
    lines = [f"{word} of the n,{label}" for label, words in (
        ("red", "apple cherry rose"), ("green", "grass leaf moss"), ("blue", "sky sea ice")
    ) for word in words.split()]  # fmt: skip
    test.write_text("\n".join(["text,label", *lines * 12]) + "\n")
    recipe = small_recipe("average", "train.teacher_weight=1", "train.learning_rate=0.05")
    results = {}
    for name, teaching in {"alone": Teaching(), "taught": Teaching(teachers, unlabelled)}.items():
        options = DataOptions(test=test, teaching=teaching)
        results[name] = train(few, tmp_path / name, recipe=recipe, options=options)
    accuracy = {name: run["metrics"]["test"]["accuracy"] for name, run in results.items()}
    assert accuracy["taught"] > accuracy["alone"] + 0.1, accuracy
    taught = results["taught"]["teaching"]
    assert len(taught["teachers_sha256"]) == 2 and taught["unlabelled"] == "more.txt"
    assert results["alone"]["teaching"] is None
    # What is left open is chosen from all texts that the student reads, the vocabulary for one.
    for name in results:
        vocabulary = (tmp_path / name / "vocabulary.txt").read_text("utf-8").splitlines()
        assert ("quokka" in vocabulary) == (name == "taught")
    assert results["taught"]["data"]["splits"]["train"] < 18
    assert not (tmp_path / "taught" / "train" / "tokens").exists()


def test_tfidf_says_of_a_text_what_it_learned_from_the_others(
    make_colours: Callable[..., Path], tmp_path: Path
) -> None:
    """A teacher that had seen a text with a wrong label would repeat it."""
    path = make_colours(tmp_path / "rows.csv", num_rows=400, seed=8)
    lines = path.read_text().splitlines()
    wrong = {"red": "green", "green": "blue", "blue": "red"}
    for line in range(1, len(lines), 10):
        text, _, label = lines[line].rpartition(",")
        lines[line] = f"{text},{wrong[label]}"
    path.write_text("\n".join(lines) + "\n")
    dataset = open_dataset(str(path), seed=1)
    more = tmp_path / "more.txt"
    more.write_text("a red apple\nthe blue sky\n")
    teaching = Teaching(unlabelled=more, tfidf=True)
    call = {"cache": tmp_path / "cache", "progress": lambda _: None}
    extended, lessons = open_lessons(teaching, dataset, SETTINGS, **call)
    assert lessons is not None
    texts, targets = list(extended.splits["train"].texts()), extended.splits["train"].targets
    assert lessons.scores.shape == (len(texts), 3) and np.isfinite(lessons.scores).all()
    right = {"red": "apple cherry rose", "green": "grass leaf moss", "blue": "sky sea ice"}
    truth = [
        next(i for i, label in enumerate(dataset.labels)
             if set(text.split()) & {label, *right[label].split()})
        for text in texts
    ]  # fmt: skip
    count = lessons.num_labelled
    assert 0.8 < np.mean(targets[:count] == truth[:count]) < 0.95
    assert np.mean(lessons.scores[:count].argmax(1) == truth[:count]) > 0.97
    assert lessons.scores[count:].argmax(1).tolist() == truth[count:]


def test_tfidf_learns_nothing_of_a_text_from_its_copies(
    make_colours: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_colours(tmp_path / "rows.csv", num_rows=200, seed=8)
    alien = {"żżż żżż": "red", "ćć ćć": "green", "ńńń": "blue"}
    copies = [f"{text},{label}" for text, label in alien.items()] * 15
    path.write_text("\n".join([*path.read_text().splitlines(), *copies]) + "\n")
    dataset = open_dataset(str(path), seed=1)
    train = dataset.splits["train"]
    scores = np.concatenate([*cross_fit_scores(dataset, train, seed=1)])
    rows = [text in alien for text in train.texts()]
    assert sum(rows) >= 15
    # Without a known letter all labels are about as likely; a seen one would be by e^4 more.
    assert np.ptp(scores[rows], axis=1).max() < 1


def test_tfidf_teaches_several_labels_and_beside_runs(
    teachers: tuple[Path, ...], few: Path, tmp_path: Path, make_colours: Callable[..., Path]
) -> None:
    table = tmp_path / "several.csv"
    rows = ["red apple,red", "green leaf,green", "red apple on a green leaf,red|green"] * 20
    table.write_text("\n".join(["text,label", *(f"{i} {row}" for i, row in enumerate(rows))]))
    several = open_dataset(str(table), multi_label=True, seed=1)
    call = {"cache": tmp_path / "several", "progress": lambda _: None}
    _, lessons = open_lessons(Teaching(tfidf=True), several, SETTINGS, **call)
    assert lessons is not None
    assert ((lessons.scores >= 0) == several.splits["train"].targets).mean() > 0.95
    dataset, scores = open_dataset(str(few), seed=1), {}
    for name, teaching in {
        "run": Teaching(teachers[:1]),
        "tfidf": Teaching(tfidf=True),
        "both": Teaching(teachers[:1], tfidf=True),
    }.items():
        call = {"cache": tmp_path / name, "progress": lambda _: None}
        scores[name] = np.array(open_lessons(teaching, dataset, SETTINGS, **call)[1].scores)
    mean = (scores["run"] + scores["tfidf"]) / 2
    np.testing.assert_allclose(scores["both"], mean, rtol=1e-5, atol=1e-5)


def test_tfidf_is_a_run_where_there_is_one_of_that_name(
    teachers: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Teaching.of([Path("tfidf"), teachers[0]], None) == Teaching(teachers[:1], tfidf=True)
    described = Teaching.of([Path("tfidf"), teachers[0]], None).describe(teachers[1])
    assert described is not None and described["teachers"] == [teachers[0].name, "tfidf"]
    assert described["teachers_sha256"][1:] == ["tfidf"]
    shutil.copytree(teachers[0], "tfidf")
    assert Teaching.of([Path("tfidf")], None) == Teaching((Path("tfidf"),))


def test_variant_is_trained_on_with_teachers_alone(
    teachers: tuple[Path, ...], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(teachers[1], tmp_path / "run"))
    options = CompressOptions(teaching=Teaching(teachers[:1]), epochs=1)
    made = compress(run, "taught", options)
    assert made["methods"] == ["distill"] and made["metrics"]["test"]["accuracy"] > 0.5
    assert len(made["options"]["teachers_sha256"]) == 1
    assert made["teaching"]["teachers"] == made["teaching"]["teachers"][:1]
    with pytest.raises(ValueError, match="distill is there already"):
        compress(run, "more", CompressOptions(**{**vars(options), "source": "taught"}))


def test_resumed_training_keeps_its_teachers(
    teachers: tuple[Path, ...], few: Path, tmp_path: Path, small_recipe: Any
) -> None:
    def interrupt(item: Progress | str) -> None:
        if isinstance(item, Progress):
            raise KeyboardInterrupt

    def run(*chosen: Path, progress: Any = lambda _: None) -> dict[str, Any]:
        options = DataOptions(teaching=Teaching(chosen))
        return train(
            few,
            tmp_path / "run",
            recipe=small_recipe("average"),
            options=options,
            existing="resume",
            progress=progress,
        )

    with pytest.raises(KeyboardInterrupt):
        run(teachers[0], progress=interrupt)
    with pytest.raises(ValueError, match="began with teachers_sha256=.*Resume with the same"):
        run(teachers[1])
    with pytest.raises(ValueError, match="began with teachers_sha256=.* now it is None"):
        run()
    assert len(run(teachers[0])["teaching"]["teachers_sha256"]) == 1


def test_bad_teaching_is_refused_before_anything_is_written(
    teachers: tuple[Path, ...], few: Path, tmp_path: Path, small_recipe: Any
) -> None:
    other = Path(shutil.copytree(teachers[0], tmp_path / "other"))
    (other / "labels.txt").write_text("blue\ngreen\npurple\n")
    imported = Path(shutil.copytree(teachers[0], tmp_path / "imported"))
    content = {**json.loads((imported / "run.json").read_text()), "model": "imported"}
    (imported / "run.json").write_text(json.dumps(content))
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("\n".join(open_dataset(str(few), seed=1).splits["test"].texts()) + "\n \n")
    refused = {
        r"teacher=.*other' has labels=\['blue', 'green', 'purple'\].* the student \['bl": (
            Teaching((other,))
        ),
        "unlabelled=.* without a teacher: nothing says what": Teaching((), held_out),
        "is no finished run": Teaching((tmp_path,)),
        "teacher=.*imported' holds an imported model, which reads texts": Teaching((imported,)),
        "teacher=.* is the run to be made": Teaching((tmp_path / "run",)),
    }
    for message, teaching in refused.items():
        with pytest.raises(ValueError, match=message):
            train(
                few,
                tmp_path / "run",
                recipe=small_recipe("average"),
                options=DataOptions(teaching=teaching),
            )
        assert not (tmp_path / "run").exists()
    dataset = open_dataset(str(few), seed=1)
    with pytest.raises(ValueError, match="holds no text beside those of the validation and test"):
        open_lessons(
            Teaching(teachers[:1], held_out),
            dataset,
            SETTINGS,
            cache=tmp_path / "cache",
            progress=lambda _: None,
        )
    run = Path(shutil.copytree(teachers[0], tmp_path / "student"))
    with pytest.raises(ValueError, match="its scores mean other classes"):
        compress(run, "taught", CompressOptions(teaching=Teaching((other,))))
    with pytest.raises(ValueError, match="is no finished run"):
        compress(run, "taught", CompressOptions(teaching=Teaching((tmp_path / "none",))))
    assert not (run / "variants" / "taught").exists()


def test_older_recipes_teach_as_the_packaged_ones_do() -> None:
    lessons = Lessons(SCORES, 1, {})
    for name in MODEL_NAMES:
        settings = load_recipe(name).train
        found = settings["teacher_temperature"], settings["teacher_weight"]
        assert found == (lessons.temperature, lessons.weight), name
