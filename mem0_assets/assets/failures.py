"""Failures of runs, as Dagster shows them: the domain's error with its code, and which incident already tells of it.

A refused backup fails its run on purpose, and people hear of it as `backup_refused`, with the reasons. The metadata
entry `incident` says so, so that the same thing is not told a second time as "run failed".
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from mem0_assets.errors import Mem0AssetsError

INCIDENT = "incident"


@contextmanager
def plain_failures(*, incident: str | None) -> Iterator[None]:
    """The domain's errors as failures of the step. `incident` names the one that the alert rules open for them."""
    try:
        yield
    except Mem0AssetsError as error:
        raise failure(str(error), incident, code=error.code) from None


def failure(
    description: str,
    incident: str | None,
    *,
    code: str = "refused",
    metadata: Mapping[str, dg.MetadataValue] | None = None,
) -> dg.Failure:
    """A failure that no retry mends; `metadata` is what a person should see with it."""
    told = {"code": code} | ({INCIDENT: incident} if incident else {})
    return dg.Failure(description, metadata={**told, **(metadata or {})}, allow_retries=False)
