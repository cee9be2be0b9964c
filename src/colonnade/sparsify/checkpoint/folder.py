"""A folder with the last checkpoints of one run and a manifest that says which are whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colonnade.errors import CheckpointError
from colonnade.sparsify.checkpoint.files import Files, write_atomically
from colonnade.sparsify.checkpoint.lock import FolderLock
from colonnade.sparsify.checkpoint.state_file import decode_state, encode_state

FORMAT = 1
KEPT = 2
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Record:
    """One whole checkpoint."""

    step: int
    file: str
    nbytes: int
    sha256: str


class CheckpointFolder:
    """Saves and loads; holds the folder's lock until `close`.

    A checkpoint counts from the moment that the manifest names it, which is written last. What the
    manifest does not name is ignored, whatever its name or age, and removed by the next save.
    """

    def __init__(self, path: Path | str, files: Files | None = None) -> None:
        self.path = Path(path)
        self._files = Files() if files is None else files
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot write there: {error.strerror}") from None

    def save(self, step: int, state: Any) -> Path:
        """Write a checkpoint; on an error what was saved before is still there."""
        records = self._records()
        data = encode_state(state)
        name = _free_name(step, {record.file for record in records})
        record = Record(step, name, len(data), hashlib.sha256(data).hexdigest())
        kept = [record, *[old for old in records if old.file != name]][:KEPT]
        self._write(self.path / name, data, records)
        self._write(self.path / MANIFEST, _manifest_bytes(kept), records)
        self._remove_others({item.file for item in kept})
        return self.path / name

    def save_aside(self, name: str, state: Any) -> Path:
        """Write a state to look at, from which no run resumes."""
        path = self.path / name
        self._write(path, encode_state(state), self._records())
        return path

    def load(self) -> tuple[int, Any] | None:
        """Step and state of the newest whole checkpoint; None in a new folder."""
        records = self._records()
        if not records:
            return None
        reasons: list[str] = []
        for record in records:
            data = self._read(record, reasons)
            if data is not None:
                return record.step, decode_state(data)
        raise CheckpointError(f"{self.path}: no checkpoint is whole: {'; '.join(reasons)}")

    def close(self) -> None:
        """Let other runs write."""
        self._lock.close()

    def _records(self) -> list[Record]:
        path = self.path / MANIFEST
        if not path.exists():
            return []
        try:
            text = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: cannot read it: {error.strerror}") from None
        return _parse_manifest(path, text)

    def _read(self, record: Record, reasons: list[str]) -> bytes | None:
        try:
            data = (self.path / record.file).read_bytes()
        except OSError as error:
            reasons.append(f"{record.file}: {error.strerror}")
            return None
        if hashlib.sha256(data).hexdigest() != record.sha256:
            reasons.append(f"{record.file}: {len(data)} bytes whose checksum is not the saved one")
            return None
        return data

    def _write(self, path: Path, data: bytes, records: list[Record]) -> None:
        try:
            write_atomically(path, data, self._files)
        except OSError as error:
            left = (
                f"the checkpoint of step {records[0].step} is intact" if records else "none before"
            )
            raise CheckpointError(
                f"{path}: cannot write {len(data)} bytes: {error.strerror}; {left}"
            ) from None

    def _remove_others(self, names: set[str]) -> None:
        for path in sorted(self.path.glob("step-*.safetensors*")):
            if path.name not in names:
                try:
                    self._files.remove(path)
                except OSError as error:
                    raise CheckpointError(
                        f"{path}: cannot remove the old checkpoint: {error.strerror}; the new one "
                        "is saved"
                    ) from None


def _free_name(step: int, taken: set[str]) -> str:
    # Never a file that the manifest names: a crash would leave it named and torn.
    names = (f"step-{step:09d}{suffix}.safetensors" for suffix in ("", "-1", "-2"))
    return next(name for name in names if name not in taken)


def _manifest_bytes(records: list[Record]) -> bytes:
    body = {"format": FORMAT, "checkpoints": [asdict(record) for record in records]}
    return json.dumps({"body": body, "sha256": _digest(body)}, indent=1).encode()


def _parse_manifest(path: Path, text: bytes) -> list[Record]:
    damaged = CheckpointError(
        f"{path}: the manifest is damaged; restore the folder from a copy, or start in a new one"
    )
    try:
        document = json.loads(text)
        body, digest = document["body"], document["sha256"]
        version = body["format"]
    except (ValueError, KeyError, TypeError):
        raise damaged from None
    if set(document) != {"body", "sha256"} or digest != _digest(body):
        raise damaged
    if version > FORMAT:
        raise CheckpointError(
            f"{path}: written in format {version} by a newer colonnade; this one reads up to "
            f"{FORMAT}"
        )
    return [Record(**record) for record in body["checkpoints"]]


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
