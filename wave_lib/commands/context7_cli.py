"""`wave context7 check`: asks Context7 for every library that the committed index names. Spec: PROV 5.6."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError, WaveError
from .arguments import JSON, LANE, PROJECT, Command, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    JsonObject = dict[str, Any]

COMMAND = Command(
    "context7",
    "Check that every library of the bundle index is pinned and known to Context7.",
    (PROJECT, LANE, JSON),
    ("check",),
    1,
    "Exit code: 0 when all are fine, 1 when one is not, 2 without a key.",
)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave context7`."""
    given = read(COMMAND, argv)
    if given is None:
        return ExitCode.DONE
    if given.positionals[0] != "check":
        raise UsageError("Expected subcommand: check", "wave context7")
    rows = _checked(root, given.text("project"), given.text("lane"))
    if given.has("json"):
        print(json.dumps({"ok": all(row["ok"] for row in rows), "libraries": rows}, indent=2, ensure_ascii=False))
    else:
        for row in rows:
            shown = f"{row['libraryId'] or row['libraryName']} ({row['bundleId']})"
            print(f"ok -- {shown}" if row["ok"] else f"failed -- {shown}: {row['error']}")
    return ExitCode.DONE if all(row["ok"] for row in rows) else ExitCode.FAILED


def _checked(root: str, project: str | None, lane: str | None) -> list[JsonObject]:
    """One row for each library of each bundle; each id is asked for once."""
    from ..definition.context7_bundles import load_bundle_index
    from ..providers.context7 import NoKey, Settings, check_library, lookup_route
    from ..runtime.wave_scene import lane_paths

    paths = lane_paths(root, project, lane)
    profile = paths.profile
    index = load_bundle_index(root, profile.paths.context7_bundle_index_path)
    settings = Settings(profile.external_providers["context7"], profile.wave_control, paths.context7_cache_dir)
    try:
        route = lookup_route(settings, os.environ)
    except NoKey as error:
        raise WaveError(error.what, code=ExitCode.USAGE) from None
    asked: dict[str, str] = {}
    rows: list[JsonObject] = []
    for bundle_id, bundle in index.bundles.items():
        for library in bundle["libraries"]:
            library_id = library["libraryId"]
            if library_id and library_id not in asked:
                asked[library_id] = check_library(route, library)
            problem = asked[library_id] if library_id else "no libraryId is pinned"
            rows.append({**library, "bundleId": bundle_id, "ok": not problem, "error": problem or None})
    return rows
