"""manifest.json ↔ Manifest: what an artifact folder holds, for which runtime, and the digests."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import Any, Dict, List, Optional

from device_runner import schema
from device_runner.files import write_json_atomic
from device_runner.schema import check_fields, parse_json, shorten
from device_runner.signatures import bucket_length
from device_runner.signatures import classification_signature as classification_signature
from device_runner.tokenizer_spec import TokenizerSpec

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.tflite"
ONNX_MODEL_FILE = "model.onnx"
VOCABULARY_FILE = "vocabulary.txt"
LABELS_FILE = "labels.txt"
GOLDEN_FILE = "golden.json"
TASKS = ("classify",)
DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")

_KINDS: Dict[str, schema.Kind] = {
    "schema_version": schema.COUNT,
    "name": schema.PLAIN_NAME,
    "task": schema.TEXT,
    "multi_label": schema.BOOLEAN,
    "model": schema.TEXT,
    "variant": schema.TEXT,
    "target": schema.TEXT,
    "scheme": schema.TEXT,
    "lowering": schema.TEXT,
    "min_runtime": schema.OPTIONAL_TEXT,
    "model_file": schema.PLAIN_NAME,
    "sequence_length": schema.COUNT,
    "num_classes": schema.COUNT,
    "signatures": schema.LIST,
    "tokenizer": schema.OBJECT,
    "threshold": schema.OPTIONAL_PROBABILITY,
    "files": schema.OBJECT,
    "recipe": schema.OBJECT,
    "versions": schema.TEXT_OBJECT,
    "created": schema.UTC_TIME,
}
_SIGNATURE: Dict[str, schema.Kind] = {
    "name": schema.TEXT,
    "inputs": schema.LIST,
    "outputs": schema.LIST,
}
_TENSOR: Dict[str, schema.Kind] = {"name": schema.TEXT, "dtype": schema.TEXT, "shape": schema.SHAPE}
_FILE: Dict[str, schema.Kind] = {"sha256": schema.SHA256, "bytes": schema.BYTES}


@dataclass(frozen=True)
class Manifest:
    """What one artifact folder holds; every field is checked when it is made.

    Attributes:
        name: Name of the artifact, a plain file name.
        task: What the model does; "classify" is the only one so far.
        multi_label: Whether a text may have several labels (sigmoid instead of softmax).
        model: Kind of model, such as "lstm".
        variant: Compressed variant it came from, or "base".
        target: Where it is meant to run, such as "cpu".
        scheme: Types of weights and activations, such as "dynamic_int8".
        lowering: How the model became builtin ops, such as "unrolled".
        model_file: Name of the model's file in the folder.
        sequence_length: Token ids of one input, padding included.
        num_classes: Outputs of the model, which are the lines of labels.txt.
        signatures: Inputs and outputs by name; the first is the full-length classification, those
            of shorter lengths are named by `bucket_name`.
        tokenizer: What `TokenizerSpec.to_json` gives.
        files: Digest and size of every file that belongs to the artifact.
        recipe: The recipe that trained the model.
        versions: Package → version, of what made the artifact.
        created: UTC time of the export, ISO 8601.
        min_runtime: Oldest TFLite runtime that has every op's version, or None if not known.
        threshold: Score from which a label is predicted (multi-label), else None.
        schema_version: Version of this layout.
    """

    name: str
    task: str
    multi_label: bool
    model: str
    variant: str
    target: str
    scheme: str
    lowering: str
    sequence_length: int
    num_classes: int
    signatures: List[Dict[str, Any]]
    tokenizer: Dict[str, Any]
    files: Dict[str, Dict[str, Any]]
    recipe: Dict[str, Any]
    versions: Dict[str, str]
    created: str
    min_runtime: Optional[str] = None
    threshold: Optional[float] = None
    model_file: str = MODEL_FILE
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        value = {field.name: getattr(self, field.name) for field in fields(self)}
        check_fields(value, _KINDS, MANIFEST_FILE)
        _check_schema_version(self.schema_version)
        if self.task not in TASKS:
            raise ValueError(
                f"{MANIFEST_FILE}: task={shorten(self.task)}, this runner knows "
                f"{', '.join(TASKS)}. Use a newer device_runner."
            )
        if self.multi_label != (self.threshold is not None):
            raise ValueError(
                f"{MANIFEST_FILE}: threshold={self.threshold} with multi_label={self.multi_label}. "
                "A multi-label artifact has a threshold, a single-label one has null."
            )
        _check_files(self.files, self.model_file)
        _check_tokenizer(self.tokenizer)
        _check_signatures(self)

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the model's file."""
        return str(self.files[self.model_file]["sha256"])

    @property
    def bucket_lengths(self) -> List[int]:
        """Lengths of the graphs for shorter texts, the full length last; empty without any."""
        found = [bucket_length(signature["name"]) for signature in self.signatures]
        lengths = sorted(length for length in found if length)
        return lengths + [self.sequence_length] if lengths else []

    def to_json(self) -> Dict[str, Any]:
        """Returns the manifest as JSON values, schema_version first."""
        value = asdict(self)
        return {key: value[key] for key in _KINDS}

    @classmethod
    def from_json(cls, value: Any) -> Manifest:
        """Returns the manifest that `value` describes.

        Raises:
            ValueError: A key is unknown, missing or of another type, or a rule is broken.
        """
        if isinstance(value, dict) and schema.COUNT[1](value.get("schema_version")):
            # First: another version has other keys, and "unknown keys" would mislead.
            _check_schema_version(value["schema_version"])
        return cls(**check_fields(value, _KINDS, MANIFEST_FILE))


