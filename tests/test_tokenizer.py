"""tfpipe.tokenizer: vocabularies, sizes, lengths and the chosen kind against hand-made truth."""

import hashlib
import os
import subprocess
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from device_runner.encode import SPECIAL_TOKENS, Tokenizer, TokenizerSpec
from tfpipe import tokenizer
from tfpipe.tokenizer import (
    KINDS,
    TokenizerChoice,
    choose_sequence_length,
    choose_tokenizer,
    choose_vocabulary_size,
    count_tokens,
    pick_case,
    pick_kind,
    tokenizer_spec,
    train_vocabulary,
    vocabulary,
)
from tfpipe.tokenizer import proxy as tokenizer_proxy


def spec(kind, lowercase=True):
    return tokenizer_spec(kind, lowercase)


def test_word_vocabulary_is_by_count_then_code_point():
    texts = ["b a, B", "c a <b>", "é Zz"]
    assert train_vocabulary(texts, spec("word"), 100) == [
        *("<PAD>", "<START>", "<UNKNOWN>"),
        *("b", "a", "c", "zz", "é"),
    ]
    assert train_vocabulary(texts, spec("word", False), 5)[3:] == ["a", "b"]


def test_char_vocabulary_is_by_count_then_code_point():
    assert train_vocabulary(["ab  b\t", "B中"], spec("char"), 100) == [
        *("<PAD>", "<UNKNOWN>"),
        *("b", " ", "a", "中"),
    ]


def test_wordpiece_vocabulary_is_letters_then_merges():
    # "cd" occurs once: its letters are not learnt. "ab" then "ab"+"b" are the frequent pairs.
    texts = ["abb abb abb", "ab cd", "ab"]
    assert train_vocabulary(texts, spec("wordpiece"), 100) == [
        *("[PAD]", "[UNK]", "a", "b", "##b"),
        *("ab", "abb"),
    ]
    assert train_vocabulary(texts, spec("wordpiece"), 6)[2:] == ["a", "b", "##b", "ab"]


def test_wordpiece_letters_that_do_not_fit_are_the_rarest():
    # "a" only begins words: one place. "b" and "c" occur within: two places each.
    texts = ["ab ab ab ac ac"]
    assert train_vocabulary(texts, spec("wordpiece"), 5) == ["[PAD]", "[UNK]", "a", "b", "##b"]
    assert train_vocabulary(texts, spec("wordpiece"), 3) == ["[PAD]", "[UNK]", "a"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], ["", " ", "\0"], ["x"]])
def test_vocabulary_of_next_to_nothing_can_be_used(kind, texts):
    size, reason = choose_vocabulary_size(texts, spec(kind))
    tokens = train_vocabulary(texts, spec(kind), size)
    assert tuple(tokens[: len(SPECIAL_TOKENS[kind])]) == SPECIAL_TOKENS[kind]
    assert len(tokens) <= size and reason
    assert Tokenizer(spec(kind), tokens).encode_padded("x y", 4).shape == (4,)


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_never_holds_what_the_file_cannot(kind):
    texts = ["a\nb \ud800 a\u2028b " + "x" * 101 + " [PAD] [UNK] <PAD> <START> ##"] * 3
    tokens = train_vocabulary(texts, spec(kind), 100)
    assert not any("\n" in token or "\ud800" in token or len(token) > 100 for token in tokens)
    assert Tokenizer(spec(kind), tokens).vocabulary_size == len(set(tokens))


def test_special_tokens_are_not_listed_twice_under_another_pattern():
    spaces = TokenizerSpec("word", False, "[ ]+")
    assert train_vocabulary(["<PAD> a\nb a"], spaces, 10)[3:] == ["a"]


def test_counting_in_batches_changes_nothing(monkeypatch):
    texts = ["ab", "", "b\0c", "中"] * 3
    monkeypatch.setattr(vocabulary, "_CHARS_AT_ONCE", 3)
    assert count_tokens(texts, spec("char")) == Counter({"b": 6, "a": 3, "c": 3, "中": 3})


