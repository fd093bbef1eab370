"""The page's tokenizer and clockwork, run by Node, against device_runner's."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_runner import normalize, unicode_table
from device_runner.encode import SPECIAL_TOKENS, Tokenizer, TokenizerSpec
from device_runner.latency import measure
from device_runner.profiles import PROFILES, Profile
from device_runner.turn import Contestant
from tfpipe.tokenizer.rules import tokenizer_spec
from tfpipe.web.characters import character_table
from tfpipe.web.site import PAGE_FOLDER, PAGE_TOKENIZERS, describe_profile

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed; .ci/run installs it"
)
READ = "import {readFileSync} from 'node:fs'; const given = JSON.parse(readFileSync(0, 'utf-8'));"
WORDS = "the café naïve straße İstanbul ΟΔΟΣ don't 北京 한국어".split()
WORDS += "ไทย हिन्दी 😀 re-run 3.14 <PAD>".split()


def run_node(module: str, script: str, given: Any) -> Any:
    """What a script prints that imports everything of a module of the page as `page`."""
    url = (PAGE_FOLDER / module).as_uri()
    code = f"import * as page from {json.dumps(url)}; {READ} {script}"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", code],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def vocabulary_of(spec: TokenizerSpec) -> list[str]:
    """Some tokens of every script, so that most texts have known and unknown ones."""
    tokens = list(SPECIAL_TOKENS[spec.kind])
    if spec.kind == "char":
        return tokens + [chr(code) for code in range(0x20, 0x250) if code not in (0x7F, 0xAD)]
    words = WORDS + [word.lower() for word in WORDS] + ["strasse", "cafe", "naive", ".", "-", "'"]
    pieces = ["s", "a", "b", "re", "run", "한", "국", "़", "#", "##"]
    if spec.kind == "wordpiece":
        pieces += ["##s", "##run", "##é", "##e", "##字", "##국", "##a", "##b", "##3", "##😀"]
    return list(dict.fromkeys([*tokens, *words, *pieces, *"xyz0123"]))


def edges() -> list[int]:
    """Every end of a range in the table, and its neighbours."""
    found = set()
    for name in ("UNASSIGNED", "UNORDERED", "REMOVED", "SPACES", "CHINESE", "MARKS", "PUNCTUATION"):
        for codes in normalize.CharacterSet(getattr(unicode_table, name)).ranges:
            found |= {codes.start - 1, codes.start, codes[-1], codes[-1] + 1}
    return sorted(code for code in found if 0 <= code < 0x110000)


def hostile_texts() -> list[str]:
    rng = random.Random(7)
    codes = edges()
    planes = [range(0x80), range(0x800), range(0x10000), range(0x110000)]
    texts = ["".join(rng.choices([*WORDS, " ", "\n", "\t"], k=20)) for _ in range(300)]
    texts += [
        "".join(chr(rng.choice(rng.choice([codes, *planes]))) for _ in range(rng.randrange(40)))
        for _ in range(1000)
    ]
    texts += [f"{word}{chr(code)}{word}" for code in codes for word in "aÉ"]
    texts += [" ".join(rng.choices(WORDS, k=30)) for _ in range(200)]
    texts += [
        "",
        " ",
        "\ud800",
        "a\udc00b",
        "\ufeffa",
        "\x00\x01",
        "a" * 300,
        "é" * 150,
        "😀" * 120,
    ]
    texts += ["word " * 2000, "e" + "\u0301\u0327" * 400, "क़\u093c\u0301", "\ud83d", "\u1ea0\u0323"]
    return texts


SPECS = {
    f"{kind}-{'lower' if lowercase else 'cased'}": tokenizer_spec(kind, lowercase)
    for kind in PAGE_TOKENIZERS
    for lowercase in (True, False)
}
SPECS["word-spaces-kept"] = TokenizerSpec("word", True, delimiter_pattern="[,;]+")
SPECS["word-escapes"] = TokenizerSpec("word", False, delimiter_pattern=r"[\x00-\x20\-\]\[\\\^/]+")
SPECS["wordpiece-short"] = TokenizerSpec("wordpiece", True, max_chars_per_word=3)


@pytest.mark.parametrize("name", SPECS)
def test_token_ids_equal_the_hosts(name: str) -> None:
    spec = SPECS[name]
    vocabulary = vocabulary_of(spec)
    texts = hostile_texts()
    script = """
    const tokenizer = new page.Tokenizer(given.spec, given.vocabulary, given.table);
    const encode = (text) => [tokenizer.encode(text), Array.from(tokenizer.encodePadded(text, 12))];
    console.log(JSON.stringify(given.texts.map(encode)));
    """
    given = {"spec": spec.to_json(), "vocabulary": vocabulary, "table": character_table()}
    found = run_node("tokenizer.mjs", script, {**given, "texts": texts})
    tokenizer = Tokenizer(spec, vocabulary)
    for text, (ids, padded) in zip(texts, found, strict=True):
        assert ids == tokenizer.encode(text), repr(text)
        assert padded == tokenizer.encode_padded(text, 12).tolist(), repr(text)


def test_every_character_is_treated_as_the_host_does() -> None:
    blocks = itertools.chain(range(0x20000), range(0xE0000, 0xE0200))
    texts = [f"a{chr(code)}e\u0301{chr(code)}\u0327B" for code in blocks]
    script = """
    const rules = new page.Normalizer(given.table);
    const ways = [true, false].flatMap((lowercase) => [
      (text) => rules.splitWords(text, lowercase), (text) => rules.cleanText(text, lowercase)]);
    ways.push((text) => rules.lowerText(text));
    console.log(JSON.stringify(ways.map((way) => given.texts.map(way))));
    """
    found = run_node("tokenizer.mjs", script, {"table": character_table(), "texts": texts})
    expected: list[Callable[[str], Any]] = [
        lambda text: normalize.split_words(text, True),
        lambda text: normalize.clean_text(text, True),
        lambda text: normalize.split_words(text, False),
        lambda text: normalize.clean_text(text, False),
        normalize.lower_text,
    ]
    for way, results in zip(expected, found, strict=True):
        wrong = [text for text, got in zip(texts, results, strict=True) if got != way(text)]
        assert wrong == []


def test_unknown_kind_is_refused() -> None:
    script = """
    let message = '';
    try { new page.Tokenizer({kind: 'toString'}, [], given); } catch (e) { message = e.message; }
    console.log(JSON.stringify(message));
    """
    message = run_node("tokenizer.mjs", script, character_table())
    assert message.startswith('tokenizer kind="toString", this page knows word, wordpiece, char.')


class FakeMachine:
    """A clock and models of known cost, in Python and in JavaScript the same."""

    def __init__(self, cost_ns: int) -> None:
        self.time_ns, self.cost_ns, self.calls = 0, cost_ns, 0

    def clock(self) -> int:
        self.time_ns += 7
        return self.time_ns

    def invoke(self, factor: int) -> None:
        self.calls += 1
        self.time_ns += factor * self.cost_ns + self.calls % 13


CLOCKWORK = """
let time = 0;
let calls = 0;
const clock = () => (time += 7);
const model = (factor) => ({
  setInput() {}, getOutput() { return []; },
  async invoke() { calls += 1; time += factor * given.cost + calls % 13; }});
