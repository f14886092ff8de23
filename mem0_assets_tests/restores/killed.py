"""A restore, or its undoing, that is killed by SIGKILL the moment after it wrote a given step down."""

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

from mem0_assets.restores.record import Record, Step


def killed_after(step: Step, action: Callable[[], object]) -> bool:
    """Run `action` in a fork that ends like that; False where it came to its end without that step."""
    child = os.fork()
    if child == 0:
        _run(step, action)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the action failed by itself: see stderr"
    return False


def _run(step: Step, action: Callable[[], object]) -> None:
    note = Record.note

    def note_and_die(record: Record, taken: Step, **facts: Any) -> None:
        note(record, taken, **facts)
        if taken == step:
            os.kill(os.getpid(), signal.SIGKILL)

    Record.note = note_and_die  # type: ignore[method-assign, assignment]
    status = 1
    try:
        action()
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(status)
