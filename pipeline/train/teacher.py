"""Runs that teach and the texts to teach with → their scores of every training text, on disk."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.files import sha256_of_file, write_json_atomic
from tfpipe.baseline.cross_fit import cross_fit_scores
from tfpipe.data import Dataset, Split
from tfpipe.run_folder import RunFolder
from tfpipe.train.corpus import encode_split
from tfpipe.train.distillation import Lessons
from tfpipe.train.inference import add_logits, make_infer
from tfpipe.train.more_texts import texts_to_learn
from tfpipe.variant import (
    BASE,
    IMPORTED_MODELS,
    load_model,
    load_tokenizer,
    read_labels,
    read_recipe,
)

# The name of a teacher that is no run.
TFIDF = "tfidf"
SCORES_FILE, IDENTITY_FILE = "teacher.f32", "teacher.json"
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Teaching:
    """Who teaches beside the labels, and with which texts beside the labelled ones.

    Attributes:
        teachers: Folders of finished runs; several teach with the mean of their logits.
        unlabelled: A .jsonl file with a "text" a line, or another with one text a line.
        tfidf: Whether TF-IDF + logistic regression teaches as well, or alone, see
            `cross_fit_scores`.
    """

    teachers: tuple[Path, ...] = ()
    unlabelled: Path | None = None
    tfidf: bool = False

    @classmethod
    def of(cls, names: Sequence[Path], unlabelled: Path | None) -> Teaching:
        """Returns who is meant by the names that a user gave: folders, and TFIDF, which is a folder
        only where there is a run of that name."""
        meant = [path == Path(TFIDF) and not RunFolder(path).run_json.is_file() for path in names]
        runs = [path for path, is_tfidf in zip(names, meant, strict=True) if not is_tfidf]
        return cls(tuple(runs), unlabelled, any(meant))

    @property
    def num_teachers(self) -> int:
        """How many teach."""
        return len(self.teachers) + self.tfidf

    def check(self, labels: list[str], *, multi_label: bool, student: Path | None = None) -> None:
        """Refuses teachers whose scores mean something else than these labels.

        Raises:
            ValueError: A teacher is no finished run, or lies in `student`, the folder of a run that
                is about to be made; it has other labels, or is multi-label where the student is
                not; or there are unlabelled texts and nobody to teach with them.
        """
        if self.unlabelled is not None and not self.num_teachers:
            raise ValueError(
                f"unlabelled={str(self.unlabelled)!r} without a teacher: nothing says what those "
                "texts mean. Give --teacher RUN as well."
            )
        for path in self.teachers:
            if student is not None and path.resolve() == student.resolve():
                raise ValueError(
                    f"teacher={str(path)!r} is the run to be made. Give another --run, or another "
                    "--teacher."
                )
            folder = RunFolder(path)
            content = folder.read()
            if content["model"] in IMPORTED_MODELS:
                raise ValueError(
                    f"teacher={str(path)!r} holds an imported model, which reads texts of one "
                    "padded length alone. Give a run that tfpipe trained."
                )
            found = (read_labels(folder), content["multi_label"])
            if found != (labels, multi_label):
                raise ValueError(
                    f"teacher={str(path)!r} has labels={found[0]} (multi_label={found[1]}), the "
                    f"student {labels} (multi_label={multi_label}): its scores mean other classes. "
                    "Give a run that was trained on the same labels."
                )

    def describe(self, student: Path) -> dict[str, Any] | None:
        """Returns what run.json says: paths as seen from the folder that holds the student's run,
        and the digests; None without teachers."""
        if not self.num_teachers:
            return None
        place = student.resolve().parent
        more = (
            None if self.unlabelled is None else os.path.relpath(self.unlabelled.resolve(), place)
        )
        return {
            "teachers": [
                *(os.path.relpath(path.resolve(), place) for path in self.teachers),
                *[TFIDF] * self.tfidf,
            ],
            "unlabelled": more,
            **self.identity(),
        }

    def identity(self) -> dict[str, Any]:
        """Returns what decides the scores: the digests of weights and texts; empty without."""
        if not self.num_teachers:
            return {}
        digests = [sha256_of_file(RunFolder(path).weights(BASE)) for path in self.teachers]
        digests += [TFIDF] * self.tfidf
        texts = None if self.unlabelled is None else sha256_of_file(self.unlabelled)
        return {"teachers_sha256": digests, "unlabelled_sha256": texts}


def open_lessons(
    teaching: Teaching,
    dataset: Dataset,
    settings: Mapping[str, Any],
    *,
    cache: Path,
    progress: Say,
) -> tuple[Dataset, Lessons | None]:
    """Returns the dataset with the unlabelled texts after its training rows, and what the teachers
    say of all of them; the same dataset and None without teachers.

    Unlabelled texts that stand in the validation or test split are left out. A later call with the
    same teachers and texts finds the scores in `cache`.

    Args:
        teaching: Teachers and texts.
        dataset: The labelled texts.
        settings: The recipe's [train] section.
        cache: Folder for the scores.
        progress: Called with a sentence for each teacher.

    Raises:
        ValueError: See `texts_to_learn`.
    """
    if not teaching.num_teachers:
        return dataset, None
    num_labelled = dataset.splits["train"].num_examples
    train = texts_to_learn(dataset, teaching.unlabelled)
    scores = read_scores(teaching, train, dataset, cache, progress, seed=settings["seed"])
    more = scores[num_labelled:]
    train.targets[num_labelled:] = more >= 0 if dataset.multi_label else more.argmax(1)
    extended = dataclasses.replace(dataset, splits={**dataset.splits, "train": train})
    return extended, Lessons(scores, num_labelled, settings)


def read_scores(
    teaching: Teaching, split: Split, dataset: Dataset, cache: Path, progress: Say, *, seed: int
) -> NDArray[np.float32]:
    """Returns the mean of the teachers' logits, `(num_examples, num_classes)`, mapped from a file
    in `cache`; they are computed once, texts and scores streamed through files."""
    cache.mkdir(parents=True, exist_ok=True)
    shape = (split.num_examples, len(dataset.labels))
    identity = {**teaching.identity(), "data_sha256": dataset.fingerprint_sha256, "shape": [*shape]}
    identity |= {"seed": seed} if teaching.tfidf else {}
    path, said = cache / SCORES_FILE, cache / IDENTITY_FILE
    if not said.is_file() or json.loads(said.read_text("utf-8")) != identity:
        said.unlink(missing_ok=True)
        scores = np.memmap(path, np.float32, "w+", shape=shape)
        for teacher in teaching.teachers:
            progress(f"scores of teacher {teacher}")
            add_scores(RunFolder(teacher), split, scores, 1 / teaching.num_teachers, cache)
        if teaching.tfidf:
            progress("scores of TF-IDF + logistic regression, of texts that it has not seen")
            start = 0
            for batch in cross_fit_scores(dataset, split, seed=seed):
                scores[start : start + len(batch)] += batch / teaching.num_teachers
                start += len(batch)
        scores.flush()
        write_json_atomic(said, identity)
    return np.memmap(path, np.float32, "r", shape=shape)


def add_scores(
    folder: RunFolder, split: Split, scores: NDArray[np.float32], share: float, cache: Path
) -> None:
    """Adds a share of one teacher's logits of every text to `scores`; the teacher reads them with
    its own tokenizer."""
    encoded = encode_split(
        split.texts(),
        split.targets,
        load_tokenizer(folder, BASE),
        sequence_length=read_recipe(folder, BASE)["data"]["sequence_length"],
        path=cache / "teacher-tokens",
    )
    add_logits(make_infer(load_model(folder, BASE)), encoded, scores, share=share)
    (cache / "teacher-tokens").unlink()
