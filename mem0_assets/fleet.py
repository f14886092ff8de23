"""fleet.yaml as frozen objects: the one source of truth for hosts, ports, secrets, thresholds, schedules, retention.

In the incident of January 2026 scripts, `.env` and containers each had their own idea of ports and credentials, and
nothing failed loudly. So here everything is checked before anything runs: unknown keys, wrong types, bad schedules and
unset secrets are refused with the file, the key and the reason. Secrets are only ever named; they are read from the
environment, or from `.env` beside the file, at the moment of use. Where a person wrote the secret itself, no message
repeats it: reasons hold no values, and a name is only shown where it looks like one.
"""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import yaml
from croniter import CroniterBadDateError, croniter
from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mem0_assets.errors import ConfigurationError

Tier = Literal["hourly", "daily", "weekly", "monthly"]
Format = Literal["sql", "binary"]
# What is done about a database that is found empty: a plan and a person's word, a restore by itself, or nothing.
AutoRestore = Literal["never", "confirm", "always"]
TIERS: tuple[Tier, ...] = ("hourly", "daily", "weekly", "monthly")

Model = TypeVar("Model", bound=BaseModel)
DEPLOYMENT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Only a name like POSTGRES_PASSWORD is repeated in a message: `hunter2` may be a name, and may be the password.
SURELY_A_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


