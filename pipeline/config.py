"""A packaged recipe, a recipe file and `key=value` overrides → one checked `Recipe`."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

MODEL_NAMES = ("average", "bilstm", "lstm", "textcnn", "transformer")

# key → allowed range (both ends included) or allowed words. Every number of a recipe is here.
LIMITS: dict[str, tuple[float, float] | frozenset[str]] = {
    "data.sequence_length": (0, 4096),
    "tokenizer.kind": frozenset({"auto", "word", "wordpiece", "char"}),
    "tokenizer.lowercase": frozenset({"auto", "true", "false"}),
    "tokenizer.vocabulary_size": (0, 500_000),
    "model.embedding_dim": (1, 1024),
    "model.embedding_rank": (0, 1024),
    "model.units": (1, 1024),
    "model.filters": (1, 1024),
    "model.smallest_kernel": (1, 15),
    "model.largest_kernel": (1, 15),
    "model.num_layers": (1, 12),
    "model.num_heads": (1, 64),
    "model.feed_forward_dim": (1, 4096),
    "model.norm": frozenset({"pre", "post"}),
    "model.pooling": frozenset({"last", "max", "mean", "mean_max"}),
    "model.dropout": (0, 0.95),
    "model.branch_dropout": (0, 0.95),
    "model.token_dropout": (0, 0.95),
    "model.embedding_dropout": (0, 0.95),
    "train.epochs": (0, 10_000),
    "train.batch_size": (1, 65_536),
    "train.learning_rate": (1e-7, 10),
    "train.warmup_fraction": (0, 1),
    "train.weight_decay": (0, 1),
    "train.subword_dropout": (0, 0.95),
    "train.label_smoothing": (0, 0.5),
    "train.weight_averaging": (0, 1),
    "train.gradient_clip_norm": (0, 1e6),
    "train.early_stopping_patience": (0, 10_000),
    "train.class_weights": frozenset({"none", "balanced"}),
    "train.teacher_temperature": (1, 20),
    "train.teacher_weight": (0, 1),
    "train.mixed_precision": frozenset({"auto", "on", "off"}),
    "train.seed": (0, 2**31 - 1),
}
COMPRESS = "compress"  # the section, and the packaged file, of what `tfpipe compress` makes
# Numbers that may also be "auto": chosen from the data, where 0 already means none at all.
AUTO = "auto"
AUTO_NUMBERS = ("model.dropout", "model.embedding_dropout", "train.subword_dropout")
LOW_RANK = "compress.low_rank"  # may be "auto" as well


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training makes of a table, one dict a section.

    Attributes:
        model_name: A key of `tfpipe.models.MODELS`.
        tokenizer: `kind` ("auto": chosen on the validation split), `vocabulary_size`
            (0: chosen from the data), `lowercase` ("auto": chosen on the validation split).
        model: Keyword arguments of the model's builder.
        train: The optimisation; each key is explained in the packaged recipe.
    """

    model_name: str
    data: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    model: Mapping[str, Any]
    train: Mapping[str, Any]

    def sections(self) -> dict[str, dict[str, Any]]:
        """Returns the four sections as plain dicts, in the order of the recipe file."""
        return {name: dict(getattr(self, name)) for name in ("data", "tokenizer", "model", "train")}

    def replace(self, values: Mapping[str, Any]) -> Recipe:
        """Returns a copy with `{"section.key": value}` changed and checked."""
        sections = self.sections()
        for key, value in values.items():
            section, _, name = key.partition(".")
            sections[section][name] = checked(key, value, self.get(key))
        return Recipe(self.model_name, **sections)

    def get(self, key: str) -> Any:
        """Returns the value of `section.key`; an unknown key is a ValueError that suggests one."""
        known = [f"{s}.{k}" for s, values in self.sections().items() for k in values]
        if key not in known:
            close = difflib.get_close_matches(key, known, 1) or [
                name for name in known if name.endswith(f".{key}")
            ]
            hint = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(known)}."
            raise ValueError(f"recipe key {key!r} is unknown for model {self.model_name!r}. {hint}")
        section, _, name = key.partition(".")
        return getattr(self, section)[name]

    def to_toml(self) -> str:
        """Returns the packaged recipe's text, comments and all, with this recipe's values."""
        lines, section = [], ""
        for line in packaged_recipe_text(self.model_name).splitlines():
            if header := re.fullmatch(r"\[(\w+)\]", line):
                section = header[1]
            elif entry := re.match(r"(\w+)( *= *)(\"[^\"]*\"|[^# ]+)(.*)", line):
                value = toml_value(getattr(self, section)[entry[1]])
                line = f"{entry[1]}{entry[2]}{value}{entry[4]}"
            lines.append(line)
        return "\n".join(lines) + "\n"


