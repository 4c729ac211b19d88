"""The workspace root: where it is, and the one global option that names it. Spec: CFG 2."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ..base.errors import UsageError

OPTION = "--repo-root"
VARIABLE = "WAVE_REPO_ROOT"
MARKERS = ("wave.config.json", ".wave")


def split_repo_root(argv: Sequence[str]) -> tuple[list[str], str | None]:
    """Take `--repo-root <path>` out of an argument list: `(the rest, the last path given or None)`.

    Only what stands before a literal `--` counts. UsageError when the value is missing.
    """
    rest: list[str] = []
    found: str | None = None
    items = iter(argv)
    for item in items:
        if item == "--":
            return [*rest, item, *items], found
        if item == OPTION:
            found = next(items, "")
            if found == "--":
                found = ""
        elif item.startswith(f"{OPTION}="):
            found = item[len(OPTION) + 1 :]
        else:
            rest.append(item)
            continue
        if not found:
            raise UsageError("a path is required", where=OPTION, remedy=f"write {OPTION} <directory>")
    return rest, found


def workspace_root(option: str | None, env: Mapping[str, str], cwd: str | None = None) -> str:
    """The absolute workspace root; symlinks stay as written.

    `option` is the value of `--repo-root` (relative to `cwd`), else `WAVE_REPO_ROOT` counts, else the nearest
    directory from `cwd` up to the git top level that has `wave.config.json` or `.wave/`, else `cwd`.
    UsageError when a named root is no directory.
    """
    here = cwd or current_directory(env)
    for value, where in ((option, OPTION), (env.get(VARIABLE), VARIABLE)):
        if value:
            root = _absolute(here, value)
            if not os.path.isdir(root):
                raise UsageError(f"{value} is not a directory", where=where, remedy="name an existing directory")
            return root
    return _nearest_marked(here) or here


def current_directory(env: Mapping[str, str]) -> str:
    """The current directory as the shell names it (`PWD`), when that is still the same directory."""
    actual = os.getcwd()
    named = env.get("PWD", "")
    try:
        return named if os.path.isabs(named) and os.path.samefile(named, actual) else actual
    except OSError:
        return actual


def _absolute(here: str, value: str) -> str:
    """Symlinks stay, unless the path has `..`: after a symlink that means the parent of its target."""
    path = os.path.join(here, value)
    return os.path.realpath(path) if ".." in value.split("/") else os.path.normpath(path)


def _nearest_marked(here: str) -> str | None:
    directory = here
    while True:
        if _is_marked(directory):
            return directory
        parent = os.path.dirname(directory)
        if parent == directory or os.path.exists(os.path.join(directory, ".git")):
            return None
        directory = parent


def _is_marked(directory: str) -> bool:
    config, state = (os.path.join(directory, name) for name in MARKERS)
    return os.path.isfile(config) or os.path.isdir(state)
