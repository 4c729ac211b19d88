"""Commands that consist of verbs (`wave control task act …`): one table of verbs, one way to find and explain them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..base.errors import ExitCode, UsageError
from .arguments import LANE, PROJECT, SWITCH, TEXT, WAVE, Command, Flag, Parsed, parse, usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.lane_paths import LanePaths
    from ..runtime.wave_scene import WaveScene

RUN = Flag("--run", TEXT, "an ad-hoc run; sets project and lane, the wave is 0", metavar="id")
DRY_RUN = Flag("--dry-run", SWITCH, "the state of dry runs instead of the live one")
PLACE = (PROJECT, LANE, WAVE, RUN, DRY_RUN)
"""The flags that name a wave. Spec: COORD 24."""


class Verb(NamedTuple):
    """One verb: its flags, and what it does with them in a workspace (`act(parsed, root)` returns the exit code)."""

    command: Command
    act: Callable[[Parsed, str], int]


def commands_of(verbs: Mapping[str, Verb]) -> dict[str, Command]:
    """The verbs as a table of commands, for completion and documentation."""
    return {words: verb.command for words, verb in verbs.items()}


def run_verb(name: str, summary: str, verbs: Mapping[str, Verb], argv: Sequence[str], root: str) -> int:
    """Find the verb that `argv` begins with and do it; without one, or with --help, print what there is."""
    words = list(argv)
    if not words or words[0] in ("--help", "-h"):
        print(overview(name, summary, verbs), end="")
        return ExitCode.DONE
    length = next((n for n in (2, 1) if " ".join(words[:n]) in verbs), 0)
    if not length:
        family = {key: verb for key, verb in verbs.items() if key.split()[0] == words[0]}
        if family and (len(words) == 1 or words[1] in ("--help", "-h")):
            print(overview(f"{name} {words[0]}", summary, family, skip=1), end="")
            return ExitCode.DONE
        known = [key.partition(" ")[2] for key in family] or list(dict.fromkeys(key.split()[0] for key in verbs))
        raise UsageError(f"Expected subcommand: {' | '.join(known)}", f"wave {name}")
    verb = verbs[" ".join(words[:length])]
    given = parse(verb.command, words[length:])
    if given.help:
        print(usage(verb.command), end="")
        return ExitCode.DONE
    return verb.act(given, root)


def overview(name: str, summary: str, verbs: Mapping[str, Verb], skip: int = 0) -> str:
    """The help of the whole family: its verbs with what they do."""
    heads = {key: " ".join([*key.split()[skip:], *_placeholders(verb.command)]) for key, verb in verbs.items()}
    width = max(map(len, heads.values()))
    lines = [f"Usage: wave {name} <subcommand> [options]", "", summary, "", "Subcommands:"]
    lines += [f"  {heads[key]:{width}}  {verb.command.summary}" for key, verb in verbs.items()]
    return "\n".join([*lines, "", f"`wave {name} <subcommand> --help` shows the options of one."]) + "\n"


def _placeholders(command: Command) -> list[str]:
    return [f"<{name}>" for name in command.positionals]


# --- what the verbs share -------------------------------------------------------------------------------------------


def paths_of(given: Parsed, root: str) -> LanePaths:
    """Lane paths as the flags of PLACE say; the warnings of the configuration go to stderr."""
    from ..runtime.wave_scene import lane_paths

    paths = lane_paths(root, given.text("project"), given.text("lane"), given.text("run"), dry_run=given.has("dry-run"))
    for warning in paths.warnings:
        warn(warning)
    return paths


def scene_of(given: Parsed, root: str, *, default_wave: bool = False) -> WaveScene:
    """The wave as the flags of PLACE say. UsageError without `--wave`, unless `default_wave` may choose one."""
    from ..runtime import wave_scene

    paths = paths_of(given, root)
    number = given.values.get("wave", 0 if given.has("run") else None)
    if number is None:
        if not default_wave:
            raise UsageError("--wave is required")
        number = wave_scene.default_wave(paths)
    return wave_scene.open_wave(paths, number)


def required(given: Parsed, *names: str) -> list[str]:
    """Values of flags that must be there. UsageError names the missing ones."""
    missing = [f"--{name}" for name in names if not given.text(name)]
    if missing:
        raise UsageError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} required")
    return [given.text(name) or "" for name in names]


def ids_of(given: Parsed, name: str) -> list[str]:
    """Values of a repeatable flag that also takes comma lists, without doubles."""
    parts = (part.strip() for value in given.texts(name) for part in value.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def flag_value(given: Parsed, name: str) -> bool | None:
    """A yes-or-no flag with a value, None when it is not given. UsageError for another word."""
    word = given.text(name)
    if word is None:
        return None
    if word.lower() in ("1", "true", "yes", "y", "on"):
        return True
    if word.lower() in ("0", "false", "no", "n", "off"):
        return False
    raise UsageError(f"--{name} must be true or false, got: {word}")


def ids_flag(name: str, text: str, *aliases: str) -> Flag:
    """A repeatable flag of ids."""
    return Flag(name, TEXT, text, metavar="id[,id]", repeatable=True, aliases=aliases)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def warn(text: str) -> None:
    """One warning on stderr."""
    print(f"[wave] warning: {text}", file=sys.stderr)
