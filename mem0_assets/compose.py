"""mem0's compose file and its .env, read as Docker Compose reads them: services, variables, ports, and which files.

What a container really gets is spread over `environment`, `env_file`, .env and ${NAME:-default}. Only here is known how
these are put together; what it means for a fleet.yaml is decided in init.py.

Variables are looked up in files, not in the environment of this process: what a shell had exported when the containers
were started is not known here. What is not certain becomes a note. Errors and notes name keys, variables and files, but
no password; an error in a YAML file is told by its place, since the parser's own words quote the line.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from dotenv import dotenv_values

from mem0_assets.errors import ConfigurationError

POSTGRES_PORT = 5432
PASSWORD = "POSTGRES_PASSWORD"
PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")
COMPOSE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")  # in Docker's own order
STAGES = {
    "prd": "prd",
    "prod": "prd",
    "production": "prd",
    "test": "test",
    "tst": "test",
    "staging": "staging",
    "dev": "dev",
}

_POSTGRES_IMAGE = re.compile(r"(?:.*[-_.])?(?:postgres|pgvector|postgis|timescaledb)(?:[-_]ha)?")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)
_STAGED_FILE = re.compile(r"(?:docker-)?compose[.-](\w+)\.ya?ml|\.env\.(\w+)")
_DOLLAR = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>(?:[A-Za-z_]\w*)?)(?P<operator>:?[-?+])?)", re.ASCII
)
_BRACE = re.compile(r"\$\{|\}")


@dataclass(frozen=True)
class Setting:
    """One environment variable of a service. `file`: the env_file that set it. No text: passed on from .env."""

    text: str | None = field(repr=False)
    file: Path | None = None


@dataclass(frozen=True)
class Port:
    """What a container listens on, and where that is published: `published` is empty where Docker picks any port."""

    host: str
    published: range
    target: range


@dataclass(frozen=True)
class Mount:
    """Where a service's files are. `source`: a file or folder of this machine; None: a volume that only Docker sees.

    `said` is what the compose file says: a path, a volume's name in that file, or nothing (a new volume each time).
    """

    target: PurePosixPath
    source: Path | None
    said: str = ""

    def is_file(self, name: str) -> bool:
        """Whether it is a file of this machine by this name."""
        return self.source is not None and self.source.name == name


class Compose:
    """A compose file with its .env, read; `notes` grows while it is asked."""

    def __init__(self, path: Path, env_file: Path | None) -> None:
        self.path = path
        self.env_file = env_file
        self.unset = f"is not set in {env_file}" if env_file else "is not set, as there is no .env beside that file"
        self.variables = read_env(env_file) if env_file else {}
        self.notes: list[str] = []
        content = _read_yaml(path)
        self._name, self._volumes = str(content.get("name") or ""), content.get("volumes")
        services = content.get("services")
        if not isinstance(services, dict):
            raise self.error("services", "must hold the services by name", "Is this the compose file of mem0?")
        self.services = [Service(self, name, raw) for name, raw in services.items()]
        if path.name in COMPOSE_NAMES:  # else Docker takes no override either
            for file in path.parent.glob("*compose.override.y*ml"):
                self.note(f"{file.name} was not read: what it changes (ports, passwords) must be corrected by hand")

    def stage(self) -> str | None:
        """`prd`, `test`, ... where the file is named for it, like docker-compose.prd.yml."""
        return _stage_of_file(self.path)

    def project(self, running: str | None = None) -> str:
        """What Docker Compose calls these services together: what the files say, else what they are `running` as, else the
        name of their folder. (Unless `-p` said otherwise when they were started.)
        """
        name = self.variables.get("COMPOSE_PROJECT_NAME")
        with suppress(ValueError):
            name = name or _expanded(self._name, self.variables, [])
        return name or running or re.sub(r"[^a-z0-9_-]", "", self.path.parent.name.lower()).lstrip("_-")

    def volume(self, name: str, project: str | None) -> str:
        """What Docker calls this volume of the file: after its project, unless it has a name of its own."""
        settings = self._volumes.get(name) if isinstance(self._volumes, dict) else None
        own = settings.get("name") if isinstance(settings, dict) else None
        external = isinstance(settings, dict) and settings.get("external") == "true"
        return str(own) if own else name if external or not project else f"{project}_{name}"

    def note(self, text: str) -> None:
        self.notes.append(text)

    def error(self, key: str, reason: str, next_step: str = "") -> ConfigurationError:
        step = next_step or "`docker compose config --quiet` says what is wrong there"
        return ConfigurationError(f"{self.path}: {key}: {reason}", next_step=step)


class Service:
    """One service of a compose file. Not a dataclass: it holds secrets, and must not show them in a repr."""

    def __init__(self, compose: Compose, name: Any, raw: Any) -> None:
        if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name) or not isinstance(raw, dict):
            raise compose.error("services", "one is not a name with keys and values")
        self.compose = compose
        self.name = name
        self._raw = raw
        self.env_files: list[Path] = []
        settings = {**self._env_files(), **self._environment()}
        # PostgreSQL's image and mem0's server both take an empty variable for one that is not set.
        self.environment = {key: setting for key, setting in settings.items() if setting.text != ""}

    def _environment(self) -> dict[str, Setting]:
        raw = self._raw.get("environment") or {}
        if isinstance(raw, list):
            split = [str(line).partition("=") for line in raw]
            return {key: Setting(text if equals else None) for key, equals, text in split}
        if not isinstance(raw, dict):
            raise self._error("environment", "must be a list or a mapping")
        return {str(key): Setting(None if value is None else str(value)) for key, value in raw.items()}

    def _env_files(self) -> dict[str, Setting]:
        settings: dict[str, Setting] = {}
        raw = self._raw.get("env_file") or []
        for entry in raw if isinstance(raw, list) else [raw]:
            words = entry if isinstance(entry, dict) else {"path": entry}
            path = self.expand("env_file", str(words.get("path")))
            file = Path(os.path.abspath(self.compose.path.parent / path))
            if not file.is_file() and words.get("required") != "false":
                self.compose.note(f"services.{self.name}: its env_file {file} is not there: what it sets is unknown")
            if file.is_file():
                self.env_files.append(file)
            values = self.compose.variables if file == self.compose.env_file else read_env(file)
            settings |= {key: Setting(value, file) for key, value in values.items()}
        return settings

    def value(self, key: str) -> str:
        """A variable as the container gets it; empty where it is not set."""
        setting = self.environment.get(key)
        if setting is None:
            return ""
        if setting.text is None:
            return self.compose.variables.get(key, "")
        return setting.text if setting.file else self.expand(f"environment.{key}", setting.text)

    def expand(self, key: str, text: str) -> str:
        """`text` with its variables. One that the file demands must be there; any other that is not is a note."""
        unset: list[_Reference] = []
        with self._plain_errors(key):
            value = _expanded(text, self.compose.variables, unset)
        for reference in unset:
            said = f"{reference.name} {self.compose.unset}"
            if reference.operator:
                step = f"Write {reference.name}=... into the .env beside the compose file"
                raise self._error(key, f"{said}, and must be", step)
            self.compose.note(f"services.{self.name}.{key}: {said}; it is taken as empty, as Docker does")
        return value

    def text(self, key: str) -> str:
        """A key of the service that holds one text, as far as its variables are known; empty where there is none."""
        with self._plain_errors(key):
            return _expanded(str(self._raw.get(key) or ""), self.compose.variables, [])

    def written_password(self) -> tuple[list[str], str]:
        """What the compose file itself says of the password: the variables that may hold it all, and its value."""
        text = self.environment[PASSWORD].text
        with self._plain_errors(f"environment.{PASSWORD}"):
            return ([PASSWORD], "") if text is None else (_holders(text), _expanded(text, self.compose.variables, []))

    def port(self, key: str) -> int | None:
        """A variable that holds a port number."""
        value = self.value(key)
        return self._span(f"environment.{key}", value)[0] if value else None

    def ports(self) -> list[Port]:
        """Every TCP port that is published, in the short and in the long form."""
        ports = []
        for entry in self._list("ports"):
            if isinstance(entry, dict):
                words = [self.expand("ports", str(entry.get(key) or "")) for key in ("host_ip", "published", "target")]
                protocol = str(entry.get("protocol") or "")
            else:
                text, _, protocol = self.expand("ports", str(entry)).partition("/")
                outside, _, target = text.rpartition(":")
                host, _, published = outside.rpartition(":")
                words = [host.strip("[]"), published, target]
            if protocol in ("", "tcp"):
                ports.append(self._port(*words))
        return ports

    def _port(self, host: str, published: str, target: str) -> Port:
        port = Port(host, self._span("ports", published) if published else range(0), self._span("ports", target))
        if len(port.published) not in (0, len(port.target)) and len(port.target) > 1:
            raise self._error("ports", "two ranges of one entry are not equally long")
        return port

    def _span(self, key: str, text: str) -> range:
        match = _PORTS.fullmatch(text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 65535:
            raise self._error(key, "holds what is neither a port (1 to 65535) nor a range of ports")
        return range(first, last + 1)

    def mounts(self) -> list[Mount]:
        """Every volume, in the short and in the long form."""
        mounts = []
        for entry in self._list("volumes"):
            if isinstance(entry, dict):
                source, target = (self.expand("volumes", str(entry.get(key) or "")) for key in ("source", "target"))
            else:
                words = self.expand("volumes", str(entry)).split(":")
                source, target = words[:2] if len(words) > 1 else ("", words[0])
            # Docker takes what does not begin as a path does for the name of one of its own volumes.
            folder = Path(os.path.expanduser(source)) if source.startswith((".", "/", "~")) else None
            seen = Path(os.path.abspath(self.compose.path.parent / folder)) if folder else None
            mounts.append(Mount(PurePosixPath(target), seen, source))
        return mounts

    def container(self) -> str | None:
        """Its container's name: the one that is set, else Docker Compose's own; None where it has several, or none yet."""
        deploy = self._raw.get("deploy")
        replicas = deploy.get("replicas") if isinstance(deploy, dict) else None
        if {str(self._raw.get("scale", 1)), str(replicas or 1)} != {"1"}:
            return None
        with suppress(ConfigurationError):
            name = self.expand("container_name", str(self._raw.get("container_name") or ""))
            return name or f"{self.compose.project()}-{self.name}-1"
        return None

    def hosts(self) -> set[str]:
        """The names by which other services reach this one."""
        networks = self._raw.get("networks")
        attached = [each for each in networks.values() if isinstance(each, dict)] if isinstance(networks, dict) else []
        aliases = {str(alias) for network in attached for alias in network.get("aliases") or []}
        return ({self.name, self.text("container_name"), self.text("hostname")} | aliases) - {""}

    def stage(self) -> str | None:
        """`prd`, `test`, ... where the service's or the container's name ends in it."""
        words = [re.split(r"[-_.]", name)[-1].lower() for name in (self.name, self.text("container_name"))]
        return next((STAGES[word] for word in words if word in STAGES), None)

    def is_postgres(self) -> bool:
        """By its image; or, for one that is built, by serving PostgreSQL's port or keeping its files."""
        image = self.text("image").lower().rpartition("/")[2]
        if _POSTGRES_IMAGE.fullmatch(re.split("[:@]", image)[0]):
            return True
        if "POSTGRES_HOST" in self.environment or not self.environment.keys() & {PASSWORD, "POSTGRES_USER"}:
            return False
        serves = str(POSTGRES_PORT) in map(str, self._list("expose"))
        serves = serves or any(POSTGRES_PORT in port.target for port in self.ports())
        return serves or any("/var/lib/postgresql" in str(volume) for volume in self._list("volumes"))

    def is_mem0(self) -> bool:
        """By its name, its image, or the one variable that only mem0's server has."""
        names = (self.name, self.text("container_name"), self.text("image"))
        return "POSTGRES_COLLECTION_NAME" in self.environment or any("mem0" in name for name in names)

    def has_password(self) -> bool:
        """Whether anything is said of a password, and be it that none is needed."""
        said = self.environment.keys() & {PASSWORD, "POSTGRES_PASSWORD_FILE"}
        return bool(said) or self.value("POSTGRES_HOST_AUTH_METHOD") == "trust"

    def _list(self, key: str) -> list[Any]:
        value = self._raw.get(key) or []
        if not isinstance(value, list):
            raise self._error(key, "must be a list")
        return value

    @contextmanager
    def _plain_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except ValueError:
            raise self._error(key, "holds a ${...} that Docker Compose does not know") from None

    def _error(self, key: str, reason: str, next_step: str = "") -> ConfigurationError:
        return self.compose.error(f"services.{self.name}.{key}", reason, next_step)