def _path_beside_fleet(value: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base", Path.cwd())
    return Path(os.path.abspath(base / os.path.expanduser(value)))


def _environment_name(value: str) -> str:
    if not ENVIRONMENT_NAME.fullmatch(value):
        raise ValueError("must be the name of an environment variable; the secret itself never stands in this file")
    return value


def _plain_url(value: str) -> str:
    """Not a word of the value is repeated, neither here nor by urlsplit's own errors: a password may stand in it."""
    try:
        parts = urlsplit(value)
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be a plain address like http://127.0.0.1:8888, without a user, a password or a query")
    return value.rstrip("/")


FleetPath = Annotated[Path, Field(strict=False), AfterValidator(_path_beside_fleet)]
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
Name = Annotated[str, Field(min_length=1)]
Url = Annotated[str, AfterValidator(_plain_url)]


class _Strict(BaseModel):
    # strict: `port: "5432"`, or `true` for a number, is a mistake and not a value.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class Postgres(_Strict):
    """Where the memories live. Either a server that exists, or `embedded`: a server of our own in a folder.

    `user` only reads. `admin_user` is for restores alone, which create and rename databases; null: `user` has that right.
    """

    embedded: FleetPath | None = None
    host: Name = "127.0.0.1"
    port: int = Field(5432, ge=1, le=65535)
    user: Name = "postgres"
    password_env: EnvironmentName | None = None
    admin_user: Name | None = None
    admin_password_env: EnvironmentName | None = None
    database: Name = "mem0"
    collection: Name = "memories"
    _env_file: Path | None = PrivateAttr(None)

    @field_validator("host", "user", "admin_user", "database", "collection")
    @classmethod
    def _no_url(cls, value: str | None) -> str | None:
        if value and "://" in value:  # these are shown to people, and a URL may hold a password
            raise ValueError("must be a plain name, not a URL")
        return value

    @field_validator("host")
    @classmethod
    def _socket_beside_fleet(cls, value: str, info: ValidationInfo) -> str:
        return str(_path_beside_fleet(Path(value), info)) if value.startswith((".", "~")) else value

    @model_validator(mode="after")
    def _embedded_stands_alone(self) -> Self:
        given = self.model_fields_set
        if self.embedded is not None:
            extra = sorted(given & {"host", "port", "user", "password_env", "admin_user", "admin_password_env"})
            if extra:
                raise ValueError(f"`embedded` stands alone: remove {', '.join(extra)}")
        elif missing := sorted({"host", "user", "database"} - given):
            raise ValueError(f"missing {', '.join(missing)} (or `embedded: FOLDER` alone)")
        if self.admin_password_env and not self.admin_user:
            raise ValueError("admin_password_env is for admin_user, which is missing")
        return self

    def password(self) -> str | None:
        """The password, read now; None where the server needs none."""
        return read_secret(self.password_env, self._env_file) if self.password_env else None

    @property
    def admin(self) -> "Postgres":
        """The same database, as the role that restores. Its password is read only then: nothing else needs it."""
        if self.admin_user is None:
            return self
        return self.model_copy(update={"user": self.admin_user, "password_env": self.admin_password_env})

    @property
    def address(self) -> str:
        """What people call this database: never holds a secret."""
        if self.embedded is not None:
            return f"{self.database} in {self.embedded}"
        place = self.host if self.host.startswith("/") else f"{self.host}:{self.port}"
        return f"{self.database} at {place}"


class Dump(_Strict):
    """How the dump is written. `sql`: one plain .sql.gz, as stock tools expect; `binary`: rows as the server keeps them.

    `jobs` is how many connections a binary dump is read over, and loaded over in a drill.
    """

    format: Format = "sql"
    jobs: int = Field(default=2, ge=1, le=16)


class Stores(_Strict):
    """What belongs to a deployment beside its memories. What is not named is not kept, and every backup says so.

    `application` is mem0's second database on the same server (users, API keys, settings; `mem0_app` in mem0's own compose
    file), `history` its SQLite file, `files` the deployment's own (.env, compose file), `roles` the server's, without
    passwords.
    """

    application: Name | None = None
    history: FleetPath | None = None
    files: Annotated[tuple[FleetPath, ...], Field(strict=False)] = ()
    roles: bool = True

    @property
    def left_out(self) -> tuple[str, ...]:
        """The stores that are not kept."""
        return tuple(name for name in type(self).model_fields if not getattr(self, name))


class Schedule(_Strict):
    """When things run, as cron lines in one time zone; null turns one off."""

    timezone: str = "UTC"
    hourly: str | None = "0 * * * *"
    daily: str | None = "30 2 * * *"
    weekly: str | None = "30 2 * * 0"
    monthly: str | None = "30 2 1 * *"
    drill: str | None = "30 4 * * 1"
    recovery_drill: str | None = "30 5 1 * *"
    report: str | None = "0 8 * * *"

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"unknown time zone {value!r}: use a name like Europe/London")
        return value

    @field_validator("hourly", "daily", "weekly", "monthly", "drill", "recovery_drill", "report")
    @classmethod
    def _valid_cron(cls, value: str | None) -> str | None:
        if value is not None and (len(value.split()) != 5 or not croniter.is_valid(value)):
            raise ValueError(f"{value!r} is not a cron line of five fields")
        return value

    @field_validator("hourly", "daily", "weekly", "monthly", "drill", "recovery_drill", "report")
    @classmethod
    def _fires_some_day(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                croniter(value, datetime.now(UTC)).get_next()
        except CroniterBadDateError:
            raise ValueError(f"{value!r} never fires: there is no such day") from None
        return value

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def tiers(self) -> dict[Tier, str]:
        """The cron line of each tier that is on."""
        lines: dict[Tier, str | None] = {
            "hourly": self.hourly,
            "daily": self.daily,
            "weekly": self.weekly,
            "monthly": self.monthly,
        }
        return {tier: line for tier, line in lines.items() if line}


class Retention(_Strict):
    """How many verified backups each tier keeps. At least one: the newest proven backup is never deleted."""

    hourly: int = Field(24, ge=1)
    daily: int = Field(7, ge=1)
    weekly: int = Field(4, ge=1)
    monthly: int = Field(12, ge=1)

    def of(self, tier: Tier) -> int:
        count: int = getattr(self, tier)
        return count


class Limits(_Strict):
    """What a backup must hold to be believed, and what a live deployment must not lose."""

    min_rows: int = Field(1, ge=0)
    min_bytes: int = Field(0, ge=0)
    max_drop: float = Field(0.5, ge=0, le=1)
    min_namespace: int = Field(10, ge=1)
    warn_rows: int = Field(100, ge=0)
    warn_bytes: int = Field(1048576, ge=0)
    baseline: int | None = Field(None, ge=0)


class HealthSettings(_Strict):
    """What else of a deployment is looked at, where it is, and how much room its disks must have, in bytes.

    `admin_key_env` is the ADMIN_API_KEY of mem0's server: without it the store behind `/memories` is not asked.
    """

    server_url: Url | None = None
    admin_key_env: EnvironmentName | None = None
    neo4j_url: Url | None = None
    neo4j_user: Name = "neo4j"
    neo4j_password_env: EnvironmentName | None = None
    grafana_url: Url | None = None
    min_free_bytes: int = Field(10_000_000_000, ge=0)
    _env_file: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _secrets_have_a_place(self) -> Self:
        for secret, place in (("admin_key_env", "server_url"), ("neo4j_password_env", "neo4j_url")):
            if getattr(self, secret) and not getattr(self, place):
                raise ValueError(f"{secret} is for {place}, which is missing")
        return self

    def admin_key(self) -> str | None:
        """The key of mem0's server, read now; None where none is named."""
        return read_secret(self.admin_key_env, self._env_file) if self.admin_key_env else None

    def neo4j_password(self) -> str | None:
        """Neo4j's password, read now; None where it needs none."""
        return read_secret(self.neo4j_password_env, self._env_file) if self.neo4j_password_env else None


class Containers(_Strict):
    """The deployment's containers, by their names, where Docker runs them on this machine; what is null is not asked.

    `server` is mem0's own, `writers` are the others that write to it (bots): all of these stop while memories are put
    back. `docker_url` is for a Docker that is neither at $DOCKER_HOST nor at the usual socket.
    """

    postgres: Name | None = None
    server: Name | None = None
    writers: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    docker_url: Annotated[str, Field(pattern=r"^(unix|tcp|npipe)://[^@?#]+$")] | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """Every container that fleet.yaml names, in the order in which they are started."""
        return tuple(name for name in (self.postgres, self.server, *self.writers) if name)

    @property
    def writing(self) -> tuple[str, ...]:
        """Those that write to the memories, in the order in which they are started."""
        return tuple(name for name in (self.server, *self.writers) if name)


class EmbedderSettings(_Strict):
    """What turns a text into a vector, for `restore --reembed`: an OpenAI-compatible or an Ollama endpoint.

    `url` is its base, like https://api.openai.com/v1 or http://127.0.0.1:11434. `dimensions` is asked for where the model
    can give several; null: its own. `price_per_million_tokens` is only for saying beforehand what it will cost.
    """

    provider: Literal["openai", "ollama"] = "openai"
    url: Url | None = None
    model: Name | None = None
    dimensions: int | None = Field(None, ge=1, le=16000)
    api_key_env: EnvironmentName | None = None
    batch: int = Field(100, ge=1, le=2048)
    price_per_million_tokens: float | None = Field(None, ge=0)
    _env_file: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.url is None) != (self.model is None):
            raise ValueError(f"{'model' if self.url else 'url'} is missing: an embedder has both")
        return self

    def api_key(self) -> str | None:
        """The key of the endpoint, read now; None where it needs none."""
        return read_secret(self.api_key_env, self._env_file) if self.api_key_env else None


