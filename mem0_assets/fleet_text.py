"""The text of fleet.yaml: every key of the schema, with its value and one sentence on what it is for.

The first fleet.yaml is where most people meet the settings, so that it shows all of them, and yaml.safe_dump cannot
write comments. What nobody said is taken from the schema itself: a default that is written down a second time, here or
in fleet.example.yaml, would be wrong one day. Passwords are known here by the name of their variable only.
"""

import itertools
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from mem0_assets.fleet import (
    Alerting,
    Containers,
    Deployment,
    DisasterRecovery,
    Dump,
    EmbedderSettings,
    HealthSettings,
    Limits,
    Postgres,
    Retention,
    Schedule,
    Stores,
    TelegramSettings,
)

COLUMN = 40  # where comments begin
WIDTH = 118
HEADER = """\
# fleet.yaml: the mem0 deployments that mem0-assets guards, and how.
# Paths are relative to this file. No secret stands here: a key that ends in _env holds the name of a variable.
# What is left out of alerts, or of a section from stores on, takes its default, as fleet.example.yaml shows it.
"""
TOP = {
    "backups_root": "One folder per deployment; best on another disk than the databases.",
    "env_file": "File with the variables that are named here; the environment comes first.",
    "telegram": "Where alerts go; without this section they go to the log only.",
    "alerts": "How often alerts are repeated, and how patient they are.",
    "deployments": "One entry per mem0 installation, under a name of letters, digits and _.",
}
TELEGRAM = {
    "bot_token_env": "Variable with the token of the bot, as BotFather gave it.",
    "chat_id_env": "Variable with the id of the chat.",
    "api_url": "Telegram itself, or a Bot API server of your own.",
}
ALERTS = {
    "cooldown_seconds": "An incident that lasts is told again after this time.",
    "unreachable_seconds": "A database that is away for a shorter time (a restart) is no incident.",
}
SECTIONS: dict[str, tuple[type[BaseModel], str, dict[str, str]]] = {
    "postgres": (
        Postgres,
        "Where the memories live.",
        {
            "embedded": "Instead of host, port, user, password_env: a server of our own, kept here.",
            "host": "Address of the server, or the folder of its unix socket.",
            "port": "The port as this machine sees it; mem0's own compose file publishes 8432.",
            "user": "A role that may read every table of the database.",
            "password_env": "Variable with its password; remove the line where none is needed.",
            "admin_user": "A role that may make and rename databases, to restore; null: user may.",
            "admin_password_env": "Variable with that role's password; it need not be set before a restore.",
            "database": "The database of the memories; mem0's own server uses postgres.",
            "collection": "The table of the memories; POSTGRES_COLLECTION_NAME of the mem0 server.",
        },
    ),
    "stores": (
        Stores,
        "What is kept beside the memories; what is null is not, and backups say so.",
        {
            "application": "Database of users, keys and settings on the same server; mem0's own: mem0_app.",
            "history": "mem0's SQLite file history.db, as this machine sees it.",
            "files": "Files like .env and docker-compose.yaml; their secrets are masked.",
            "roles": "The server's roles, without their passwords.",
        },
    ),
    "dump": (
        Dump,
        "How backups are written.",
        {
            "format": "sql: one .sql.gz for any tool; binary: faster, for psql and zstd.",
            "jobs": "Connections that a binary dump reads and loads over at once.",
        },
    ),
    "schedule": (
        Schedule,
        "When things run, as cron lines of five fields; null turns one off.",
        {
            "timezone": "Time zone of these lines, like Europe/London.",
            "hourly": "Makes the hourly backups.",
            "daily": "Makes the daily backups.",
            "weekly": "Makes the weekly backups.",
            "monthly": "Makes the monthly backups.",
            "drill": "Restores the newest verified backup into a scratch server, to prove it.",
            "recovery_drill": "Rehearses a whole recovery on a scratch server: load, verify, swap, undo.",
            "report": "Sends the daily report.",
        },
    ),
    "retention": (
        Retention,
        "How many verified backups are kept; the newest proven one is never deleted.",
        {
            "hourly": "This many hourly backups.",
            "daily": "This many daily backups.",
            "weekly": "This many weekly backups.",
            "monthly": "This many monthly backups.",
        },
    ),
    "limits": (
        Limits,
        "What a backup must hold to be believed, and what may not be lost.",
        {
            "min_rows": "A backup with fewer memories is refused.",
            "min_bytes": "A backup of fewer bytes is refused.",
            "max_drop": "The share of all, or of a namespace, that may be gone since the last backup.",
            "min_namespace": "A namespace that held fewer memories may shrink or vanish.",
            "warn_rows": "A backup with fewer memories is a warning.",
            "warn_bytes": "A backup of fewer bytes is a warning.",
            "baseline": "Fewer live memories than this are told; null: nothing is expected.",
        },
    ),
    "health": (
        HealthSettings,
        "What else is looked at, every five minutes; what is null is not.",
        {
            "server_url": "Address of mem0's own server; by its compose file, http://127.0.0.1:8888.",
            "admin_key_env": "Variable with its ADMIN_API_KEY; with it, its memories are asked, too.",
            "neo4j_url": "HTTP address of the graph of mem0 1.x, like http://127.0.0.1:7474.",
            "neo4j_user": "A user who may read the graph.",
            "neo4j_password_env": "Variable with that user's password.",
            "grafana_url": "Address of Grafana.",
            "min_free_bytes": "Less room than this on the disks is told.",
        },
    ),
    "containers": (
        Containers,
        "Its containers, by Docker's names; what is null is neither asked nor stopped.",
        {
            "postgres": "The container of the database.",
            "server": "The container of mem0's server; it stops while memories are put back.",
            "writers": "Others that write to mem0 (bots); they stop, too.",
            "docker_url": "Only for a Docker that is neither at $DOCKER_HOST nor at its usual socket.",
        },
    ),
    "embedder": (
        EmbedderSettings,
        "What recomputes vectors for `restore --reembed`; not needed for anything else.",
        {
            "provider": "openai (and all that speak its protocol) or ollama.",
            "url": "Its base, like https://api.openai.com/v1 or http://127.0.0.1:11434.",
            "model": "Its model, as mem0's own configuration names it.",
            "dimensions": "Asked for where the model gives several; null: its own.",
            "api_key_env": "Variable with its key.",
            "batch": "Texts in one request.",
            "price_per_million_tokens": "Only to say beforehand what it will cost.",
        },
    ),
    "disaster_recovery": (
        DisasterRecovery,
        "The four gates of a disaster recovery: docs/disaster-recovery.md.",
        {
            "gate_hours": "For so long a person's approval opens a gate.",
            "approval_url": "A service that is asked, too, whether a gate is approved; null: people only.",
            "approval_token_env": "Variable with the token that it wants.",
        },
    ),
}
AUTO_RESTORE = "A database found empty: confirm (you start it), always (by itself), or never."
EXAMPLES = {"embedded": "./postgres", "password_env": "POSTGRES_PASSWORD"}  # shown as a comment where there is no value