def load_recipe(
    model_name: str, *, path: Path | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """Reads the packaged recipe of a model, then a recipe file's values, then `key=value` texts.

    Args:
        model_name: One of `MODEL_NAMES`.
        path: A TOML file; keys it does not hold keep the packaged value. A section for `tfpipe
            compress` is left to that.
        overrides: For example `["train.epochs=3", "model.pooling=last"]`.

    Raises:
        ValueError: An unknown model or key, a value of the wrong type or out of range, not TOML.
    """
    recipe = Recipe(model_name, **tomllib.loads(packaged_recipe_text(model_name)))
    if path is not None:
        values = read_recipe_file(path)
        recipe = recipe.replace(
            {key: values[key] for key in values if not key.startswith(f"{COMPRESS}.")}
        )
    parsed = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"--set {override!r} is not KEY=VALUE, for example train.epochs=3.")
        parsed[key.strip()] = parse_value(key.strip(), text.strip(), recipe.get(key.strip()))
    return recipe.replace(parsed)


def load_compress_recipe(path: Path) -> dict[str, Any]:
    """Returns the values of the section [compress] of a recipe file, by their names in
    `CompressOptions`, which knows their limits.

    Raises:
        ValueError: The file has no such section, an unknown key, a value of the wrong type, or is
            not TOML.
    """
    known = tomllib.loads(read_packaged(COMPRESS))[COMPRESS]
    values = {}
    for full_key, value in read_recipe_file(path).items():
        section, _, key = full_key.partition(".")
        if section != COMPRESS:
            continue
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(known)}."
            raise ValueError(f"{path}: key {key!r} of [{COMPRESS}] is unknown. {hint}")
        values[key] = checked(full_key, value, known[key])
    if not values:
        raise ValueError(
            f"{path} has no section [{COMPRESS}] with a value in it. See `tfpipe recipe compress`."
        )
    return values


def packaged_recipe_text(model_name: str) -> str:
    """Returns the commented recipe that comes with a model."""
    if model_name not in MODEL_NAMES:
        raise ValueError(f"model {model_name!r} is unknown. Use one of {', '.join(MODEL_NAMES)}.")
    return read_packaged(model_name)


def read_packaged(name: str) -> str:
    """Returns the packaged file of a name in `MODEL_NAMES`, or of `COMPRESS`."""
    return (resources.files("tfpipe.recipes") / f"{name}.toml").read_text("utf-8")


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Reads a TOML file of sections → `{"section.key": value}`."""
    try:
        sections = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a TOML recipe: {error}. See `tfpipe recipe lstm`."
        ) from error
    values = {}
    for section, entries in sections.items():
        if not isinstance(entries, dict):
            raise ValueError(
                f"{path}: key {section!r} stands outside a section. Put it under one of "
                "[data], [tokenizer], [model], [train], [compress]."
            )
        values.update({f"{section}.{key}": value for key, value in entries.items()})
    return values


def parse_value(key: str, text: str, default: Any) -> Any:
    """Reads the text of a `--set` as the type that the key's default has."""
    if key in AUTO_NUMBERS:
        if text.strip("\"'") == AUTO:
            return AUTO
        default = 0.5  # its type and an example of its values
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{key}={text!r} must be true or false.")
        return text.lower() == "true"
    if isinstance(default, str):
        return text.strip("\"'")
    try:
        return int(text) if isinstance(default, int) else float(text)
    except ValueError as error:
        kind = "a whole number" if isinstance(default, int) else "a number"
        auto = f", or {AUTO}" if key in AUTO_NUMBERS else ""
        raise ValueError(f"{key}={text!r} must be {kind}, like {default}{auto}.") from error


def checked(key: str, value: Any, default: Any) -> Any:
    """Returns `value` when it has the default's type and lies in the key's limits."""
    may_be_auto = key in (*AUTO_NUMBERS, LOW_RANK)
    if value == AUTO and may_be_auto:
        return value
    if key in AUTO_NUMBERS:
        default = 0.5  # its type and an example of its values
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(default, str) and isinstance(value, bool):
        value = str(value).lower()
    if type(value) is not type(default):
        auto = f", or {AUTO!r}" if may_be_auto else ""
        kind = type(default).__name__
        raise ValueError(f"{key}={value!r} must be of type {kind}, like {default!r}{auto}.")
    limit = LIMITS.get(key)
    if isinstance(limit, frozenset) and value not in limit:
        close = difflib.get_close_matches(str(value), limit, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{key}={value!r} must be one of {', '.join(sorted(limit))}.{hint}")
    if isinstance(limit, tuple) and not limit[0] <= value <= limit[1]:
        raise ValueError(f"{key}={value} lies outside {limit[0]:g} to {limit[1]:g}.")
    return value


def toml_value(value: bool | int | float | str) -> str:
    """Writes one value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
