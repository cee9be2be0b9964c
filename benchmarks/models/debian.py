"""Pinned data packages of Debian: fetched by name, unpacked into the cache, never installed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from models.cache import cache_dir, written_whole
from models.packages import PackageCorruptError, PackageUnavailableError

TIMEOUT_S = 600


@dataclass(frozen=True)
class DebianPackage:
    """One architecture-independent .deb."""

    name: str
    version: str
    sha256: str
    holds: str
    licence: str


DEBIAN_PACKAGES: dict[str, DebianPackage] = {
    package.name: package
    for package in (
        DebianPackage(
            "dataset-fashion-mnist",
            "0.0~git20200523.55506a9-1",
            "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
            "Fashion-MNIST: 60,000 and 10,000 labelled images",
            "MIT",
        ),
    )
}


def debian_files(name: str) -> Path:
    """The folder of a pinned package's files, fetched and unpacked when it is not there yet."""
    package = DEBIAN_PACKAGES[name]
    stem = f"{package.name}-{package.sha256[:12]}"
    folder = cache_dir() / "packages" / f"{stem}.files"
    if folder.is_dir():
        return folder
    archive = cache_dir() / "packages" / f"{stem}.deb"
    if not archive.exists():
        _download(package, archive)
    _verify(package, archive)
    with written_whole(folder) as part:
        _call(["dpkg-deb", "--extract", str(archive), str(part)], package)
    return folder


def _download(package: DebianPackage, path: Path) -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for needed in ("lists/partial", "cache/archives/partial", "deb"):
            (folder / needed).mkdir(parents=True)
        # Its own lists: the caller need not be root, and the system's may be old.
        options = ["-qq", "-o", f"Dir::State::Lists={folder / 'lists'}"]
        options += ["-o", f"Dir::Cache={folder / 'cache'}", "-o", "Debug::NoLocking=1"]
        options += ["-o", f"APT::Sandbox::User={folder.owner()}"]
        wanted = f"{package.name}={package.version}"
        _call(["apt-get", *options, "update"], package)
        _call(["apt-get", *options, "download", wanted], package, folder / "deb")
        with written_whole(path) as part:
            shutil.copyfile(next((folder / "deb").glob("*.deb")), part)


def _verify(package: DebianPackage, path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        path.unlink()
        raise PackageCorruptError(
            f"{package.name} {package.version}: SHA-256 {digest}, expected {package.sha256}"
        )


def _call(command: list[str], package: DebianPackage, folder: Path | None = None) -> None:
    where = f"{package.name} {package.version} ({package.holds}) cannot be fetched"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise PackageUnavailableError(f"{where}: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"]
        raise PackageUnavailableError(f"{where}: {lines[-1]}")
