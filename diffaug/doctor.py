"""A check of this machine: run it before a first long job, or after one that failed."""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires
from importlib.metadata import version as installed
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError
from urllib.request import urlopen

from packaging.requirements import Requirement

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.execution import Execution, device_class
from diffaug.models import find_checkpoint
from diffaug.models.card import shipped_cards
from diffaug.storage.find import filesystem
from diffaug.version import __version__

__all__ = ["PLATFORMS", "Finding", "examine"]

_AVX512, _AVX2 = "Linux on x86-64 with AVX512-bf16", "Linux on x86-64 with AVX2"
_CUDA, _MAC = "Linux on x86-64 with CUDA", "macOS on arm64"

PLATFORMS = {
    _AVX512: "tested",
    _AVX2: "tested in part",
    _CUDA: "never run",
    _MAC: "never run",
    "Windows": "unsupported",
}
"""The rows of docs/platforms.md; a machine in none of them is `never run`."""

_SECONDS = 10
"""How long to wait for Prefect's server."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        what: what was checked.
        found: what was found.
        state: `ok`; `note` if something optional is missing; `wrong` if something must be fixed.
        cure: what to do about it; empty if nothing needs to be done.
    """

    what: str
    found: str
    state: Literal["ok", "note", "wrong"] = "ok"
    cure: str = ""


def examine(urls: list[str]) -> Iterator[Finding]:
    """Check versions, devices, models, the given places of storage, and Prefect's server.

    Args:
        urls: folders or files, on any fsspec URL. In a folder, a small file is written and then
            removed.

    Raises:
        ConfigError: a URL is blank.
    """
    for url in urls:
        storage.refuse_nowhere(url, "a place to test")
    yield Finding("diffaug", f"{__version__}, Python {platform.python_version()}")
    yield from _packages()
    yield _platform()
    yield from _devices()
    yield from _models()
    for url in urls:
        yield _place(url)
    yield _prefect()


def _packages() -> Iterator[Finding]:
    """The packages that diffaug requires; per extra its own, without those of extras it names."""
    extras = [name for name in metadata("diffaug").get_all("Provides-Extra") or () if name != "dev"]
    groups: dict[str, list[Requirement]] = {"": []}
    for line in requires("diffaug") or ():
        requirement = Requirement(line)
        if requirement.name == "diffaug":
            continue
        extra = next((name for name in extras if _belongs(requirement, name)), None)
        if requirement.marker is None:
            groups[""].append(requirement)
        elif extra is not None:
            groups.setdefault(extra, []).append(requirement)
    for extra, requirements in groups.items():
        name = f"packages of the extra {extra}" if extra else "packages"
        cure = f"pip install 'diffaug[{extra}]'" if extra else "pip install --upgrade diffaug"
        bad = [fault for fault in map(_fault, requirements) if fault]
        here = ", ".join(f"{one.name} {_version(one.name)}" for one in requirements)
        if not bad:
            yield Finding(name, here)
        else:
            yield Finding(name, "; ".join(bad), "note" if extra else "wrong", cure)


def _belongs(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra})


def _version(name: str) -> str | None:
    try:
        return installed(name)
    except PackageNotFoundError:
        return None


def _fault(requirement: Requirement) -> str:
    """What is wrong with a package; empty if nothing is."""
    here = _version(requirement.name)
    if here is None:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(here, prereleases=True):
        return f"{requirement.name} is {here}, but must be {requirement.specifier}"
    return ""


def _platform() -> Finding:
    """This machine's row in the table of platforms."""
    import torch

    name = f"{platform.system()} on {platform.machine()}"
    kind = device_class("cpu")
    match platform.system(), platform.machine():
        case "Linux", "x86_64" if torch.cuda.is_available():
            name = _CUDA
        case "Linux", "x86_64" if kind == "cpu/avx512_bf16":
            name = _AVX512
        case "Linux", "x86_64" if kind == "cpu/avx2":
            name = _AVX2
        case "Linux", "x86_64":
            name = f"Linux on x86-64 with {kind.removeprefix('cpu/')}"
        case "Darwin", "arm64":
            name = _MAC
    state = PLATFORMS.get(name, "never run")
    if state == "tested":
        return Finding("platform", f"{name}: {state}")
    cure = "after a first small job, check it: diffaug verify OUTPUT --replay 20"
    return Finding("platform", f"{name}: {state}", "note", cure)


