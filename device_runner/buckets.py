"""A loaded .tflite with a graph for each of several lengths → each text runs in the shortest."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field, fields
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from device_runner.interpreter import Model
from device_runner.signatures import bucket_length, classification_signature

_FULL = classification_signature(1, 1)
_INPUT: str = _FULL["inputs"][0]["name"]
_OUTPUT: str = _FULL["outputs"][0]["name"]


@dataclass(eq=False)
class Bucket:
    """One graph of the file.

    Attributes:
        sequence_length: Token ids that it takes; longer texts do not fit.
        subgraph: Its number in the file.
        input_index: Its input's tensor.
        output_index: Its output's tensor.
        invoke: Runs it; the runtime's own function, so that timing it times nothing of ours.
    """

    sequence_length: int
    subgraph: int
    input_index: int
    output_index: int
    invoke: Callable[[], None] = field(repr=False)


@dataclass(eq=False)
class BucketedModel(Model):
    """A model whose file holds further graphs for shorter texts, over the same weights.

    Padding stands on the right, so the first ids of a row are all of its text: each row runs in the
    shortest graph that holds its last real token.

    Attributes:
        buckets: The graphs, shortest first; the last takes the full length.
    """

    buckets: Sequence[Bucket] = field(repr=False)

    def __post_init__(self) -> None:
        self._wrapper = wrapper_of(self)
        self.bucket_lengths = tuple(bucket.sequence_length for bucket in self.buckets)
        self._fitting = [
            next(bucket for bucket in self.buckets if bucket.sequence_length >= num_tokens)
            for num_tokens in range(self.sequence_length + 1)
        ]
        self._choose(self.buckets[-1])

    def bucket_of(self, token_ids: np.ndarray[Any, Any]) -> Bucket:
        """Returns the graph that int32 (1, T) token ids run in."""
        real = token_ids[0].nonzero()[0]
        return self._fitting[int(real[-1]) + 1 if len(real) else 0]

    def set_input(self, token_ids: np.ndarray[Any, Any]) -> None:
        """Chooses the graph of int32 (1, T) token ids and copies those that it takes."""
        self._fill(self.bucket_of(token_ids), token_ids)

    def get_output(self) -> np.ndarray[Any, Any]:
        """Returns a copy of the last output, float32 (C,)."""
        chosen = self._chosen
        output: np.ndarray[Any, Any] = self._wrapper.GetTensor(chosen.output_index, chosen.subgraph)
        return output.reshape(-1)

    def run_in_all(self, token_ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Returns the outputs of checked int32 (n, T) token ids in every graph that they fit.

        Returns:
            float32 (number of graphs, n, C), in the order of `buckets`; NaN where a row does not
            fit.
        """
        shape = (len(self.buckets), len(token_ids), self.num_classes)
        outputs = np.full(shape, np.nan, np.float32)
        for row, ids in enumerate(token_ids):
            fitting = self.bucket_of(ids[None])
            for place in range(self.buckets.index(fitting), len(self.buckets)):
                self._fill(self.buckets[place], ids[None])
                self.invoke()
                outputs[place, row] = self.get_output()
        return outputs

    def use_full_length(self) -> None:
        """From now on runs everything in the graph of full length."""
        self._fitting = [self.buckets[-1]] * (self.sequence_length + 1)

    def _fill(self, bucket: Bucket, token_ids: np.ndarray[Any, Any]) -> None:
        self._choose(bucket)
        self.interpreter.reset_all_variables()  # see `Model.set_input`
        ids = token_ids[:, : bucket.sequence_length]
        self._wrapper.SetTensor(bucket.input_index, ids, bucket.subgraph)

    def _choose(self, bucket: Bucket) -> None:
        self._chosen = bucket
        self.invoke = bucket.invoke


def wrapper_of(model: Model) -> Any:
    """Returns the runtime's own object: `Interpreter` itself runs the first graph alone."""
    return model.interpreter._interpreter


def with_buckets(model: Model) -> Model:
    """Returns the model itself, or, where its file has signatures of shorter lengths, one that
    uses them.

    Raises:
        ValueError: The runtime cannot allocate one of the graphs, or a signature's tensors are
            not those of a shorter classification.
    """
    found: Dict[str, Any] = getattr(model.interpreter, "_get_full_signature_list", dict)()
    lengths = {name: bucket_length(name) for name in found}
    if not any(lengths.values()):
        return model
    start = time.perf_counter_ns()
    whole = functools.partial(wrapper_of(model).Invoke, 0)
    buckets = [Bucket(model.sequence_length, 0, model.input_index, model.output_index, whole)]
    for name, length in lengths.items():
        if length:
            buckets.append(_open_bucket(model, name, length))
    values = {item.name: getattr(model, item.name) for item in fields(model) if item.init}
    values["init_ns"] = model.init_ns + time.perf_counter_ns() - start
    return BucketedModel(
        **values, buckets=sorted(buckets, key=lambda bucket: bucket.sequence_length)
    )


def _open_bucket(model: Model, name: str, length: int) -> Bucket:
    """Allocates the graph of one signature."""
    runner = model.interpreter.get_signature_runner(name)
    given, output = runner.get_input_details(), runner.get_output_details()
    shapes: List[Any] = [
        [(item["dtype"], [int(size) for size in item["shape"]]) for item in side.values()]
        for side in (given, output)
    ]
    expected = [[(np.int32, [1, length])], [(np.float32, [1, model.num_classes])]]
    if shapes != expected or length >= model.sequence_length or _INPUT not in given:
        raise ValueError(
            f"signature {name!r} takes and gives {shapes}, expected {expected} with fewer than "
            f"{model.sequence_length} ids. Export the artifact again."
        )
    subgraph = int(runner._subgraph_index)
    wrapper = wrapper_of(model)
    try:
        wrapper.AllocateTensors(subgraph)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"signature {name!r} was refused by {model.runtime} {model.runtime_version}: {error}. "
            "Export the artifact again without --buckets."
        ) from error
    indices = (int(given[_INPUT]["index"]), int(output[_OUTPUT]["index"]))
    return Bucket(length, subgraph, *indices, functools.partial(wrapper.Invoke, subgraph))