const contestant = (factor, texts) => ({
  model: model(factor), inputs: [1, 2, 3], texts, encode: () => 0, decode: () => 0});
const contestants = [contestant(1, ['a', 'b']), contestant(3, ['a'])];
console.log(JSON.stringify(await page.measure(contestants, given.profile, clock)));
"""
SHORT = replace(PROFILES["quick"], warmup_ns=2_000_000, measure_ns=3_000_000)
CUT = replace(SHORT, max_ns=1_500_000)


@pytest.mark.parametrize("profile", [SHORT, CUT, PROFILES["brief"]], ids=["short", "cut", "brief"])
def test_calls_are_timed_and_ordered_as_on_the_host(profile: Profile) -> None:
    machine = FakeMachine(20_000)

    class FakeModel:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def set_input(self, _: Any) -> None: ...

        def get_output(self) -> None: ...

        def invoke(self) -> None:
            machine.invoke(self.factor)

    def contestant(factor: int, texts: list[str]) -> Contestant:
        rows = [np.zeros((1, 1), np.int32)] * 3
        return Contestant("x", FakeModel(factor), rows, texts, lambda _: 0, lambda _: 0)

    contestants = [contestant(1, ["a", "b"]), contestant(3, ["a"])]
    expected = measure(contestants, profile, machine.clock)
    given = {"cost": machine.cost_ns, "profile": describe_profile(profile)}
    found = run_node("latency.mjs", CLOCKWORK, given)
    for measurement, got in zip(expected, found, strict=True):
        for key, value in got.items():
            told = getattr(measurement, key)
            assert value == (told if isinstance(told, int | list) else told.tolist()), key


def test_timer_tells_its_cost_and_its_steps() -> None:
    script = """
    let calls = 0;
    const clock = () => Math.floor((calls += 1) / 4) * 5000;
    console.log(JSON.stringify(page.readTimer(clock)));
    """
    timer = run_node("latency.mjs", script, None)
    assert timer == {"timer_overhead_ns": 0, "timer_resolution_ns": 5000}


def test_page_folder_holds_no_package() -> None:
    assert not list(Path(PAGE_FOLDER).rglob("node_modules"))
