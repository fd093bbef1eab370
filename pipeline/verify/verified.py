"""An artifact's verify.json → nothing, or an error: whether its file is known to be right."""

from __future__ import annotations

import json
from pathlib import Path


def require_verified(path: Path, model_sha256: str) -> None:
    """Refuses an artifact that is not known to compute what its model does.

    Args:
        path: The artifact folder.
        model_sha256: Digest of the model's file as the manifest has it.

    Raises:
        ValueError: verify.json is missing or damaged, says that the artifact failed, or is about
            another file.
    """
    file = path / "verify.json"
    try:
        verified = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} has no verify.json, and only what is verified is measured. Run `tfpipe verify "
            f"{path}` first."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{file} is not JSON ({error}). Run `tfpipe verify {path}` again."
        ) from error
    found = verified if isinstance(verified, dict) else {}
    if found.get("passed") is not True:
        why = found.get("failures") or ["no reason is given"]
        raise ValueError(
            f"{path} did not pass its verification ({'; '.join(map(str, why))}), so its latency "
            "means nothing. Export it again, then run `tfpipe verify` on it."
        )
    if found.get("model_sha256") != model_sha256:
        raise ValueError(
            f"{file} is about the model {found.get('model_sha256')}, the manifest has "
            f"{model_sha256}. Run `tfpipe verify {path}` again."
        )
