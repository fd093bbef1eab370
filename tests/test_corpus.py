"""tfpipe.train.corpus and .subword_dropout: each text whole, once, and cut as promised."""

import random
import tracemalloc

import numpy as np
import pytest

from device_runner.encode import Tokenizer
from tfpipe.tokenizer import tokenizer_spec, train_vocabulary
from tfpipe.train import corpus, subword_dropout
from tfpipe.train.corpus import encode_split
from tfpipe.train.subword_dropout import SubwordDropout

WORDS = Tokenizer(
    tokenizer_spec("word", True), ["<PAD>", "<START>", "<UNKNOWN>", *(f"w{i}" for i in range(20))]
)
TEXTS = ["w0 w1 w2", "", "w5 unheard", "w7 " * 30, "w3"] * 7
# The fourth is cut to a sequence length of 6.
IDS = [[1, 3, 4, 5], [1], [1, 8, 2], [1, *[10] * 5], [1, 6]] * 7


def encoded(path, texts=TEXTS, tokenizer=WORDS, sequence_length=6):
    targets = np.arange(len(texts), dtype=np.int32)
    return encode_split(
        iter(texts), targets, tokenizer, sequence_length=sequence_length, path=path / "new" / "ids"
    )


def test_batch_is_padded_on_the_right_to_its_longest(tmp_path):
    split = encoded(tmp_path)
    assert split.lengths.tolist() == list(map(len, IDS))
    batch = split.batch(np.array([4, 1, 2]))
    assert batch.dtype == np.int32
    assert batch.tolist() == [[1, 6, 0], [1, 0, 0], [1, 8, 2]]
    assert split.batch(np.array([3])).tolist() == [IDS[3]]