@dataclass(frozen=True)
class Password:
    """Where a password is, never what it is: the variable, the env file that sets it, or else why none does."""

    variable: str | None
    file: Path | None = None
    why: str = ""


@dataclass(frozen=True)
class Entry:
    """One deployment: its password's place, what is known of each section, and a remark above its host."""

    name: str
    password: Password
    postgres: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""
    stores: Mapping[str, Any] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    containers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is not a default. `telegram`: the section is on; else it is a comment. `notes`: for people, not written."""

    deployments: tuple[Entry, ...]
    env_file: str
    telegram: bool
    notes: tuple[str, ...]


def fleet_text(plan: Plan) -> str:
    """The whole of fleet.yaml: each key of the schema with its value and what it is for."""
    telegram = [_line("telegram", TOP["telegram"]), *_section(TelegramSettings, TELEGRAM, {}, "  ")]
    lines = [
        HEADER + _line("backups_root", TOP["backups_root"], "./backups"),
        _line("env_file", TOP["env_file"], _scalar(plan.env_file)),
        "",
        *(telegram if plan.telegram else [f"# {line}" for line in telegram]),
        "",
        _line("alerts", TOP["alerts"]),
        *_section(Alerting, ALERTS, {}, "  "),
        "",
        _line("deployments", TOP["deployments"]),
    ]
    return "\n".join([*lines, *itertools.chain(*map(_deployment, plan.deployments))]) + "\n"


def _deployment(entry: Entry) -> list[str]:
    lines = [f"  {entry.name}:"]
    known: dict[str, Mapping[str, Any]] = {
        "postgres": {**entry.postgres, "password_env": entry.password.variable},
        "stores": entry.stores,
        "health": entry.health,
        "containers": entry.containers,
    }
    for section, (model, purpose, words) in SECTIONS.items():
        lines.append(_line(f"    {section}", purpose))
        if section == "postgres":
            lines += textwrap.wrap(entry.remark, WIDTH, initial_indent="      # ", subsequent_indent="      # ")
        lines += _section(model, words, known.get(section, {}), "      ")
    lines.append(_line("    auto_restore", AUTO_RESTORE, Deployment.model_fields["auto_restore"].default))
    return lines


def _section(model: type[BaseModel], words: Mapping[str, str], values: Mapping[str, Any], indent: str) -> Iterator[str]:
    """The lines of one model: the given values, and the schema's own defaults for the rest."""
    for key, schema in model.model_fields.items():
        value = values.get(key, schema.default)
        if value is None and key in EXAMPLES:
            yield _line(f"{indent}# {key}", words[key], _scalar(EXAMPLES[key]))
        else:
            yield _line(f"{indent}{key}", words[key], _scalar(value))


def _line(key: str, comment: str, value: str = "") -> str:
    start = f"{key}: {value}" if value else f"{key}:"
    return f"{start:<{COLUMN - 2}}  # {comment}"


def _scalar(value: Any) -> str:
    """One value as YAML reads it back; quoted unless it is a plain word, a path or an address."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[\w./][\w./:-]*", value, re.ASCII) and yaml.safe_load(value) == value:
        return value
    return yaml.safe_dump(value, default_style='"', width=sys.maxsize, allow_unicode=True).strip()
