"""A pure rule on the history of a backup: mem0 only ever adds to it, so one that has fewer rows was emptied or replaced.

A container that was recreated without its bind mount starts with an empty history.db, and nothing in mem0 says so.
"""

from mem0_assets.live.history import HistoryCopy
from mem0_assets.verdicts import OK, Verdict, refused


def judge_growth(copy: HistoryCopy, *, settled: int, previous: HistoryCopy | None) -> Verdict:
    """`history_emptied` where the copy holds less than the live file did when this backup began (`settled`, its newest
    row then), or than the last verified backup's."""
    if copy.newest_row < settled:
        text = f"the history ended at row {copy.newest_row} when it was copied, and at {settled} when the backup began"
        return refused("history_emptied", text)
    if previous is not None and copy.rows < previous.rows:
        text = f"the history holds {copy.rows} events, and held {previous.rows} in the last verified backup"
        return refused("history_emptied", text)
    return OK
