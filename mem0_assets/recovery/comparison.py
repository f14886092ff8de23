"""Whether what runs after a restore is what the backup holds, and is well."""

import time

from mem0_assets.backups.backup import standard_of
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.claims import judge_identity
from mem0_assets.errors import RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.live.health import look_at_health
from mem0_assets.recovery.readiness import verified_backup

# A mem0 server installs itself anew at each start of its container.
WELL_SECONDS = 120.0
PAUSE_SECONDS = 1.0


def came_back(deployment: Deployment, backup: str) -> str:
    """That the live database is the restored one and holds what its backup claims, in a sentence.

    What was written since is more, and no fault: the restore itself has compared exactly. Raises RefusedError.
    """
    catalog = Catalog(deployment)
    census, claimed = take_census(deployment.postgres), verified_backup(catalog, backup).namespaces
    changes = judge_identity(census.identity, standard_of(catalog).identity)
    missing = [
        f"the namespace {name} holds {census.namespaces.get(name, 0)} of {count}"
        for name, count in claimed.items()
        if census.namespaces.get(name, 0) < count
    ]
    wrong = [*(reason.message for reason in changes.reasons), *missing]
    if wrong:
        raise RefusedError(
            f"this is not what was restored: {'; '.join(wrong)}", next_step=f"mem0-assets counts {deployment.name}"
        )
    return f"{census.total} memories in the restored database; {backup} claims {sum(claimed.values())}"


def is_well(deployment: Deployment, *, seconds: float = WELL_SECONDS) -> dict[str, str]:
    """What each check on the health says, once all are well; a server that was just started is given its time.

    A disk that is nearly full is told elsewhere, and keeps no recovery from its end. Raises RefusedError where one of the
    others is not well after so long.
    """
    until = time.monotonic() + seconds
    while True:
        seen = look_at_health(deployment)
        wrong = [one for one in seen if not one.ok and one.check != "disk"]
        if not wrong:
            return {one.check: one.sentence for one in seen}
        if time.monotonic() > until:
            raise RefusedError(
                f"it does not get well: {'; '.join(one.sentence for one in wrong)}", next_step=wrong[0].next_step
            )
        time.sleep(PAUSE_SECONDS)
