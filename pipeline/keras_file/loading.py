"""A model file → the Keras model in it, built from its vetted configuration and its weights."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from tfpipe.keras_file.source import SAVE_AGAIN, KerasSource
from tfpipe.keras_file.vetting import vet_model

WEIGHTS = "model.weights.h5"  # their name in a .keras file


def load_keras(source: KerasSource, work: Path) -> Any:
    """Builds the model with the Keras that wrote it and reads its weights.

    Args:
        source: What `read_source` returned.
        work: Folder for the unpacked weights.

    Raises:
        ValueError: A layer that is not taken, or weights that do not fit.
    """
    vetted = vet_model(source.config, keras_3=source.is_keras_3)
    if source.is_keras_3:
        import keras
    else:
        import tf_keras as keras
    builder = keras.Sequential if vetted["class_name"] == "Sequential" else keras.Model
    try:
        model = builder.from_config(vetted["config"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{source.path}: Keras {keras.__version__} cannot build the model that Keras "
            f"{source.keras_version} saved: {first_lines(error)}. {SAVE_AGAIN}"
        ) from error
    try:
        load_weights(model, source, work)
    except (AttributeError, KeyError, OSError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"{source.path}: the weights do not fit the layers: {first_lines(error)}. {SAVE_AGAIN}"
        ) from error
    return model


def load_weights(model: Any, source: KerasSource, work: Path) -> None:
    """Reads the weights; of a SavedModel the variables, never the graph."""
    if source.format == "savedmodel":
        status = model.load_weights(str(source.path / "variables" / "variables"))
        status.expect_partial().assert_existing_objects_matched()
    elif source.format == "keras":
        with zipfile.ZipFile(source.path) as archive:
            archive.extract(WEIGHTS, work)
        model.load_weights(str(work / WEIGHTS))
    else:
        file = work / "weights.h5"
        file.symlink_to(source.path.resolve())
        model.load_weights(str(file))


def first_lines(error: BaseException, limit: int = 300) -> str:
    """Returns the beginning of an error's text on one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= limit else text[:limit] + "…"
