"""Flags of a command as a table: parsing, usage text, manual and completion all derive from it.

Why not argparse: clients such as `status` must start within a few milliseconds, the wording of usage errors is part
of the interface (LAUNCH 2.1), and `submit` stores the same flags again in one canonical form.

Spec: WORK 1.3, LAUNCH 2.1, 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..base.errors import UsageError

SWITCH, TEXT, COUNT, POSITIVE, CHOICE = "switch", "text", "count", "positive", "choice"


class Flag(NamedTuple):
    """One flag. `name` is its long form (`--lane`); `kind` is one of the five constants above."""

    name: str
    kind: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""  # as help shows it; the command applies it
    repeatable: bool = False
    aliases: tuple[str, ...] = ()
    hidden: bool = False


class Command(NamedTuple):
    """What a command line may look like.

    `positionals` are names; one that ends in `…` takes all that is left, a first one like `show|clear` lists its words.
    """

    name: str
    summary: str
    flags: tuple[Flag, ...] = ()
    positionals: tuple[str, ...] = ()
    required: int = 0  # how many of the positionals must be there
    notes: str = ""


class Parsed(NamedTuple):
    """The outcome of `parse`: values by flag name without dashes, positionals in order, whether help was asked for."""

    values: dict[str, Any]
    positionals: list[str]
    help: bool

    def has(self, name: str) -> bool:
        """True when the flag was given (a switch: when it was set)."""
        return name in self.values

    def text(self, name: str, default: str | None = None) -> str | None:
        """The value of a text or choice flag, or the default."""
        value: str | None = self.values.get(name, default)
        return value

    def texts(self, name: str) -> list[str]:
        """All values of a repeatable flag, in order."""
        return list(self.values.get(name, []))

    def number(self, name: str, default: int) -> int:
        """The value of a count or positive flag, or the default."""
        value: int = self.values.get(name, default)
        return value


JSON = Flag("--json", SWITCH, "print one JSON document on stdout")
PROJECT = Flag("--project", TEXT, "project of the workspace", metavar="id", default="the config's default project")
LANE = Flag("--lane", TEXT, "lane of the project", metavar="name", default="the config's default lane")
WAVE = Flag("--wave", COUNT, "number of the wave", metavar="n")


def parse(command: Command, argv: Sequence[str]) -> Parsed:
    """Read `argv` (without the command's own name) by the command's table.

    `--flag value` and `--flag=value` are the same; of a flag given twice the last one counts unless it is repeatable;
    a bare `--` is skipped. Raises UsageError (exit code 2) for an unknown argument, a missing or malformed value.
    Spec: LAUNCH 2.1.
    """
    table = {name: flag for flag in command.flags for name in (flag.name, *flag.aliases)}
    values: dict[str, Any] = {}
    positionals: list[str] = []
    tokens = list(argv)
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token in ("--help", "-h"):
            return Parsed({}, [], True)
        if token == "--":
            continue
        name, equals, value = token.partition("=")
        flag = table.get(name)
        if flag is None:
            if token.startswith("-") and token != "-" or not _accepts_positional(command, positionals):
                raise UsageError(f"Unknown argument: {token}")
            positionals.append(token)
            continue
        key = flag.name.lstrip("-")
        if flag.kind == SWITCH:
            if equals:
                raise UsageError(f"{flag.name} takes no value")
            values[key] = True
            continue
        if not equals:
            value = tokens[at] if at < len(tokens) and tokens[at].partition("=")[0] not in table else ""
            at += 1
        checked = _checked(flag, value)
        if flag.repeatable:
            values.setdefault(key, []).append(checked)
        else:
            values[key] = checked
    if len(positionals) < command.required:
        raise UsageError(f"wave {command.name} requires <{command.positionals[len(positionals)]}>")
    if positionals and _verbs(command) and positionals[0] not in _verbs(command):
        raise UsageError(f"Expected subcommand: {' | '.join(_verbs(command))}")
    return Parsed(values, positionals, False)


def read(command: Command, argv: Sequence[str]) -> Parsed | None:
    """`parse`, but None when there is nothing to do: help was asked for, or a command of verbs was given none.

    Its usage is printed then. Raises UsageError like `parse`.
    """
    parsed = Parsed({}, [], True) if not argv and _verbs(command) else parse(command, argv)
    if parsed.help:
        print(usage(command), end="")
        return None
    return parsed


def usage(command: Command) -> str:
    """The text that `wave <command> --help` prints."""
    words = [f"wave {command.name}"]
    for place, name in enumerate(command.positionals):
        words.append(f"<{name}>" if place < command.required else f"[{name}]")
    shown = [flag for flag in command.flags if not flag.hidden]
    if shown:
        words.append("[options]")
    lines = ["Usage: " + " ".join(words), "", command.summary]
    if shown:
        heads = [_head(flag) for flag in shown]
        width = min(max(len(head) for head in heads), 38)
        lines += ["", "Options:"]
        for head, flag in zip(heads, shown):
            text = flag.help + (f" (default: {flag.default})" if flag.default else "")
            if len(head) > width:
                lines += [f"  {head}", f"  {'':{width}}  {text}"]
            else:
                lines.append(f"  {head:{width}}  {text}")
    if command.notes:
        lines += ["", command.notes]
    return "\n".join(lines) + "\n"


def _verbs(command: Command) -> list[str]:
    first = command.positionals[0] if command.positionals else ""
    return first.split("|") if "|" in first else []


def _accepts_positional(command: Command, seen: list[str]) -> bool:
    names = command.positionals
    return len(seen) < len(names) or bool(names and names[-1].endswith("…"))


def _checked(flag: Flag, value: str) -> Any:
    if not value.strip():
        raise UsageError(f"{flag.name} requires a value")
    if flag.kind in (COUNT, POSITIVE):
        number = int(value) if value.isascii() and value.isdigit() else -1
        if number < (1 if flag.kind == POSITIVE else 0):
            wanted = "positive" if flag.kind == POSITIVE else "non-negative"
            raise UsageError(f"{flag.name} must be a {wanted} integer, got: {value}")
        return number
    if flag.kind == CHOICE and value not in flag.choices:
        raise UsageError(f"{flag.name} must be one of: {', '.join(flag.choices)} (got: {value})")
    return value


def _head(flag: Flag) -> str:
    if flag.kind == SWITCH:
        return flag.name
    shown = flag.metavar or ("|".join(flag.choices) if flag.kind == CHOICE else "n" if flag.kind != TEXT else "text")
    return f"{flag.name} <{shown}>"
