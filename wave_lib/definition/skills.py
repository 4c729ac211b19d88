"""Skills of an agent: which bundles attach, and whether a lane's bundles and configuration fit together.

Configured bundles attach when their activation fits; bundles that an agent names attach always. Loading a bundle is in
`skill_bundles`, the texts and files made from a choice in `skill_texts`.

Spec: WORK 9.2, 9.3, 9.7.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError
from ..base.text import nearest
from .lane_profile import DEPLOY_KINDS, SkillsConfig
from .skill_bundles import SkillBundle, load_bundle
from .skill_texts import resolution
from .values import unique

if TYPE_CHECKING:
    from .wave_types import Agent, Wave

_ACTIVATION_LISTS = ("roles", "runtimes", "deployKinds")


class SkillLibrary:
    """The bundles of one skills directory, each loaded and checked once, on first use."""

    def __init__(self, root: str, skills_dir: str) -> None:
        """`skills_dir` is repo-relative or absolute; texts and hashes show paths relative to `root`."""
        self.root = root
        self.dir = os.path.relpath(skills_dir, root).replace(os.sep, "/") if os.path.isabs(skills_dir) else skills_dir
        self._bundles: dict[str, SkillBundle] = {}
        self._resolutions: dict[tuple[Any, ...], dict[str, Any]] = {}

    def ids(self) -> list[str]:
        """Every directory of the skills directory that could be a bundle, sorted; empty when it does not exist."""
        try:
            with os.scandir(os.path.join(self.root, self.dir)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def bundle(self, skill_id: str) -> SkillBundle:
        """The bundle with this id. Raises WaveError naming it when it is missing or wrong."""
        if skill_id not in self._bundles:
            self._bundles[skill_id] = load_bundle(self.root, self.dir, skill_id, self.ids)
        return self._bundles[skill_id]

    def resolve(
        self, config: SkillsConfig, explicit: tuple[str, ...], role: str, runtime: str | None, deploy_kind: str | None
    ) -> dict[str, Any]:
        """`skillsResolved` for one role, runtime and deploy kind; equal questions share one (unchanging) answer."""
        question = (explicit, role, runtime, deploy_kind)
        if question not in self._resolutions:
            chosen = _choose(self, config, explicit, role, runtime, deploy_kind)
            self._resolutions[question] = resolution(self.root, chosen, role, runtime, deploy_kind)
        return self._resolutions[question]


def deploy_kind_of(wave: Wave) -> str | None:
    """Kind of the wave's default deploy environment, of the first when none is marked, None without any."""
    environments = wave.deploy_environments
    chosen = next((item for item in environments if item.is_default), environments[0] if environments else None)
    return chosen.kind if chosen else None


def resolve_agent_skills(agent: Agent, wave: Wave, config: SkillsConfig, library: SkillLibrary) -> dict[str, Any]:
    """`skillsResolved` of one agent; needs `executor_resolved`. Raises WaveError for an unusable bundle. WORK 9.3.

    Call it again when a fallback changes `executor_resolved`. Keys: `ids, role, runtime, deployKind, promptHash,
    bundles` and the texts `promptText, expandedPromptText, runtimeText`.
    """
    executor = agent.executor_resolved or {}
    try:
        return library.resolve(
            config, agent.skills, str(executor.get("role") or ""), executor.get("id"), deploy_kind_of(wave)
        )
    except WaveError as error:
        raise WaveError(f"Agent {agent.agent_id}: {error.what}", error.where, error.remedy) from None


def apply_skills(wave: Wave, config: SkillsConfig, library: SkillLibrary) -> Wave:
    """The wave with `skills_resolved` on every agent."""
    agents = tuple(
        agent._replace(skills_resolved=resolve_agent_skills(agent, wave, config, library)) for agent in wave.agents
    )
    return wave._replace(agents=agents)


def configured_ids(config: SkillsConfig, role: str | None, runtime: str | None, deploy_kind: str | None) -> list[str]:
    """Configured skill ids in order: base, role, runtime, deploy kind. WORK 9.3."""
    return unique(
        [
            *config.base,
            *config.by_role.get(role or "", ()),
            *config.by_runtime.get(runtime or "local", ()),
            *config.by_deploy_kind.get(deploy_kind or "", ()),
        ]
    )


