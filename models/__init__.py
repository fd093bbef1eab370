"""Keras layers and the builders of every model that tfpipe trains."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfpipe.models.average import build_average_classifier
from tfpipe.models.convolution import build_textcnn_classifier
from tfpipe.models.recurrent import build_bilstm_classifier, build_lstm_classifier
from tfpipe.models.transformer import build_transformer_classifier

_BUILDERS: dict[str, Callable[..., object]] = {
    "average": build_average_classifier,
    "bilstm": build_bilstm_classifier,
    "lstm": build_lstm_classifier,
    "textcnn": build_textcnn_classifier,
    "transformer": build_transformer_classifier,
}
# No layer has control flow for AutoGraph to rewrite; looking for it takes most of a second.
MODELS = {
    name: tf.autograph.experimental.do_not_convert(build) for name, build in _BUILDERS.items()
}
