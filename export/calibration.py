"""Real training texts → the inputs that integer ranges are measured on."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.encode import Tokenizer
from device_runner.texts import read_texts
from tfpipe.export.target import ExportError
from tfpipe.run_folder import RunFolder

# Calibration inputs: TFLite's guide asks for 100 to 500 real ones.
CALIBRATION_INPUTS = 200
# Texts that candidates are compared on.
PROBE_INPUTS = 100


def calibration_ids(folder: RunFolder, tokenizer: Tokenizer, length: int) -> NDArray[Any]:
    """Returns ids of real training texts, int32 `(n, sequence_length)`: half of them one text each,
    half of them texts joined until no padding is left.

    Where the converter calibrates, an unrolled recurrence has ranges of its own at every step. At a
    step that is padding in all calibration texts the range is [0, 0]: longer texts saturate there,
    and XNNPACK refuses the scale.

    Raises:
        ExportError: The texts hold no token.
    """
    texts = list(read_texts(folder.examples("calibration")))
    single = tokenizer.encode_batch(texts[: CALIBRATION_INPUTS // 2], length)
    tokens = list(itertools.chain.from_iterable(tokenizer.encode(text) for text in texts))
    if not tokens:
        raise ExportError(
            f"the {len(texts)} calibration texts hold no token, so no range can be measured. Train "
            "on texts, or use --scheme dynamic_int8, which needs none."
        )
    count = CALIBRATION_INPUTS // 2
    joined = np.fromiter(itertools.cycle(tokens), np.int32, count * length)
    return np.concatenate([single, joined.reshape(count, length)])


def probe_ids(folder: RunFolder, tokenizer: Tokenizer, length: int) -> NDArray[np.int32]:
    """Returns ids of real training texts that ranges are not measured on where there are enough,
    int32 `(n, sequence_length)`."""
    texts = list(read_texts(folder.examples("calibration")))
    return tokenizer.encode_batch(texts[-PROBE_INPUTS:], length)
