"""Making a folder a wave workspace: the starter files and `.wave/install-state.json`, which says what was seeded.

Holds:       nothing.
Writes:      starter files that do not exist yet, `.gitignore`, last of all the install state.
When killed: some starter files are there, each whole, and no install state; `wave init --seed-missing` adds the rest.

Spec: WORK 2.2, 2.3, 3.2.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from .. import PACKAGE_NAME, __version__
from ..base.errors import StateError, WaveError
from ..base.files import (
    Outcome,
    create_bytes,
    ensure_dir,
    read_json,
    read_text,
    remove,
    remove_empty_folder,
    write_json,
    write_text,
)
from ..base.text import sha256_bytes
from ..base.timestamps import now_iso
from ..definition.starter_data import starter_bytes, starter_files, starter_mode
from ..definition.state_tree import ENTRIES

STATE_FILE = ENTRIES["install_state"].template
HISTORY_FOLDER = ENTRIES["upgrade_history_dir"].template
FRESH, ADOPT, SEED, ALREADY = "fresh", "adopt-existing", "seed-missing", "already-initialized"

IGNORE_ENTRIES = (
    ".tmp/",
    ".wave/",
    ".vscode/terminals.json",
    "docs/research/cache/",
    "docs/research/agent-context-cache/",
    "docs/research/papers/",
    "docs/research/articles/",
)
"""What a workspace should keep out of git. Spec: WORK 3.2."""

_SHOWN_MARKERS = 8
_KEPT_HISTORY = 50
_MARKERS_REMEDY = (
    "`--seed-missing` adds the starter files that are missing and keeps yours, "
    "`--adopt-existing` records what is there and adds none"
)


class Initialized(NamedTuple):
    """What `initialize` did. Paths are repo-relative; `missing_ignores` are entries that `.gitignore` still lacks."""

    mode: str
    seeded_files: list[str]
    adopted_files: list[str]
    state: dict[str, Any]
    missing_ignores: list[str]


def read_install_state(root: str) -> dict[str, Any] | None:
    """The install state of a workspace, None when it was never initialized. StateError for what is no JSON object."""
    path = os.path.join(root, STATE_FILE)
    reading = read_json(path)
    if reading.outcome is Outcome.ABSENT:
        return None
    if reading.outcome is not Outcome.WHOLE or not isinstance(reading.value, dict):
        detail = reading.detail or "not a JSON object"
        raise StateError(f"the install state is unreadable: {detail}", path, "repair it, or move it aside")
    return reading.value


def missing_ignore_entries(text: str) -> list[str]:
    """The recommended entries that a `.gitignore` with this text lacks; `/x`, `x`, `x/`, `x/**` count as equal."""
    there = {_ignore_key(line) for line in text.splitlines() if not line.strip().startswith("#")}
    return [entry for entry in IGNORE_ENTRIES if _ignore_key(entry) not in there]


def initialize(root: str, mode: str = FRESH, *, write_gitignore: bool = False, durable: bool = True) -> Initialized:
    """Seed or adopt the workspace at `root` and record it. Spec: WORK 2.3.

    `mode` is FRESH, ADOPT or SEED. Raises WaveError before anything is written when the workspace stands in the way;
    when a write fails, what this call made is taken back. `durable=False` is for workspaces that nobody will miss.
    """
    known = read_install_state(root)
    if known is not None and mode != SEED:
        if write_gitignore:
            _check_targets(root, [".gitignore"])
            _Made(root, durable).gitignore(append=True)
        return Initialized(ALREADY, [], list(known.get("adoptedFiles") or []), known, ignores_missing_in(root))
    starter = starter_files()
    _check_targets(root, [*starter, STATE_FILE, f"{HISTORY_FOLDER}/x", ".gitignore"])
    existing = [path for path in starter if os.path.lexists(os.path.join(root, path))]
    if mode == FRESH and existing:
        shown = ", ".join(existing[:_SHOWN_MARKERS]) + (", …" if len(existing) > _SHOWN_MARKERS else "")
        raise WaveError(f"this folder already has wave files: {shown}", where=root, remedy=_MARKERS_REMEDY)
    made = _Made(root, durable)
    try:
        hashes = made.seed([] if mode == ADOPT else [path for path in starter if path not in set(existing)])
        if mode == FRESH and made.collided:
            raise WaveError(f"{made.collided[0]} appeared meanwhile", where=root, remedy=_MARKERS_REMEDY)
        made.gitignore(write_gitignore)
        made.folder(os.path.join(root, HISTORY_FOLDER))
        adopted = [*existing, *made.collided]
        state = _first_state(mode, hashes, adopted) if known is None else _seeded_state(known, hashes, adopted)
        write_json(os.path.join(root, STATE_FILE), state, durable=durable)
    except BaseException:
        made.take_back()
        raise
    return Initialized(mode, list(hashes), list(state["adoptedFiles"]), state, ignores_missing_in(root))


def ignores_missing_in(root: str) -> list[str]:
    """Recommended entries that the workspace's `.gitignore` lacks."""
    return missing_ignore_entries(read_text(os.path.join(root, ".gitignore")))


