"""Training and validation texts → the kind of tokenizer, the sequence length, and the reasons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfpipe.data import sample_indices
from tfpipe.tokenizer.proxy import score_tokenizer
from tfpipe.tokenizer.rules import tokenizer_spec as tokenizer_spec
from tfpipe.tokenizer.vocabulary import choose_vocabulary_size as choose_vocabulary_size
from tfpipe.tokenizer.vocabulary import count_tokens as count_tokens
from tfpipe.tokenizer.vocabulary import train_vocabulary as train_vocabulary

KINDS = ("word", "wordpiece", "char")
# The kind that is taken unless another is clearly better. Pieces know no unknown word, need a third
# of the vocabulary that words need, and are a third as many as characters.
DEFAULT_KIND = "wordpiece"
# Kind → how much higher its score must be, beside two standard errors of the difference. The proxy
# sees four characters at a time, where it scores them about as high as pieces; a network must learn
# to put them together, from a few thousand texts in vain: an LSTM reaches 0.62 of topics with
# characters (--set tokenizer.kind=char), 0.90 with pieces.
LEAST_GAIN = {"word": 0.0, "char": 0.2}
STANDARD_ERRORS = 2.0
# Fewer validation texts than this say nothing: one standard error is then 5 points or more.
LEAST_VALIDATION_TEXTS = 50
# What the proxy sees: enough for a difference of a point, little enough for seconds.
_MAX_TRAIN_TEXTS, _MAX_VALIDATION_TEXTS = 20_000, 5_000
_MAX_TEXT_CHARS = 1_000
_MAX_TOTAL_CHARS = 2_000_000
_MAX_LABELS = 50
# Share of the training texts that must fit into the sequence length whole.
WHOLE_SHARE = 0.97
# Lengths are multiples of 8: vector registers hold 4 to 16 floats.
_LENGTH_STEP = 8


@dataclass(frozen=True)
class TokenizerChoice:
    """The kind of tokenizer for one data set.

    Attributes:
        kind: "word", "wordpiece" or "char".
        lowercase: Whether letters are lower-cased ("wordpiece": accents and marks stripped too).
        scores: Kind → its score on the validation texts, in [0, 1]; empty if none was measured.
        num_examples: Validation texts that the scores are from.
        reason: Why this kind, one sentence for the user.
        case_reason: Why this case.
    """

    kind: str
    lowercase: bool
    scores: dict[str, float]
    num_examples: int
    reason: str
    case_reason: str = "as asked for"


def choose_tokenizer(
    train: tuple[Iterable[str], NDArray[np.integer]],
    validation: tuple[Iterable[str], NDArray[np.integer]],
    *,
    kind: str,
    lowercase: str,
    seed: int,
) -> TokenizerChoice:
    """Measures kinds and case with a fast linear model and takes the best for a neural one.

    The score is the mean over validation texts of: 1 if the label is right (single-label), or F1 of
    the text's labels (multi-label). The differences are judged pairwise, text by text.

    Args:
        train: All training texts, or a sample, of which at most 20,000 are used; and their
            targets, int `(n,)` class indices, or `(n, num_classes)` of 0 and 1 if a text can have
            several labels.
        validation: The same of the validation split; at most 5,000 are used.
        kind: One of `KINDS`, or "auto" to measure all.
        lowercase: "true", "false", or "auto" to measure both with the kind that was taken.
        seed: Decides the sample and the linear model's order of updates.
    """
    parts = (
        _sample(*train, _MAX_TRAIN_TEXTS, seed),
        _sample(*validation, _MAX_VALIDATION_TEXTS, seed),
    )
    frequent = _frequent_columns if train[1].ndim == 2 else _frequent_classes
    learned, held_out = frequent(*parts)
    fault = _why_not_measured(learned[1], len(held_out[0]))
    if fault:
        default = f"the default; not measured, as {fault}"
        reason = f"{DEFAULT_KIND}: {default}" if kind == "auto" else f"{kind}: as asked for"
        kind = DEFAULT_KIND if kind == "auto" else kind
        choice = TokenizerChoice(kind, lowercase != "false", {}, 0, reason)
        return replace(choice, case_reason=default) if lowercase == "auto" else choice

    def measure(kind: str, lowercase: bool) -> NDArray[np.float64]:
        return score_tokenizer(tokenizer_spec(kind, lowercase), learned, held_out, seed=seed)

    lowered = lowercase != "false"
    if kind == "auto":
        choice = pick_kind({name: measure(name, lowered) for name in KINDS}, lowercase=lowered)
    else:
        choice = TokenizerChoice(kind, lowered, {}, len(held_out[0]), f"{kind}: as asked for")
    if lowercase != "auto":
        return choice
    return pick_case(choice, {flag: measure(choice.kind, flag) for flag in (True, False)})


def pick_case(
    choice: TokenizerChoice, results: Mapping[bool, NDArray[np.float64]]
) -> TokenizerChoice:
    """Returns the choice with the case that scores higher; lower case unless keeping it gains more
    than one standard error. Case costs nothing but vocabulary, so less proof is asked for than of
    another kind.

    Args:
        choice: The kind.
        results: Whether lower-cased → the score of each validation text.
    """
    gains = results[False] - results[True]
    keep = bool(np.mean(gains) > np.std(gains) / math.sqrt(len(gains)))
    scores = {flag: float(np.mean(result)) for flag, result in results.items()}
    reason = (
        f"lower-cased {scores[True]:.3f}, as written {scores[False]:.3f} on validation (by the "
        "same proxy; as written only if better by more than one standard error)"
    )
    return replace(choice, lowercase=not keep, case_reason=reason)


def pick_kind(results: Mapping[str, NDArray[np.float64]], *, lowercase: bool) -> TokenizerChoice:
    """Returns the default kind, unless another's score is clearly higher.

    Args:
        results: Kind → the score of each validation text, the same texts in the same order.
        lowercase: With which case they were measured.
    """
    num_examples = len(results[DEFAULT_KIND])
    scores = {kind: float(np.mean(result)) for kind, result in results.items()}
    chosen = DEFAULT_KIND
    for kind, least_gain in LEAST_GAIN.items():
        gains = results[kind] - results[chosen]
        standard_error = float(np.std(gains)) / math.sqrt(num_examples)
        if np.mean(gains) > max(least_gain, STANDARD_ERRORS * standard_error):
            chosen = kind
    others = ", ".join(f"{kind} {scores[kind]:.3f}" for kind in KINDS if kind != chosen)
    verdict = "clearly best" if chosen != DEFAULT_KIND else "the default; none gains enough"
    reason = (
        f"{chosen}: {scores[chosen]:.3f} on validation against {others} ({verdict}; proxy: linear "
        f"model on TF-IDF of token n-grams, n={num_examples:,})"
    )
    return TokenizerChoice(chosen, lowercase, scores, num_examples, reason)


def _sample(
    texts: Iterable[str], targets: NDArray[Any], limit: int, seed: int
) -> tuple[list[str], NDArray[Any]]:
    """Returns a seeded sample in row order, texts cut, within the budget of characters."""
    rows = sample_indices(len(targets), limit, seed)
    chosen = np.zeros(len(targets), np.uint8)
    chosen[rows] = 1
    kept = [text[:_MAX_TEXT_CHARS] for text in itertools.compress(texts, chosen.tobytes())]
    order = np.random.default_rng(seed).permutation(len(kept))
    total = np.cumsum([len(kept[index]) for index in order])
    within = np.sort(order[: np.searchsorted(total, _MAX_TOTAL_CHARS, side="right")])
    return [kept[index] for index in within], np.asarray(targets)[rows][within]


_Part = tuple[list[str], NDArray[Any]]


def _frequent_classes(train: _Part, validation: _Part) -> tuple[_Part, _Part]:
    """Keeps the texts of the most frequent classes; time grows with their number."""
    classes, counts = np.unique(train[1], return_counts=True)
    kept = classes[np.argsort(-counts, kind="stable")[:_MAX_LABELS]]

    def select(part: _Part) -> _Part:
        rows = np.flatnonzero(np.isin(part[1], kept))
        return [part[0][row] for row in rows], part[1][rows]

    return select(train), select(validation)


def _frequent_columns(train: _Part, validation: _Part) -> tuple[_Part, _Part]:
    """Keeps the most frequent labels of those that some training texts have and some have not."""
    counts = np.sum(train[1] > 0, axis=0)
    useful = np.flatnonzero((counts > 0) & (counts < len(train[0])))
    kept = np.sort(useful[np.argsort(-counts[useful], kind="stable")[:_MAX_LABELS]])
    return (train[0], train[1][:, kept]), (validation[0], validation[1][:, kept])


def _why_not_measured(train_targets: NDArray[Any], num_validation: int) -> str:
    if num_validation < LEAST_VALIDATION_TEXTS:
        return f"{num_validation} validation texts (of {LEAST_VALIDATION_TEXTS}) would say little"
    distinct = len(np.unique(train_targets)) if train_targets.ndim == 1 else train_targets.shape[1]
    if distinct < (2 if train_targets.ndim == 1 else 1):
        return "the training texts differ in no label"
    return ""


def choose_sequence_length(
    lengths: NDArray[np.integer] | Sequence[int], limit: int
) -> tuple[int, str]:
    """Returns the smallest multiple of 8 that holds 97 % of the texts whole, at most `limit`.

    Args:
        lengths: Number of tokens of each training text, or of a sample.
        limit: Longest sequence length to choose, at least 1.

    Raises:
        ValueError: There are no lengths, or `limit` is below 1.
    """
    lengths = np.sort(np.asarray(lengths))
    if len(lengths) == 0:
        raise ValueError("lengths is empty: no training text. Give at least one length.")
    if limit < 1:
        raise ValueError(f"limit={limit} is below 1. Use at least 1 token.")
    needed = int(lengths[math.ceil(WHOLE_SHARE * len(lengths)) - 1])
    wanted = max(_LENGTH_STEP, -(-needed // _LENGTH_STEP) * _LENGTH_STEP)
    length = min(limit, wanted)
    share = np.mean(lengths <= length)
    reason = f"holds {share:.1%} of {len(lengths):,} training texts whole"
    if length == wanted:
        return length, f"{reason}; the smallest multiple of {_LENGTH_STEP} for {WHOLE_SHARE:.0%}"
    return length, f"{reason}; {WHOLE_SHARE:.0%} would need {wanted:,}, the limit is {limit:,}"
