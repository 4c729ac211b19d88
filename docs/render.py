#!/usr/bin/env python3
"""Writes the generated parts of these pages from the tables in the code: `python3 docs/render.py`.

A generated part stands between `<!-- generated: <name> -->` and `<!-- end generated -->`; everything around it is
written by hand. `--check` changes nothing and exits with 1 when a page is stale, naming it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec

DOCS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(DOCS)
sys.path.insert(0, ROOT)

from wave_lib import cli  # noqa: E402
from wave_lib.base.errors import ExitCode  # noqa: E402
from wave_lib.definition import config_schema, state_tree  # noqa: E402
from wave_lib.projections.explanations import HINTS  # noqa: E402
from wave_lib.state import marker_grammar  # noqa: E402

_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end generated -->)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A markdown table; a bar inside a cell is escaped."""
    columns = list(head)
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *escaped)]


def code(text: str) -> str:
    """Text as inline code; empty text stays empty."""
    return f"`{text}`" if text else ""


# --- configuration ----------------------------------------------------------------------------------------------------


def configuration() -> Iterator[str]:
    """Every key, one table for each block of the configuration."""
    rows = config_schema.describe()
    blocks: dict[str, list[config_schema.Row]] = {}
    for row in rows:
        head = row.key.partition(".")[0]
        alone = not any(other.key.startswith(head + ".") for other in rows)
        blocks.setdefault("Top level" if alone else head, []).append(row)
    for block, members in blocks.items():
        yield from ["", f"### {block if block == 'Top level' else code(block)}", ""]
        cells = (
            (code(row.key), row.accepts, code(_short(row.default)), row.text, ", ".join(row.layers)) for row in members
        )
        yield from table(("Key", "Accepts", "Default", "Meaning", "May stand in"), cells)
    yield from ["", f"{len(rows)} keys.", ""]


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"


# --- state layout -----------------------------------------------------------------------------------------------------

BASES = {
    state_tree.STATE: "Of a lane",
    state_tree.LIVE: "Of a lane, whether the run is dry or live",
    state_tree.SHARED: "Of a project",
    state_tree.WORKSPACE: "Of the workspace, for all projects",
    state_tree.ROOT: "In the repository",
}


def state_layout() -> Iterator[str]:
    """Every entry of the state tree, by the folder it lies in."""
    for base, title in BASES.items():
        yield from ["", f"### {title}: {code(base)}", ""]
        entries = [entry for entry in state_tree.STATE_TREE if entry.base == base]
        cells = ((code(entry.template), entry.kind, entry.writer, entry.contents) for entry in entries)
        yield from table(("Path", "Class", "Writer", "Holds"), cells)
    yield ""


# --- markers, exit codes, commands ------------------------------------------------------------------------------------


def markers() -> Iterator[str]:
    """Every marker with a line that shows its shape."""
    optional = {"detail", "paths", "target_ids", "benchmark_ids"}
    cells = (
        (code(f"[{row.tag}]"), code(marker_grammar.placeholder_line(kind, optional).partition("] ")[2]))
        for kind, row in marker_grammar.MARKERS.items()
    )
    yield from table(("Marker", "Fields"), cells)


def exit_codes() -> Iterator[str]:
    """Every exit code."""
    cells = ((str(int(item)), code(item.name), item.meaning) for item in ExitCode)
    yield from table(("Code", "Name", "Meaning"), cells)


def refusals() -> Iterator[str]:
    """Every family of status codes with its meaning and remedy."""
    cells = (
        (", ".join(map(code, hint.codes)), *(text.format(who="the agent") for text in (hint.meaning, hint.remedy)))
        for hint in HINTS
    )
    yield from table(("Status code", "Means", "Do"), cells)


def commands() -> Iterator[str]:
    """Every command with the text of its `--help`."""
    shown = [entry for entry in cli.COMMANDS if not entry.hidden and find_spec(f"wave_lib.{entry.module}")]
    yield from table(("Command", "Does"), ((code(f"wave {entry.name}"), entry.summary) for entry in shown))
    for entry in shown:
        yield from ["", f"## wave {entry.name}", "", "```text", *help_of(entry.name).splitlines(), "```"]
        for words in getattr(importlib.import_module(f"wave_lib.{entry.module}"), "COMMANDS", {}):
            shown_help = help_of(entry.name, *words.split()).splitlines()
            yield from ["", f"### wave {entry.name} {words}", "", "```text", *shown_help, "```"]
    yield ""


def help_of(*words: str) -> str:
    """What `wave <words> --help` prints."""
    entry = cli.find(words[0])
    if entry is None:
        raise SystemExit(f"no such command: {words[0]}")
    if entry.name == "help":
        return f"Usage: wave {entry.synopsis}\n\n{entry.summary}\n"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        importlib.import_module(f"wave_lib.{entry.module}").run([*words[1:], "--help"], ROOT)
    return printed.getvalue().rstrip("\n")


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "configuration": configuration,
    "state-layout": state_layout,
    "markers": markers,
    "exit-codes": exit_codes,
    "refusals": refusals,
    "commands": commands,
}


def rendered(text: str) -> str:
    """The page with its generated parts as they should be."""
    return _PART.sub(lambda part: part.group(1) + "\n".join(PARTS[part.group(2)]()) + "\n" + part.group(3), text)


def main(argv: list[str]) -> int:
    """Render, or with `--check` compare; the exit code."""
    stale = []
    for name in sorted(os.listdir(DOCS)):
        if not name.endswith(".md"):
            continue
        path = os.path.join(DOCS, name)
        with open(path, encoding="utf-8") as stream:
            before = stream.read()
        after = rendered(before)
        if after != before:
            stale.append(name)
            if "--check" not in argv:
                with open(path, "w", encoding="utf-8") as stream:
                    stream.write(after)
    for name in stale:
        print(f"{'stale' if '--check' in argv else 'written'}: docs/{name}")
    return 1 if stale and "--check" in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
