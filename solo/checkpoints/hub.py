"""Checkpoints of the Hugging Face Hub, `hf://ORG/REPO/FILE`: downloaded when asked for, into the Hub's own cache."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import MMLogger

from solo.checkpoints.source import file_sha256
from solo.errors import CheckpointError, printable

SCHEME = "hf://"
OFFLINE_VARIABLE = "HF_HUB_OFFLINE"
FORM = "hf://ORG/REPO/FILE, with @REVISION after REPO or #sha256=... at the end if they are to be checked"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/#]+))?/(?P<file>[^#]+?)(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?"
)


class HubFile(NamedTuple):
    """A file of a repository of the Hub.

    Attributes:
        repo: ORG/REPO.
        file: path in the repository.
        revision: branch, tag or commit; None for the main branch.
        sha256: what the file must have; None if the Hub's own is enough.
    """

    repo: str
    file: str
    revision: str | None
    sha256: str | None


def local_checkpoint(name: str | os.PathLike[str]) -> str:
    """The path of a checkpoint: of a local file as it is given, of a work folder its best one, of the Hub in its cache.

    A file of the Hub is downloaded if it is not in the cache, its sha256 compared and logged. `HF_ENDPOINT` names
    another server, `HF_HUB_OFFLINE=1` (`--offline`) keeps to the cache.

    Raises:
        CheckpointError: `name` is a URL, or the file cannot be had, or its content is another one.
    """
    text = os.fspath(name)
    if text.startswith(("http://", "https://")):
        raise CheckpointError(
            f"checkpoint {printable(text)} is a URL, which is not downloaded: fetch the file and give its path; files "
            "of the Hugging Face Hub can be given as hf://ORG/REPO/FILE"
        )
    if not text.startswith(SCHEME):
        return _of_folder(Path(text)) if os.path.isdir(text) else text
    wanted = parse_hub_name(text)
    path = _download(wanted, name=printable(text))
    found = file_sha256(path)
    # The Hub names the cached content of large files by their sha256.
    stated = wanted.sha256 or (path.resolve().name if _SHA256.fullmatch(path.resolve().name) else None)
    if stated is not None and found != stated.lower():
        raise CheckpointError(
            f"checkpoint {printable(text)}: its sha256 is {found}, expected {stated.lower()}; remove {path.resolve()} "
            "to download it again"
        )
    MMLogger.get_current_instance().info(f"{printable(text)} is {path}, sha256 {found}")
    return str(path)


def _of_folder(folder: Path) -> str:
    """The best checkpoint of a work folder, else the latest; the folder itself where there is none."""
    found = [path for path in folder.glob("*.pth") if path.is_file()]
    best = [path for path in found if path.name.startswith("best_")]
    if not found:
        return str(folder)
    chosen = max(best or found, key=lambda path: (path.stat().st_mtime_ns, path.name))
    MMLogger.get_current_instance().info(
        f"Of {printable(str(folder))} the {'best' if best else 'latest'}: {chosen.name}"
    )
    return str(chosen)


def parse_hub_name(name: str) -> HubFile:
    """Take `hf://ORG/REPO[@REVISION]/FILE[#sha256=...]` apart.

    Raises:
        CheckpointError: it has another form.
    """
    match = _NAME.fullmatch(name)
    if match is None or ".." in match["file"].split("/"):
        raise CheckpointError(f"checkpoint {printable(name)}: expected {FORM}")
    return HubFile(match["repo"], match["file"], match["revision"], match["sha256"])


def _download(wanted: HubFile, *, name: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import disable_progress_bars
    except ImportError:
        raise CheckpointError(
            f"checkpoint {name}: files of the Hub need the package huggingface_hub; `pip install solov2[hub]` brings it"
        ) from None
    is_offline = os.environ.get(OFFLINE_VARIABLE, "").upper() in ("1", "ON", "YES", "TRUE")
    disable_progress_bars()
    try:
        path = hf_hub_download(
            wanted.repo,
            wanted.file,
            revision=wanted.revision,
            endpoint=os.environ.get("HF_ENDPOINT"),
            local_files_only=is_offline,
        )
    except Exception as error:  # of the network, the server, the disk: whatever the client raises
        raise CheckpointError(f"checkpoint {name}: {_reason(error, wanted, is_offline=is_offline)}") from error
    return Path(path)


def _reason(error: Exception, wanted: HubFile, *, is_offline: bool) -> str:
    from huggingface_hub import errors

    # The more special ones come first: some are subclasses of others.
    if is_offline:
        return "it is not in the cache, and nothing is downloaded offline"
    reasons: tuple[tuple[Any, str], ...] = (
        (errors.GatedRepoError, f"access to {wanted.repo} has to be asked for on its page; then set HF_TOKEN"),
        (
            errors.RepositoryNotFoundError,
            f"there is no repository {wanted.repo}, or it is private and HF_TOKEN not set",
        ),
        (errors.RevisionNotFoundError, f"{wanted.repo} has no revision {wanted.revision}"),
        (errors.LocalEntryNotFoundError, "it is not in the cache, and the server cannot be reached"),
        (errors.EntryNotFoundError, f"{wanted.repo} has no file {wanted.file}"),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    first = next(iter(str(error).splitlines()), "")
    return f"it cannot be downloaded: {type(error).__name__}: {printable(first)[:200]}"
