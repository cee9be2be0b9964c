"""Checkpoints: whatever fails while one is written, the last good one is there."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from colonnade.errors import CheckpointError
from colonnade.sparsify.checkpoint.files import Files
from colonnade.sparsify.checkpoint.folder import FORMAT, MANIFEST, CheckpointFolder, _digest
from colonnade.sparsify.checkpoint.state_file import decode_state, encode_state


def state_of(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((40,), float(step))}


def saved_step(folder: Path) -> int | None:
    checkpoints = CheckpointFolder(folder)
    loaded = checkpoints.load()
    checkpoints.close()
    if loaded is None:
        return None
    step, state = loaded
    assert state["step"] == step
    assert torch.equal(state["weights"], state_of(step)["weights"])
    return step


def save(folder: Path, step: int, files: Files | None = None) -> None:
    checkpoints = CheckpointFolder(folder, files)
    try:
        checkpoints.save(step, state_of(step))
    finally:
        checkpoints.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_state_round_trip() -> None:
    state = {
        "a": [1, 2.5, None, True, "x", float("inf"), 2**70, 0.1 + 0.2],
        3: (torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor(7), torch.zeros(0, 3)),
        "mask": torch.tensor([True, False]),
        "strided": torch.arange(6).reshape(2, 3).T,
        "nested": {"state": {0: {"step": torch.tensor(3.0)}}, "groups": [{"betas": (0.9, 0.99)}]},
    }
    back = decode_state(encode_state(state))
    assert back["a"] == state["a"]
    assert isinstance(back[3], tuple)
    assert back["nested"]["groups"] == [{"betas": (0.9, 0.99)}]
    for mine, other in [
        (state["strided"], back["strided"]),
        (state["mask"], back["mask"]),
        *zip(state[3], back[3], strict=True),
    ]:
        assert mine.dtype == other.dtype
        assert torch.equal(mine, other)


def test_state_refuses_objects() -> None:
    with pytest.raises(TypeError, match="got object"):
        encode_state({"x": object()})


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    assert saved_step(tmp_path) is None
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert saved_step(tmp_path) == 3
    assert names(tmp_path) == [
        "lock",
        MANIFEST,
        "step-000000002.safetensors",
        "step-000000003.safetensors",
    ]


def test_a_step_saved_again_does_not_overwrite_a_named_file(tmp_path: Path) -> None:
    for _ in range(5):
        save(tmp_path, 3)
        assert saved_step(tmp_path) == 3
    assert len(names(tmp_path)) == 4


class FailingFiles(Files):
    """Fails at one operation, by an error of the system or as if the process died there."""

    def __init__(self, fails_at: int, failure: BaseException) -> None:
        self.num_done = 0
        self._fails_at = fails_at
        self._failure = failure

    def _count(self) -> None:
        self.num_done += 1
        if self.num_done - 1 == self._fails_at:
            raise self._failure

    def create(self, path: Path) -> int:
        self._count()
        return super().create(path)

    def write(self, fd: int, data: memoryview) -> int:
        self._count()
        return super().write(fd, data[: max(1, len(data) // 2)])

    def sync(self, fd: int) -> None:
        self._count()
        super().sync(fd)

    def replace(self, source: Path, target: Path) -> None:
        self._count()
        super().replace(source, target)

    def sync_folder(self, path: Path) -> None:
        self._count()
        super().sync_folder(path)

    def remove(self, path: Path) -> None:
        self._count()
        super().remove(path)


class Death(BaseException):
    """The process ends here."""


def num_operations(folder: Path) -> int:
    files = FailingFiles(-1, Death())
    save(folder, 1)
    save(folder, 2)
    save(folder, 3, files)
    return files.num_done


def test_death_at_any_operation_of_a_save(tmp_path: Path) -> None:
    num = num_operations(tmp_path / "count")
    assert num > 20
    seen = set()
    for fails_at in range(num):
        folder = tmp_path / str(fails_at)
        save(folder, 1)
        save(folder, 2)
        with pytest.raises(Death):
            save(folder, 3, FailingFiles(fails_at, Death()))
        step = saved_step(folder)
        assert step in (2, 3)
        seen.add(step)
        save(folder, 4)
        assert saved_step(folder) == 4
        assert not [name for name in names(folder) if name.endswith(".tmp")]
    assert seen == {2, 3}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_an_error_at_any_operation_of_a_save(tmp_path: Path, code: int) -> None:
    for fails_at in range(num_operations(tmp_path / "count")):
        folder = tmp_path / str(fails_at)
        save(folder, 1)
        save(folder, 2)
        failure = OSError(code, os.strerror(code))
        with pytest.raises(CheckpointError) as caught:
            save(folder, 3, FailingFiles(fails_at, failure))
        message = str(caught.value)
        assert str(folder) in message
        assert os.strerror(code) in message
        assert "the checkpoint of step 2 is intact" in message or "the new one is saved" in message
        assert saved_step(folder) in (2, 3)
        assert not [name for name in names(folder) if name.endswith(".tmp")]


class ForgetfulDisk(Files):
    """Remembers what would be left if the power went: synced bytes under synced names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[int, Path] = {}
        self._synced: dict[int, bytes] = {}
        self._durable = self._listing()
        self.snapshots = [dict(self._durable)]

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self._paths[fd] = path
        self._synced[self._inode(path)] = b""
        self._note()
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        written = super().write(fd, data[: max(1, len(data) // 2)])
        self._note()
        return written

    def sync(self, fd: int) -> None:
        super().sync(fd)
        path = self._paths[fd]
        self._synced[self._inode(path)] = path.read_bytes()
        self._note()

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self._note()
        # The system may write names at any time, and this one before others.
        listing = self._listing()
        self.snapshots += [listing, self._durable | {target.name: listing[target.name]}]

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._durable = self._listing()
        self._note()

    def remove(self, path: Path) -> None:
        super().remove(path)
        self._note()
        self.snapshots.append(self._listing())

    def _inode(self, path: Path) -> int:
        return path.stat().st_ino

    def _listing(self) -> dict[str, bytes]:
        files = [path for path in self._folder.iterdir() if path.name != "lock"]
        return {p.name: self._synced.get(self._inode(p), p.read_bytes()) for p in files}

    def _note(self) -> None:
        self.snapshots.append(dict(self._durable))


def test_power_loss_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    save(folder, 1)
    save(folder, 2)
    disk = ForgetfulDisk(folder)
    save(folder, 3, disk)
    steps = []
    for i, files in enumerate(disk.snapshots):
        copy = tmp_path / str(i)
        copy.mkdir()
        for name, data in files.items():
            (copy / name).write_bytes(data)
        steps.append(saved_step(copy))
    assert set(steps) == {2, 3}
    assert steps[-1] == 3


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    newest = tmp_path / "step-000000002.safetensors"
    whole = newest.read_bytes()
    for position in range(0, len(whole), 23):
        newest.write_bytes(flipped(whole, position))
        assert saved_step(tmp_path) == 1  # the one before, which is whole
    newest.write_bytes(whole[:-1])
    assert saved_step(tmp_path) == 1
    (tmp_path / "step-000000001.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole: .*checksum.*No such file"):
        saved_step(tmp_path)


def test_a_flipped_bit_in_the_manifest_is_noticed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    manifest = tmp_path / MANIFEST
    whole = manifest.read_bytes()
    for position in range(0, len(whole), 5):
        manifest.write_bytes(flipped(whole, position))
        try:
            step = saved_step(tmp_path)
        except CheckpointError:
            continue
        assert step == 1  # white space between values


def flipped(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1 << (position % 8)
    return bytes(changed)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    body = json.loads((tmp_path / MANIFEST).read_text())["body"] | {"format": FORMAT + 1}
    (tmp_path / MANIFEST).write_text(json.dumps({"body": body, "sha256": _digest(body)}))
    with pytest.raises(CheckpointError, match=f"format {FORMAT + 1} by a newer .* up to {FORMAT}"):
        saved_step(tmp_path)


def test_one_writer(tmp_path: Path) -> None:
    first = CheckpointFolder(tmp_path)
    with pytest.raises(CheckpointError, match="another session of this process"):
        CheckpointFolder(tmp_path)
    code = "import sys, pathlib; from colonnade.sparsify.checkpoint.lock import FolderLock as L\n"
    code += "lock = L(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    other = subprocess.run(command, capture_output=True, text=True)
    assert f"another run (process {os.getpid()}) writes there" in other.stderr
    first.close()
    subprocess.run(command, check=True)
    # That process died with the lock held: nothing is left of it.
    CheckpointFolder(tmp_path).close()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write there"):
        CheckpointFolder(tmp_path / "file" / "run")