def parse_manifest(data: bytes) -> Manifest:
    """Returns the manifest in the bytes of a manifest.json.

    Raises:
        ValueError: Not JSON, or not a manifest that this runner reads.
    """
    return Manifest.from_json(parse_json(data, MANIFEST_FILE))


def write_manifest(folder: str | os.PathLike[str], manifest: Manifest) -> None:
    """Writes `manifest` into `folder`, atomically.

    Raises:
        OSError: The folder is missing, read-only or full.
    """
    write_json_atomic(os.path.join(os.fspath(folder), MANIFEST_FILE), manifest.to_json())


def _check_schema_version(version: int) -> None:
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{MANIFEST_FILE}: schema_version={version}, this runner reads {SCHEMA_VERSION}. Use "
            "the device_runner that came with the tfpipe that exported it."
        )


def _check_tokenizer(tokenizer: Dict[str, Any]) -> None:
    try:
        TokenizerSpec.from_json(tokenizer)
    except ValueError as error:
        raise ValueError(f"{MANIFEST_FILE} tokenizer: {error}") from error


def _check_files(files: Dict[str, Any], model_file: str) -> None:
    for name, record in files.items():
        if not schema.PLAIN_NAME[1](name) or name == MANIFEST_FILE:
            raise ValueError(
                f"{MANIFEST_FILE}: files has the name {shorten(name)}, expected "
                f"{schema.PLAIN_NAME[0]}. Nothing outside the folder is read."
            )
        check_fields(record, _FILE, f"{MANIFEST_FILE} files[{shorten(name)}]")
    missing = [
        name
        for name in (model_file, VOCABULARY_FILE, LABELS_FILE, GOLDEN_FILE)
        if name not in files
    ]
    if missing:
        raise ValueError(
            f"{MANIFEST_FILE}: files has no digest of {', '.join(missing)}. Export the artifact "
            "again."
        )


def _check_signatures(manifest: Manifest) -> None:
    for position, signature in enumerate(manifest.signatures):
        where = f"{MANIFEST_FILE} signatures[{position}]"
        check_fields(signature, _SIGNATURE, where)
        for side in ("inputs", "outputs"):
            for index, tensor in enumerate(signature[side]):
                place = f"{where} {side}[{index}]"
                check_fields(tensor, _TENSOR, place)
                if tensor["dtype"] not in DTYPES:
                    raise ValueError(
                        f"{place}: dtype={shorten(tensor['dtype'])}, expected one of "
                        f"{', '.join(DTYPES)}. Export the artifact again."
                    )
    expected = classification_signature(manifest.sequence_length, manifest.num_classes)
    if manifest.signatures[0] != expected:
        raise ValueError(
            f"{MANIFEST_FILE}: signatures[0] is {shorten(manifest.signatures[0], 400)}, expected "
            f"{expected} from sequence_length and num_classes. Export the artifact again."
        )