# --- Variables in the compose file ---


@dataclass(frozen=True)
class _Reference:
    """`$NAME`, `${NAME}`, or `${NAME<operator>word}` with one of :- - :? ? :+ + as Docker Compose has them."""

    name: str
    operator: str = ""
    word: str = ""


def _pieces(text: str) -> list[str | _Reference]:
    """A text cut into what is literal and what is a variable; `$$` is a dollar. ValueError: no such expression."""
    pieces: list[str | _Reference] = []
    position = 0
    while match := _DOLLAR.search(text, position):
        pieces.append(text[position : match.start()])
        position = match.end()
        if match["escaped"]:
            pieces.append("$")
        elif match["plain"]:
            pieces.append(_Reference(match["plain"]))
        else:
            end = _closing_brace(text, position)
            reference = _Reference(match["name"], match["operator"] or "", text[position:end])
            if not reference.name or (reference.word and not reference.operator):
                raise ValueError
            pieces.append(reference)
            position = end + 1
    pieces.append(text[position:])
    return [piece for piece in pieces if piece]


def _closing_brace(text: str, start: int) -> int:
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "${" else -1
        if depth == 0:
            return brace.start()
    raise ValueError


def _expanded(text: str, variables: Mapping[str, str], unset: list[_Reference]) -> str:
    """`text` with its variables; those that are not set and have no default become empty, and are added to `unset`."""
    pieces = _pieces(text)
    return "".join(piece if isinstance(piece, str) else _value(piece, variables, unset) for piece in pieces)


