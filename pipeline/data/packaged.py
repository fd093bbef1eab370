"""The name of a packaged data set → its files, licence and columns."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "datasets"
COLUMNS = ("label", "text")  # the files have no header


@dataclass(frozen=True)
class Packaged:
    """A data set that comes with tfpipe.

    Attributes:
        train: Its training file; validation is split from it.
        test: Its test file.
        description: One line for a list.
        licence: What its texts may be used for; datasets/NOTICE has the full text.
    """

    train: Path
    test: Path
    description: str
    licence: str


PACKAGED = {
    "languages": Packaged(
        FOLDER / "languages.train.tsv.gz",
        FOLDER / "languages.test.tsv.gz",
        "sentence → its language: 27 languages, 7 scripts, 1,970 sentences",
        "copyright-free (Universal Declaration of Human Rights)",
    ),
    "topics": Packaged(
        FOLDER / "topics.train.tsv.gz",
        FOLDER / "topics.test.tsv.gz",
        "English definition → its topic: 6 topics, 6,000 definitions",
        "WordNet 3.0 licence",
    ),
}
