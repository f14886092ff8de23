"""One look at a deployment: count it, judge it, note its incidents, and put what people must hear into the outbox.

Called by the fleet's sensor every ten seconds, and by the command line after whatever may have changed something. The
disk is the truth for backups and drills, so a backup made by hand or by cron alarms like one made by a run.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from mem0_assets.alerts.channel import Channel, LogChannel
from mem0_assets.alerts.configuration_rules import judge_configuration
from mem0_assets.alerts.incidents import IncidentBook, Notice
from mem0_assets.alerts.messages import DeploymentReport, incident_text, report_text
from mem0_assets.alerts.outbox import DeliveryReport, Outbox
from mem0_assets.alerts.rules import (
    Finding,
    Kind,
    Scope,
    judge_backups,
    judge_drills,
    judge_memories,
    judge_recovery_drills,
    judge_restores,
    table_missing,
    unreachable,
    unreadable,
)
from mem0_assets.alerts.telegram import Telegram
from mem0_assets.alerts.text import Text
from mem0_assets.alerts.write_rules import judge_writes
from mem0_assets.backups.accepted_configuration import configuration_now, drift, silent
from mem0_assets.backups.backup import accepted_losses, standard_of
from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.claims import Standard
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.backups.inventory import Backup
from mem0_assets.errors import Mem0AssetsError, NotACollectionError, TableMissingError
from mem0_assets.fleet import Deployment, Fleet
from mem0_assets.live.census import CENSUS_SECONDS, Census, take_census
from mem0_assets.live.configuration import Configuration
from mem0_assets.live.writes import read_writes
from mem0_assets.restores.status import interrupted
from mem0_assets.verdicts import Reason, Verdict

logger = logging.getLogger("mem0_assets.alerts")

DELIVERY_SECONDS = 5.0
MESSAGES_AT_ONCE = 4
UNDELIVERED_SECONDS = 900.0


@dataclass(frozen=True)
class Look:
    """What one look at a deployment saw. `findings` holds, per scope that could look, everything that is wrong.

    `census` is None where the table or the whole database did not answer; then `problem` says why. It also says why
    nothing is known of the writes.
    """

    deployment: Deployment
    at: datetime
    census: Census | None
    problem: Mem0AssetsError | None
    findings: dict[Scope, list[Finding]]


def look(fleet: Fleet, deployment: Deployment, *, seconds: float = CENSUS_SECONDS) -> Look:
    """Count a live deployment and judge it, its backups and its drills. Changes nothing, raises nothing expected."""
    now = datetime.now(UTC)
    standard, lasts = _standard(deployment)
    on_disk = look_at_disk(deployment)
    census: Census | None = None
    problem: Mem0AssetsError | None = None
    findings: dict[Scope, list[Finding]] = {}
    try:
        census = take_census(deployment.postgres, seconds=seconds)
        findings["reach"], findings["memories"] = [], judge_memories(deployment, census, standard, drill_seconds=lasts)
    except (TableMissingError, NotACollectionError) as error:
        problem = error
        findings["reach"] = []
        findings["memories"] = table_missing(deployment, str(error), standard, drill_seconds=lasts)
    except Mem0AssetsError as error:
        problem = error
        findings["reach"] = [unreachable(deployment, error, fleet.alerts.unreachable_seconds)]
    else:
        try:
            findings["writes"] = _look_at_writes(deployment, census, standard, now, seconds)
        except Mem0AssetsError as error:  # ends no incident; and what has become of a history, the next backup tells
            problem = error
    return Look(deployment, now, census, problem, findings | on_disk)


def _look_at_writes(
    deployment: Deployment, census: Census, standard: Standard, now: datetime, seconds: float
) -> list[Finding]:
    catalog, writes = Catalog(deployment), read_writes(deployment, seconds=seconds)
    with plain_disk_errors(catalog.root):
        since, accepted = _grown_since(catalog.verified(), census), accepted_losses(catalog)
    return judge_writes(deployment, census, writes, standard, accepted=accepted, grown_since=since, now=now)


def _grown_since(verified: Iterable[Backup], census: Census) -> datetime | None:
    """When the newest of the backups was made that hold less than there is now: after it something was written."""
    smaller = (backup.created_at for backup in verified if backup.total is not None and backup.total < census.total)
    return next(smaller, None)


def look_at_disk(deployment: Deployment) -> dict[Scope, list[Finding]]:
    """What is wrong with the backups and drills of a deployment, without asking its database."""
    catalog, now = Catalog(deployment), datetime.now(UTC)
    try:
        with plain_disk_errors(catalog.root):
            verified = catalog.verified()
            newest = verified[0] if verified else None
            proof = last_proof(catalog)
            return {
                "backups": judge_backups(deployment, newest, catalog.last_refusal(), now),
                "drills": [
                    *judge_drills(deployment, verified, last_drill(catalog), proof and proof[0], now),
                    *judge_recovery_drills(deployment, verified, *_rehearsals(catalog), now),
                ],
                "restores": judge_restores(deployment, interrupted(deployment)),
            }
    except Mem0AssetsError as error:
        return {"backups": [unreadable(deployment, str(error))]}


def look_at_configuration(deployment: Deployment) -> tuple[Configuration, list[Finding]]:
    """What the configuration is now, and what is wrong with it. Apart from `look`: a source that hangs takes its time.

    Nothing is over while a source that spoke before is silent: what differed may differ still.
    Raises BusyError, BackupsFolderError, NoSpaceError: then nothing was learnt, and no incident ends.
    """
    catalog = Catalog(deployment)
    now = configuration_now(catalog)
    found = judge_configuration(deployment, drift(catalog, now))
    return now, [*found, *(_unseen(deployment, found) if silent(catalog, now) else ())]


def _unseen(deployment: Deployment, found: Iterable[Finding]) -> Iterator[Finding]:
    """The open incidents of the configuration that are not `found`, as they were."""
    seen = {finding.key for finding in found}
    for one in IncidentBook(deployment.backups).open():
        if one.scope == "configuration" and one.key not in seen:
            kind, told = cast(Kind, one.kind), one.announced
            yield Finding(one.key, kind, one.severity, one.what, one.command, implied=not told)


def _standard(deployment: Deployment) -> tuple[Standard, float | None]:
    """What the live memories are held against, and what the last good drill took, in seconds.

    The fleet's limits alone where the backups cannot be read.
    """
    catalog = Catalog(deployment)
    try:
        with plain_disk_errors(catalog.root):
            return standard_of(catalog), drill_seconds(catalog)
    except Mem0AssetsError:
        return Standard(deployment.limits), None


def observe(fleet: Fleet, deployment: Deployment, findings: dict[Scope, list[Finding]]) -> list[Notice]:
    """Note the findings of each scope, and put a message for each change into the outbox; what was told."""
    book = IncidentBook(deployment.backups)
    now = datetime.now(UTC)

    def tell_of(notice: Notice) -> bool:
        return tell(fleet, incident_text(deployment.name, notice, now), key=_key(deployment.name, notice))

    notices: list[Notice] = []
    for scope, found in findings.items():
        notices += book.observe(scope, found, now, fleet.alerts.cooldown_seconds, tell_of)
    return notices


def tell(fleet: Fleet, text: Text, *, key: str) -> bool:
    """Put one message into the outbox; straight into the channel where the disk does not take it.

    False where neither took it: then it must be told again.
    """
    try:
        _outbox(fleet).enqueue(text, key=key, created_at=datetime.now(UTC))
        return True
    except (OSError, Mem0AssetsError) as error:
        logger.error("the outbox cannot keep this alert (%s): sending it at once", error)
    try:
        for part in text.split():
            channel_of(fleet).send(part)
    except Mem0AssetsError as error:
        logger.error("and it cannot be sent either (%s): %s", error, text)
        return False
    return True


def deliver(fleet: Fleet) -> DeliveryReport:
    """Send what waits in the outbox, within a few seconds. Raises nothing expected: what failed is in `error`."""
    try:
        return _outbox(fleet).deliver(
            channel_of(fleet),
            now=datetime.now(UTC),
            budget_seconds=DELIVERY_SECONDS,
            max_messages=MESSAGES_AT_ONCE,
        )
    except (OSError, Mem0AssetsError) as error:
        return DeliveryReport(sent=0, left=0, oldest_age=None, error=str(error))


def _outbox(fleet: Fleet) -> Outbox:
    """The fleet's outbox. Raises FileNotFoundError where the disk of the backups is not there.

    Whoever makes folders for a disk that is not mounted lays them, and then the backups, on another one.
    """
    fleet.backups_root.mkdir(exist_ok=True)
    return Outbox(fleet.alerts_folder)


def observe_delivery(fleet: Fleet, report: DeliveryReport) -> None:
    """Alerts that could not be delivered for a quarter of an hour are an incident of the fleet itself."""
    waiting = report.oldest_age or 0.0
    findings = []
    if report.error and waiting > UNDELIVERED_SECONDS:
        what = f"{report.left} alerts wait since {waiting / 60:.0f} minutes: {report.error}"
        findings.append(Finding("delivery", "alerts_undelivered", "critical", what, "mem0-assets alert test"))
    now = datetime.now(UTC)

    def tell_of(notice: Notice) -> bool:
        logger.error("%s", notice.incident.what)
        return tell(fleet, incident_text("mem0-assets", notice, now), key=_key("mem0-assets", notice))

    IncidentBook(fleet.alerts_folder).observe("alerts", findings, now, fleet.alerts.cooldown_seconds, tell_of)


def channel_of(fleet: Fleet) -> Channel:
    """Telegram where fleet.yaml names it; otherwise the log."""
    settings = fleet.telegram
    if settings is None:
        return LogChannel()
    return Telegram(token=settings.bot_token(), chat_id=settings.chat_id(), api_url=settings.api_url)


def last_drill(catalog: Catalog) -> tuple[str, Verdict] | None:
    """The backup and the verdict of the newest drill."""
    event = catalog.last_drill()
    if event is None:
        return None
    return event["backup"], Verdict(tuple(Reason(**reason) for reason in event["reasons"]))


def _rehearsals(catalog: Catalog) -> tuple[tuple[str, Verdict] | None, datetime | None]:
    """The backup and the verdict of the newest rehearsal of a recovery, and when one last went well."""
    events = list(catalog.journal.events("recovery_drill"))
    good = [event for event in events if event["verdict"] == "ok"]
    last = (events[-1]["backup"], Verdict(tuple(Reason(**one) for one in events[-1]["reasons"]))) if events else None
    return last, datetime.fromisoformat(good[-1]["at"]) if good else None


def last_proof(catalog: Catalog) -> tuple[datetime, str] | None:
    """When a drill last brought a backup back, and which one: it may have expired since."""
    good = [event for event in catalog.journal.events("drill") if event["verdict"] == "ok"]
    return (datetime.fromisoformat(good[-1]["at"]), good[-1]["backup"]) if good else None


def drill_seconds(catalog: Catalog) -> float | None:
    """What the last good drill took, in seconds; None where there was none."""
    good = [event for event in catalog.journal.events("drill") if event["verdict"] == "ok"]
    return good[-1].get("seconds", {}).get("total") if good else None


def report(fleet: Fleet, deployments: Iterable[Deployment]) -> Text:
    """The daily report on these deployments, from a fresh look at each."""
    return report_text([_report_of(fleet, deployment) for deployment in deployments], datetime.now(UTC))


def _report_of(fleet: Fleet, deployment: Deployment) -> DeploymentReport:
    seen = look(fleet, deployment)
    catalog = Catalog(deployment)
    newest, proof = catalog.newest_verified(), last_proof(catalog)
    implied = {finding.key for found in seen.findings.values() for finding in found if finding.implied}
    incidents = [one for one in IncidentBook(deployment.backups).open() if one.key not in implied]
    return DeploymentReport(
        name=deployment.name,
        total=seen.census.total if seen.census else None,
        namespaces=seen.census.namespaces if seen.census else {},
        unknown=str(seen.problem) if seen.problem else None,
        backup=newest.backup if newest else None,
        backup_total=newest.total if newest else None,
        backup_age=seen.at - newest.created_at if newest else None,
        drilled=proof[1] if proof else None,
        drill_age=seen.at - proof[0] if proof else None,
        incidents=tuple(incidents),
    )


def _key(name: str, notice: Notice) -> str:
    """What makes one message: while it waits for delivery, the same one is not put in again.

    An incident that ends and comes back meanwhile is another one: else the last word would be that it is over.
    """
    incident = notice.incident
    opened = incident.since.isoformat()
    return f"{name}/{incident.scope}/{incident.key}/{opened}/{notice.change}/{incident.severity}"
