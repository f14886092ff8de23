"""The errors that a person may meet, each with a stable code, an exit status and the next step.

Every error that leaves this package on purpose is one of these. Their texts never hold a secret: connections are
made by keyword and the drivers' own messages pass through `without_secrets` before they are shown.
"""

from collections.abc import Iterable


class Mem0AssetsError(Exception):
    """Something that a person must know about. `code` is stable; `next_step` is what to do now."""

    code = "error"
    exit_status = 1

    def __init__(self, message: str, *, next_step: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message}. {self.next_step}" if self.next_step else self.message


class ConfigurationError(Mem0AssetsError):
    """fleet.yaml, an environment variable or the command's own words are wrong; nothing was run."""

    code = "configuration"
    exit_status = 2


class UnreachableError(Mem0AssetsError):
    """Something did not answer, so nothing is known. Never to be read as "empty"."""

    code = "unreachable"
    exit_status = 3


class TableMissingError(Mem0AssetsError):
    """A database answered and the collection's table is not in it: a loss, not an outage."""

    code = "table_missing"


class NotACollectionError(Mem0AssetsError):
    """A database answered and the collection's table is in it, but is not one of mem0's (any more)."""

    code = "wrong_content"


class NoSpaceError(Mem0AssetsError):
    """The disk is full, or would be before the work is done."""

    code = "no_space"


class BusyError(Mem0AssetsError):
    """Another backup, prune or drill holds the lock."""

    code = "busy"
    exit_status = 3


class NotFoundError(Mem0AssetsError):
    """The named backup, deployment or file does not exist."""

    code = "not_found"
    exit_status = 2


class RefusedError(Mem0AssetsError):
    """What was asked for must not be done; the reasons say why."""

    code = "refused"


def without_secrets(text: str, secrets: Iterable[str | None]) -> str:
    """`text` with every non-empty secret replaced, for messages of drivers and child processes."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text
