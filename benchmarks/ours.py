"""mem0-assets as a person or a timer runs it: a new process of the `mem0-assets` command, whose JSON says what was done."""

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.data import COLLECTION, DATABASE
from benchmarks.measuring import Contender
from benchmarks.processes import ContenderFailed, Runner
from benchmarks.results import Run
from mem0_assets.backups.backup import make_backup
from mem0_assets.fleet import load_fleet
from mem0_assets.live.embedded import PORT, SUPERUSER, EmbeddedServer

NAME = "prd"
FORMATS = {"binary": "{format: binary, jobs: 2}", "sql": "{format: sql}"}
# Up to this many memories a backup takes about as long as the start of the command: so it is measured without that, too.
SMALL = 2000

_FLEET = """\
backups_root: ./backups
deployments:
  {name}:
    postgres: {{host: {sockets}, port: {port}, user: {user}, database: {database}, collection: {collection}}}
    dump: {dump}
"""
_PROJECT = Path(__file__).parents[1]


def backup_contenders(server: EmbeddedServer, rows: int) -> list[Contender]:
    """Backup with proof (census, dump, read back, verdict, publish) in both formats."""
    contenders = []
    for form in FORMATS:
        prepare, title = partial(write_fleet, server, form=form), f"mem0-assets, {form}, with its proof"
        contenders.append(Contender(f"ours_{form}", title, lambda folder: _backup(folder, rows), prepare))
        if rows <= SMALL:
            title += ", in process"
            contenders.append(Contender(f"ours_{form}_in_process", title, _backup_in_process, prepare))
    return contenders


def verify_contender(dump: Path) -> Contender:
    """`verify` of a dump that somebody else made."""

    def run(folder: Path) -> Run:
        _mem0_assets("verify", str(dump))
        return {}

    return Contender("ours", "mem0-assets verify", run)


def drill_contender(server: EmbeddedServer, home: Path, rows: int, form: str) -> Contender:
    """A drill's own seconds. Its backup is made once in `home`, and not timed."""

    def prepare(folder: Path) -> None:
        if not home.exists():
            home.mkdir(parents=True)
            write_fleet(server, home, form)
            _backup(home, rows)

    def run(folder: Path) -> Run:
        done = _mem0_assets("--fleet", str(home / "fleet.yaml"), "drill", NAME)
        if done["total"] != rows:
            raise ContenderFailed(f"{done['total']} memories came back instead of {rows}")
        seconds = done["seconds"]
        return {"readable": seconds["restore"], "index": seconds["index"], "whole": seconds["total"]}

    return Contender(f"ours_{form}", f"mem0-assets, {form}", run, prepare)


def write_fleet(server: EmbeddedServer, folder: Path, form: str) -> None:
    """A fleet.yaml in `folder` with the one deployment; its backups will lie beside it."""
    place = {"sockets": server.socket_folder, "port": PORT, "user": SUPERUSER, "database": DATABASE}
    text = _FLEET.format(name=NAME, collection=COLLECTION, dump=FORMATS[form], **place)
    (folder / "fleet.yaml").write_text(text)


def _backup(folder: Path, rows: int) -> Run:
    done = _mem0_assets("--fleet", str(folder / "fleet.yaml"), "backup", NAME)
    if done["state"] != "verified" or done["total"] != rows:
        raise ContenderFailed(f"the backup is {done['state']} with {done['total']} memories: {done['reasons']}")
    return {"bytes": done["bytes"]}


def _backup_in_process(folder: Path) -> Run:
    outcome = make_backup(load_fleet(folder / "fleet.yaml").deployment(NAME))
    if not outcome.verdict.ok:
        raise ContenderFailed(outcome.verdict.sentence())
    return {"bytes": outcome.backup.bytes, "memory": 0, "memory_at_most": 0}  # that of its child would mislead


def _mem0_assets(*words: str) -> dict[str, Any]:
    try:
        printed = Runner({}, folder=_PROJECT).run(sys.executable, "-m", "mem0_assets.cli", "--json", *words)
    except ContenderFailed as failure:
        said = re.search(r'"message": "([^"]*)"', str(failure))  # of its JSON, what is for people
        raise ContenderFailed(said[1] if said else str(failure)) from None
    content: dict[str, Any] = json.loads(printed)
    return content
