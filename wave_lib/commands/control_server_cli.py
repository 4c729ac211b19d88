"""`wave control-server`: the owned Wave Control service and its administration. Spec: PROV 10.2, 10.9."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError, WaveError
from .arguments import CHOICE, COUNT, SWITCH, TEXT, Command, Flag, Parsed, parse, usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..providers.control_server.store import Store

    JsonObject = dict[str, Any]

_DB = Flag("--db", TEXT, "database file", metavar="path", default="WAVE_CONTROL_DB_PATH or the user's state folder")
SERVE = Command(
    "control-server",
    "Run the owned Wave Control service until SIGTERM: ingest, queries, brokers, credential leases, a read-only page.",
    (
        Flag("--host", TEXT, "address to listen on", metavar="address", default="127.0.0.1"),
        Flag("--port", COUNT, "port to listen on; 0 takes a free one", metavar="n", default="3000"),
        _DB,
        Flag("--ready-file", TEXT, "written as {host, port, pid} when listening", metavar="path"),
        Flag("--tls-cert", TEXT, "certificate chain (PEM)", metavar="path"),
        Flag("--tls-key", TEXT, "its key (PEM)", metavar="path"),
        Flag("--log-level", CHOICE, "what is logged", choices=("debug", "info", "warn", "error", "silent")),
    ),
    notes="Tokens and brokers are configured by environment variables; see docs/providers.md.\n"
    "Sub-commands: user add|list|set, token create|list|revoke, credential list.",
)
_ID = Flag("--id", TEXT, "id of the user or token", metavar="id")
_USER = Flag("--user", TEXT, "id of a user", metavar="id")
_GRANT = Flag("--grant", TEXT, "provider the user may use", metavar="provider", repeatable=True)
_ROLE = Flag("--role", TEXT, "member or superuser", metavar="role")
COMMANDS = {
    "user add": Command(
        "control-server user add",
        "Create an approved user.",
        (_DB, Flag("--email", TEXT, "e-mail address", metavar="address"), Flag("--name", TEXT, "name"), _ROLE, _GRANT),
    ),
    "user list": Command("control-server user list", "Show all users.", (_DB,)),
    "user set": Command(
        "control-server user set",
        "Change a user's state, role or grants.",
        (_DB, _ID, Flag("--state", TEXT, "pending, approved, rejected or revoked", metavar="state"), _ROLE, _GRANT,
         Flag("--no-grants", SWITCH, "take all grants")),
    ),
    "token create": Command(
        "control-server token create",
        "Create a personal access token and print it this once.",
        (_DB, _USER, Flag("--label", TEXT, "what it is for"),
         Flag("--scope", TEXT, "broker:read, credential:read or ingest:write; default all", repeatable=True)),
    ),
    "token list": Command("control-server token list", "Show tokens, never their values.", (_DB, _USER)),
    "token revoke": Command("control-server token revoke", "Make a token good for nothing.", (_DB, _ID)),
    "credential list": Command("control-server credential list", "Show names of mounted credentials.", (_DB, _USER)),
}  # fmt: skip


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave control-server`."""
    words = list(argv)
    if words and not words[0].startswith("-"):
        return _administer(words)
    given = parse(SERVE, words)
    if given.help:
        print(usage(SERVE), end="")
        return ExitCode.DONE
    from ..providers.control_server.run import serve
    from ..providers.control_server.settings import server_settings

    return serve(server_settings(given.values, os.environ))


def _administer(words: list[str]) -> int:
    """The sub-commands: they work on the database itself, also while the service runs."""
    from ..providers.control_server.api import ApiError
    from ..providers.control_server.settings import database_path
    from ..providers.control_server.store import Store

    name = " ".join(words[:2])
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(f"Expected subcommand: {' | '.join(COMMANDS)}", "wave control-server")
    given = parse(command, words[2:])
    if given.help:
        print(usage(command), end="")
        return ExitCode.DONE
    path = database_path(given.text("db"), os.environ)
    if path == ":memory:":
        raise UsageError("a database in memory belongs to one process", "--db", "name a file")
    store = Store(path)
    try:
        print(json.dumps(_ACTIONS[name](store, given), indent=2, ensure_ascii=False))
    except ApiError as error:
        raise WaveError(error.sentence, f"wave {command.name}") from None
    finally:
        store.close()
    return ExitCode.DONE


_ACTOR = ("operator", "command-line")


def _user_add(store: Store, given: Parsed) -> Any:
    from ..providers.control_server.accounts import upsert_user

    fields = {"email": _required(given, "email"), "displayName": given.text("name"), "role": given.text("role")}
    grants = given.texts("grant")
    user, _ = upsert_user(store, _ACTOR, {**fields, **({"providerGrants": grants} if grants else {})})
    return user


def _user_list(store: Store, given: Parsed) -> Any:
    from ..providers.control_server.accounts import list_users

    return list_users(store)


def _user_set(store: Store, given: Parsed) -> Any:
    from ..providers.control_server.accounts import change_user

    if given.has("grant") and given.has("no-grants"):
        raise UsageError("--grant and --no-grants contradict each other")
    fields: JsonObject = {"accessState": given.text("state"), "role": given.text("role")}
    if given.has("grant") or given.has("no-grants"):
        fields["providerGrants"] = given.texts("grant")
    return change_user(store, _ACTOR, _required(given, "id"), fields, "app-user-updated")


def _token_create(store: Store, given: Parsed) -> Any:
    from ..providers.control_server.accounts import create_token

    scopes = given.texts("scope") or None
    token, record = create_token(store, _ACTOR, _required(given, "user"), given.text("label"), scopes)
    return {"token": token, "record": record}


def _token_list(store: Store, given: Parsed) -> Any:
    from ..providers.control_server.accounts import list_tokens

    return list_tokens(store, given.text("user"))


def _token_revoke(store: Store, given: Parsed) -> Any:
    from ..providers.control_server.accounts import revoke_token

    return revoke_token(store, _ACTOR, _required(given, "id"))


def _credential_list(store: Store, given: Parsed) -> Any:
    from ..providers.control_server.leases import list_credentials

    folder = os.environ.get("WAVE_CONTROL_CREDENTIALS_DIR", "").strip()
    return list_credentials(folder or None, given.text("user"))


_ACTIONS = {
    "user add": _user_add,
    "user list": _user_list,
    "user set": _user_set,
    "token create": _token_create,
    "token list": _token_list,
    "token revoke": _token_revoke,
    "credential list": _credential_list,
}


def _required(given: Parsed, name: str) -> str:
    value = given.text(name)
    if not value:
        raise UsageError(f"--{name} is required")
    return value
