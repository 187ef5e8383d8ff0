"""Fetching the required files of a hub repository to the local cache, with readable errors."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from diffaug.errors import ConfigError, os_error_number
from diffaug.models.layout import choose, kind_of, parts, read_index

__all__ = ["fetch_autoencoder", "fetch_file", "fetch_pipeline", "file_names", "is_hub_name"]

_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+(@[\w./-]+)?")
_VARIANTS = "*.*.safetensors"
_WEIGHTS = "diffusion_pytorch_model*.safetensors"
_FLAT = ("config.json", "scheduler_config.json", _WEIGHTS, f"{_WEIGHTS}.index.json")
_OF_A_PART = ("*.json", "*.safetensors", "*.model", "merges.txt", "vocab.txt")


def is_hub_name(reference: str) -> bool:
    """Whether a reference has the form org/name[@revision]."""
    return _NAME.fullmatch(reference) is not None


def _split(reference: str) -> tuple[str, str | None]:
    name, _, revision = reference.partition("@")
    return name, revision or None


@cache
def fetch_pipeline(reference: str) -> Path:
    """The snapshot folder of a pipeline, named by its commit; only the parts in use are fetched.

    A reference is resolved once a process, so that a branch that moves does not change the model
    within a job.

    Raises:
        ConfigError: the repository does not exist, may not be read, is not a pipeline, or is
            neither reachable nor cached.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    name, revision = _split(reference)
    with _explained("model", reference):
        try:
            folder = Path(hf_hub_download(name, "model_index.json", revision=revision)).parent
        except RemoteEntryNotFoundError:
            names = HfApi().list_repo_files(name, revision=revision)
            raise ConfigError(
                f"model {reference}: it is not a diffusers pipeline: it has no model_index.json"
                f"{kind_of(names)}"
            ) from None
        used = parts(read_index(reference, folder))
        patterns = ["README.md", *(f"{part}/{name}" for part in used for name in _OF_A_PART)]
        for allowed in (patterns, list(_FLAT)):
            snapshot_download(
                name, revision=folder.name, allow_patterns=allowed, ignore_patterns=_VARIANTS
            )
            if any((folder / part).is_dir() for part in used):
                break  # the weights at the top do not belong to it
    return folder


@cache
def fetch_file(what: str, reference: str, usual: str) -> Path:
    """The safetensors file of a repository: the one with the usual name, or the only one.

    Raises:
        ConfigError: as for `fetch_pipeline`, or there is no such file, or more than one.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    name, revision = _split(reference)
    with _explained(what, reference):
        try:
            return Path(hf_hub_download(name, usual, revision=revision))
        except RemoteEntryNotFoundError:
            names = HfApi().list_repo_files(name, revision=revision)
        except LocalEntryNotFoundError as unreachable:
            try:
                folder = snapshot_download(name, revision=revision, local_files_only=True)
            except LocalEntryNotFoundError:
                raise unreachable from unreachable.__cause__
            names = [path.name for path in Path(folder).iterdir()]
            if not any(name.endswith(".safetensors") for name in names):
                raise unreachable from unreachable.__cause__
        return Path(hf_hub_download(name, choose(what, reference, names, usual), revision=revision))


@cache
def fetch_autoencoder(reference: str) -> Path:
    """The folder of an autoencoder's config.json and weights: a repository's top, or its vae/.

    Raises:
        ConfigError: as for `fetch_pipeline`, or the repository holds no autoencoder.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, RemoteEntryNotFoundError

    name, revision = _split(reference)
    with _explained("autoencoder", reference):
        prefix = ""
        try:
            config = hf_hub_download(name, "config.json", revision=revision)
        except EntryNotFoundError:  # not in the repository or, without the hub, not in the cache
            prefix = "vae/"
            try:
                config = hf_hub_download(name, "vae/config.json", revision=revision)
            except RemoteEntryNotFoundError:
                raise ConfigError(
                    f"autoencoder {reference}: it has neither a config.json nor a vae/config.json: "
                    "give a repository of a diffusers autoencoder"
                ) from None
        folder = Path(config).parent
        snapshot_download(
            name,
            revision=folder.parent.name if prefix else folder.name,
            allow_patterns=[prefix + _WEIGHTS, f"{prefix}{_WEIGHTS}.index.json"],
            ignore_patterns=_VARIANTS,
        )
    return folder


