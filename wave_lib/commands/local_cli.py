"""`wave local --prompt-file <path>`: the built-in executor for trials. Reads a prompt, makes files, prints markers.

Deterministic, no network, no model: the same prompt gives the same files and the same lines.

Spec: SUP 17.7.
"""

from __future__ import annotations

import os
import sys

from ..base.errors import UsageError, WaveError
from ..base.files import ensure_dir, read_bytes, write_text

_USAGE = "Usage: wave local --prompt-file <path>"


def run(argv: list[str], root: str) -> int:
    """Act as the agent that the prompt describes. Exit code 0, 1 for an unsafe deliverable, 2 for bad usage."""
    if argv and argv[0] in ("--help", "-h"):
        print(_USAGE)
        return 0
    prompt_path = _prompt_path(argv)
    try:
        data = read_bytes(os.path.join(os.getcwd(), prompt_path))
        if data is None:
            raise WaveError("prompt file not found", where=prompt_path)
        lines = act(data.decode("utf-8", "replace"), os.path.join(os.getcwd(), prompt_path), root)
    except WaveError as error:
        print(f"[wave-local-executor] {error}", file=sys.stderr)
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _prompt_path(argv: list[str]) -> str:
    path = ""
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--prompt-file":
            path = rest.pop(0) if rest else ""
        elif word.startswith("--prompt-file="):
            path = word.partition("=")[2]
        else:
            raise UsageError(f"Unknown argument: {word}", remedy=_USAGE)
    if not path.strip():
        raise UsageError("--prompt-file is required", remedy=_USAGE)
    return path


def act(text: str, prompt_path: str, root: str) -> list[str]:
    """Make the deliverables of the agent this prompt describes; returns the lines to print. Raises WaveError."""
    from .local_executor import deliverable_text, markers, read_assignment

    assignment = read_assignment(text)
    if not assignment.deliverables:
        return ["[local-executor] no deliverables detected; nothing to do.", *markers(assignment)]
    real_root = os.path.realpath(root)
    places = [(path, safe_place(path, real_root)) for path in assignment.deliverables]
    lines = [
        f"[local-executor] prompt={os.path.relpath(prompt_path, root)}",
        f"[local-executor] deliverables={', '.join(assignment.deliverables)}",
    ]
    for path, place in places:
        lines.append(f"[local-executor] {_make(path, place, deliverable_text(path, assignment))}: {path}")
    return [*lines, *markers(assignment), "[local-executor] completed."]


def safe_place(path: str, real_root: str) -> str:
    """Where a deliverable goes, symlinks resolved; WaveError when that is outside the workspace."""
    if os.path.isabs(path):
        raise WaveError(f"Unsafe deliverable path: {path}", remedy="name it relative to the workspace")
    place = os.path.realpath(os.path.join(real_root, path))
    if place != real_root and not place.startswith(real_root + os.sep):
        raise WaveError(f"Deliverable escapes repo root: {path}", remedy="name a path inside the workspace")
    return place


def _make(path: str, place: str, text: str) -> str:
    if os.path.exists(place):
        return "exists"
    if path.endswith("/"):
        ensure_dir(place, 0o755)
    else:
        write_text(place, text, mode=0o644, durable=False)
    return "created"
