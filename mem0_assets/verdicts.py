"""What a rule says: ok, or refused with reasons, each with a stable code."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

ReasonCode = Literal[
    "unreachable",
    "table_missing",
    "empty",
    "too_few_rows",
    "too_small",
    "shrunk",
    "namespace_vanished",
    "identity_changed",
    "dimensions_changed",
    "dump_failed",
    "truncated",
    "corrupt",
    "checksum_mismatch",
    "count_mismatch",
    "wrong_content",
    "no_space",
    "not_a_dump",
    "client_too_old",
    "client_missing",
    "interrupted",
    "restore_failed",
    "hash_mismatch",
    "null_vectors",
    "zero_vectors",
    "empty_texts",
    "keys_vanished",
    "index_missing",
    "index_invalid",
    "search_failed",
    "history_missing",
    "history_damaged",
    "history_emptied",
    "history_lost_memories",
    "application_emptied",
    "no_right",
    "server_too_old",
]

# A person can say that these are meant (`accept`). The others say that the files are damaged: no word mends them.
ACCEPTABLE: frozenset[str] = frozenset(
    {
        "empty",
        "too_few_rows",
        "too_small",
        "shrunk",
        "namespace_vanished",
        "identity_changed",
        "dimensions_changed",
        "history_emptied",
        "application_emptied",
        "empty_texts",
        "null_vectors",
        "zero_vectors",
        "keys_vanished",
    }
)


@dataclass(frozen=True)
class Reason:
    """Why something was refused: a stable code for programs, a sentence for people."""

    code: ReasonCode
    message: str

    def as_json(self) -> dict[str, str]:
        """`{code, message}`, as the command line and verdict.json carry it."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True)
class Verdict:
    """Ok where there are no reasons against; refused otherwise."""

    reasons: tuple[Reason, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        return not self.reasons

    @property
    def word(self) -> Literal["ok", "refused"]:
        return "ok" if self.ok else "refused"

    @property
    def codes(self) -> list[str]:
        return [reason.code for reason in self.reasons]

    def __add__(self, other: "Verdict") -> "Verdict":
        """Both verdicts' reasons; a reason that stands in both is told once."""
        return Verdict(tuple(dict.fromkeys(self.reasons + other.reasons)))

    def only(self, codes: Iterable[str]) -> "Verdict":
        """This verdict with only the reasons of these codes."""
        wanted = set(codes)
        return Verdict(tuple(reason for reason in self.reasons if reason.code in wanted))

    def as_json(self) -> dict[str, Any]:
        """`{verdict, reasons}`, as the command line and verdict.json carry it."""
        return {"verdict": self.word, "reasons": [reason.as_json() for reason in self.reasons]}

    def sentence(self) -> str:
        """All reasons in one line of text."""
        return "; ".join(f"{reason.message} [{reason.code}]" for reason in self.reasons) or "ok"


OK = Verdict()


def refused(code: ReasonCode, message: str) -> Verdict:
    """A verdict of one reason."""
    return Verdict((Reason(code, message),))
