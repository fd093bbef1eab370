"""A Keras 2 or 3 model → its input and its layers' calls in order, nested models opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfpipe.keras_file.vetting import MASK_OPERATIONS

EMBED = "Begin it with an Embedding of token ids."


@dataclass(frozen=True)
class Call:
    """One use of a layer in a model.

    Attributes:
        layer: The live layer.
        inputs: Keys of the tensors that it reads.
        output: Key of the one that it makes.
        masked: Whether Keras hands a mask to it.
        shape: Of the output, with the batch axis.
        arguments: Names of what else it is called with.
    """

    layer: Any
    inputs: tuple[int, ...]
    output: int
    masked: bool
    shape: tuple[int | None, ...]
    arguments: tuple[str, ...] = ()

    @property
    def class_name(self) -> str:
        """The layer's class."""
        return type(self.layer).__name__

    @property
    def label(self) -> str:
        """How the user knows the layer."""
        return f"layer {self.layer.name!r} of class {self.class_name}"


def model_input(model: Any) -> Any:
    """Returns the symbolic input of a classifier of token ids.

    Raises:
        ValueError: It has several inputs or outputs, or its input is not a row of token ids.
    """
    for side in ("inputs", "outputs"):
        tensors = getattr(model, side, None)
        if not tensors:
            raise ValueError(
                f"model {model.name!r} was saved before it had {side}. Call it on token ids once "
                "(or begin it with keras.Input((sequence_length,))), then save it again."
            )
        if len(tensors) != 1:
            names = [getattr(tensor, "name", "?") for tensor in tensors]
            raise ValueError(
                f"model {model.name!r} has {len(tensors)} {side} ({', '.join(map(str, names))}), "
                f"expected 1. Save the part with one: keras.Model(model.inputs[0], "
                "model.outputs[0])."
            )
    tensor = model.inputs[0]
    dtype = str(getattr(tensor.dtype, "name", tensor.dtype))
    if dtype == "string":
        raise ValueError(
            f"model {model.name!r} takes strings, which TensorFlow Lite's kernels do not. Save the "
            "model behind its text layer and give that layer's vocabulary with --vocabulary."
        )
    if len(tensor.shape) != 2:
        raise ValueError(
            f"model {model.name!r} has an input of shape {tuple(tensor.shape)}, expected "
            f"(batch, sequence_length) of token ids. {EMBED}"
        )
    return tensor


class Walk:
    """A way through a model's graph.

    Attributes:
        known: A nested model's tensor → the tensor outside that it stands for.
        masks: Keys of the tensors that are masks.
        masked: Keys of the tensors that a mask goes with.
        token_ids: Key of the model's input.
    """

    def __init__(self, model: Any) -> None:
        self.known: dict[int, int] = {}
        self.masks: set[int] = set()
        self.masked: set[int] = set()
        self.token_ids = id(model_input(model))

    def key(self, tensor: Any) -> int:
        """Returns the key of a tensor."""
        return self.known.get(id(tensor), id(tensor))

    def calls(self, model: Any) -> Iterator[Call]:
        """Yields the calls of a model and of those in it."""
        graph = getattr(model, "_functional", None) or model
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                layer = getattr(node, "operation", None) or node.layer
                if type(layer).__name__ == "InputLayer":
                    continue
                if not hasattr(layer, "get_weights"):
                    self.note_mask(layer, node)
                elif getattr(layer, "_nodes_by_depth", None) or hasattr(layer, "_functional"):
                    yield from self.nested_calls(layer, node)
                else:
                    yield self.call(layer, node)

    def note_mask(self, operation: Any, node: Any) -> None:
        """Remembers the output of an operation that makes a mask; refuses any other."""
        name, inputs = type(operation).__name__, list(node.input_tensors)
        known = name in MASK_OPERATIONS
        if name == "NotEqual":
            known = [self.key(tensor) for tensor in inputs] == [self.token_ids]
            known = known and list(node.arguments.args[1:]) == [0]
        if not known:
            raise ValueError(
                f"{name} {operation.name!r} is an operation, not a layer, and has no inference "
                "form. Replace it by a stock layer, and save the model again."
            )
        self.masks.update(map(id, node.outputs))

    def nested_calls(self, model: Any, node: Any) -> Iterator[Call]:
        """Yields the calls of a model that is used as a layer."""
        inputs, outputs, arguments = read_node(node)
        if "mask" in arguments or any(is_masked(tensor) for tensor in inputs):
            raise ValueError(
                f"the nested model {model.name!r} is handed a mask. Put its layers into the model "
                "itself, and save that again."
            )
        self.stand_for(model.inputs, inputs)
        yield from self.calls(model)
        self.stand_for(outputs, model.outputs)
        # Where the inner model makes the mask, Keras 3 knows of it at run time alone.
        if any(is_masked(tensor) for tensor in model.outputs):
            self.masked.update(self.key(tensor) for tensor in outputs)

    def stand_for(self, tensors: Any, others: Any) -> None:
        """Makes tensors mean others."""
        pairs = list(zip(tensors, others, strict=True))
        self.known.update({id(tensor): self.key(other) for tensor, other in pairs})

    def call(self, layer: Any, node: Any) -> Call:
        """Returns the call of a layer."""
        every, outputs, arguments = read_node(node)
        inputs = [tensor for tensor in every if id(tensor) not in self.masks]
        if len(outputs) != 1 or not inputs:
            raise ValueError(
                f"layer {layer.name!r} of class {type(layer).__name__} has {len(outputs)} outputs "
                f"of {len(inputs)} inputs, expected one output. Leave return_state out, give "
                "Bidirectional a merge_mode, and save the model again."
            )
        masked = len(inputs) < len(every) or any(
            is_masked(tensor) or self.key(tensor) in self.masked for tensor in inputs
        )
        # States hand a mask on, one vector a text does not.
        if masked and layer.supports_masking and len(outputs[0].shape) == 3:
            self.masked.add(self.key(outputs[0]))
        return Call(
            layer=layer,
            inputs=tuple(self.key(tensor) for tensor in inputs),
            output=self.key(outputs[0]),
            masked=masked,
            shape=tuple(outputs[0].shape),
            arguments=tuple(name for name in arguments if name != "mask"),
        )


def is_masked(tensor: Any) -> bool:
    """Returns whether Keras hands a mask on with a tensor."""
    return getattr(tensor, "_keras_mask", None) is not None


def read_node(node: Any) -> tuple[list[Any], list[Any], tuple[str, ...]]:
    """Returns the input and output tensors of a call, and the names of its further arguments."""
    if hasattr(node, "arguments"):  # Keras 3
        return list(node.input_tensors), list(node.outputs), given(node.arguments.kwargs)
    outputs = node.outputs if isinstance(node.outputs, list | tuple) else [node.outputs]
    return list(node.keras_inputs), list(outputs), given(node.call_kwargs)


def given(arguments: dict[str, Any]) -> tuple[str, ...]:
    """Returns the names of the arguments that say something, in order."""
    return tuple(
        sorted(
            name
            for name, value in arguments.items()
            if name != "training" and value is not None and value is not False
        )
    )
