"""What the service is told by options and environment, checked before anything is opened. Spec: PROV 10.2."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ...base.errors import ConfigError, ExitCode
from ...base.http_json import HttpError, origin
from ...base.redaction import register_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE_SCOPES = ("service:read", "service:user:write", "service:token:write")
STATIC_TOKEN_VARIABLES = ("WAVE_API_TOKENS", "WAVE_API_TOKEN", "WAVE_CONTROL_API_TOKENS", "WAVE_CONTROL_API_TOKEN")
LOG_LEVELS = ("debug", "info", "warn", "error", "silent")
SHORT_TOKEN = 16
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class ServiceToken(NamedTuple):
    """A token of `WAVE_CONTROL_SERVICE_TOKENS_JSON`."""

    label: str
    token: str
    scopes: tuple[str, ...]


class CorridorProject(NamedTuple):
    """Where a Wave project's findings are."""

    team_id: str | None
    project_id: str


class Broker(NamedTuple):
    """Upstream services of the deployment. `owned` is the master switch; a provider counts only with its key."""

    owned: bool = False
    context7_key: str = ""
    corridor_token: str = ""
    corridor_projects: Mapping[str, CorridorProject] = {}
    provider_keys: Mapping[str, str] = {}
    enabled: tuple[str, ...] = ()
    timeout_seconds: float = 10.0
    max_retries: int = 1
    max_pages: int = 100
    corridor_base_url: str = "https://app.corridor.dev/api"
    context7_base_url: str = "https://context7.com/api/v2"


class ServerSettings(NamedTuple):
    """Everything the service needs. Sizes are bytes; `warnings` are said at start."""

    host: str = "127.0.0.1"
    port: int = 3000
    db_path: str = ":memory:"
    ready_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    log_level: str = "info"
    static_tokens: tuple[str, ...] = ()
    service_tokens: tuple[ServiceToken, ...] = ()
    auth_for_reads: bool = True
    credentials_dir: str | None = None
    max_batch_events: int = 200
    max_artifact_bytes: int = 524_288
    max_body_bytes: int = 33_554_432
    retention_days: int | None = None
    title: str = "Wave Control"
    allowed_origins: tuple[str, ...] = ()
    broker: Broker = Broker()
    warnings: tuple[str, ...] = ()


def server_settings(options: Mapping[str, Any], environ: Mapping[str, str]) -> ServerSettings:
    """Settings from the environment, with command-line options on top. Raises ConfigError (exit code 2)."""
    env = _Environment(environ)
    warnings: list[str] = []
    for name in ("DATABASE_URL", *sorted(key for key in environ if key.startswith("WAVE_CONTROL_BUCKET_"))):
        if environ.get(name):
            warnings.append(f"{name} is not used: events are kept in SQLite")
    if env.flag("WAVE_CONTROL_STACK_ENABLED", False):
        raise wrong("browser login does not exist here", "WAVE_CONTROL_STACK_ENABLED", "unset it; use bearer tokens")
    static = _static_tokens(env)
    service = _service_tokens(env, static)
    if not static and not service:
        warnings.append("no token is configured: only health and, if public, the queries can be used")
    if any(len(token) < SHORT_TOKEN for token in static):
        warnings.append(f"a static token has fewer than {SHORT_TOKEN} characters")
    port = options.get("port")
    level = options.get("log-level") or env.text("WAVE_CONTROL_LOG_LEVEL") or "info"
    if level not in LOG_LEVELS:
        raise wrong(f"must be one of: {', '.join(LOG_LEVELS)} (got: {level})", "WAVE_CONTROL_LOG_LEVEL")
    if bool(options.get("tls-cert")) != bool(options.get("tls-key")):
        raise wrong("--tls-cert and --tls-key belong together", "control-server")
    settings = ServerSettings(
        host=options.get("host") or env.text("HOST") or "127.0.0.1",
        port=env.number("PORT", 3000, least=0, most=65535) if port is None else int(port),
        db_path=database_path(options.get("db"), environ),
        ready_file=options.get("ready-file"),
        tls_cert=options.get("tls-cert"),
        tls_key=options.get("tls-key"),
        log_level=level,
        static_tokens=static,
        service_tokens=service,
        auth_for_reads=env.flag("WAVE_CONTROL_REQUIRE_AUTH_FOR_READS", True),
        credentials_dir=_credentials_dir(env),
        max_batch_events=env.number("WAVE_CONTROL_MAX_BATCH_EVENTS", 200, least=1),
        max_artifact_bytes=env.number("WAVE_CONTROL_MAX_INLINE_ARTIFACT_BYTES", 524_288, least=1),
        max_body_bytes=env.number("WAVE_CONTROL_MAX_BODY_BYTES", 33_554_432, least=1024),
        retention_days=env.number("WAVE_CONTROL_RETENTION_DAYS", 0, least=1) or None,
        title=env.text("WAVE_CONTROL_UI_TITLE") or "Wave Control",
        allowed_origins=env.words("WAVE_CONTROL_ALLOWED_ORIGINS"),
        broker=_broker(env, warnings),
    )
    if settings.port > 65535:
        raise wrong("must be at most 65535", "--port")
    return settings._replace(warnings=tuple(warnings))


