"""Training texts → vocabulary, and its size with the reason for it."""

from __future__ import annotations

import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from device_runner.encode import SPECIAL_TOKENS, TokenizerSpec, split_chunks, split_text
from device_runner.normalize import clean_text

# Distinct words in memory: a Counter of a million takes about 150 MB.
_MAX_COUNTED = 1_000_000
_CHARS_AT_ONCE = 4_000_000
# No word of a language is longer; encoded files and addresses are, and would fill the vocabulary.
_MAX_TOKEN_CHARS = 100
# What the wordpiece trainer sees: it slows down with both, and the rarest words merge nothing.
_MAX_TRAINER_WORDS = 200_000
_MAX_TRAINER_OCCURRENCES = 3_000_000

# Default sizes. For LSTM and Transformer a rare word that stays whole helps (topics, languages), as
# `subword_dropout` shows them its pieces as well; a table of 8,000 rows is 0.5 MB in int8.
MAX_SIZE = {"word": 20_000, "wordpiece": 8_000, "char": 8_000}
MIN_WORDPIECES = 2_000


def count_tokens(texts: Iterable[str], spec: TokenizerSpec) -> Counter[str]:
    """Counts words ("char": characters), with a bounded memory.

    Beyond a million distinct ones, those met least often so far are forgotten, so that counts of
    rare words are lower bounds then. Overlong words and those that no vocabulary file can hold
    (with a line end or a lone surrogate) are left out.
    """
    if spec.kind == "char":
        return _count_chars(texts, spec)
    counts: Counter[str] = Counter()
    chunks: Counter[str] = Counter()
    # Counting what stands between spaces first leaves each repeated one to be split only once.
    for text in texts:
        chunks.update(split_chunks(text, spec))
        if len(chunks) > _MAX_COUNTED // 10:
            counts = _add_words(counts, chunks, spec)
            chunks.clear()
    counts = _add_words(counts, chunks, spec)
    unwritable = re.compile("[\n\ud800-\udfff]")
    return Counter(
        {
            token: n
            for token, n in counts.items()
            if len(token) <= _MAX_TOKEN_CHARS and not unwritable.search(token)
        }
    )


def _add_words(counts: Counter[str], chunks: Counter[str], spec: TokenizerSpec) -> Counter[str]:
    for chunk, n in chunks.items():
        for word in split_text(chunk, spec):
            counts[word] += n
    threshold = 1
    while len(counts) > _MAX_COUNTED:
        counts = Counter({token: n for token, n in counts.items() if n > threshold})
        threshold *= 2
    return counts


def _count_chars(texts: Iterable[str], spec: TokenizerSpec) -> Counter[str]:
    counts = np.zeros(sys.maxunicode + 1, np.int64)
    batch: list[str] = []
    num_chars = 0
    for text in itertools.chain(texts, [None]):
        if text is not None:
            batch.append(clean_text(text, spec.lowercase))
            num_chars += len(batch[-1])
        if text is None or num_chars > _CHARS_AT_ONCE:
            codes = np.frombuffer("".join(batch).encode("utf-32-le"), np.uint32)
            counts += np.bincount(codes, minlength=len(counts))
            batch, num_chars = [], 0
    return Counter({chr(code): int(counts[code]) for code in np.flatnonzero(counts)})


def choose_vocabulary_size(
    texts: Iterable[str] | Counter[str], spec: TokenizerSpec
) -> tuple[int, str]:
    """Returns the default vocabulary size, special tokens included, and the reason for it.

    Args:
        texts: The training texts, or what `count_tokens` gave for them.
        spec: The tokenizer's rules.
    """
    counts = texts if isinstance(texts, Counter) else count_tokens(texts, spec)
    num_special = len(SPECIAL_TOKENS[spec.kind])
    limit = MAX_SIZE[spec.kind]
    if spec.kind == "wordpiece":
        alphabet, continuing = _alphabet(_ranked(counts), limit)
        wanted = num_special + len(alphabet) + len(continuing) + len(counts)
        size = min(limit, max(MIN_WORDPIECES, wanted))
        reason = (
            f"the training texts hold {len(counts):,} different word{'s' * (len(counts) != 1)} and "
            f"{len(alphabet):,} character{'s' * (len(alphabet) != 1)}"
        )
        bound = f"at least {MIN_WORDPIECES:,}, so that words stay whole" if size > wanted else ""
    else:
        repeated = sum(n >= 2 for n in counts.values())
        wanted = num_special + repeated
        # One ordinary token at least, so that a handful of texts can be trained on.
        size = min(limit, max(num_special + 1, wanted))
        name = "words" if spec.kind == "word" else "characters"
        reason = f"{repeated:,} {name} occur at least twice in the training texts"
        bound = ""
    if size < wanted:
        bound = f"at most {limit:,}, as rarer ones cost memory and teach little"
    return size, reason + (f"; {bound}" if bound else "")