def file_names(reference: str) -> list[str]:
    """The names of a repository's files, for error messages; empty if it is out of reach."""
    from huggingface_hub import HfApi

    name, revision = _split(reference)
    try:
        with _explained("model", reference):
            return HfApi().list_repo_files(name, revision=revision)
    except ConfigError:
        return []


@contextmanager
def _explained(what: str, reference: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into a ConfigError with a cure."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # the errors of its HTTP library are not part of its interface
        raise ConfigError(f"{what} {reference}: {_sentence(reference, error)}") from error


def _sentence(reference: str, error: Exception) -> str:
    from huggingface_hub import constants, errors

    name, revision = _split(reference)
    page = f"{constants.ENDPOINT}/{name}"
    cause = error
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return (
            "HF_HUB_OFFLINE is set, so the hub cannot be reached, and the local cache "
            f"{constants.HF_HUB_CACHE} does not hold all of it: unset HF_HUB_OFFLINE and run once "
            "with a network, or give a local folder"
        )
    if isinstance(cause, errors.HfHubHTTPError):
        return _answer(page, revision, cause)
    if isinstance(cause, errors.FileMetadataError):
        return f"{constants.ENDPOINT} does not answer as a hub does: check HF_ENDPOINT or the proxy"
    if isinstance(cause, errors.HFValidationError):
        return f"that is not a valid name on the hub: {_first_line(cause)}"
    if isinstance(cause, (errors.LocalEntryNotFoundError, ConnectionError)) or cause is not error:
        return (
            f"the hub {constants.ENDPOINT} cannot be reached, and the local cache "
            f"{constants.HF_HUB_CACHE} does not hold all of it: check the network, or give a local "
            "folder"
        )
    if os_error_number(cause) in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no space is left in the cache {constants.HF_HUB_CACHE}: free some space, or set "
            "HF_HOME to a folder on a larger disk"
        )
    if isinstance(cause, OSError) and cause.errno is not None:
        return (
            f"the cache {constants.HF_HUB_CACHE} cannot be used ({cause.strerror}): set HF_HOME to "
            "a writable folder"
        )
    return (
        f"it could not be fetched ({type(cause).__name__}: {_first_line(cause)}): check the "
        "network and run it again; what has been downloaded is kept"
    )


def _answer(page: str, revision: str | None, error: Exception) -> str:
    """The meaning of a hub's HTTP error, and the cure."""
    from huggingface_hub import errors

    assert isinstance(error, errors.HfHubHTTPError)
    log_in = "set HF_TOKEN or run `hf auth login`"
    if isinstance(error, errors.GatedRepoError):
        return f"its publisher has gated it: accept its licence at {page}, then {log_in}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "the hub has no such repository, or it is private: check the name or, if it is "
            f"private, {log_in}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {revision}: its commits and branches are at {page}/commits"
    if isinstance(error, errors.DisabledRepoError):
        return f"the hub has disabled it: see {page}"
    status = error.response.status_code
    if status == 401:
        return f"the hub rejects the token: {log_in} again, or unset HF_TOKEN"
    if status == 403:
        return f"the hub forbids this token to read it: give one with read access to {page}"
    if status == 429:
        return f"the hub has had too many requests from here: wait, or {log_in} for a higher limit"
    if status >= 500:
        return (
            f"the hub failed (status {status}), and it is not in the local cache: try again later"
        )
    return f"the hub refused it (status {status}): {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "without a reason"
