"""Whether what runs after a restore is what the backup holds."""

from mem0_assets.backups.backup import standard_of
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.claims import judge_identity
from mem0_assets.errors import RefusedError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.recovery.readiness import verified_backup


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
