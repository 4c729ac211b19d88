"""Loading one skill bundle: a directory `<skills dir>/<id>/` with `skill.json`, `SKILL.md`, adapters and references.

Everything in it is checked and hashed; whatever is wrong is an error that names the bundle and the file.

Spec: WORK 9.1, 9.4.
"""

from __future__ import annotations

import json
import os
from typing import Any, Callable, NamedTuple, NoReturn

from ..base.errors import WaveError
from ..base.text import nearest, sha256_file, sha256_text
from .ids import is_id
from .lane_profile import EXECUTOR_MODES, SKILL_ROLES
from .values import unique

_MANIFEST_KEYS = (
    "id", "title", "description", "summary", "version", "tags", "activation", "termination", "permissions", "trust",
    "evalCases",
)  # fmt: skip


class SkillBundle(NamedTuple):
    """One checked bundle. Paths are repo-relative; `source_files` are `(path, sha256)` sorted by path.

    `activation`, `termination`, `permissions`, `trust` keep their JSON shape because they are hashed.
    """

    id: str
    title: str
    description: str
    version: str | None
    tags: tuple[str, ...]
    activation: dict[str, Any]
    termination: dict[str, Any] | None
    permissions: dict[str, Any]
    trust: dict[str, Any] | None
    eval_cases: tuple[dict[str, Any], ...]
    bundle_path: str
    adapters: dict[str, str]
    reference_paths: tuple[str, ...]
    bundle_hash: str
    source_files: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]

    @property
    def manifest_path(self) -> str:
        return f"{self.bundle_path}/skill.json"

    @property
    def skill_path(self) -> str:
        return f"{self.bundle_path}/SKILL.md"


def load_bundle(root: str, skills_dir: str, skill_id: str, known: Callable[[], list[str]] = list) -> SkillBundle:
    """Read and check one bundle; `known()` lists ids for a hint. Raises WaveError naming bundle and file. WORK 9.1."""
    if not is_id("skill", skill_id):
        raise WaveError(f'invalid skill id "{skill_id}"', where=skills_dir)
    place = f"{skills_dir}/{skill_id}" if skills_dir != "." else skill_id
    if not os.path.isdir(os.path.join(root, place)):
        guess = nearest(skill_id, known())
        raise WaveError(f'skill "{skill_id}" not found', place, f"did you mean {guess}?" if guess else "add the bundle")
    check = _Checker(skill_id, f"{place}/skill.json")
    manifest = check.read_manifest(os.path.join(root, place, "skill.json"))
    if not os.path.isfile(os.path.join(root, place, "SKILL.md")):
        raise WaveError(f'skill "{skill_id}" is missing its SKILL.md', f"{place}/SKILL.md", "add the instructions")
    files = _bundle_files(root, place, skill_id)
    source_files = tuple((path, sha256_file(os.path.join(root, path))) for path in files)
    if manifest.get("id", skill_id) != skill_id:
        check.fail(f'the id "{manifest["id"]}" differs from the directory name')
    return SkillBundle(
        id=skill_id,
        title=check.text(manifest, "title") or check.fail("title is required"),
        description=check.text(manifest, "description")
        or check.text(manifest, "summary")
        or check.fail("description is required"),
        version=check.text(manifest, "version"),
        tags=tuple(check.texts(manifest.get("tags"), "tags")),
        activation=check.activation(manifest.get("activation")),
        termination=check.text_or_object(manifest.get("termination"), "termination", "when"),
        permissions=check.permissions(manifest.get("permissions")),
        trust=check.trust(manifest.get("trust")),
        eval_cases=check.eval_cases(manifest.get("evalCases")),
        bundle_path=place,
        adapters={mode: path for mode in EXECUTOR_MODES if (path := f"{place}/adapters/{mode}.md") in files},
        reference_paths=tuple(path for path in files if path.startswith(f"{place}/references/")),
        bundle_hash=sha256_text("\n".join(f"{path}:{digest}" for path, digest in source_files)),
        source_files=source_files,
        warnings=tuple(
            f'{check.where}: unknown key "{key}"'
            + (f" (did you mean {guess}?)" if (guess := nearest(key, _MANIFEST_KEYS)) else "")
            for key in manifest
            if key not in _MANIFEST_KEYS
        ),
    )


