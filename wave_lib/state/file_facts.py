"""Facts about files of the workspace: there or not, when changed, which bytes. Spec: GATE 4.2 (`exists`), 13.4."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ..base.text import sha256_bytes, sha256_file
from ..base.timestamps import iso_of

_NO_FILE: dict[str, Any] = {"exists": False, "modifiedAt": None, "sha256": None}


class FileFact(NamedTuple):
    """One workspace file now. `text_sha256` is the digest of its bytes decoded and encoded again (Node's digest)."""

    exists: bool
    sha256: str | None = None
    text_sha256: str | None = None
    modified_at: str | None = None


def inside(root: str, path: str) -> str | None:
    """The absolute path of a regular file inside the repository after resolving links, else None."""
    if not path or "\0" in path:
        return None
    base, real = os.path.realpath(root), os.path.realpath(os.path.join(root, path))
    within = real.startswith(base.rstrip(os.sep) + os.sep)
    return real if within and os.path.isfile(real) else None


def describe(root: str, path: str) -> dict[str, Any]:
    """`{path, exists, modifiedAt, sha256}` of a repo-relative path; a folder or an outside path does not exist."""
    real = inside(root, path)
    if real is None:
        return {"path": path, **_NO_FILE}
    try:
        modified = iso_of(os.stat(real).st_mtime)
        return {"path": path, "exists": True, "modifiedAt": modified, "sha256": sha256_file(real)}
    except OSError:
        return {"path": path, **_NO_FILE}


def file_fact(root: str, path: str) -> FileFact:
    """The fact that proof bundles are compared with. Spec: GATE 13.4."""
    real = inside(root, path)
    if real is None:
        return FileFact(False)
    try:
        with open(real, "rb") as file:
            data = file.read()
        modified = iso_of(os.stat(real).st_mtime)
    except OSError:
        return FileFact(False)
    as_text = data.decode("utf-8", "replace").encode("utf-8")
    return FileFact(True, sha256_bytes(data), sha256_bytes(as_text), modified)