class DisasterRecovery(_Strict):
    """The gates of a disaster recovery: for how long a person's word opens one, and who else may be asked for it.

    The service at `approval_url` is asked by POST, with the gate and the evidence it rests on.
    """

    gate_hours: float = Field(24, gt=0, le=168)
    approval_url: Url | None = None
    approval_token_env: EnvironmentName | None = None
    _env_file: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _token_has_a_place(self) -> Self:
        if self.approval_token_env and not self.approval_url:
            raise ValueError("approval_token_env is for approval_url, which is missing")
        return self

    def approval_token(self) -> str | None:
        """The token of the approval service, read now; None where it needs none."""
        return read_secret(self.approval_token_env, self._env_file) if self.approval_token_env else None


class Deployment(_Strict):
    """One mem0 installation. `name` and `backups` (its folder) are filled in from where it stands in the file."""

    name: str
    backups: Path
    postgres: Postgres
    stores: Stores = Stores()
    dump: Dump = Dump()
    schedule: Schedule = Schedule()
    retention: Retention = Retention()
    limits: Limits = Limits()
    health: HealthSettings = HealthSettings()
    containers: Containers = Containers()
    embedder: EmbedderSettings = EmbedderSettings()
    disaster_recovery: DisasterRecovery = DisasterRecovery()
    auto_restore: AutoRestore = "confirm"

    @model_validator(mode="after")
    def _two_databases(self) -> Self:
        if self.stores.application == self.postgres.database:
            raise ValueError("stores.application is mem0's second database, and not that of the memories")
        return self

    @property
    def application(self) -> Postgres | None:
        """The application's database: on the server of the memories, by the same role."""
        if self.stores.application is None:
            return None
        return self.postgres.model_copy(update={"database": self.stores.application})