def _ignore_key(line: str) -> str:
    text = line.strip().lstrip("/")
    return (text[:-3] if text.endswith("/**") else text).rstrip("/")


def _check_targets(root: str, paths: Iterable[str]) -> None:
    """Every target can be written inside the workspace: no file in the place of a folder, no link that leads out."""
    top = os.path.realpath(root).rstrip(os.sep) + os.sep
    checked: set[str] = set()
    for path in paths:
        folder = root
        for part in path.split("/")[:-1]:
            folder = os.path.join(folder, part)
            if folder in checked:
                continue
            checked.add(folder)
            shown = os.path.relpath(folder, root)
            if os.path.lexists(folder) and not os.path.isdir(folder):
                raise WaveError(f"{shown} is in the way: {path} needs a folder there", where=root, remedy="move it")
            if os.path.isdir(folder) and not f"{os.path.realpath(folder)}/".startswith(top):
                raise WaveError(f"{shown} is a link that leads out of the workspace", where=root, remedy="remove it")


def _first_state(mode: str, hashes: dict[str, str], adopted: list[str]) -> dict[str, Any]:
    now = now_iso()
    return {
        "schemaVersion": 1,
        "packageName": PACKAGE_NAME,
        "installedVersion": __version__,
        "initializedAt": now,
        "lastUpgradeAt": now,
        "initMode": mode,
        "seededFiles": list(hashes),
        "adoptedFiles": adopted,
        "seededHashes": hashes,
        "history": [{"at": now, "action": f"init-{mode}", "version": __version__}],
    }


def _seeded_state(known: dict[str, Any], hashes: dict[str, str], adopted: list[str]) -> dict[str, Any]:
    """The state of a workspace that was initialized before, with what was seeded now. Unknown keys stay."""
    seeded = list(dict.fromkeys([*(known.get("seededFiles") or []), *hashes]))
    all_adopted = dict.fromkeys([*(known.get("adoptedFiles") or []), *adopted])
    entry = {"at": now_iso(), "action": f"init-{SEED}", "version": __version__}
    return {
        **known,
        "seededFiles": seeded,
        "adoptedFiles": [path for path in all_adopted if path not in set(seeded)],
        "seededHashes": {**(known.get("seededHashes") or {}), **hashes},
        "history": trimmed_history([*(known.get("history") or []), entry]),
    }


def trimmed_history(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first entry and the newest 50. Spec: WORK 2.2."""
    return history if len(history) <= _KEPT_HISTORY + 1 else [history[0], *history[-_KEPT_HISTORY:]]


class _Made:
    """What one call has made so far, so that it can be taken back."""

    def __init__(self, root: str, durable: bool) -> None:
        self.root = root
        self.durable = durable
        self.collided: list[str] = []
        self._files: list[str] = []
        self._folders: list[str] = []
        self._ignore_before: str | None = None

    def seed(self, paths: Iterable[str]) -> dict[str, str]:
        """Write starter files; their hashes by path. A file that somebody else made meanwhile is left alone."""
        hashes: dict[str, str] = {}
        for path in paths:
            content = starter_bytes(path)
            if self._create(path, content, starter_mode(path)):
                hashes[path] = sha256_bytes(content)
            else:
                self.collided.append(path)
        return hashes

    def gitignore(self, append: bool) -> None:
        """Make `.gitignore`, or with `append` add what it lacks. Spec: WORK 2.3."""
        text = "\n".join(IGNORE_ENTRIES) + "\n"
        if self._create(".gitignore", text.encode(), 0o644) or not append:
            return
        path = os.path.join(self.root, ".gitignore")
        before = read_text(path)
        missing = missing_ignore_entries(before)
        if missing:
            self._ignore_before = before
            gap = "" if not before or before.endswith("\n") else "\n"
            added = "\n".join(["# Wave: state and caches", *missing])
            write_text(path, f"{before}{gap}{added}\n", mode=os.stat(path).st_mode & 0o777)

    def folder(self, path: str, mode: int = 0o700) -> None:
        """Make a folder and its parents, and remember which are new."""
        parent = path
        new = []
        while not os.path.isdir(parent):
            new.append(parent)
            parent = os.path.dirname(parent)
        self._folders += reversed(new)
        ensure_dir(path, mode)

    def take_back(self) -> None:
        """Remove everything made, as far as it goes; a folder that has got other content stays."""
        for path in reversed(self._files):
            try:
                remove(path)
            except WaveError:
                pass
        for folder in reversed(self._folders):
            remove_empty_folder(folder)
        if self._ignore_before is not None:
            try:
                write_text(os.path.join(self.root, ".gitignore"), self._ignore_before, mode=0o644)
            except WaveError:
                pass

    def _create(self, path: str, content: bytes, mode: int) -> bool:
        target = os.path.join(self.root, path)
        if os.path.lexists(target):
            return False
        try:
            self.folder(os.path.dirname(target), 0o755)
        except OSError as error:
            raise WaveError(f"cannot be made: {error.strerror}", where=os.path.dirname(target)) from None
        created = create_bytes(target, content, durable=self.durable, mode=mode)
        if created:
            self._files.append(target)
        return created
