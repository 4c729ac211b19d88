"""Marker fuzzing: `python -m tests.fuzz_markers --lines 1000000 [--seed n]`.

Two generators, both seeded. *Logs* know what their agent emitted (plain, decorated, fenced, inside JSON events) among
everything that only looks like it (quotations, prose, examples, what tools printed); the parser must find exactly the
emitted signals. *Mutants* are marker lines damaged at random: no exception, and what is accepted says only what stands
in the line. Spec: GATE 2, 3.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from wave_lib.state.marker_grammar import COUNT, CSV, ENUM, MARKERS, TEXT, TOKEN, MarkerKind, placeholder_line
from wave_lib.state.structured_signal_parser import Signals, extract_markers, parse_marker_line

KINDS = tuple(MARKERS.values())
TOKENS = {"component": ("core", "API.v2", "db_1"), "target": ("eu/west@1", "db:5432"), "phase": ("coding", "odd_one")}
WORDS = ("fixed", "state=gap", "and", "über", "now", "✓", "see", "a/b.py", "100%", "(twice)", "x=y", "[sic]")
PLAIN_WORDS = tuple(word for word in WORDS if "=" not in word)
Emitted = list[tuple[str, dict[str, Any]]]


# --- one marker -------------------------------------------------------------------------------------------------------


def marker(rng: random.Random) -> tuple[str, dict[str, Any], str]:
    """A valid marker: kind, the values a reader must see, and one of the many ways to write it."""
    row = rng.choice(KINDS)
    values: dict[str, Any] = {}
    pairs = []
    for field in row.fields:
        if field.name == "detail":
            continue
        if field.form == ENUM:
            value = rng.choice(field.values)
            written = rng.choice([value, value.upper(), *[key for key, to in field.aliases.items() if to == value]])
        elif field.form == COUNT:
            value = rng.randrange(12)
            written = rng.choice([str(value), *(["none", "NONE"] if value == 0 else [])])
        elif field.form == CSV:
            value = [f"Doc{rng.randrange(9)}.md" for _ in range(rng.randrange(3))]
            written = rng.choice([",", ", ", " , "]).join(value)
            value = [item.lower() for item in value] if field.lower else value
        else:
            written = rng.choice(TOKENS.get(field.name, ("svc-1", "Eu.west_2")))
            value = written.lower() if field.lower else written
        values[field.key] = value
        if written:
            pairs.append((field.name, written))
    values.update({"detail": ""} if row.field("detail") else {})
    return row.kind, values, dressed(rng, row, values, pairs)


def dressed(rng: random.Random, row: MarkerKind, values: dict[str, Any], pairs: list[tuple[str, str]]) -> str:
    """The marker as a line: any field order, hyphens for underscores, a detail in the middle or at the end."""
    lead = [word for name, word in pairs if name == row.positional]
    rest = [(name, word) for name, word in pairs if name != row.positional]
    rng.shuffle(rest)
    parts = [f"{name.replace('_', rng.choice('_-'))}={word}" for name, word in rest]
    if "detail" in values and rng.random() < 0.6:
        last = rng.random() < 0.7
        chosen = [rng.choice(WORDS if last and not _open_fields(row, rest) else PLAIN_WORDS) for _ in range(3)]
        values["detail"] = " ".join(chosen)
        parts.insert(len(parts) if last else rng.randrange(len(parts) + 1), f"detail={values['detail']}")
    tag = rng.choice([row.tag, row.tag.upper(), row.tag.title()])
    return f"[{tag}]{rng.choice(['', ' ', '  '])}{' '.join([*lead, *parts])}"


def _open_fields(row: MarkerKind, given: list[tuple[str, str]]) -> bool:
    """Whether prose in the detail could still start a field of this kind."""
    names = {name for name, _ in given}
    return row.field("state") is not None and "state" not in names


def decorated(rng: random.Random, line: str) -> str:
    """List prefixes, wrappers, colours, blanks and line ends that a reader must look through."""
    if rng.random() < 0.15:
        line = rng.choice(["`{}`", "**{}**", "`{}`.", "**{}**;"]).format(line)
    line = rng.choice(["", "", "- ", "* ", "+  ", "3. "]) + line
    if rng.random() < 0.15:
        line = f"\x1b[1;32m{line}\x1b[0m" if rng.random() < 0.5 else f"\x1b]0;title\x07{line}"
    return rng.choice(["", "", "  ", "\t"]) + line + rng.choice(["", "", " ", "\r"])


# --- whole logs -------------------------------------------------------------------------------------------------------


def prose(rng: random.Random) -> str:
    """A line that is no marker although it may hold one."""
    _, _, line = marker(rng)
    return rng.choice(
        [
            f"> {line}",
            f"I would print {line}",
            f"the form is `{line}` and then done",
            f"`{line}` is what the example said",
            placeholder_line(rng.choice(KINDS).kind),
            "[wave-unknown] state=met",
            f"{{not json {line}",
            "plain words",
            "".join(chr(rng.choice([9, 32, 65, 0x5B, 0x7B, 0x60, 0x1B, 0x9B, 0xD7FF, 0x1F600])) for _ in range(12)),
            f"wave: {line}",
            "",
        ]
    )


def speech(rng: random.Random) -> tuple[str, Emitted]:
    """Text of an agent: some markers it means, some text around them."""
    lines, emitted = [], []
    for _ in range(rng.randrange(1, 5)):
        choice = rng.random()
        if choice < 0.5:
            kind, values, line = marker(rng)
            lines.append(decorated(rng, line).rstrip("\r"))
            emitted.append((kind, values))
        elif choice < 0.6:
            block, meant = fenced(rng)
            lines += block
            emitted += meant
        else:
            lines.append(unfenced(rng))
    return "\n".join(lines), emitted


def unfenced(rng: random.Random) -> str:
    """Prose that opens no code fence."""
    return prose(rng).replace("```", "'''")


def fenced(rng: random.Random) -> tuple[list[str], Emitted]:
    """A closed code block: of markers alone it counts, with a line of prose it is an example."""
    made = [marker(rng) for _ in range(rng.randrange(1, 3))]
    lines = [line for _, _, line in made]
    example = rng.random() < 0.5
    if example:
        lines.insert(rng.randrange(len(lines) + 1), "prints for example:")
    block = [rng.choice(["```", "```text", "````"]), *lines, "```"]
    return block, [] if example else [(kind, values) for kind, values, _ in made]


def event(rng: random.Random, number: int) -> tuple[list[str], Emitted]:
    """JSON event lines of the executors; what a tool printed counts only when the agent made it print a marker."""
    text, emitted = speech(rng)
    tool = f"t{number}"
    quiet = rng.choice(["cat logs/other.log", "rg wave-proof docs", ["bash", "-c", "ls"]])
    loud = rng.choice(["python3 wave.py signal proof --state met", "echo '[wave-proof] x'", "python -m x signal gate"])
    counts = rng.random() < 0.5
    command = loud if counts else quiet
    shape = rng.randrange(8)
    if shape == 0:
        events = [{"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}]
    elif shape == 1:
        events = [{"type": "item.completed", "item": {"type": "agent_message", "text": text}}]
    elif shape == 2:
        events = [{"type": "result", "result": text}]
    elif shape == 3:
        events = [{"type": "item.completed", "item": {"type": "reasoning", "text": text}}]
        emitted = []
    elif shape == 4:
        item = {"type": "command_execution", "command": command, "aggregated_output": text}
        events = [{"type": "item.started", "item": item}, {"type": "item.completed", "item": item}]
        emitted = emitted if counts else []
    elif shape == 5:
        use = {"type": "tool_use", "id": tool, "name": "Bash", "input": {"command": str(command)}}
        answer = {"type": "tool_result", "tool_use_id": tool, "content": text}
        events = [
            {"type": "assistant", "message": {"content": [use]}},
            {"type": "user", "message": {"content": [answer]}},
        ]
        emitted = emitted if counts else []
    elif shape == 6:
        events = [{"type": "text", "part": {"type": "text", "text": text}}]
    else:
        events = [{"anything": [{"deep": {"text": text}}]}]
    if rng.random() < 0.2:
        return [json.dumps(events)], emitted
    return [json.dumps(item, ensure_ascii=rng.random() < 0.5) for item in events], emitted


def log(rng: random.Random, lines: int) -> tuple[list[str], Emitted]:
    """About `lines` lines of a log, and what its agent emitted."""
    found: list[str] = []
    emitted: Emitted = []
    while len(found) < lines:
        choice = rng.random()
        if choice < 0.3:
            block, meant = event(rng, len(found))
        elif choice < 0.4:
            block, meant = fenced(rng)
        elif choice < 0.7:
            kind, values, line = marker(rng)
            block, meant = [decorated(rng, line)], [(kind, values)]
        else:
            block, meant = [unfenced(rng)], []
        found += block
        emitted += meant
    if rng.random() < 0.3:  # an open block at the end of the log is read line by line, without its prose
        kind, values, line = marker(rng)
        found += ["```sh", "left open", line]
        emitted.append((kind, values))
    return found, emitted


def expected(emitted: Emitted) -> dict[str, Any]:
    """Which of the emitted markers win. Spec: GATE 3.4."""
    latest: dict[str, Any] = {}
    keyed: dict[str, dict[Any, Any]] = {"component": {}, "gap": {}, "deploy": {}, "infra": {}}
    for kind, values in emitted:
        if kind == "component":
            keyed[kind][values["componentId"]] = values
        elif kind == "gap":
            keyed[kind].setdefault((values["kind"], values["detail"]), values)
        elif kind == "deploy":
            keyed[kind][values["service"]] = values
        elif kind == "infra":
            keyed[kind][values["kind"], values["target"]] = values
        else:
            latest[kind] = values
    return {"latest": latest, **{kind: list(found.values()) for kind, found in keyed.items()}}


def found_in(signals: Signals) -> dict[str, Any]:
    """The signals in the form of `expected`."""
    return {
        "latest": signals.latest,
        "component": signals.components,
        "gap": signals.gaps,
        "deploy": signals.deployments,
        "infra": signals.infra,
    }


def check_log(rng: random.Random, lines: int, folder: Path) -> int:
    """One generated log, as lines and as a file; returns its number of lines."""
    made, emitted = log(rng, lines)
    wanted = expected(emitted)
    signals = extract_markers(made)
    assert found_in(signals) == wanted, (made, found_in(signals), wanted)
    accepted = sum(bucket["acceptedCount"] for bucket in signals.diagnostics.values() if isinstance(bucket, dict))
    assert accepted == sum(kind != "phase" for kind, _ in emitted), made
    path = folder / "agent.log"
    before = b"[wave-verdict] blocked\n" * rng.randrange(2)  # what stands before the offset is another attempt's
    path.write_bytes(before + "\n".join(made).encode("utf-8", "surrogatepass"))
    read = extract_markers(str(path), len(before))
    assert found_in(read) == wanted, (made, found_in(read), wanted)
    return len(made)


# --- damaged lines ----------------------------------------------------------------------------------------------------


def mutant(rng: random.Random) -> str:
    """A marker line with random damage."""
    _, _, line = marker(rng)
    text = list(decorated(rng, line))
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            text[at : at + rng.randrange(1, 4)] = []
        elif kind == 1:
            text.insert(at, rng.choice("=[]`*,;|\x1b \t\x00:-_<>\u2028gé0"))
        elif kind == 2:
            other = marker(rng)[2]
            text[at:at] = rng.choice([other, " state=gap", " detail=", "= ", "completion=", other[: rng.randrange(9)]])
        else:
            text = text[:at]
    return "".join(text)


def check_mutant(line: str) -> None:
    """No exception; an accepted line obeys the table, says what stands there, and its canonical form means the same."""
    parsed = parse_marker_line(line)
    if parsed is None or parsed.values is None:
        assert parsed is None or parsed.kind is None or parsed.reason, line
        return
    row = MARKERS[str(parsed.kind)]
    there = parsed.line.lower()
    assert f"[{row.tag}" in there, line
    for field in row.fields:
        value = parsed.values[field.key]
        if field.form == ENUM:
            assert value in field.values, line
            assert any(word in there for word in (value, *(k for k, to in field.aliases.items() if to == value))), line
        elif field.form == COUNT:
            assert isinstance(value, int) and (str(value) in there or "none" in there or value == int(value)), line
        elif field.form in (TOKEN, TEXT):
            assert str(value).lower() in there, line
        else:
            assert all(item.lower() in there for item in value), line
    again = parse_marker_line(parsed.canonical)
    assert again is not None and again.kind == parsed.kind, line
    # Prose that names a field may begin that field once the order is canonical; the claims themselves stay.
    claims = [field.key for field in row.required]
    assert again.values is not None and all(again.values[key] == parsed.values[key] for key in claims), line


def run(lines: int, seed: int) -> int:
    """Fuzz about `lines` lines, half of them in logs; returns how many there were. AssertionError shows the culprit."""
    rng = random.Random(seed)
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        while done < lines:
            done += check_log(rng, 40, Path(folder))
            for _ in range(40):
                check_mutant(mutant(rng))
            done += 40
    return done


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fuzz the marker parser.")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"{run(given.lines, given.seed)} lines, seed {given.seed}: nothing lost, nothing invented")
    return 0


if __name__ == "__main__":
    sys.exit(main())