class TelegramSettings(_Strict):
    """Where alerts go. Both values are names of environment variables."""

    bot_token_env: EnvironmentName = "TELEGRAM_BOT_TOKEN"
    chat_id_env: EnvironmentName = "TELEGRAM_CHAT_ID"
    api_url: str = "https://api.telegram.org"
    _env_file: Path | None = PrivateAttr(None)

    @field_validator("api_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with https:// (or http:// for a server of your own)")
        return value.rstrip("/")

    def bot_token(self) -> str:
        return read_secret(self.bot_token_env, self._env_file)

    def chat_id(self) -> str:
        return read_secret(self.chat_id_env, self._env_file)


class Alerting(_Strict):
    """How often one incident is repeated, and how long a database may be away (a restart) before it is one."""

    cooldown_seconds: float = Field(3600, gt=0)
    unreachable_seconds: float = Field(30, ge=0)


class Fleet(_Strict):
    """All deployments of one fleet.yaml."""

    path: Path
    backups_root: Path
    telegram: TelegramSettings | None = None
    alerts: Alerting = Alerting()
    deployments: dict[str, Deployment]

    @property
    def alerts_folder(self) -> Path:
        """Where undelivered messages wait. A deployment's name cannot begin with a dot."""
        return self.backups_root / ".alerts"

    def deployment(self, name: str) -> Deployment:
        """The deployment of this name, or a ConfigurationError that lists those there are."""
        if name not in self.deployments:
            known = ", ".join(self.deployments)
            raise ConfigurationError(f"{self.path}: there is no deployment {name!r}; there are: {known}")
        return self.deployments[name]


class _FleetFile(_Strict):
    """The file as a person writes it; `load_fleet` turns it into a Fleet."""

    backups_root: FleetPath
    env_file: FleetPath = Field(default=Path(".env"), validate_default=True)
    telegram: TelegramSettings | None = None
    alerts: Alerting = Alerting()
    deployments: dict[str, dict[str, Any]] = Field(min_length=1)

    @field_validator("deployments")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not DEPLOYMENT_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a deployment name: letters, digits and _ only, a letter first")
        return value


def fleet_path(given: Path | None = None) -> Path:
    """Which fleet.yaml is meant: the one given, else $MEM0_FLEET, else fleet.yaml in the working directory."""
    return Path(os.path.abspath(given or os.environ.get("MEM0_FLEET") or "fleet.yaml"))


def load_fleet(path: Path | None = None) -> Fleet:
    """Read, check and freeze fleet.yaml. Raises ConfigurationError with the file, the key and the reason."""
    path = fleet_path(path)
    file = _validated(_FleetFile, _read_yaml(path), path, ())
    deployments = {}
    for name, raw in file.deployments.items():
        for key in ("name", "backups"):
            if key in raw:
                raise ConfigurationError(f"{path}: deployments.{name}.{key}: unknown key")
        place = {"name": name, "backups": file.backups_root / name}
        deployments[name] = _validated(Deployment, {**raw, **place}, path, ("deployments", name))
    fleet = Fleet(
        path=path,
        backups_root=file.backups_root,
        telegram=file.telegram,
        alerts=file.alerts,
        deployments=deployments,
    )
    _require_secrets(fleet, file.env_file)
    return fleet


