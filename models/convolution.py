"""Token ids → convolutions of several widths over the embeddings → logits."""

from __future__ import annotations

import tf_keras as keras

from tfpipe.models.classifier import classify, join_branches, pool_embeddings
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import embed_tokens, project_vectors, token_input
from tfpipe.models.padding import MaskedPooling, PaddingMask
from tfpipe.models.recurrent import Masked


def build_textcnn_classifier(
    vocabulary_size: int,
    sequence_length: int,
    num_classes: int,
    *,
    embedding_dim: int = 64,
    embedding_rank: int = 0,
    filters: int = 64,
    smallest_kernel: int = 2,
    largest_kernel: int = 4,
    num_layers: int = 1,
    pooling: str = "max",
    embedding_skip: bool = True,
    branch_dropout: float = 0.3,
    dropout: float = 0.5,
    token_dropout: float = 0.2,
    embedding_dropout: float = 0.5,
    seed: int = 1,
) -> keras.Model:
    """Convolutions over neighbouring tokens and the largest answer of each filter (Kim 2014,
    "Convolutional Neural Networks for Sentence Classification").

    Padding is a zero vector, as a convolution's own border is, and no state there reaches a pooling
    or a further layer: a text gives one result however much padding follows.

    Args:
        embedding_rank: See `project_vectors`.
        filters: Of each width.
        smallest_kernel: Tokens that the narrowest filters see.
        largest_kernel: Tokens that the widest filters see; there are filters of every width
            between, side by side.
        num_layers: Such layers on top of each other.
        pooling: See `MaskedPooling`.
        embedding_skip: Whether the head also sees the pooled embeddings, as a bag of words does.
        branch_dropout: See `join_branches`.

    Returns:
        int32 `(batch, length)` → logits float32 `(batch, num_classes)`; any length will do.
    """
    if largest_kernel < smallest_kernel:
        raise ValueError(
            f"largest_kernel={largest_kernel} is below smallest_kernel={smallest_kernel}. Give a "
            "largest_kernel of at least that."
        )
    token_ids = token_input()
    mask = PaddingMask(name="mask")(token_ids)
    states = embed_tokens(
        token_ids,
        vocabulary_size=vocabulary_size,
        columns=embedding_rank or embedding_dim,
        token_dropout=token_dropout,
        embedding_dropout=embedding_dropout,
        seed=seed,
    )
    vectors = project_vectors(
        states,
        embedding_dim=embedding_dim,
        embedding_rank=embedding_rank,
        is_read=embedding_skip,
    )
    for index in range(num_layers):
        if index:
            states = Masked(name=f"masked_{index - 1}")([states, mask])
            states = ResumableDropout(dropout, seed + 10 + index, name=f"dropout_{index}")(states)
        answers = [
            convolution(filters, width, f"convolution_{index}_{width}")(states)
            for width in range(smallest_kernel, largest_kernel + 1)
        ]
        joined = keras.layers.Concatenate(name=f"answers_{index}")
        states = joined(answers) if len(answers) > 1 else answers[0]
    states = MaskedPooling(pooling, name="pooling")([states, mask])
    bag = pool_embeddings(vectors, mask, pooling) if embedding_skip else None
    features = join_branches(states, bag, branch_dropout=branch_dropout, seed=seed)
    logits = classify(features, num_classes=num_classes, dropout=dropout, seed=seed)
    return keras.Model(token_ids, logits, name="textcnn")


def convolution(filters: int, width: int, name: str) -> keras.layers.Conv1D:
    """Returns a layer that gives each token an answer from it and its neighbours."""
    return keras.layers.Conv1D(filters, width, padding="same", activation="relu", name=name)