def train_vocabulary(
    texts: Iterable[str] | Counter[str], spec: TokenizerSpec, vocabulary_size: int
) -> list[str]:
    """Returns at most `vocabulary_size` tokens in id order, the special ones first.

    The same texts give the same vocabulary in every process and on every machine.

    Args:
        texts: The training texts, or what `count_tokens` gave for them.
        spec: The tokenizer's rules.
        vocabulary_size: Upper limit; fewer come back where the texts have no more.

    Raises:
        ValueError: `vocabulary_size` leaves no room beside the special tokens.
    """
    special = list(SPECIAL_TOKENS[spec.kind])
    if vocabulary_size <= len(special):
        raise ValueError(
            f"vocabulary_size={vocabulary_size} leaves no room beside the {len(special)} special "
            f"tokens. Use at least {len(special) + 1}."
        )
    counts = texts if isinstance(texts, Counter) else count_tokens(texts, spec)
    num_tokens = vocabulary_size - len(special)
    if spec.kind == "wordpiece":
        return special + _train_wordpieces(counts, num_tokens)
    # "<PAD>" is a word like any other where the pattern does not split at "<".
    ordinary = (token for token, _ in _ranked(counts) if token not in special)
    return special + list(itertools.islice(ordinary, num_tokens))


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """Most frequent first; equals in code point order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _train_wordpieces(counts: Counter[str], num_tokens: int) -> list[str]:
    """Runs the Hugging Face trainer on words, each as often as it was counted (scaled)."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = _ranked(counts)[:_MAX_TRAINER_WORDS]
    alphabet, continuing = _alphabet(words, num_tokens)
    words = [(word, n) for word, n in words if alphabet.issuperset(word)]
    scale = min(1.0, _MAX_TRAINER_OCCURRENCES / max(1, sum(n for _, n in words)))
    # As "special tokens" these get the first ids in this order. Else the trainer numbers "##x" in
    # the order of a hash map, another one in each process, and breaks ties between pairs by number.
    first_tokens = sorted(alphabet) + sorted(continuing)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=num_tokens,
        min_frequency=2,
        show_progress=False,
        special_tokens=first_tokens,
        initial_alphabet=sorted(alphabet),
        limit_alphabet=len(alphabet),
    )
    tokenizer.train_from_iterator(_repeat(words, scale), trainer)
    ids = tokenizer.get_vocab(with_added_tokens=False)
    return sorted(ids, key=lambda token: ids[token])


def _repeat(words: list[tuple[str, int]], scale: float) -> Iterator[str]:
    """Yields each word as often as it is to count, in texts that the trainer holds 256 of."""
    for word, n in words:
        times = round(n * scale)
        for start in range(0, times, 500):
            yield " ".join([word] * min(500, times - start))


def _alphabet(words: list[tuple[str, int]], num_tokens: int) -> tuple[set[str], set[str]]:
    """Returns the characters to keep, and their "##" forms that occur within words."""
    first: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for word, n in words:
        first[word[0]] += n
        for char in word[1:]:
            later[char] += n
    ranked = _ranked(first + later)
    kept = [char for char, n in ranked if n > 1]
    # A letter takes two places, as "x" and as "##x".
    alphabet: set[str] = set()
    size = 0
    for char in kept:
        size += 2 if char in later else 1
        if size > num_tokens:
            break
        alphabet.add(char)
    return alphabet, {"##" + char for char in alphabet if char in later}