@pytest.mark.parametrize("kind", KINDS)
def test_counts_serve_instead_of_texts(kind):
    texts = ["some texts, some words", "中文 some"] * 6
    counts = count_tokens(iter(texts), spec(kind))
    assert isinstance(counts, Counter)
    size, reason = choose_vocabulary_size(texts, spec(kind))
    assert choose_vocabulary_size(counts, spec(kind)) == (size, reason)
    assert train_vocabulary(counts, spec(kind), 30) == train_vocabulary(texts, spec(kind), 30)


VOCABULARY_DIGEST = """
import hashlib, random
from tfpipe.tokenizer import tokenizer_spec, train_vocabulary
rng = random.Random(1)
# Few letters, so that many pairs occur equally often.
texts = [" ".join("".join(rng.choices("abcdé中", k=5)) for _ in range(9)) for _ in range(300)]
for kind in ("word", "wordpiece", "char"):
    tokens = train_vocabulary(texts, tokenizer_spec(kind, True), 400)
    print(hashlib.sha256("\\n".join(tokens).encode()).hexdigest())
"""


def test_vocabulary_is_the_same_in_every_process():
    digests = set()
    for hash_seed in ("0", "1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", VOCABULARY_DIGEST]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.add(run.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize("kind", ["word", "wordpiece"])
def test_counting_stays_bounded_and_keeps_the_frequent(kind, monkeypatch):
    monkeypatch.setattr(vocabulary, "_MAX_COUNTED", 40)
    texts = [f"q q q r{i}" for i in range(500)]
    counts = count_tokens(texts, spec(kind))
    assert len(counts) <= 40
    assert counts["q"] == 1500


def test_wordpiece_trainer_sees_a_bounded_number_of_words(monkeypatch):
    monkeypatch.setattr(vocabulary, "_MAX_TRAINER_OCCURRENCES", 100)
    counts = Counter({"ab": 1_000_000, "cd": 500_000, "ef": 2})
    tokens = train_vocabulary(counts, spec("wordpiece"), 50)
    assert "ab" in tokens and "cd" in tokens and "ef" not in tokens


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_size_without_room_is_refused(kind):
    num_special = len(SPECIAL_TOKENS[kind])
    message = rf"vocabulary_size={num_special} leaves no room .* Use at least {num_special + 1}\."
    with pytest.raises(ValueError, match=message):
        train_vocabulary(["a"], spec(kind), num_special)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind='bpe' is not known\. Use one of"):
        tokenizer_spec("bpe", True)


def test_default_sizes_come_from_the_counts():
    words = Counter({f"w{i}": 2 for i in range(500)} | {"once": 1})
    assert choose_vocabulary_size(words, spec("word")) == (
        503,
        "500 words occur at least twice in the training texts",
    )
    assert choose_vocabulary_size(Counter("aabbc"), spec("char")) == (
        4,
        "2 characters occur at least twice in the training texts",
    )
    many = Counter({str(i): 10 for i in range(30_000)})
    assert choose_vocabulary_size(many, spec("word"))[0] == 20_000
    assert choose_vocabulary_size(many, spec("wordpiece")) == (
        8_000,
        "the training texts hold 30,000 different words and 10 characters; at most 8,000, as rarer "
        "ones cost memory and teach little",
    )


def test_wordpieces_have_room_for_every_word():
    some = Counter({str(i): 10 for i in range(3_000)} | {"7777": 1})
    # 10 digits, each also within words, beside the two special tokens; a word seen once counts.
    assert choose_vocabulary_size(some, spec("wordpiece")) == (
        3_001 + 20 + 2,
        "the training texts hold 3,001 different words and 10 characters",
    )
    few = Counter({"a": 10})
    assert choose_vocabulary_size(few, spec("wordpiece")) == (
        2_000,
        "the training texts hold 1 different word and 1 character; at least 2,000, so that words "
        "stay whole",
    )


@pytest.mark.parametrize(
    ("lengths", "limit", "length", "reason"),
    [
        ([5] * 97 + [300] * 3, 256, 8, "holds 97.0% of 100 training texts whole; the smallest"),
        ([5] * 96 + [9] * 4, 256, 16, "holds 100.0% of 100 training texts whole; the smallest"),
        ([500] * 10, 256, 256, "holds 0.0% of 10 training texts whole; 97% would need 504, the"),
        ([0], 256, 8, "holds 100.0% of 1 training texts whole; the smallest multiple of 8"),
        ([10, 20, 30], 20, 20, "holds 66.7% of 3 training texts whole; 97% would need 32"),
    ],
)
def test_sequence_length_holds_nearly_all_texts(lengths, limit, length, reason):
    chosen = choose_sequence_length(np.array(lengths), limit)
    assert chosen[0] == length and isinstance(chosen[0], int)
    assert chosen[1].startswith(reason)


def test_sequence_length_refuses_nothing_and_no_room():
    with pytest.raises(ValueError, match=r"lengths is empty: no training text\. Give at least one"):
        choose_sequence_length([], 256)
    with pytest.raises(ValueError, match=r"limit=0 is below 1\. Use at least 1 token"):
        choose_sequence_length([1], 0)


def correct(num_right, total=1000):
    return np.repeat([1.0, 0.0], [num_right, total - num_right])


@pytest.mark.parametrize(
    ("word", "wordpiece", "char", "chosen"),
    [
        (900, 900, 900, "wordpiece"),
        (903, 900, 903, "wordpiece"),  # 3 texts: below two standard errors (3.46)
        (905, 900, 900, "word"),
        (900, 900, 967, "wordpiece"),  # a network makes less of characters than the proxy does
        (700, 700, 899, "wordpiece"),
        (700, 700, 950, "char"),
        (760, 700, 950, "word"),  # char is judged against the best so far
        (500, 900, 400, "wordpiece"),
    ],
)
def test_another_kind_must_be_clearly_better(word, wordpiece, char, chosen):
    results = {"word": correct(word), "wordpiece": correct(wordpiece), "char": correct(char)}
    choice = pick_kind(results, lowercase=True)
    assert choice.kind == chosen
    assert choice.scores == {
        "word": word / 1000,
        "wordpiece": wordpiece / 1000,
        "char": char / 1000,
    }
    assert choice.num_examples == 1000


def test_reason_names_every_score():
    results = {"word": correct(905), "wordpiece": correct(914), "char": correct(899)}
    assert pick_kind(results, lowercase=True).reason == (
        "wordpiece: 0.914 on validation against word 0.905, char 0.899 (the default; none "
        "gains enough; proxy: linear model on TF-IDF of token n-grams, n=1,000)"
    )
    results = {"word": correct(605), "wordpiece": correct(614), "char": correct(990)}
    assert "char: 0.990 on validation against word 0.605, wordpiece 0.614 (clearly best;" in (
        pick_kind(results, lowercase=True).reason
    )


WORD = TokenizerChoice("word", True, {}, 1000, "word: as asked for")


@pytest.mark.parametrize(
    ("lowered", "as_written", "lowercase"),
    [
        (900, 900, True),
        (900, 850, True),
        (900, 903, False),  # 3 texts: above one standard error (1.7)
        (0, 1000, False),
    ],
)
def test_case_is_kept_only_for_a_clear_gain(lowered, as_written, lowercase):
    choice = pick_case(WORD, {True: correct(lowered), False: correct(as_written)})
    assert choice.lowercase is lowercase
    assert (choice.kind, choice.reason) == ("word", WORD.reason)
    assert choice.case_reason == (
        f"lower-cased {lowered / 1000:.3f}, as written {as_written / 1000:.3f} on validation (by "
        "the same proxy; as written only if better by more than one standard error)"
    )


def test_case_is_given_up_for_a_gain_by_chance():
    # 2 texts won, 1 lost: a gain of 1 is below one standard error, 1.7.
    lowered, as_written = correct(900), correct(902)
    as_written[0] = 0
    assert pick_case(WORD, {True: lowered, False: as_written}).lowercase is True


def shouting_texts(num_texts, seed):
    """Two classes that differ in nothing but the case of one word."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, num_texts).astype(np.int32)
    filler = [f"w{i}" for i in range(50)]
    texts = [" ".join([*rng.choice(filler, 5), "Stop" if t else "stop"]) for t in targets]
    return texts, targets


@pytest.mark.parametrize("kind", [*KINDS, "auto"])
def test_case_that_tells_is_kept(kind):
    train, validation = shouting_texts(400, 1), shouting_texts(100, 2)
    choice = choose(train, validation, kind=kind, lowercase="auto")
    assert choice.lowercase is False
    assert choice.kind == (kind if kind != "auto" else choice.kind)
    assert "as written 1.000 on validation" in choice.case_reason
    # Asked for one case, only that one is measured with.
    if kind != "auto":
        assert choice.reason == f"{kind}: as asked for" and choice.scores == {}
        lowered = choose(train, validation, kind=kind, lowercase="true")
        assert (lowered.lowercase, lowered.case_reason) == (True, "as asked for")
    else:
        written = choose(train, validation, kind=kind, lowercase="false")
        assert min(written.scores.values()) == 1.0 > max(choice.scores.values())


CHINESE = {0: "猫狗鸟鱼马牛羊", 1: "红黄蓝绿白黑紫"}


def unspaced_texts(num_texts, seed):
    """Two classes that differ in single characters within unspaced runs of others."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, num_texts).astype(np.int32)
    filler = [chr(code) for code in range(0x5000, 0x5100)]
    texts = []
    for target in targets:
        chars = [*rng.choice(filler, 9), rng.choice(list(CHINESE[int(target)]))]
        texts.append("".join(rng.permutation(chars)))
    return texts, targets


def choose(train, validation, **changes):
    arguments = {"kind": "auto", "lowercase": "true", "seed": 1, **changes}
    return choose_tokenizer(train, validation, **arguments)


def test_texts_without_spaces_do_not_get_words():
    choice = choose(unspaced_texts(600, 1), unspaced_texts(200, 2))
    assert choice.kind == "wordpiece"
    assert choice.scores["wordpiece"] > 0.95 and choice.scores["char"] > 0.95
    assert choice.scores["word"] < 0.65
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = choose(unspaced_texts(600, 1), unspaced_texts(200, 2))
    assert again == choice


def test_characters_win_where_only_they_tell():
    rng = np.random.default_rng(1)

    def texts(num_texts):
        # A class is one letter somewhere in a long random word, so no word or piece repeats.
        targets = rng.integers(0, 2, num_texts).astype(np.int32)
        words = [
            "".join(rng.permutation([*rng.choice(list("abcdefghijklmnop"), 11), "xz"[t]]))
            for t in targets
        ]
        return words, targets

    choice = choose(texts(400), texts(300))
    assert choice.scores["char"] > choice.scores["word"] + 0.3


def test_several_labels_are_scored_by_f1():
    rng = np.random.default_rng(1)
    words = [f"w{i}" for i in range(30)]
    texts = [" ".join(rng.choice(words, 6)) for _ in range(500)]
    # The last two labels are nowhere and everywhere: nothing to learn from either.
    columns = [[f"w{i}" in text.split() for text in texts] for i in (1, 2, 3)]
    columns += [[False] * 500, [True] * 500]
    targets = np.array(columns, np.uint8).T
    train, validation = (texts[:400], targets[:400]), (texts[400:], targets[400:])
    choice = choose(train, validation)
    assert choice.scores["word"] > 0.9
    assert choice.num_examples == 100


def test_f1_of_a_text_is_hand_made():
    predicted = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    targets = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0], [1, 0, 0]])
    assert tokenizer_proxy._sample_f1(predicted, targets).tolist() == [0.5, 1.0, 0.0, 1.0]


