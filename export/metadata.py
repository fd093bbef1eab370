"""Token rules and labels → TFLite metadata: the flatbuffer and the files that belong to it.

Slots and enumerators are those of metadata_schema.fbs, version 1.5.0:
https://github.com/google-ai-edge/mediapipe/blob/master/mediapipe/tasks/metadata/metadata_schema.fbs
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers

VOCAB_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"
FILE_IDENTIFIER = b"M001"
# The version that brought the newest table used here, RegexTokenizerOptions.
MIN_PARSER_VERSION = "1.2.1"
# Members of unions and enumerations.
FEATURE_PROPERTIES = 1
REGEX_TOKENIZER_OPTIONS = 6
TENSOR_AXIS_LABELS = 2
VOCABULARY = 5
# The earliest time that a zip file can hold.
_TIME = (1980, 1, 1, 0, 0, 0)

# A table as {slot: a byte, a string, a table or a vector of tables}.
Table = Mapping[int, Any]


def classifier_metadata(delimiter_pattern: str) -> bytes:
    """Returns the metadata of a classifier of one text: one tensor of token ids in, one of
    probabilities out.

    Args:
        delimiter_pattern: RE2 pattern of what stands between words.
    """
    # AssociatedFile: name 0, description 1, type 2.
    vocabulary = {0: VOCAB_FILE, 1: "Token and id of each word.", 2: VOCABULARY}
    labels = {0: LABELS_FILE, 1: "Name of each probability.", 2: TENSOR_AXIS_LABELS}
    # Content: type and value of the union content_properties 0 and 1.
    feature = {0: FEATURE_PROPERTIES, 1: {}}
    # ProcessUnit: type and value of the union options 0 and 1. RegexTokenizerOptions:
    # delim_regex_pattern 0, vocab_file 1.
    tokenizer = {0: REGEX_TOKENIZER_OPTIONS, 1: {0: delimiter_pattern, 1: [vocabulary]}}
    # TensorMetadata: name 0, description 1, content 3, process_units 4, associated_files 6.
    token_ids = {0: "token_ids", 1: "Ids of the words of a text.", 3: feature, 4: [tokenizer]}
    probabilities = {
        0: "probabilities",
        1: "Probability of each label.",
        3: feature,
        6: [labels],
    }
    # SubGraphMetadata: input_tensor_metadata 2, output_tensor_metadata 3.
    graph = {2: [token_ids], 3: [probabilities]}
    # ModelMetadata: name 0, description 1, subgraph_metadata 3, min_parser_version 7.
    model = {
        0: "TextClassifier",
        1: "Classifies a text.",
        3: [graph],
        7: MIN_PARSER_VERSION,
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(write_table(builder, model), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def write_table(builder: Any, table: Table) -> int:
    """Writes a table and all below it; returns its offset."""
    # A table's content has to be written before it.
    offsets = {slot: write_value(builder, value) for slot, value in table.items()}
    builder.StartObject(max(table, default=-1) + 1)
    for slot, value in table.items():
        if isinstance(value, int):
            builder.PrependUint8Slot(slot, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    return int(builder.EndObject())


def write_value(builder: Any, value: Any) -> int:
    """Writes what a slot points at; returns its offset, 0 for a byte, which lies in its table."""
    if isinstance(value, int):
        return 0
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, Mapping):
        return write_table(builder, value)
    offsets = [write_table(builder, entry) for entry in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def associated_files(vocabulary: Sequence[str], labels: Sequence[str]) -> dict[str, bytes]:
    """Returns {name: content} of the files that `classifier_metadata` names.

    Args:
        vocabulary: Tokens in id order, none with a space or a line end.
        labels: Labels in output order, none with a line end.
    """
    tokens = "".join(f"{token} {index}\n" for index, token in enumerate(vocabulary))
    names = "".join(f"{label}\n" for label in labels)
    return {VOCAB_FILE: tokens.encode(), LABELS_FILE: names.encode()}


def append_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """Returns a model's file with a zip archive behind it, the same bytes every time.

    Nothing is compressed, as MediaPipe and the Task Library ask for.
    """
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, whatever made it
            archive.writestr(entry, data)
    return buffer.getvalue()