def database_path(option: str | None, environ: Mapping[str, str]) -> str:
    """Where the database is: the option, the variable, or the user's state folder."""
    chosen = option or environ.get("WAVE_CONTROL_DB_PATH", "").strip()
    if chosen == ":memory:":
        return chosen
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    state = environ.get("XDG_STATE_HOME", "").strip() or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "wave-control", "wave-control.sqlite3")


def wrong(what: str, where: str, remedy: str = "") -> ConfigError:
    """A configuration error of the service: exit code 2."""
    return ConfigError(what, where, remedy, code=ExitCode.USAGE)


class _Environment:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(word for part in self.text(name).split(",") if (word := part.strip())))

    def flag(self, name: str, default: bool) -> bool:
        word = self.text(name).lower()
        if not word:
            return default
        if word not in _TRUE + _FALSE:
            raise wrong(f"must be true or false (got: {word})", name)
        return word in _TRUE

    def number(self, name: str, default: int, least: int = 0, most: int = 2**53) -> int:
        text = self.text(name)
        if not text:
            return default
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 17 else -1
        if not least <= value <= most:
            raise wrong(f"must be an integer of at least {least} (got: {text})", name)
        return value

    def value(self, name: str, check: Callable[[Any], bool], shape: str, default: Any) -> Any:
        """A JSON value; `check` says whether it has the shape."""
        text = self.text(name)
        if not text:
            return default
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise wrong("is not JSON", name, f"it must be {shape}") from None
        if not check(found):
            raise wrong(f"must be {shape}", name)
        return found

    def url(self, name: str, default: str) -> str:
        text = self.text(name) or default
        try:
            origin(text)
        except HttpError as error:
            raise wrong(str(error), name) from None
        return text.rstrip("/")

    def secret(self, name: str) -> str:
        value = self.text(name)
        register_secret(value)
        return value


def _static_tokens(env: _Environment) -> tuple[str, ...]:
    """The union of all four variables, so that a token can be rotated by adding the new one first."""
    found = tuple(dict.fromkeys(token for name in STATIC_TOKEN_VARIABLES for token in env.words(name)))
    for token in found:
        register_secret(token)
    return found