def test_proxy_equals_scikit_learn_on_the_same_tokens():
    texts, targets = unspaced_texts(300, 3)
    unseen, unseen_targets = unspaced_texts(200, 4)
    wordpiece = spec("wordpiece")
    actual = tokenizer_proxy.score_tokenizer(
        wordpiece, (texts, targets), (unseen, unseen_targets), seed=1
    )
    size, _ = choose_vocabulary_size(texts, wordpiece)
    ours = Tokenizer(wordpiece, train_vocabulary(texts, wordpiece, size))
    tfidf = TfidfVectorizer(
        tokenizer=ours.tokenize,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, 2),
        sublinear_tf=True,
    )
    model = LinearSVC(max_iter=200, random_state=1).fit(tfidf.fit_transform(texts), targets)
    expected = model.predict(tfidf.transform(unseen)) == unseen_targets
    # Hashing may join two rare features; no more than one text in a hundred may change by it.
    assert np.mean(actual != expected) <= 0.01


@pytest.mark.parametrize(
    ("num_validation", "num_classes", "why"),
    [
        (49, 2, "49 validation texts (of 50) would say little"),
        (0, 2, "0 validation texts (of 50) would say little"),
        (60, 1, "the training texts differ in no label"),
    ],
)
def test_default_is_taken_where_nothing_can_be_measured(num_validation, num_classes, why):
    targets = np.arange(100, dtype=np.int32) % num_classes
    texts = ["text"] * 100
    train, validation = (texts, targets), (texts[:num_validation], targets[:num_validation])
    choice = choose(train, validation)
    assert (choice.kind, choice.scores, choice.num_examples) == ("wordpiece", {}, 0)
    assert choice.reason == f"wordpiece: the default; not measured, as {why}"
    assert (choice.lowercase, choice.case_reason) == (True, "as asked for")
    asked = choose(train, validation, kind="char", lowercase="auto")
    assert (asked.kind, asked.reason) == ("char", "char: as asked for")
    assert (asked.lowercase, asked.case_reason) == (True, f"the default; not measured, as {why}")
    assert choose(train, validation, lowercase="false").lowercase is False
    both = np.zeros((100, 2), np.uint8) + np.uint8([0, 1])
    if num_classes == 1:
        choice = choose((texts, both), (texts, both))
        assert choice.reason.endswith(why)