def _devices() -> Iterator[Finding]:
    import torch

    cores, threads = os.cpu_count(), torch.get_num_threads()
    yield Finding("processor", f"{device_class('cpu')}, {cores} cores, torch uses {threads}")
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        memory = device.total_memory / 2**30
        found = f"{device.name}, {memory:.0f} GiB, {device_class(f'cuda:{index}')} in manifests"
        yield Finding(f"cuda:{index}", found)
    if not torch.cuda.is_available():
        cure = "to use a GPU, install the torch build for it: https://pytorch.org/get-started"
        yield Finding("GPU", "torch finds no usable GPU", "note", cure)
    chosen = Execution.choose()
    slow = " (bfloat16 is not fast here)" if chosen.dtype == "float32" else ""
    yield Finding("defaults of a job", f"{chosen.device}, {chosen.dtype}{slow}")


def _models() -> Iterator[Finding]:
    for card in shipped_cards():
        try:
            digest = find_checkpoint(card.name).digest
        except (ConfigError, OSError) as error:
            yield Finding(f"model {card.name}", str(error), "wrong", "reinstall diffaug")
        else:
            yield Finding(f"model {card.name}", f"complete, digest {digest[:12]}")


def _place(url: str) -> Finding:
    """Whether a place can be reached; if a folder, whether it can be written to."""
    name = storage.public_url(url)
    try:
        fs, path = filesystem(url)
        if fs.isfile(path):
            with storage.open_read(url) as stream:
                stream.read(1)
            return Finding(name, "a file that can be read")
        return _folder(url, name)
    except ConfigError as error:
        return Finding(name, str(error), "wrong", "follow the message")
    except OSError as error:
        cure = "check the address, the credentials, and that the store is running"
        return Finding(name, f"cannot be reached: {error}", "wrong", cure)


def _folder(url: str, name: str) -> Finding:
    """Write, read and remove a file; a local folder that does not exist is not created."""
    if storage.is_local(url):
        path = Path(filesystem(url)[1])
        url = str(next(folder for folder in (path, *path.parents) if folder.exists()))
    probe = storage.join(url, f".diffaug-doctor-{secrets.token_hex(4)}")
    data = secrets.token_bytes(64)
    try:
        storage.replace(data, probe)
    except OSError as error:
        cure = "an OUTPUT must be writable; a SOURCE need not be"
        return Finding(name, f"cannot be written to: {error}", "wrong", cure)
    try:
        same = storage.read_bytes(probe) == data
    finally:
        storage.remove(probe)
    if not same:
        return Finding(name, "returns other bytes than were written", "wrong", "do not use it")
    return Finding(name, "a file was written, read and removed")


def _prefect() -> Finding:
    """Whether the server that flows would use is healthy, queried as a client does."""
    here = _version("prefect")
    if here is None:
        cure = "only flows require it: pip install 'diffaug[flows]'"
        return Finding("Prefect", "not installed", "note", cure)
    url = _prefect_url()
    if not url:
        cure = "prefect server start, then prefect config set PREFECT_API_URL=http://…/api"
        found = f"{here}; no server is configured, so a flow starts its own"
        return Finding("Prefect", found, "note", cure)
    name = f"Prefect's server at {storage.public_url(url)}"
    try:
        with urlopen(f"{url}/health", timeout=_SECONDS) as answer:
            healthy = json.load(answer) is True
        with urlopen(f"{url}/admin/version", timeout=_SECONDS) as answer:
            version = json.load(answer)
    except HTTPError as error:
        cure = "check PREFECT_API_URL: it ends in /api"
        return Finding(name, f"responds with {error.code} {error.reason}", "wrong", cure)
    except (OSError, ValueError) as error:
        cure = "start it (prefect server start), or correct PREFECT_API_URL"
        return Finding(name, f"does not respond: {error}", "wrong", cure)
    if not healthy:
        return Finding(name, "responds but reports unhealthy", "wrong", "check its log")
    if version != here:
        found = f"healthy, but its version is {version}, and the one here is {here}"
        return Finding(name, found, "note", "run the same version at both ends")
    return Finding(name, f"healthy, version {version}")


def _prefect_url() -> str:
    """The URL in Prefect's own settings: environment, profile, or prefect.toml in this folder."""
    code = "from prefect.settings import get_current_settings as s; print(s().api.url or '')"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return process.stdout.strip().rstrip("/")