def _service_tokens(env: _Environment, static: tuple[str, ...]) -> tuple[ServiceToken, ...]:
    name = "WAVE_CONTROL_SERVICE_TOKENS_JSON"
    entries = env.value(name, lambda value: isinstance(value, list), "a list of {label, token, scopes}", [])
    found: list[ServiceToken] = []
    for index, entry in enumerate(entries):
        where = f"{name}[{index}]"
        token = entry.get("token") if isinstance(entry, dict) else None
        if not isinstance(token, str) or not token.strip():
            raise wrong("has no token", where)
        token = token.strip()
        if token in static or any(token == other.token for other in found):
            raise wrong("its token is used twice", where)
        scopes = entry.get("scopes", [])
        unknown = [scope for scope in scopes if scope not in SERVICE_SCOPES] if isinstance(scopes, list) else [scopes]
        if unknown:
            raise wrong(f"unknown scope {unknown[0]!r}", where, f"known: {', '.join(SERVICE_SCOPES)}")
        register_secret(token)
        label = str(entry.get("label") or f"service-token-{index + 1}")
        found.append(ServiceToken(label, token, tuple(dict.fromkeys(scopes))))
    return tuple(found)


def _credentials_dir(env: _Environment) -> str | None:
    path = env.text("WAVE_CONTROL_CREDENTIALS_DIR")
    if not path:
        return None
    path = os.path.abspath(os.path.expanduser(path))
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise wrong(f"cannot be read: {error.strerror}", f"WAVE_CONTROL_CREDENTIALS_DIR={path}") from None
    if not os.path.isdir(path):
        raise wrong("is no folder", f"WAVE_CONTROL_CREDENTIALS_DIR={path}")
    if mode & 0o077:
        raise wrong(
            f"can be read by group or others (mode {mode & 0o777:04o})", f"WAVE_CONTROL_CREDENTIALS_DIR={path}",
            f"run chmod 700 {path}",
        )  # fmt: skip
    return path


def _broker(env: _Environment, warnings: list[str]) -> Broker:
    owned = env.flag("WAVE_BROKER_OWNED_DEPLOYMENT", False)
    variables = {
        "context7": "WAVE_BROKER_CONTEXT7_API_KEY",
        "corridor": "WAVE_BROKER_CORRIDOR_API_TOKEN",
        "openai": "WAVE_BROKER_OPENAI_API_KEY",
        "anthropic": "WAVE_BROKER_ANTHROPIC_API_KEY",
    }
    keys: dict[str, str] = {}
    for provider, variable in variables.items():
        key = env.secret(variable)
        if not env.flag(f"WAVE_BROKER_ENABLE_{provider.upper()}", False):
            continue
        if not key:
            warnings.append(f"the {provider} broker is enabled and {variable} is unset")
        elif not owned:
            warnings.append(f"the {provider} broker is enabled and WAVE_BROKER_OWNED_DEPLOYMENT is not true")
        if key:
            keys[provider] = key
    return Broker(
        owned=owned,
        context7_key=keys.get("context7", ""),
        corridor_token=keys.get("corridor", ""),
        corridor_projects=_corridor_projects(env),
        provider_keys={name: keys[name] for name in ("openai", "anthropic") if name in keys},
        enabled=tuple(keys),
        timeout_seconds=max(env.number("WAVE_BROKER_REQUEST_TIMEOUT_MS", 10_000), 1000) / 1000,
        max_retries=env.number("WAVE_BROKER_MAX_RETRIES", 1, most=5),
        max_pages=env.number("WAVE_BROKER_MAX_PAGES", 100, least=1),
        corridor_base_url=env.url("WAVE_BROKER_CORRIDOR_BASE_URL", "https://app.corridor.dev/api"),
        context7_base_url=env.url("WAVE_BROKER_CONTEXT7_BASE_URL", "https://context7.com/api/v2"),
    )


def _corridor_projects(env: _Environment) -> dict[str, CorridorProject]:
    name = "WAVE_BROKER_CORRIDOR_PROJECT_MAP"
    entries = env.value(name, lambda value: isinstance(value, dict), "an object", {})
    found: dict[str, CorridorProject] = {}
    for project, entry in entries.items():
        corridor = entry.get("projectId") if isinstance(entry, dict) else None
        if not isinstance(corridor, str) or not corridor.strip():
            raise wrong("has no projectId", f"{name}.{project}")
        team = entry.get("teamId")
        found[str(project)] = CorridorProject(team if isinstance(team, str) else None, corridor.strip())
    return found