def _value(reference: _Reference, variables: Mapping[str, str], unset: list[_Reference]) -> str:
    value = variables.get(reference.name)
    there = bool(value) if reference.operator.startswith(":") else value is not None
    if reference.operator.endswith("+"):
        return _expanded(reference.word, variables, unset) if there else ""
    if value is not None and there:
        return value
    if reference.operator.endswith("-"):
        return _expanded(reference.word, variables, unset)
    unset.append(reference)
    return ""


def _holders(text: str) -> list[str]:
    """The variables that may hold the whole of this text, in Docker's order; none where part of it is literal."""
    pieces = _pieces(text)
    if len(pieces) != 1 or isinstance(pieces[0], str) or pieces[0].operator.endswith("+"):
        return []
    reference = pieces[0]
    return [reference.name, *(_holders(reference.word) if reference.operator.endswith("-") else [])]


# --- The files ---


def read_compose(source: Path) -> Compose:
    """The compose file and the .env that `source` means: their folder, or one of the two.

    Raises ConfigurationError where one is missing, unreadable, not YAML, or holds no services.
    """
    try:
        return Compose(*_files(source))
    except OSError as error:  # even to look for a file can fail
        raise _unreadable(source, error) from None


def read_env(path: Path) -> dict[str, str]:
    """The variables of an env file; those without a value are left out. Empty where there is no such file."""
    try:
        values = dotenv_values(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    return {key: value for key, value in values.items() if value is not None}


def _files(source: Path) -> tuple[Path, Path | None]:
    """The compose file and the env file that are meant: the one that was named, and what belongs to it."""
    if source.is_dir():
        compose = _compose_in(source, None)
    elif not source.is_file():
        raise ConfigurationError(
            f"{source}: there is no such file or folder", next_step="Name the folder of mem0's compose file with --from"
        )
    elif source.name.startswith(".env") or source.suffix == ".env":
        return _compose_in(source.parent, _stage_of_file(source)), source
    else:
        compose = source
    usual = [compose.with_name(f".env.{_staged(compose)}")] if _staged(compose) else []
    return compose, next((file for file in (*usual, compose.with_name(".env")) if file.is_file()), None)


def _compose_in(folder: Path, stage: str | None) -> Path:
    """The compose file of this stage (`docker-compose.prd.yml`), else the one that Docker takes, else the only one."""
    files = sorted(file for file in folder.glob("*compose*.y*ml") if _staged(file) != "override")
    of_stage = [file for file in files if stage and _stage_of_file(file) == stage]
    usual = [folder / name for name in COMPOSE_NAMES if folder / name in files]
    for choice in (of_stage, usual[:1], files):
        if len(choice) == 1:
            return choice[0]
    if not files:
        raise ConfigurationError(
            f"{folder}: there is no compose file (like docker-compose.yaml) in it",
            next_step="Name the folder of mem0's compose file, or the file itself, with --from",
        )
    raise ConfigurationError(
        f"{folder}: there are several compose files: {', '.join(file.name for file in files)}",
        next_step="Name one of them with --from",
    )


def _staged(file: Path) -> str | None:
    """`prd` of `docker-compose.prd.yml` and of `.env.prd`, whatever word stands there."""
    match = _STAGED_FILE.fullmatch(file.name)
    return match[1] or match[2] if match else None


def _stage_of_file(file: Path) -> str | None:
    return STAGES.get(_staged(file) or "")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(
            f"{path}: is not YAML that can be read{place}",
            next_step="A value with special characters needs quotes; `docker compose config --quiet` says more",
        ) from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: holds no services", next_step="Is this the compose file of mem0?")
    return content


class _TextLoader(yaml.SafeLoader):
    """Leaves text as it is written: to YAML, 0123 would be 83, `22:22` 1342 and `no` False. Only null stays null."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> ConfigurationError:
    """A decoding error's own text quotes bytes of the file, so that it is not shown."""
    reason = error.strerror or "error" if isinstance(error, OSError) else "not text in UTF-8"
    return ConfigurationError(f"{path}: cannot be read: {reason}", next_step="Is it the right file, and readable here?")
