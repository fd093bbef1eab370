"""Tests of dividing texts over devices: the order, the fair share, and devices that are lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tfpipe import shards
from tfpipe.cli import cli
from tfpipe.devices import DeviceLostError
from tfpipe.shards import ShardQueue, predict_fleet

TEXTS = [f"text {number}" for number in range(200)]


def label(texts: list[str]) -> list[dict[str, Any]]:
    return [{"text": text, "label": text[-1], "score": 1.0} for text in texts]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Makes devices of functions that take a part of the texts; returns their names."""

    def install(**devices: Callable[[list[str]], list[dict[str, Any]]]) -> list[str]:
        names = {f"ssh://{name}": task for name, task in devices.items()}

        def predict(artifact: Path, texts: list[str], *, device: str) -> dict[str, Any]:
            return {"predictions": names[device](texts)}

        monkeypatch.setattr(shards, "predict", predict)
        monkeypatch.setattr(shards, "MIN_SHARD", 10)
        return list(names)

    return install


def lose(_: list[str]) -> list[dict[str, Any]]:
    raise DeviceLostError("ssh://lost: no connection.")


def test_order_is_that_of_the_texts(fake: Any) -> None:
    def slow(texts: list[str]) -> list[dict[str, Any]]:
        time.sleep(0.02)
        return label(texts)

    found = predict_fleet(Path("a"), TEXTS, fake(slow=slow, quick=label))
    assert found["predictions"] == label(TEXTS)
    assert (found["complete"], found["failures"]) == (True, [])
    slow_share, quick_share = (entry["num_texts"] for entry in found["devices"])
    assert slow_share + quick_share == 200 and quick_share > slow_share


def test_part_of_a_lost_device_is_done_by_another(fake: Any) -> None:
    taken = threading.Event()

    def die_after_taking(texts: list[str]) -> list[dict[str, Any]]:
        taken.set()
        return lose(texts)

    def wait_then_work(texts: list[str]) -> list[dict[str, Any]]:
        assert taken.wait(5)
        return label(texts)

    found = predict_fleet(Path("a"), TEXTS, fake(dies=die_after_taking, works=wait_then_work))
    assert found["predictions"] == label(TEXTS) and found["complete"] is True
    assert found["failures"] == [{"device": "ssh://dies", "error": "ssh://lost: no connection."}]


def test_device_that_is_done_waits_for_a_part_that_may_still_fail(fake: Any) -> None:
    def die_late(texts: list[str]) -> list[dict[str, Any]]:
        time.sleep(0.3)
        return lose(texts)

    found = predict_fleet(Path("a"), TEXTS[:20], fake(late=die_late, works=label))
    assert found["predictions"] == label(TEXTS[:20])


def test_what_was_done_before_all_were_lost_is_kept_and_marked(fake: Any) -> None:
    calls: list[int] = []

    def die_later(texts: list[str]) -> list[dict[str, Any]]:
        calls.append(1)
        return label(texts) if len(calls) < 3 else lose(texts)

    found = predict_fleet(Path("a"), TEXTS, fake(one=die_later, two=die_later))
    assert found["complete"] is False and len(found["failures"]) == 2
    assert [entry["text"] for entry in found["predictions"]] == TEXTS
    labels = [entry["label"] for entry in found["predictions"]]
    assert 0 < labels.count(None) < len(labels)


def test_all_lost_at_once_is_an_error(fake: Any) -> None:
    with pytest.raises(ValueError, match="no connection.\nssh://lost: no connection"):
        predict_fleet(Path("a"), TEXTS, fake(one=lose, two=lose))


def test_no_texts_are_no_predictions(fake: Any) -> None:
    found = predict_fleet(Path("a"), [], fake(one=label, two=label))
    assert (found["predictions"], found["complete"]) == ([], True)


def test_command_prints_what_was_done_and_is_exit_1(fake: Any, tmp_path: Path) -> None:
    calls: list[int] = []

    def die_second(texts: list[str]) -> list[dict[str, Any]]:
        calls.append(1)
        return label(texts) if len(calls) == 1 else lose(texts)

    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n")
    arguments = ["predict", str(tmp_path), "--file", str(tmp_path / "t.txt"), "--format", "json"]
    for name in fake(one=die_second, two=die_second):
        arguments += ["--device", name]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1 and "no connection" in done.stderr
    assert json.loads(done.stdout)["complete"] is False


def test_error_of_a_task_is_the_callers() -> None:
    queue = ShardQueue(["a"], 1)
    with pytest.raises(DeviceLostError, match="no connection"):
        queue.work(lose)
    assert queue.work(label) == 1 and queue.done == {0: label(["a"])}
