"""The starter workspace: the files that `wave init` seeds, read from a folder or from a bundle alike.

In:  nothing but this package's own data under `starter/`.
Out: workspace-relative paths (`/` separators) and the bytes and permission bits that belong there.

Spec: WORK 2.1, 13.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..base.errors import WaveError

_TEXT_MODE, _SCRIPT_MODE = 0o644, 0o755


def starter_files() -> list[str]:
    """Every starter file as a workspace-relative path, sorted."""
    return sorted(_walk(_root(), ""))


def starter_bytes(path: str) -> bytes:
    """The content of one starter file. Raises WaveError for a path that is not a starter file."""
    entry = _root()
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise _unknown(path)
        entry = entry / part
    if not entry.is_file():
        raise _unknown(path)
    content: bytes = entry.read_bytes()
    return content


def starter_mode(path: str) -> int:
    """Permission bits of the seeded file: wrapper scripts are executable, a zip archive does not remember that."""
    return _SCRIPT_MODE if path.endswith(".sh") else _TEXT_MODE


def _unknown(path: str) -> WaveError:
    return WaveError("not a file of the starter workspace", where=path)


def _root() -> Any:
    from importlib.resources import files

    package = (__package__ or "").rpartition(".")[0]
    return files(package) / "starter"


def _walk(folder: Any, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name != ".DS_Store" and not entry.name.endswith((".pyc", "~", ".swp")):
            yield prefix + entry.name
