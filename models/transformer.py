"""Token ids → Transformer encoder states → logits."""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from tfpipe.models.attention import SelfAttention
from tfpipe.models.classifier import classify, join_branches, pool_embeddings
from tfpipe.models.dropout import ResumableDropout
from tfpipe.models.embedding import embed_tokens, project_vectors, token_input
from tfpipe.models.padding import MaskedPooling, PaddingMask
from tfpipe.models.position import PositionEmbedding

NORMS = ("pre", "post")


def build_transformer_classifier(
    vocabulary_size: int,
    sequence_length: int,
    num_classes: int,
    *,
    embedding_dim: int = 64,
    embedding_rank: int = 0,
    num_layers: int = 1,
    num_heads: int = 4,
    head_dim: int | None = None,
    feed_forward_dim: int = 128,
    norm: str = "pre",
    pooling: str = "mean",
    embedding_skip: bool = True,
    branch_dropout: float = 0.3,
    dropout: float = 0.5,
    token_dropout: float = 0.1,
    embedding_dropout: float = 0.5,
    seed: int = 1,
) -> keras.Model:
    """Encoder (Vaswani et al. 2017) with learned positions, ReLU and padding-masked attention.

    Args:
        embedding_rank: See `project_vectors`.
        sequence_length: The longest input; each position up to it has a learned vector.
        head_dim: Width of an attention head; None divides `embedding_dim` among the heads.
        norm: "pre" normalises what enters a sublayer (Xiong et al. 2020), with one more norm at the
            end; "post" normalises each residual sum, as in the paper.
        embedding_skip: Whether the head also sees the pooled embeddings, as a bag of words does.
        branch_dropout: See `join_branches`.

    Returns:
        int32 `(batch, length)`, length ≤ `sequence_length` → logits float32 `(batch, num_classes)`.
    """
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} is unknown. Use one of {list(NORMS)}.")
    token_ids = token_input()
    mask = PaddingMask(name="mask")(token_ids)
    vectors = embed_tokens(
        token_ids,
        vocabulary_size=vocabulary_size,
        columns=embedding_rank or embedding_dim,
        token_dropout=token_dropout,
        embedding_dropout=embedding_dropout,
        seed=seed,
    )
    vectors = project_vectors(vectors, embedding_dim=embedding_dim, embedding_rank=embedding_rank)
    states = PositionEmbedding(sequence_length, name="positions")(vectors)
    for index in range(num_layers):
        attention = SelfAttention(num_heads, head_dim, name=f"attention_{index}")
        states = residual(
            states,
            lambda inputs, attention=attention: attention([inputs, mask]),
            norm=norm,
            name=f"attention_{index}",
            dropout=ResumableDropout(dropout, seed + 10 + 2 * index, name=f"drop_{2 * index}"),
        )
        hidden = keras.layers.Dense(feed_forward_dim, "relu", name=f"feed_forward_{index}_hidden")
        output = keras.layers.Dense(embedding_dim, name=f"feed_forward_{index}_output")
        states = residual(
            states,
            lambda inputs, hidden=hidden, output=output: output(hidden(inputs)),
            norm=norm,
            name=f"feed_forward_{index}",
            dropout=ResumableDropout(dropout, seed + 11 + 2 * index, name=f"drop_{2 * index + 1}"),
        )
    if norm == "pre":
        states = layer_norm("final_norm")(states)
    states = MaskedPooling(pooling, name="pooling")([states, mask])
    bag = pool_embeddings(vectors, mask, pooling) if embedding_skip else None
    features = join_branches(states, bag, branch_dropout=branch_dropout, seed=seed)
    logits = classify(features, num_classes=num_classes, dropout=dropout, seed=seed)
    return keras.Model(token_ids, logits, name="transformer")


def residual(states: Any, sublayer: Any, *, norm: str, name: str, dropout: Any) -> Any:
    """Returns `states` plus what `sublayer` makes of them, normalised before or after."""
    if norm == "pre":
        update = sublayer(layer_norm(f"{name}_norm")(states))
        return keras.layers.Add(name=f"{name}_sum")([states, dropout(update)])
    total = keras.layers.Add(name=f"{name}_sum")([states, dropout(sublayer(states))])
    return layer_norm(f"{name}_norm")(total)


def layer_norm(name: str) -> keras.layers.LayerNormalization:
    """Returns a layer norm over the last axis."""
    return keras.layers.LayerNormalization(epsilon=1e-5, name=name)