@pytest.mark.parametrize("limit", [1, 7, 1 << 18])
def test_order_of_writing_changes_nothing(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(corpus, "WRITE_TOKENS", limit)
    split = encoded(tmp_path)
    for row, ids in enumerate(IDS):
        assert split.batch(np.array([row])).tolist() == [ids]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_epoch_holds_each_row_once(tmp_path, monkeypatch, batch_size):
    monkeypatch.setattr(corpus, "BUCKET_BATCHES", 3)
    split = encoded(tmp_path)
    orders = [split.epoch_order(seed, batch_size) for seed in (1, 1, 2)]
    for order in orders:
        assert sorted(np.concatenate(order)) == list(range(len(TEXTS)))
        assert max(map(len, order)) <= batch_size
        assert len(order) == -(-len(TEXTS) // batch_size)
    plain = [np.concatenate(order).tolist() for order in orders]
    assert plain[0] == plain[1] != plain[2]
    in_order = np.concatenate(list(split.in_order(batch_size)))
    assert sorted(in_order) == list(range(len(TEXTS)))
    assert (np.diff(split.lengths[in_order]) >= 0).all()


def test_batches_hold_texts_of_like_length(tmp_path):
    order = encoded(tmp_path).epoch_order(1, 7)
    lengths = [{len(IDS[row]) for row in rows} for rows in order]
    assert all(len(of_batch) == 1 for of_batch in lengths)


@pytest.mark.parametrize(("vocabulary_size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_ids_are_as_wide_as_the_vocabulary(tmp_path, vocabulary_size, dtype):
    tokens = ["<PAD>", "<START>", "<UNKNOWN>", *(f"w{i}" for i in range(vocabulary_size - 3))]
    split = encoded(tmp_path, [tokens[-1]], Tokenizer(WORDS.spec, tokens))
    assert split.batch(np.array([0])).tolist() == [[1, vocabulary_size - 1]]
    assert (tmp_path / "new" / "ids").stat().st_size == 2 * np.dtype(dtype).itemsize


def test_texts_without_any_token_can_be_trained_on(tmp_path):
    tokenizer = Tokenizer(tokenizer_spec("char", True), ["<PAD>", "<UNKNOWN>", "a"])
    split = encoded(tmp_path, ["", ""], tokenizer)
    assert split.batch(np.array([0, 1])).tolist() == [[0], [0]]


def test_encoding_holds_offsets_alone_in_memory(tmp_path):
    # 20,000 texts of 400 tokens: 64 MB as a list of ids, 160 kB as offsets.
    text, num_texts = "w1 " * 400, 20_000
    tokens = {text: WORDS.encode(text)}
    targets = np.zeros(num_texts, np.int32)

    class Repeated(Tokenizer):
        def encode(self, text, max_tokens=None):
            return tokens[text][:max_tokens]

    tokenizer = Repeated(WORDS.spec, WORDS.vocabulary)
    tracemalloc.start()
    try:
        split = encode_split(
            (text for _ in range(num_texts)),
            targets,
            tokenizer,
            sequence_length=500,
            path=tmp_path / "ids",
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "ids").stat().st_size == 401 * 2 * num_texts
    assert split.lengths.sum() == 401 * num_texts
    # 2 MB of pending ids as a list, half a megabyte as an array, and the offsets.
    assert peak < 8_000_000


def pieces(texts, size=120):
    spec = tokenizer_spec("wordpiece", True)
    return Tokenizer(spec, train_vocabulary(texts, spec, size))


def hostile_texts():
    rng = random.Random(3)
    known = "red reddish redder Älter älteste 中文字 don't".split()
    texts = [" ".join(rng.choices(known, k=rng.randrange(1, 9))) for _ in range(60)]
    others = ["", " ", "İı ß ﬁ x\u0301y", "q" * 101 + " red", "r" * 101, "☃ reddest!"]
    return [*texts, *others, "\0\ud800", "redredred" * 9]


def test_rate_zero_is_the_tokenizer():
    texts = hostile_texts()
    tokenizer = pieces(texts)
    for length in (1, 5, 400):
        plain = SubwordDropout(texts, tokenizer, sequence_length=length, rate=0, seed=1)
        rng = np.random.default_rng(1)
        for row, text in enumerate(texts):
            assert plain.encode(row, rng) == tokenizer.encode(text, length), text


def test_pieces_joined_give_the_word():
    texts = hostile_texts()
    tokenizer = pieces(texts)
    dropout = SubwordDropout(texts, tokenizer, sequence_length=400, rate=0.6, seed=1)
    seen = set()
    for passing in range(20):
        for row, text in enumerate(texts):
            ids = dropout.encode(row, np.random.default_rng([passing, row]))
            tokens = [tokenizer.vocabulary[index] for index in ids]
            plain = "".join(tokenizer.tokenize(text)).replace("##", "")
            assert "".join(tokens).replace("##", "") == plain
            seen.add((row, tuple(ids)))
    assert len(seen) > 5 * len(texts)


def test_each_cut_is_as_likely_as_the_paper_says():
    # Of "ab", the piece "ab" is passed over with the rate, and then "a" "##b" is all that is left.
    spec = tokenizer_spec("wordpiece", True)
    tokenizer = Tokenizer(spec, ["[PAD]", "[UNK]", "a", "##b", "ab"])
    counts = {(4,): 0, (2, 3): 0}
    for seed in range(200):
        dropout = SubwordDropout(["ab"], tokenizer, sequence_length=9, rate=0.3, seed=seed)
        for passing in range(10):
            counts[tuple(dropout.encode(0, np.random.default_rng(passing)))] += 1
    # 12 ways for each of 200 seeds: a standard error below 0.02.
    assert counts[2, 3] / 2000 == pytest.approx(0.3, abs=0.06)


def test_word_with_an_unknown_letter_stays_unknown():
    spec = tokenizer_spec("wordpiece", True)
    tokenizer = Tokenizer(spec, ["[PAD]", "[UNK]", "a", "##b", "ab"])
    dropout = SubwordDropout(["abz ab"], tokenizer, sequence_length=9, rate=0.9, seed=1)
    first = {dropout.encode(0, np.random.default_rng(passing))[0] for passing in range(30)}
    assert first == {1}


def test_cuts_depend_on_the_seeds_alone():
    texts = hostile_texts()
    tokenizer = pieces(texts)

    def cut(seed, passing):
        dropout = SubwordDropout(texts, tokenizer, sequence_length=50, rate=0.5, seed=seed)
        rng = np.random.default_rng(passing)
        return [dropout.encode(row, rng) for row in range(len(texts))]

    assert cut(1, 1) == cut(1, 1)
    assert cut(1, 1) != cut(2, 1)
    assert cut(1, 1) != cut(1, 2)


def test_words_beyond_the_limit_are_cut_the_plain_way(monkeypatch):
    texts = hostile_texts()
    tokenizer = pieces(texts)
    monkeypatch.setattr(subword_dropout, "MAX_WORDS", 2)
    dropout = SubwordDropout(texts, tokenizer, sequence_length=400, rate=0, seed=1)
    rng = np.random.default_rng(1)
    assert [dropout.encode(row, rng) for row in range(len(texts))] == [
        tokenizer.encode(text, 400) for text in texts
    ]
    assert len(dropout._ways) == 2


def test_batches_are_cut_anew_only_where_a_generator_is_given(tmp_path):
    texts = ["redder reddish"] * 4
    tokenizer = pieces(hostile_texts())
    split = encoded(tmp_path, texts, tokenizer, 30)
    rows, rng = np.arange(4), np.random.default_rng(1)
    plain = split.batch(rows)
    np.testing.assert_array_equal(split.batch(rows, rng), plain)
    split.subword_dropout = SubwordDropout(texts, tokenizer, sequence_length=30, rate=0.8, seed=1)
    np.testing.assert_array_equal(split.batch(rows), plain)
    cut = split.batch(rows, rng)
    assert cut.shape[1] > plain.shape[1]
    lengths = (cut > 0).sum(1)
    assert all((row[:length] > 0).all() for row, length in zip(cut, lengths, strict=True))
