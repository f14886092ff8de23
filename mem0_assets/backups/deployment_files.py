"""Copies the small text files of a deployment (.env, compose file, ...) into a backup, without a secret in clear.

In January 2026 the database was recreated with new credentials and another embedder: what `.env` had said before was
gone. The files say it, so they belong into each backup; and a backup is copied to places that must not know a password.

Secrets are masked by the rules of masking.py. Then a second look, which knows nothing of places and syntax, asks whether
any of them still stands anywhere, in any form it may take. If so, nothing is written at all.
"""

import base64
import json
import os
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mem0_assets.backups.files import HashedFile, sync_folder
from mem0_assets.backups.manifest import BackupFile
from mem0_assets.backups.masking import (
    Secret,
    UnreadableTextError,
    find_secrets,
    hunted,
    is_env,
    masked,
    passed_on,
    places,
)
from mem0_assets.backups.secret_words import MASK, is_secret_name, secret_part
from mem0_assets.compose import read_env
from mem0_assets.errors import Mem0AssetsError, RefusedError

LARGEST_BYTES = 1 << 20
SHORTEST_BASE64 = 8  # a shorter piece may be a word by chance


class DeploymentFileError(Mem0AssetsError):
    """A file of the deployment cannot be stored. Its code says why.

    file_missing, file_is_no_file (a folder, a pipe), file_unreadable, file_too_large, file_not_text,
    file_not_understood (no env file or YAML, so that nobody knows where its secrets are), file_named_twice.
    """

    code = "file_unreadable"


@dataclass(frozen=True)
class CopiedFile:
    """One file as it stands in the backup; `masked`: the variables whose values are not in it, and `line N` else."""

    file: BackupFile
    masked: tuple[str, ...]


@dataclass(frozen=True)
class _Text:
    """A source as it was read, and the secrets in it."""

    path: Path
    text: str = field(repr=False)
    secrets: list[Secret] = field(repr=False)


def copy_files(sources: Sequence[Path], target: Path, *, secrets: Collection[str] = ()) -> list[CopiedFile]:
    """Write each source, masked, into the folder `target` under its own name; hashed and fsynced, all of them or none.

    `secrets` are values known from elsewhere (the fleet's passwords and bot token). A secret that stands in one file is
    masked in all. Raises DeploymentFileError, RefusedError (`secret_in_clear`), OSError where `target` cannot be written.
    """
    _require_different_names(sources)
    texts = [_read(source) for source in sources]
    values = {value for each in texts for secret in each.secrets for value in secret.values}
    wanted = hunted({*values, *secrets, *_set_in(texts)})
    copies = [_mask(each, wanted) for each in texts]
    for each, (text, names) in zip(texts, copies, strict=True):
        _require_none(each.path, f"{text}\n{names}", wanted)
    written = [_write(target, each.path.name, *copy) for each, copy in zip(texts, copies, strict=True)]
    sync_folder(target)
    return written


def _require_different_names(sources: Iterable[Path]) -> None:
    seen: dict[str, Path] = {}
    for source in sources:
        if other := seen.get(source.name):
            step = "A backup keeps them in one folder: rename one of them, or leave it out"
            raise DeploymentFileError(f"{source} and {other} have one name", next_step=step, code="file_named_twice")
        seen[source.name] = source


def _read(source: Path) -> _Text:
    try:
        content = _content(source)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise _error(source, "file_missing", "there is no such file", "Correct its name in fleet.yaml") from None
    except IsADirectoryError:
        step = "Name each file by itself, not its folder"
        raise _error(source, "file_is_no_file", "is a folder, or no file at all", step) from None
    except OSError as error:
        step = "Let the user who runs the backups read it"
        raise _error(source, "file_unreadable", f"cannot be read: {error.strerror or error}", step) from None
    except UnicodeDecodeError as error:  # its own text quotes bytes of the file
        step = "Only small text files in UTF-8 are stored: name the right one"
        raise _error(source, "file_not_text", f"is not text in UTF-8, at byte {error.start}", step) from None
    if "\0" in text:
        raise _error(source, "file_not_text", "holds a zero byte, which no text does", "Name the right file")
    try:
        return _Text(source, text, find_secrets(source.name, text))
    except UnreadableTextError as error:
        step = "Correct it (`docker compose config --quiet` says more): where its secrets are cannot be known"
        raise _error(source, "file_not_understood", str(error), step) from None


def _content(source: Path) -> bytes:
    with open(source, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise IsADirectoryError
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        step = "Only small text files are stored here: leave it out"
        raise _error(source, "file_too_large", f"is larger than {LARGEST_BYTES:,} bytes", step)
    return content


def _without_waiting(path: str, flags: int) -> int:
    """Opens a pipe that nobody writes to at once, too: it must not hold up the backup."""
    return os.open(path, flags | os.O_NONBLOCK)


def _error(source: Path, code: str, what: str, step: str) -> DeploymentFileError:
    return DeploymentFileError(f"{source}: {what}", next_step=step, code=code)


def _set_in(texts: Collection[_Text]) -> set[str]:
    """The secrets that the env files set, with ${...} filled in: read by another way than the masks."""
    passed = {name for each in texts for name in passed_on(each.text)}
    variables = [item for each in texts if is_env(each.path.name) for item in read_env(each.path).items()]
    return {value for name, value in variables if (name in passed or is_secret_name(name)) and secret_part(name, value)}


def _mask(each: _Text, wanted: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    named = [secret for secret in each.secrets if secret.name]
    spans: dict[tuple[int, int], str] = {}
    for secret in [*named, *each.secrets]:
        spans.setdefault((secret.start, secret.end), secret.name)
    for value in wanted:
        for span in places(each.text, value):
            spans.setdefault(span, "")
    labels = []
    for (start, end), name in sorted(spans.items()):
        if name or not any(secret.start <= start and end <= secret.end for secret in named):
            name = masked(name, [span for value in wanted for span in places(name, value)])
            labels.append(name or f"line {each.text.count(chr(10), 0, start) + 1}")
    return masked(each.text, spans), tuple(dict.fromkeys(labels))


def _require_none(path: Path, text: str, wanted: Iterable[str]) -> None:
    """Refuses a text in which a secret still stands, as it is or as URLs, JSON, YAML, Compose and HTTP write it."""
    text = text.replace(MASK, "\n")
    for value in wanted:
        if any(next(places(text, form), None) for form in _forms(value)):
            raise RefusedError(
                f"{path}: a secret stands in it where it cannot be masked, so that no file was stored",
                next_step="Look for a password in another form (base64, %40 for @), and take it out of this file",
                code="secret_in_clear",
            )


def _forms(value: str) -> set[str]:
    escaped = {json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    doubled = {value.replace("'", "''"), value.replace("$", "$$")}
    coded = {quote(value, safe=""), quote(value), value.encode().hex(), value.encode().hex().upper()}
    return {value} | escaped | doubled | coded | _in_base64(value)


def _in_base64(value: str) -> set[str]:
    """What of a base64 text is the value's own, wherever it begins in it; its ends depend on what stands beside it."""
    texts = [base64.b64encode(b" " * before + value.encode()).decode() for before in range(3)]
    own = {text[4 if before else 0 : -4] for before, text in enumerate(texts)}
    return {text for text in own if len(text) >= SHORTEST_BASE64}


def _write(target: Path, name: str, text: str, names: tuple[str, ...]) -> CopiedFile:
    with HashedFile(target / name) as file:
        file.put(text.encode())
    return CopiedFile(BackupFile(f"{target.name}/{name}", file.bytes, file.sha256, file.bytes), names)
