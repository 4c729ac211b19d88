"""Asking the person, or whoever feeds stdin: questions go to stderr, answers come from stdin, stdout stays clean.

Holds:       nothing.
Writes:      stderr.
When killed: nothing is lost; answers are used only when all are there.

Spec: WORK 4.2.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Callable

from ..base.errors import WaveError
from ..base.terminal import is_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO, TypeVar

    T = TypeVar("T")

_piped: list[str] | None = None
"""What is left of a stdin that is no terminal; it is read once, also for questions asked later in this process."""


class Questions:
    """One interview. `defaults` answers every question with its default and asks nothing.

    `defaults_at_end`: at the end of input the default is taken; otherwise WaveError names the unanswered question.
    """

    def __init__(
        self,
        *,
        defaults: bool = False,
        defaults_at_end: bool = True,
        source: TextIO | None = None,
        screen: TextIO | None = None,
    ) -> None:
        self._defaults = defaults
        self._defaults_at_end = defaults_at_end
        self._source = source or sys.stdin
        self._screen = screen or sys.stderr
        self._own_lines: list[str] | None = None if source is None or is_terminal(source) else _split(source)

    def explain(self, *lines: str) -> None:
        """Text before a question; not shown where nothing is asked."""
        if not self._defaults:
            for line in lines:
                self._say(line)

    def text(self, question: str, default: str = "", wrong: Callable[[str], str | None] = lambda _: None) -> str:
        """A line of text. `wrong(answer)` says what is expected instead, None when the answer will do."""

        def read(answer: str) -> str:
            expected = wrong(answer)
            if expected:
                raise ValueError(expected)
            return answer

        return self._ask(question, default, read)

    def choice(self, question: str, choices: Sequence[str], default: str) -> str:
        """One of the choices, whatever its case. A default that is none of them is replaced by the first, with a note.

        WORK 4.2: a stored value may name what has gone since.
        """
        if default not in choices:
            if default:
                self._say(f"note: {default!r} is no longer among {', '.join(choices)}; {choices[0]!r} is proposed")
            default = choices[0]
        by_name = {choice.lower(): choice for choice in choices}

        def read(answer: str) -> str:
            if answer.lower() not in by_name:
                raise ValueError(f"one of {', '.join(choices)}")
            return by_name[answer.lower()]

        return self._ask(f"{question} ({'/'.join(choices)})", default, read)

    def yes(self, question: str, default: bool) -> bool:
        """Yes or no."""

        def read(answer: str) -> bool:
            if answer.lower() not in ("y", "yes", "n", "no"):
                raise ValueError("y or n")
            return answer.lower() in ("y", "yes")

        return self._ask(question, "y" if default else "n", read)

    def count(self, question: str, default: int, least: int = 0) -> int:
        """A whole number, at least `least`."""

        def read(answer: str) -> int:
            number = int(answer) if answer.isascii() and answer.isdigit() else -1
            if number < least:
                raise ValueError(f"a whole number of at least {least}")
            return number

        return self._ask(question, str(default), read)

    def _ask(self, question: str, default: str, read: Callable[[str], T]) -> T:
        while not self._defaults:
            self._say(f"{question} [{default}]: " if default else f"{question}: ", end="")
            line = self._next_line()
            if line is None:
                self._say("")
                if self._defaults_at_end:
                    break
                raise WaveError(f"no answer to the question: {question}", remedy="answer it, or use --defaults")
            answer = line.strip() or default
            try:
                return read(answer)
            except ValueError as error:
                if not self._on_terminal():
                    raise WaveError(f"{answer!r} does not answer: {question}", remedy=f"answer with {error}") from None
                self._say(f"Expected {error}.")
        return read(default)

    def _next_line(self) -> str | None:
        """The next answer without its line end; None at the end of input."""
        global _piped
        if self._on_terminal():
            line = self._source.readline()
            return line.rstrip("\n") if line else None
        if self._own_lines is None and _piped is None:
            _piped = _split(self._source)
        lines = _piped if self._own_lines is None else self._own_lines
        self._say("")
        return lines.pop(0) if lines else None

    def _on_terminal(self) -> bool:
        return is_terminal(self._source)

    def _say(self, text: str, end: str = "\n") -> None:
        self._screen.write(text + end)
        self._screen.flush()


def _split(source: TextIO) -> list[str]:
    text = source.read()
    return text.split("\n") if text else []
