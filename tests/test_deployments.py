"""Tests of the links to deployed artifacts: forward, back, and what a sweep spares."""

from __future__ import annotations

import hashlib
import io
import os
import time
from pathlib import Path

import pytest

from device_runner.deployments import Deployments
from device_runner.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def deployments(store: Store) -> Deployments:
    return Deployments(store)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def deployable(store: Store, data: bytes) -> str:
    digest = sha(b"folder of " + data)
    store.receive(sha(data), len(data), io.BytesIO(data).read)
    store.place(digest, {"a": sha(data)})
    return digest


def test_deploy_and_undo_move_one_link(store: Store, deployments: Deployments) -> None:
    one, two = deployable(store, b"one"), deployable(store, b"two")
    first = deployments.deploy("app", one)
    assert (first["current"], first["previous"]) == (one, None)
    second = deployments.deploy("app", two)
    assert (second["current"], second["previous"]) == (two, one)
    assert deployments.deploy("app", two) == second
    assert Path(second["path"], "a").read_bytes() == b"two"
    assert deployments.undo("app")["current"] == one
    assert Path(second["path"], "a").read_bytes() == b"one"
    assert deployments.undo("app")["current"] == two


def test_undo_without_a_version_before_is_refused(store: Store, deployments: Deployments) -> None:
    with pytest.raises(ValueError, match="'app' has no deployed version here, expected two"):
        deployments.undo("app")
    deployments.deploy("app", deployable(store, b"one"))
    with pytest.raises(ValueError, match="'app' has one deployed version here, expected two"):
        deployments.undo("app")


def test_deploy_of_what_was_not_placed_is_refused(store: Store, deployments: Deployments) -> None:
    with pytest.raises(ValueError, match="was not placed, expected a placed one"):
        deployments.deploy("app", "0" * 64)
    with pytest.raises(ValueError, match="name='../x', expected a plain name"):
        deployments.deploy("../x", "0" * 64)


def test_sweep_removes_only_what_is_old_and_needed_by_nothing(
    store: Store, deployments: Deployments, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = deployable(store, b"kept"), deployable(store, b"gone")
    deployments.deploy("app", kept)
    (Path(store.folder) / "work" / "left").mkdir()
    day = 24 * 3600.0
    for number in range(8):
        monkeypatch.setattr(time, "time", lambda number=number: number * day)
        store.sweep(deployments.needed())
        assert len(os.listdir(store.folder + "/placed")) == 2
    monkeypatch.setattr(time, "time", lambda: 8 * day)
    fresh = deployable(store, b"fresh")
    store.sweep(deployments.needed())
    assert sorted(os.listdir(store.folder + "/placed")) == sorted([kept, fresh])
    store.sweep(deployments.needed())  # the removed folder's object has lost its last link by now
    assert store.missing([sha(b"kept"), sha(b"fresh"), sha(b"gone")]) == [sha(b"gone")]
    assert os.listdir(store.folder + "/work") == []
    assert gone not in os.listdir(store.folder + "/placed")
