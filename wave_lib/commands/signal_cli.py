"""`wave signal <kind>`: prints one canonical marker line, so that it lands in the agent's log. Spec: GATE 14."""

from __future__ import annotations

import os
import re

from ..base.errors import UsageError
from ..state.marker_grammar import COUNT, CSV, ENUM, MARKERS, BadValue, Field, MarkerKind, canonical_line, read_value
from ..state.marker_line import parse_marker_line
from .arguments import JSON, TEXT, Command, Flag, Parsed, parse, usage

SUBCOMMANDS = {
    "proof": "proof",
    "doc-delta": "docDelta",
    "doc-closure": "docClosure",
    "component": "component",
    "integration": "integration",
    "eval": "eval",
    "security": "security",
    "design": "design",
    "gate": "gate",
    "verdict": "verdict",
    "gap": "gap",
    "phase": "phase",
    "deploy": "deploy",
    "infra": "infra",
}
"""Subcommand -> marker kind."""

_APPEND = Flag("--append-file", TEXT, "also append the line to this file", metavar="path")
_SPECIAL_FLAGS = {
    ("component", "component"): "--id",
    ("docDelta", "paths"): "--path",
    ("docClosure", "paths"): "--path",
}
_LINE_BREAK = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")
_FRAGMENT = re.compile(r"(?:^|\s)[A-Za-z][A-Za-z0-9_-]*=")
_COMPONENT_ID = re.compile(r"[a-z0-9._-]+")


def run(argv: list[str], root: str) -> int:
    """Print (and append) one marker line. UsageError for a value that a reader would not parse alike."""
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(_overview(), end="")
        return 0
    name = argv[0]
    if name not in SUBCOMMANDS:
        raise UsageError(f"Unknown signal kind: {name}", remedy=f"use one of {', '.join(SUBCOMMANDS)}")
    row = MARKERS[SUBCOMMANDS[name]]
    command = _command(name, row)
    parsed = parse(command, argv[1:])
    if parsed.help:
        print(usage(command), end="")
        return 0
    line = _line(row, parsed)
    path = parsed.text("append-file")
    if path:
        from ..base.files import append_text, ensure_dir

        ensure_dir(os.path.dirname(os.path.abspath(path)))
        append_text(path, f"{line}\n")
    if parsed.has("json"):
        import json

        print(json.dumps({"kind": name, "line": line, "appendFile": path}, indent=2, ensure_ascii=False))
    else:
        print(line)
    return 0


def command_table() -> dict[str, Command]:
    """Every kind with its flags, for completion."""
    return {name: _command(name, MARKERS[kind]) for name, kind in SUBCOMMANDS.items()}


def _overview() -> str:
    lines = ["Usage: wave signal <kind> [options]", "", "Prints one marker line for the agent's log.", "", "Kinds:"]
    for name, kind in SUBCOMMANDS.items():
        row = MARKERS[kind]
        flags = (f"{_flag_name(row, field)} {field.hint}" for field in row.fields if field in row.required)
        lines.append(f"  {name:12} {' '.join(flags)}")
    return "\n".join([*lines, "", "Options: --detail <text>, --json, --append-file <path>"]) + "\n"


def _flag_name(row: MarkerKind, field: Field) -> str:
    return _SPECIAL_FLAGS.get((row.kind, field.name)) or f"--{field.name.replace('_', '-')}"


def _command(name: str, row: MarkerKind) -> Command:
    flags = []
    for field in row.fields:
        flag = _flag_name(row, field)
        aliases = ("--state",) if field.name == row.positional and row.kind == "verdict" else ()
        optional = "" if field in row.required else " (optional)"
        default = "0" if _defaults_to_zero(row, field) else ""
        flags.append(
            Flag(
                flag,
                TEXT,
                f"{field.name.replace('_', ' ')}{optional}",
                metavar=field.hint.strip("<>"),
                default=default,
                repeatable=field.form == CSV,
                aliases=aliases,
            )
        )
    return Command(f"signal {name}", f"Print a [{row.tag}] line.", (*flags, JSON, _APPEND))


def _defaults_to_zero(row: MarkerKind, field: Field) -> bool:
    return row.kind == "integration" and field.form == COUNT


def _line(row: MarkerKind, parsed: Parsed) -> str:
    """The canonical line of the given values; it parses back to itself."""
    values = {field.key: _value(row, field, parsed) for field in row.fields}
    line = canonical_line(row.kind, values)
    found = parse_marker_line(line)
    if found is None or found.values is None or found.canonical != line:
        reason = found.reason if found else "no marker"
        raise UsageError(f"The line would not be read back as it is written ({reason}): {line}")
    return line


def _value(row: MarkerKind, field: Field, parsed: Parsed) -> object:
    flag = _flag_name(row, field)
    key = flag.lstrip("-")
    if not parsed.has(key):
        if _defaults_to_zero(row, field):
            return 0
        if field in row.required:
            raise UsageError(f"{flag} is required", remedy=f"use {flag} {field.hint}")
        return [] if field.form == CSV else ""
    given = parsed.texts(key) if field.form == CSV else [parsed.text(key) or ""]
    for text in given:
        _refuse_unreadable(flag, text)
    if field.form == CSV:
        if flag == "--path" and any("," in text for text in given):
            raise UsageError(f"{flag} may not contain a comma, got: {given[0]}", remedy=f"repeat {flag}")
        return read_value(field, ",".join(given))
    text = given[0].strip()
    if field.form == COUNT and not (text.isascii() and text.isdigit()):
        raise UsageError(f"{flag} must be a whole number of 0 or more, got: {text}")
    if row.kind == "component" and field.name == "component" and not _COMPONENT_ID.fullmatch(text):
        raise UsageError(f"{flag} must be a lower-case component id, got: {text}")
    try:
        return read_value(field, text)
    except BadValue:
        allowed = f"one of {', '.join(field.values)}" if field.form == ENUM else "one token of letters and digits"
        raise UsageError(f"{flag} must be {allowed}, got: {text}") from None


def _refuse_unreadable(flag: str, text: str) -> None:
    if _LINE_BREAK.search(text):
        raise UsageError(f"{flag} may not contain a line break")
    if _FRAGMENT.search(text):
        raise UsageError(f"{flag} may not contain a key=value fragment, got: {text}", remedy="write it without `=`")
