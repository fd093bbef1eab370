"""A run and a variant's name → its Keras model with the trained weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_runner.encode import Tokenizer, read_vocabulary
from tfpipe.arrays import read_arrays, write_arrays
from tfpipe.quiet import import_tensorflow
from tfpipe.run_folder import RunFolder
from tfpipe.tokenizer.rules import spec_of

BASE = "base"  # the trained model itself; other variants are made of it
# What run.json calls a model of the user's own, without and with a recurrence.
IMPORTED_MODELS = ("imported", "imported_rnn")
# The array that a quantization-aware variant has beside its weights.
RANGES = "ranges"
# The same of a variant whose kernels have one grid each, because their values are clustered.
PER_TENSOR = "per_tensor"
# The same of a variant whose weights alone are on the grid of a file's integers.
WEIGHT_BITS = "weight_bits"
# What a compressed variant has beside its weights, in its folder.
RECORD_FILE, VOCABULARY_FILE = "compress.json", "vocabulary.txt"
KERAS_BATCH = 256


def save_weights(path: Path, model: Any) -> None:
    """Writes a model's weights, in Keras' order, as plain arrays; of a quantization-aware model
    the float weights and the ranges."""
    weights = getattr(model, "float_model", model).get_weights()
    arrays = {f"arr_{index}": value for index, value in enumerate(weights)}
    if hasattr(model, "float_model"):
        arrays[RANGES] = model.ranges.numpy()
    if getattr(model, PER_TENSOR, False):
        arrays[PER_TENSOR] = np.array(True)
    if hasattr(model, WEIGHT_BITS):
        arrays[WEIGHT_BITS] = np.array(model.weight_bits)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(path, arrays)


def load_model(folder: RunFolder, variant: str) -> Any:
    """Builds the variant's model and gives it its weights; of a quantization-aware variant its
    quantization-aware form, a `QuantizedModel`, or, where only weights are rounded, the float model
    with the attribute `weight_bits`; where they are clustered, `per_tensor` is True.

    Raises:
        ValueError: No such variant, or weights that do not fit the recipe.
    """
    import_tensorflow()
    from tfpipe.models.quantized import QuantizedModel

    path = check_variant(folder, variant)
    content = folder.read()
    num_tokens = len(read_vocabulary(vocabulary_path(folder, variant)))
    model = build_model(folder, read_recipe(folder, variant), num_tokens)
    try:
        arrays = read_arrays(path)
        ranges, per_tensor = arrays.pop(RANGES, None), bool(arrays.pop(PER_TENSOR, False))
        if WEIGHT_BITS in arrays:
            model.weight_bits = int(arrays.pop(WEIGHT_BITS))
        model.set_weights([arrays[f"arr_{index}"] for index in range(len(arrays))])
        if ranges is not None:
            return QuantizedModel(model, ranges, per_tensor=per_tensor)
        model.per_tensor = per_tensor
        return model
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold the weights of this run's {content['model']} ({error}). "
            "Train the run again with --overwrite."
        ) from error


def keras_probabilities(
    model: Any, token_ids: NDArray[np.int32], *, multi_label: bool
) -> NDArray[np.float32]:
    """Returns what a model makes of token ids, float32 `(n, num_classes)`.

    Args:
        model: As `load_model` returns it.
        token_ids: `(n, sequence_length)`, at least one row.
        multi_label: Whether its logits pass a sigmoid each instead of one softmax.
    """
    import tensorflow as tf

    squash = tf.sigmoid if multi_label else tf.nn.softmax
    infer: Callable[..., Any] = tf.function(
        lambda token_ids: squash(model(token_ids, training=False)), autograph=False
    )
    starts = range(0, len(token_ids), KERAS_BATCH)
    batches = [token_ids[start : start + KERAS_BATCH] for start in starts]
    return np.concatenate([infer(tf.constant(batch)).numpy() for batch in batches])


def build_model(folder: RunFolder, recipe: Mapping[str, Any], vocabulary_size: int) -> Any:
    """Returns a model of the run's kind, untrained: in the dimensions of a recipe, or from the
    description that was made of an imported one.

    Raises:
        ValueError: The description is missing or damaged.
    """
    name = folder.read()["model"]
    if name in IMPORTED_MODELS:
        from tfpipe.models.imported import build_imported

        try:
            return build_imported(json.loads(folder.description.read_text("utf-8")))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder.description} does not describe this run's model ({error}). Import the "
                "model again with --overwrite."
            ) from error
    from tfpipe.models import MODELS

    return MODELS[name](
        vocabulary_size,
        recipe["data"]["sequence_length"],
        len(read_labels(folder)),
        **recipe["model"],
        seed=recipe["train"]["seed"],
    )


def read_recipe(folder: RunFolder, variant: str) -> dict[str, Any]:
    """Returns the recipe's sections as the variant has them: the run's, or with the dimensions of
    a smaller model.

    Raises:
        ValueError: The variant's record is missing or damaged.
    """
    recipe: dict[str, Any] = folder.read()["recipe"]
    if variant == BASE:
        return recipe
    return dict(read_record(folder, variant).get("recipe", recipe))


def read_record(folder: RunFolder, variant: str) -> dict[str, Any]:
    """Returns the compress.json of a compressed variant.

    Raises:
        ValueError: There is no such variant, or its record is missing or damaged.
    """
    path = check_variant(folder, variant).parent / RECORD_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for key in ("methods", "weights_sha256"):
            content[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is missing or damaged ({error}), so how the variant was made is unknown. "
            "Compress it again with --overwrite."
        ) from error
    return content


def vocabulary_path(folder: RunFolder, variant: str) -> Path:
    """Returns the variant's own vocabulary, or else the run's."""
    own = folder.weights(variant).parent / VOCABULARY_FILE
    return own if own.is_file() else folder.vocabulary


def count_parameters(folder: RunFolder, variant: str) -> int:
    """Returns how many numbers the variant's model has.

    Raises:
        ValueError: No such variant, or its file is damaged.
    """
    arrays = read_arrays(check_variant(folder, variant))
    return sum(value.size for name, value in arrays.items() if name.startswith("arr_"))


def is_quantized(folder: RunFolder, variant: str) -> bool:
    """Returns whether a variant is quantization-aware: its file holds the ranges of an int8 file.

    Raises:
        ValueError: No such variant, or its file is damaged.
    """
    return RANGES in read_arrays(check_variant(folder, variant))


def weight_bits(folder: RunFolder, variant: str) -> int | None:
    """Returns the bits of a weight of a variant that was trained with those alone rounded.

    Raises:
        ValueError: No such variant, or its file is damaged.
    """
    found = read_arrays(check_variant(folder, variant)).get(WEIGHT_BITS)
    return None if found is None else int(found)


def check_variant(folder: RunFolder, variant: str) -> Path:
    """Returns the path of a variant's weights; a missing variant is a ValueError with the list."""
    path = folder.weights(variant)
    known = sorted(file.parent.name for file in folder.path.glob("variants/*/weights.npz"))
    if variant not in known:
        raise ValueError(f"variant={variant!r} is not in {folder.path}. It holds: {known}.")
    return path


def read_labels(folder: RunFolder) -> list[str]:
    """Returns the labels in the order of the model's outputs."""
    return folder.labels.read_text("utf-8").split("\n")[:-1]


def load_tokenizer(folder: RunFolder, variant: str) -> Tokenizer:
    """Returns the tokenizer that the variant was trained with."""
    spec = spec_of(folder.read()["recipe"]["tokenizer"])
    return Tokenizer(spec, read_vocabulary(vocabulary_path(folder, variant)))
