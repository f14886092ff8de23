"""What is wrong with a dump that is not whole: one exception, which carries the verdict's reason."""

from mem0_assets.errors import RefusedError
from mem0_assets.verdicts import Reason, ReasonCode


class DumpDamage(RefusedError):
    """A dump that is not whole, or is none; `reason` says which, as the verdict carries it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.message, code=reason.code)
        self.reason = reason


def damage(code: ReasonCode, message: str) -> DumpDamage:
    """A DumpDamage of this reason, to raise."""
    return DumpDamage(Reason(code, message))
