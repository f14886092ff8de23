"""SIGKILL just before the n-th thing that a process does to the disk or starts: for every n, until it does no more.

An interpreter's audit hook sees every file opened for writing, every rename, link, removal and child process; fsync is
not audited, so it is wrapped in the fork that is to die. Nothing of this reaches the test's own process.
"""

import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

STEPS = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "subprocess.Popen", "fsync", "open for writing"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def killed_before(number: int, action: Callable[[], object], steps: set[str] = STEPS) -> bool:
    """Run `action` in a fork that kills itself before its `number`-th step; False where it came to its end first.

    So `number` counts up from 1 until it is False: then every step has been the last one once.
    """
    child = os.fork()
    if child == 0:
        _run(number, action, steps)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the action failed by itself: see stderr"
    return False


def _run(number: int, action: Callable[[], object], steps: set[str]) -> NoReturn:
    taken = itertools.count(1)

    def before(event: str, arguments: tuple[Any, ...]) -> None:
        name = "open for writing" if event == "open" and arguments[2] & _WRITING else event
        if name in steps and next(taken) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    fsync = os.fsync

    def counted_fsync(descriptor: int) -> None:
        before("fsync", ())
        fsync(descriptor)

    os.fsync = counted_fsync  # type: ignore[assignment]
    sys.addaudithook(before)
    status = 1
    try:
        action()
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(status)