def activates(activation: dict[str, Any], role: str | None, runtime: str | None, deploy_kind: str | None) -> bool:
    """Whether every non-empty activation list contains its value; a null runtime counts as `local`. WORK 9.3."""
    asked = (("roles", role), ("runtimes", runtime or "local"), ("deployKinds", deploy_kind))
    return all(not activation[key] or value in activation[key] for key, value in asked)


def _choose(
    library: SkillLibrary,
    config: SkillsConfig,
    explicit: Iterable[str],
    role: str | None,
    runtime: str | None,
    deploy_kind: str | None,
) -> list[SkillBundle]:
    configured = [library.bundle(skill_id) for skill_id in configured_ids(config, role, runtime, deploy_kind)]
    kept = {bundle.id: bundle for bundle in configured if activates(bundle.activation, role, runtime, deploy_kind)}
    for skill_id in explicit:
        kept.setdefault(skill_id, library.bundle(skill_id))
    return list(kept.values())


class SkillReport(NamedTuple):
    """What `doctor` says about the skills of a lane. WORK 9.7."""

    ok: bool
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    evaluated_bundles: int
    evaluated_cases: int


def validate_lane_skills(config: SkillsConfig, library: SkillLibrary, waves: Iterable[Wave] = ()) -> SkillReport:
    """Check every bundle directory, every configured id, every eval case and the ids that waves name. WORK 9.7."""
    errors: list[str] = []
    warnings: list[str] = []
    bundles: dict[str, SkillBundle] = {}
    waves = list(waves)
    configured = [
        *config.base,
        *(
            item
            for table in (config.by_role, config.by_runtime, config.by_deploy_kind)
            for ids in table.values()
            for item in ids
        ),
    ]
    for skill_id in unique([*library.ids(), *configured]):
        try:
            bundles[skill_id] = library.bundle(skill_id)
            warnings.extend(bundles[skill_id].warnings)
        except WaveError as error:
            errors.append(str(error))
    errors.extend(_misplaced(config, bundles))
    kinds = {*DEPLOY_KINDS, *(environment.kind for wave in waves for environment in wave.deploy_environments)}
    for kind in config.by_deploy_kind:
        if kind not in kinds:
            guess = nearest(kind, sorted(kinds))
            errors.append(
                f"skills.byDeployKind.{kind} is no known deploy kind" + (f" (did you mean {guess}?)" if guess else "")
            )
    cases = [(bundle, case) for bundle in bundles.values() for case in bundle.eval_cases]
    for bundle, case in cases:
        active = activates(bundle.activation, case["role"], case["runtime"], case["deployKind"])
        if active != case["expectActive"]:
            errors.append(
                f'skill "{bundle.id}": eval case "{case["id"]}" expects active={case["expectActive"]}, got {active}'
            )
    known = {*bundles, *library.ids()}
    for wave in waves:
        for agent in wave.agents:
            for skill_id in agent.skills:
                if skill_id not in known:
                    errors.append(
                        f'{wave.file}:{agent.line("skills")}: Agent {agent.agent_id}: skill "{skill_id}" not found'
                    )
    return SkillReport(not errors, tuple(errors), tuple(warnings), len(bundles), len(cases))


def _misplaced(config: SkillsConfig, bundles: dict[str, SkillBundle]) -> list[str]:
    """Configured under a key that the bundle's own activation excludes."""
    errors = []
    for name, table, key in zip(
        ("byRole", "byRuntime", "byDeployKind"),
        (config.by_role, config.by_runtime, config.by_deploy_kind),
        _ACTIVATION_LISTS,
    ):
        for value, ids in table.items():
            for skill_id in ids:
                allowed = bundles[skill_id].activation[key] if skill_id in bundles else ()
                if allowed and value not in allowed:
                    errors.append(f'skills.{name}.{value} names "{skill_id}", whose activation.{key} excludes it')
    return errors