def read_secret(name: str, env_file: Path | None) -> str:
    """The value of an environment variable, or of the same name in `.env`; never empty.

    Read anew at each use, so that a rotated password needs no restart.
    """
    value = os.environ.get(name) or _in_env_file(name, env_file)
    if not value:
        shown = name if SURELY_A_NAME.fullmatch(name) else "named here"
        where = f"neither in the environment nor in {env_file}" if env_file else "not in the environment"
        raise ConfigurationError(f"the environment variable {shown} is set {where}")
    return value


def _in_env_file(name: str, env_file: Path | None) -> str | None:
    try:
        return dotenv_values(env_file, encoding="utf-8").get(name) if env_file and env_file.is_file() else None
    except OSError as error:
        raise ConfigurationError(f"{env_file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:  # it carries the whole file, secrets and all
        raise ConfigurationError(f"{env_file}: is not UTF-8, at byte {error.start}") from None


def _require_secrets(fleet: Fleet, env_file: Path) -> None:
    named = {}
    if fleet.telegram:
        fleet.telegram._env_file = env_file
        named["telegram.bot_token_env"] = fleet.telegram.bot_token_env
        named["telegram.chat_id_env"] = fleet.telegram.chat_id_env
    for deployment in fleet.deployments.values():
        health, embedder, recovery = deployment.health, deployment.embedder, deployment.disaster_recovery
        deployment.postgres._env_file = health._env_file = embedder._env_file = recovery._env_file = env_file
        secrets = {
            "postgres.password_env": deployment.postgres.password_env,
            "health.admin_key_env": health.admin_key_env,
            "health.neo4j_password_env": health.neo4j_password_env,
            "embedder.api_key_env": embedder.api_key_env,
            "disaster_recovery.approval_token_env": recovery.approval_token_env,
        }
        named |= {f"deployments.{deployment.name}.{key}": name for key, name in secrets.items() if name}
    for key, name in named.items():
        try:
            read_secret(name, env_file)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{fleet.path}: {key}: {error.message}", next_step=f"Export it, or write it into {env_file}"
            ) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: there is no such file",
            next_step="Write one with `mem0-assets init`, or name yours with --fleet or $MEM0_FLEET",
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8, at byte {error.start}") from None
    try:
        content = yaml.load(text, Loader=_UniqueKeys)
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError(f"{path}: is not YAML: {_yaml_problem(error)}") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # a control character, a 13th month, ten thousand brackets
        raise ConfigurationError(f"{path}: is not YAML: it holds something that cannot be read") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: must hold keys and values, as fleet.example.yaml does")
    return content


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    """Where and what, without the line itself and without what it quotes: a secret may stand there."""
    where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
    return where + re.sub("(alias|anchor|tag|handle) '.*", r"\1", error.problem or "cannot be parsed")


class _UniqueKeys(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word: a second `prd:` would silently replace the first."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"the key `{key.value}` stands twice", key.start_mark)
            seen.add(key.value)
        return node


def _validated(model: type[Model], raw: Any, path: Path, prefix: tuple[str, ...]) -> Model:
    try:
        return model.model_validate(raw, context={"base": path.parent})
    except ValidationError as error:
        lines = [_plain(problem, prefix) for problem in error.errors(include_url=False, include_input=False)]
        raise ConfigurationError(f"{path}: " + "; ".join(lines)) from None


def _plain(problem: Any, prefix: tuple[str, ...]) -> str:
    """One pydantic problem as `key: reason`. Inputs are left out: a secret may have been written there."""
    key = ".".join(str(part) for part in (*prefix, *problem["loc"])) or "file"
    reason = {"extra_forbidden": "unknown key", "missing": "is required"}.get(problem["type"], problem["msg"])
    return f"{key}: {reason.removeprefix('Value error, ')}"
