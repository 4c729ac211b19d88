"""`wave completion bash|zsh`: a completion script, made from the same tables that parse the commands. Spec: WORK 1."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..base.errors import ExitCode
from .arguments import CHOICE, Command, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMAND = Command(
    "completion",
    "Print a script that completes the words of this program.",
    positionals=("bash|zsh",),
    required=1,
    notes='bash: eval "$(wave completion bash)"   zsh: eval "$(wave completion zsh)"',
)
_PACKAGE = __package__.rpartition(".")[0]


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave completion`."""
    given = read(COMMAND, argv)
    if given is None:
        return ExitCode.DONE
    shell = given.positionals[0]
    print(completion_script(shell), end="")
    return ExitCode.DONE


def completion_script(shell: str) -> str:
    """The script for a shell; zsh runs the same function through its bash emulation."""
    words = dict(_words())
    choices = dict(_choices())
    lines = ["# Completion of the wave command, made by `wave completion`."]
    if shell == "zsh":
        lines += ["autoload -Uz compinit bashcompinit", "compinit", "bashcompinit"]
    lines += [
        "_wave_words() {",
        '  case "$1" in',
        *(f'    "{path}") echo "{" ".join(following)}" ;;' for path, following in words.items()),
        "  esac",
        "}",
        "_wave_values() {",
        '  case "$1" in',
        *(f'    "{path}") echo "{" ".join(values)}" ;;' for path, values in choices.items()),
        "  esac",
        "}",
        *_FUNCTION.splitlines(),
        "complete -o default -F _wave_complete wave wave.py",
    ]
    return "\n".join(lines) + "\n"


# The longest run of leading plain words that is a known path decides which words follow.
_FUNCTION = """_wave_complete() {
  local word path="" known="" values previous
  word="${COMP_WORDS[COMP_CWORD]}"
  previous="${COMP_WORDS[COMP_CWORD-1]}"
  local index=1
  while [ "$index" -lt "$COMP_CWORD" ]; do
    path="${path:+$path }${COMP_WORDS[index]}"
    if [ -n "$(_wave_words "$path")" ]; then known="$path"; fi
    index=$((index + 1))
  done
  values="$(_wave_values "$known $previous")"
  if [ -n "$values" ]; then
    COMPREPLY=($(compgen -W "$values" -- "$word"))
    return
  fi
  COMPREPLY=($(compgen -W "$(_wave_words "$known")" -- "$word"))
}"""


def command_tables() -> Iterator[tuple[str, Command]]:
    """Every command line of this program by its words (`launch`, `control task act`), with its flags."""
    cli = import_module(".cli", _PACKAGE)
    for entry in cli.COMMANDS:
        if entry.hidden:
            continue
        module = import_module("." + entry.module, _PACKAGE)
        own = [item for item in vars(module).values() if isinstance(item, Command) and item.name == entry.name]
        yield entry.name, own[0] if own else Command(entry.name, entry.summary)
        tables: dict[str, Command] = getattr(module, "COMMANDS", {})
        if hasattr(module, "command_table"):
            tables = module.command_table()
        for words, verb in tables.items():
            yield f"{entry.name} {words}", verb


def _words() -> Iterator[tuple[str, list[str]]]:
    """Path -> the words that may follow it: verbs, positional choices, flags."""
    following: dict[str, list[str]] = {"": []}
    for path, command in command_tables():
        parts = path.split()
        for length in range(len(parts)):
            siblings = following.setdefault(" ".join(parts[:length]), [])
            if parts[length] not in siblings:
                siblings.append(parts[length])
        own = following.setdefault(path, [])
        own += _positional_choices(command)
        own += [flag.name for flag in command.flags if not flag.hidden]
        own.append("--help")
        for choice in _positional_choices(command):
            following[f"{path} {choice}"] = [flag.name for flag in command.flags if not flag.hidden] + ["--help"]
    yield from following.items()


def _positional_choices(command: Command) -> list[str]:
    first = command.positionals[0] if command.positionals else ""
    return first.split("|") if "|" in first else []


def _choices() -> Iterator[tuple[str, list[str]]]:
    """Path and flag -> the values that the flag takes, where these are a list."""
    for path, command in command_tables():
        for flag in command.flags:
            if flag.kind == CHOICE and not flag.hidden:
                yield f"{path} {flag.name}", list(flag.choices)
