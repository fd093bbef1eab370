"""Token ids → the mean of their embeddings → logits: the honest small baseline."""

from __future__ import annotations

import tf_keras as keras

from tfpipe.models.classifier import classify
from tfpipe.models.embedding import embed_tokens, project_vectors, token_input
from tfpipe.models.padding import MaskedPooling, PaddingMask


def build_average_classifier(
    vocabulary_size: int,
    sequence_length: int,
    num_classes: int,
    *,
    embedding_dim: int = 64,
    embedding_rank: int = 0,
    pooling: str = "mean",
    dropout: float = 0.5,
    token_dropout: float = 0.2,
    embedding_dropout: float = 0.5,
    seed: int = 1,
) -> keras.Model:
    """Bag of embeddings: order is lost, so it shows what the other models gain from order.

    Args:
        embedding_rank: See `project_vectors`.

    Returns:
        int32 `(batch, length)` → logits float32 `(batch, num_classes)`; any length will do.
    """
    token_ids = token_input()
    vectors = embed_tokens(
        token_ids,
        vocabulary_size=vocabulary_size,
        columns=embedding_rank or embedding_dim,
        token_dropout=token_dropout,
        embedding_dropout=embedding_dropout,
        seed=seed,
    )
    vectors = project_vectors(vectors, embedding_dim=embedding_dim, embedding_rank=embedding_rank)
    mask = PaddingMask(name="mask")(token_ids)
    pooled = MaskedPooling(pooling, name="pooling")([vectors, mask])
    logits = classify(pooled, num_classes=num_classes, dropout=dropout, seed=seed)
    return keras.Model(token_ids, logits, name="average")