def test_sample_is_seeded_and_bounded(monkeypatch):
    monkeypatch.setattr(tokenizer, "_MAX_TEXT_CHARS", 10)
    monkeypatch.setattr(tokenizer, "_MAX_TOTAL_CHARS", 105)
    texts = [f"{i:04d}" + "x" * 20 for i in range(200)]
    targets = np.arange(200)
    kept, kept_targets = tokenizer._sample(iter(texts), targets, 50, 1)
    assert len(kept) == 10 and all(len(text) == 10 for text in kept)
    assert [int(text[:4]) for text in kept] == kept_targets.tolist() == sorted(kept_targets)
    assert tokenizer._sample(iter(texts), targets, 50, 1)[0] == kept
    assert tokenizer._sample(iter(texts), targets, 50, 2)[0] != kept


def test_only_the_most_frequent_labels_are_compared(monkeypatch):
    monkeypatch.setattr(tokenizer, "_MAX_LABELS", 2)
    train = (list("aaabbccccd"), np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3]))
    validation = (list("abcd"), np.array([0, 1, 2, 3]))
    kept, unseen = tokenizer._frequent_classes(train, validation)
    assert kept[0] == list("aaacccc") and unseen[0] == ["a", "c"]
    targets = np.array([[1, 1, 0, 1], [1, 0, 1, 0], [1, 0, 0, 1]])
    (_, kept_targets), _ = tokenizer._frequent_columns((["x"] * 3, targets), (["x"] * 3, targets))
    assert kept_targets.tolist() == targets[:, [1, 3]].tolist()


def test_vocabulary_is_frozen_for_a_known_text():
    # Changes only if the trainer or our rules change: then trained models are no longer repeatable.
    texts = ["The quick brown fox jumps over the lazy dog. 敏捷的棕色狐狸"] * 2
    tokens = train_vocabulary(texts, spec("wordpiece"), 80)
    digest = hashlib.sha256("\n".join(tokens).encode()).hexdigest()
    assert digest == "b857c65d1d772658279e33fbe990baf848f3200a3e1d709122a066280e2a5a4e"
