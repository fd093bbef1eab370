"""Token ids → checked, run, output: what every kind of loaded model shares."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Sequence

import numpy as np


class LoadedModel:
    """A model that is ready: one int32 input (1, T), one float32 output (1, C).

    Attributes:
        runtime: Name of the runtime that loaded it.
        runtime_version: Its version.
        sequence_length: T, token ids of one input.
        bucket_lengths: Lengths of the graphs that texts are shared among; empty for one graph.
        set_input: Copies int32 (1, T) token ids into the input.
        invoke: Runs the model on the input that was set.
        get_output: Returns a copy of the last output, float32 (C,).
    """

    runtime: str
    runtime_version: str
    sequence_length: int
    bucket_lengths: Sequence[int] = ()
    set_input: Callable[[np.ndarray[Any, Any]], None]
    invoke: Callable[[], None]
    get_output: Callable[[], np.ndarray[Any, Any]]

    def count_nodes(self) -> Optional[Dict[str, Any]]:
        """Returns what a delegate really took of the graph, as `delegation.count_nodes` does."""
        return None

    def explain(self, error: Exception, token_ids: np.ndarray[Any, Any]) -> str:
        """Returns what a failed call means, and what to do."""
        return (
            f"the runtime {self.runtime} {self.runtime_version} failed on token ids from "
            f"{token_ids.min()} to {token_ids.max()}: {error}. Give ids that the model's "
            "embedding has, or export the model again."
        )

    def run(self, token_ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Returns the output, float32 (C,), for int32 token ids of shape (1, T).

        Raises:
            ValueError: Another shape or type, or the runtime fails.
        """
        if token_ids.shape != (1, self.sequence_length) or token_ids.dtype != np.int32:
            raise ValueError(
                f"token_ids is {token_ids.dtype} {token_ids.shape}, the model takes int32 "
                f"(1, {self.sequence_length}). Pad or cut the text's ids to that length."
            )
        self.set_input(token_ids)
        try:
            self.invoke()
        except (RuntimeError, IndexError) as error:
            raise ValueError(self.explain(error, token_ids)) from error
        return self.get_output()
