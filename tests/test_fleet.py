"""Tests of one task on several devices: all at once, and who fails, fails alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tfpipe.fleet import format_fleet, on_each, raise_failures

DEVICES = ["ssh://one", "ssh://two", "ssh://three"]


def test_results_are_in_the_order_of_the_devices_and_made_at_once() -> None:
    together = threading.Barrier(3, timeout=10)

    def task(name: str) -> dict[str, Any]:
        together.wait()
        return {"device": name}

    results, failures = on_each(DEVICES, task)
    assert [result["device"] for result in results] == DEVICES and failures == []


def test_one_that_fails_fails_alone() -> None:
    def task(name: str) -> dict[str, Any]:
        if name == "ssh://two":
            raise ValueError("two: is off.")
        return {"device": name}

    results, failures = on_each(DEVICES, task)
    assert [result["device"] for result in results] == ["ssh://one", "ssh://three"]
    assert failures == [{"device": "ssh://two", "error": "two: is off."}]
    record = {"results": results, "failures": failures}
    assert format_fleet(record) == "device\nssh://one\nssh://three\nfailed: two: is off."
    with pytest.raises(ValueError, match="two: is off."):
        raise_failures(record)


def test_all_that_fail_are_one_error() -> None:
    def task(name: str) -> dict[str, Any]:
        raise OSError(f"{name} is off")

    with pytest.raises(ValueError, match="ssh://one is off\nssh://two is off"):
        on_each(DEVICES, task)


def test_name_of_no_device_is_refused_before_any_is_asked() -> None:
    with pytest.raises(ValueError, match="device='kitchen' is unknown"):
        on_each(["ssh://one", "kitchen"], lambda name: pytest.fail(name))
