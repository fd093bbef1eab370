"""A .keras, .h5 or SavedModel → its configuration and the Keras that wrote it; nothing is run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A configuration is some kilobytes; more is no model of text that a device could hold.
MAX_CONFIG_BYTES = 64 * 1024 * 1024
KERAS_2_ROOTS = ("_tf_keras_sequential", "_tf_keras_network", "_tf_keras_functional")
LENGTH_DELIMITED = 2  # protobuf's wire type of texts and messages
SAVE_AGAIN = "Save the whole model again with model.save('model.keras')."


@dataclass(frozen=True)
class KerasSource:
    """What a model file says about itself.

    Attributes:
        path: The file or the SavedModel's folder.
        format: "keras", "h5" or "savedmodel".
        keras_version: Of the Keras that wrote it; "2" where the format is Keras 2's alone.
        config: {"class_name", "config", …} of the model, as it stands in the file.
    """

    path: Path
    format: str
    keras_version: str
    config: dict[str, Any]

    @property
    def is_keras_3(self) -> bool:
        """Whether Keras 3 reads it, rather than Keras 2 (tf_keras)."""
        return int(self.keras_version.split(".")[0]) >= 3


def read_source(path: Path) -> KerasSource:
    """Reads the configuration of a model file.

    Raises:
        ValueError: It is no Keras model, or holds no description of its layers.
        OSError: It cannot be read.
    """
    if path.is_dir():
        return read_saved_model(path)
    head = path.open("rb").read(8)
    if head.startswith(b"PK\x03\x04"):
        return read_keras_zip(path)
    if head == b"\x89HDF\r\n\x1a\n":
        return read_h5(path)
    raise ValueError(
        f"{path} is neither a .keras file, nor an HDF5 (.h5) file, nor a SavedModel folder: it "
        f"begins with {head!r}. {SAVE_AGAIN}"
    )


def read_keras_zip(path: Path) -> KerasSource:
    """Reads a .keras file: a zip archive of config.json, metadata.json and weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"the bytes of {damaged} have changed")
            config, metadata = (read_member(archive, f"{name}.json") for name in NAMES)
    except (KeyError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no whole .keras file: {error}. {SAVE_AGAIN}") from error
    return checked_source(path, "keras", metadata.get("keras_version"), config)


NAMES = ("config", "metadata")


def read_member(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    """Returns a JSON object of an archive."""
    if (size := archive.getinfo(name).file_size) > MAX_CONFIG_BYTES:
        raise ValueError(f"{name} has {size} bytes, more than {MAX_CONFIG_BYTES}")
    value = json.loads(archive.read(name))
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no JSON object")
    return value


def read_h5(path: Path) -> KerasSource:
    """Reads an HDF5 file, whose attributes hold the configuration as JSON."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text, version = (file.attrs.get(name) for name in ("model_config", "keras_version"))
    except OSError as error:
        raise ValueError(f"{path} is no whole HDF5 file: {error}. {SAVE_AGAIN}") from error
    if text is None:
        raise ValueError(
            f"{path} holds weights alone (it has no model_config), so its layers are unknown. "
            f"{SAVE_AGAIN}"
        )
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: its model_config is not JSON ({error}). {SAVE_AGAIN}") from error
    version = version.decode() if isinstance(version, bytes) else version
    return checked_source(path, "h5", version or "2", config)


def read_saved_model(path: Path) -> KerasSource:
    """Reads the Keras metadata of a SavedModel; its graph, which is a program, stays unread."""
    file = path / "keras_metadata.pb"
    if not file.is_file():
        kind = "a SavedModel" if (path / "saved_model.pb").is_file() else "a folder"
        raise ValueError(
            f"{path} is {kind} without keras_metadata.pb, so its layers are unknown (tf.saved_model"
            f".save and model.export leave them out). {SAVE_AGAIN}"
        )
    try:
        for node in fields_of(file.read_bytes(), 1):
            identifier = next(fields_of(node, 4), b"").decode()
            if identifier in KERAS_2_ROOTS:
                return checked_source(path, "savedmodel", "2", json.loads(next(fields_of(node, 5))))
    except (ValueError, IndexError, StopIteration) as error:
        raise ValueError(f"{file} is damaged ({error}). {SAVE_AGAIN}") from error
    raise ValueError(
        f"{path}: its model is a class of its own (no Sequential or functional model), whose code "
        "no file holds. Build it from stock layers with keras.Model(inputs, outputs), then save it."
    )


def fields_of(message: bytes, number: int) -> Iterator[bytes]:
    """Yields the texts or messages with one field number of a protobuf message.

    Raises:
        IndexError: The message ends too soon.
        ValueError: It is no protobuf message.
    """
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        size = 0
        if key & 7 == 0:
            _, at = read_varint(message, at)
        elif key & 7 == LENGTH_DELIMITED:
            size, at = read_varint(message, at)
        elif key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
        else:
            raise ValueError(f"wire type {key & 7} at byte {at}")
        if at + size > len(message):
            raise IndexError(f"a field ends at byte {at + size} of {len(message)}")
        if key >> 3 == number and key & 7 == LENGTH_DELIMITED:
            yield message[at : at + size]
        at += size


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Returns a protobuf integer and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def checked_source(path: Path, format: str, version: Any, config: Any) -> KerasSource:
    """Returns the source of a configuration that has the form of a model's."""
    valid = isinstance(config, dict) and isinstance(config.get("class_name"), str)
    if not valid or not isinstance(config.get("config"), dict | list):
        raise ValueError(f"{path}: its configuration is not that of a model. {SAVE_AGAIN}")
    if not isinstance(version, str) or not version.split(".")[0].isdigit():
        raise ValueError(f"{path}: keras_version={version!r} is no version. {SAVE_AGAIN}")
    return KerasSource(path, format, version, config)
