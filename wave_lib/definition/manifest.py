"""The manifest of a lane: every wave as parsed and resolved, and every document with its digest. Spec: CFG 14."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.text import sha256_file
from ..base.timestamps import now_iso
from .wave_types import wave_to_json

if TYPE_CHECKING:
    from .lane_paths import LanePaths
    from .wave_types import Wave


class Manifest(NamedTuple):
    """`payload` is the JSON of `waves.manifest.json`; `warnings` name the documents that could not be read."""

    payload: dict[str, Any]
    warnings: tuple[str, ...]


def build_manifest(paths: LanePaths, waves: Iterable[Wave], now: str = "") -> Manifest:
    """The manifest of these waves and of every regular file under the lane's docs directory; writes nothing."""
    docs: list[dict[str, Any]] = []
    warnings: list[str] = []
    for full in _regular_files(paths.docs_dir, warnings, paths):
        name = paths.rel(full)
        try:
            size = os.lstat(full).st_size
            docs.append({"path": name, "bytes": size, "sha256": sha256_file(full)})
        except OSError as error:
            warnings.append(f"{name}: left out of the manifest: {error.strerror}")
    payload = {
        "schemaVersion": 1,
        "kind": "wave-manifest",
        "generatedAt": now or now_iso(),
        "source": f"{paths.rel(paths.docs_dir)}/**/*",
        "waves": [wave_to_json(wave) for wave in waves],
        "docs": sorted(docs, key=lambda doc: str(doc["path"])),
    }
    return Manifest(payload, tuple(warnings))


def _regular_files(directory: str, warnings: list[str], paths: LanePaths) -> Iterable[str]:
    """Files below `directory`; symbolic links are neither followed nor listed."""

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            warnings.append(f"{paths.rel(error.filename)}: left out of the manifest: {error.strerror}")

    for folder, _, names in os.walk(directory, onerror=note):
        for name in names:
            full = os.path.join(folder, name)
            try:
                if stat.S_ISREG(os.lstat(full).st_mode):
                    yield full
            except OSError as error:
                note(error)