def _bundle_files(root: str, place: str, skill_id: str) -> list[str]:
    """Repo-relative paths of the bundle's files, sorted; editor leftovers are skipped, links may not leave it."""
    top = os.path.join(root, place)
    inside = os.path.realpath(top) + os.sep
    files = []
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name != "__pycache__"]
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in [*links, *names]:
            if name == ".DS_Store" or name.endswith(("~", ".swp")):
                continue
            full = os.path.join(folder, name)
            shown = os.path.relpath(full, root).replace(os.sep, "/")
            if os.path.islink(full):
                target = os.path.realpath(full)
                if not target.startswith(inside) or not os.path.isfile(target):
                    raise WaveError(
                        f'skill "{skill_id}" holds a link that is no file inside the bundle', shown, "remove it"
                    )
            files.append(shown)
    return sorted(files)


class _Checker:
    """Checks the values of one manifest; every complaint names the bundle and its file."""

    def __init__(self, skill_id: str, where: str) -> None:
        self.skill_id = skill_id
        self.where = where

    def fail(self, problem: str) -> NoReturn:
        raise WaveError(f'skill "{self.skill_id}": {problem}', self.where)

    def read_manifest(self, path: str) -> dict[str, Any]:
        try:
            with open(path, encoding="utf-8-sig") as file:
                manifest = json.load(file)
        except FileNotFoundError:
            return self.fail("skill.json is missing")
        except json.JSONDecodeError as error:
            raise WaveError(
                f'skill "{self.skill_id}": invalid JSON: {error.msg}', f"{self.where}:{error.lineno}:{error.colno}"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            return self.fail(f"skill.json cannot be read: {error}")
        return manifest if isinstance(manifest, dict) else self.fail("skill.json must hold an object")

    def text(self, block: dict[str, Any], key: str) -> str | None:
        value = block.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            self.fail(f"{key} must be text")
        return value.strip() or None if value else None

    def texts(self, value: object, label: str) -> list[str]:
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fail(f"{label} must be a list of texts")
        return unique(item.strip() for item in value if item.strip())

    def members(self, value: object, label: str, allowed: tuple[str, ...]) -> list[str]:
        items = [item.lower() for item in self.texts(value, label)]
        for item in items:
            if item not in allowed:
                self.fail(f'{label} holds the unsupported value "{item}" (allowed: {", ".join(allowed)})')
        return items

    def activation(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            return self.fail("activation is required and must be an object")
        kinds = [kind.lower() for kind in self.texts(value.get("deployKinds"), "activation.deployKinds")]
        for kind in kinds:
            if not is_id("skill", kind):
                self.fail(f'activation.deployKinds holds the malformed kind "{kind}"')
        return {
            "when": self.text(value, "when") or self.fail("activation.when is required"),
            "roles": self.members(value.get("roles"), "activation.roles", SKILL_ROLES),
            "runtimes": self.members(value.get("runtimes"), "activation.runtimes", EXECUTOR_MODES),
            "deployKinds": kinds,
        }

    def text_or_object(self, value: object, label: str, key: str) -> dict[str, Any] | None:
        """A text, or an object with one text under `key`; null and empty are None."""
        if value is None or value == "":
            return None
        text = self.text(value, key) if isinstance(value, dict) else self.text({label: value}, label)
        return {key: text or self.fail(f"{label}.{key} is required")}

    def trust(self, value: object) -> dict[str, Any] | None:
        trust = self.text_or_object(value, "trust", "tier")
        if trust is None:
            return None
        tier = trust["tier"].lower()
        return {"tier": tier if is_id("skill", tier) else self.fail(f'trust tier "{tier}" is malformed')}

    def permissions(self, value: object) -> dict[str, Any]:
        if value is not None and not isinstance(value, dict):
            self.fail("permissions must be an object")
        block = value if isinstance(value, dict) else {}
        return {key: self.texts(block.get(key), f"permissions.{key}") for key in ("network", "shell", "mcpServers")}

    def eval_cases(self, value: object) -> tuple[dict[str, Any], ...]:
        if value is not None and not isinstance(value, list):
            self.fail("evalCases must be a list")
        return tuple(self._eval_case(item, f"evalCases[{at}]") for at, item in enumerate(value or ()))

    def _eval_case(self, value: object, label: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            return self.fail(f"{label} must be an object")
        if not isinstance(value.get("expectActive"), bool):
            self.fail(f"{label}.expectActive must be true or false")
        kind = self.text(value, "deployKind")
        return {
            "id": self.text(value, "id") or self.fail(f"{label}.id is required"),
            "role": (
                self.members([value.get("role", "")], f"{label}.role", SKILL_ROLES)
                or self.fail(f"{label}.role is required")
            )[0],
            "runtime": (
                self.members([value.get("runtime", "")], f"{label}.runtime", EXECUTOR_MODES)
                or self.fail(f"{label}.runtime is required")
            )[0],
            "deployKind": kind.lower() if kind else None,
            "expectActive": value["expectActive"],
        }
