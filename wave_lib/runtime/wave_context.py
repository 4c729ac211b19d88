"""What a launcher knows while it runs: the lane as a whole, one wave, one agent of it.

Holds:       the launcher's state in memory; whatever must survive a kill is on disk before it is acted on.
Writes:      nothing itself.
When killed: nothing is lost; the next launcher reads the same facts again.

Spec: LAUNCH 1, 7.1, 7.2.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition.rule_context import References
from ..definition.skills import SkillLibrary
from ..definition.wave_files import ParsedWaves
from ..providers.context7 import Outage
from ..state.agent_state import read_status_record
from ..state.launcher_progress import ProgressJournal

if TYPE_CHECKING:
    from ..base.errors import WaveError
    from ..base.event_loop import EventLoop
    from ..definition.evals import BenchmarkCatalog
    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave
    from ..engines.derived_state import DerivedState
    from ..providers.context7 import Prefetched
    from .agent_sessions import AgentHandle
    from .agent_waiting import AgentWait
    from .closure_sweep import SweepResult
    from .console import Console
    from .derived_state import DerivedContext
    from .launcher_options import LauncherOptions
    from .session_supervisor import Leftover

JsonObject = dict[str, Any]


class Supervision(NamedTuple):
    """The supervised run that this launcher works for. Spec: LAUNCH 2.4, SUP 10.2."""

    run_id: str
    run_dir: str
    generation: int
    epoch: int | None


def supervision_from(environ: Mapping[str, str]) -> Supervision | None:
    """The run named by `WAVE_SUPERVISOR_RUN_ID` and its companions, or None for a launch by hand."""
    run_id = environ.get("WAVE_SUPERVISOR_RUN_ID", "").strip()
    run_dir = environ.get("WAVE_SUPERVISOR_RUN_DIR", "").strip()
    if not run_id:
        return None
    generation = environ.get("WAVE_SUPERVISOR_GENERATION", "")
    epoch = environ.get("WAVE_SUPERVISOR_EPOCH", "")
    return Supervision(
        run_id, run_dir, int(generation) if generation.isdigit() else 1, int(epoch) if epoch.isdigit() else None
    )


class Interrupted(Exception):
    """A signal asked the launcher to stop. `keep_agents`: a shutdown, not a cancellation (LAUNCH 7.9)."""

    def __init__(self, signum: int, keep_agents: bool) -> None:
        super().__init__(signum)
        self.signum = signum
        self.keep_agents = keep_agents


class LaneRun:
    """One launcher process on one lane: what was asked, what was loaded, and the open ends it has to close."""

    def __init__(
        self,
        paths: LanePaths,
        options: LauncherOptions,
        console: Console,
        loop: EventLoop,
        supervision: Supervision | None = None,
    ) -> None:
        self.paths = paths
        self.live_paths = paths  # the live tree; differs from `paths` in a dry run
        self.options = options
        self.console = console
        self.loop = loop
        self.supervision = supervision
        self.orchestrator_id = options.orchestrator_id or default_orchestrator_id(paths.lane, supervision)
        self.board_path: str | None = paths.orchestrator_board if options.board else None
        self.state_file = paths.run_state
        self.waves: list[Wave] = []
        self.selected: list[Wave] = []
        self.completed: list[int] = []  # waves the run state counts as completed
        self.run_completed: list[int] = []  # waves this run has completed
        self.authored: dict[int, Wave] = {}  # waves before any executor fallback: their fingerprints count
        self.references = References(paths.root)
        self.parsed = ParsedWaves([], [], [])
        self.unresolved: dict[int, WaveError] = {}  # waves whose executors or skills could not be resolved
        self.manifest_path = paths.manifest
        self.surface = "vscode"
        self.skills = SkillLibrary(paths.root, paths.skills_dir)
        self.leftovers: list[Leftover] = []  # live agents of an earlier launcher that this launch may adopt
        self.global_dashboard: dict[str, Any] | None = None
        self.dashboards_failed = False  # said once, not at every change
        self.interrupted_wave: WaveContext | None = None  # the wave at hand, until it is left in order
        self.live_agents: dict[str, AgentHandle] = {}  # runtime path -> agents that this launcher must see to their end
        self.active_wait: AgentWait | None = None
        self.journal = ProgressJournal(None)
        self.interrupt: Interrupted | None = None
        self.context7_outage = Outage()  # agents do not each wait for the same outage (PROV 5.5)
        self.hurry = False  # a second signal: no more grace

    @property
    def profile(self) -> Any:
        """The lane's resolved configuration."""
        return self.paths.profile

    @property
    def default_executor(self) -> str:
        """The executor of agents that name none. Spec: LAUNCH 2.2."""
        return self.options.executor or str(self.profile.executors["default"])

    def check_interrupt(self) -> None:
        """Raise what a signal asked for; called between steps, where nothing is half done."""
        if self.interrupt is not None:
            raise self.interrupt

    def in_a_hurry(self) -> bool:
        """Whether a second signal came meanwhile. Spec: LAUNCH 7.9."""
        self.loop.run_once(0)
        return self.hurry

    def grace_seconds(self) -> float:
        """How long ended agents may take to leave. Spec: LAUNCH 9.4."""
        return float(self.profile.supervisor.get("terminationGraceSeconds", 10))


def default_orchestrator_id(lane: str, supervision: Supervision | None) -> str:
    """`<lane>-orch-<pid>`, or with the run id where the name must outlive resumes. Spec: LAUNCH 2.2."""
    return f"{lane}-orch-{supervision.run_id if supervision else os.getpid()}"


class AgentRun:
    """One agent of the wave at hand: where its files are, on which executor it runs, and when it last ran."""

    def __init__(self, agent: Agent, wave: int, paths: LanePaths, supervision: Supervision | None) -> None:
        from ..definition.prompt_fingerprint import definition_hash, prompt_hash

        self.agent = agent  # its executor and skills change when a fallback is chosen
        # The fingerprint is that of the agent as authored, before any fallback. Spec: LAUNCH 8.2 step 4, CFG 15.
        self.prompt_hash = prompt_hash(agent)
        self.definition_hash = definition_hash(agent)
        self.prompt_path = paths.prompt_file(wave, agent.slug)
        self.log_path = paths.log_file(wave, agent.slug)
        self.status_path = paths.status_file(wave, agent.slug)
        self.summary_path = paths.summary_file(wave, agent.slug)
        self.overlay_dir = paths.executor_dir(wave, agent.slug)
        self.runtime_path = paths.runtime_file(wave, agent.slug)
        self.history_dir: str | None = None
        if supervision is not None:
            agents_dir = os.path.join(supervision.run_dir, "agents")
            self.runtime_path = os.path.join(agents_dir, f"{agent.agent_id}.runtime.json")
            self.history_dir = os.path.join(agents_dir, "history")
        self.session_name = paths.session_name(wave, agent.slug)
        self.launched_attempt: int | None = None
        self.documentation: Prefetched | None = None  # what Context7 gave its prompt
        self.materialised: tuple[object, object] = (None, None)  # launch id and end of the run that has its envelope

    @property
    def agent_id(self) -> str:
        """The agent's id."""
        return self.agent.agent_id

    @property
    def executor(self) -> dict[str, Any]:
        """The executor state it runs on now (CFG 10)."""
        return self.agent.executor_resolved or {}


class WaveContext:
    """One wave while it runs: its agents, the attempt at hand, the derived state and the dashboard."""

    def __init__(self, lane: LaneRun, wave: Wave, bindings: RoleBindings) -> None:
        self.lane = lane
        self.paths = lane.paths
        self.wave = wave
        self.bindings = bindings
        self.runs = {agent.agent_id: AgentRun(agent, wave.wave, lane.paths, lane.supervision) for agent in wave.agents}
        self.attempt = 0  # the durable attempt number (LAUNCH 7.1)
        self.ordinal = 1  # the budget ordinal: 1 + retries used
        self.attempt_open = False  # the control plane says that the attempt is running
        self.selected: tuple[str, ...] = ()
        self.reentered: tuple[str, ...] | None = None  # the selection of an interrupted attempt that goes on
        self.design_done = False
        self.catalog: BenchmarkCatalog | None = None
        self.pre_completed: tuple[str, ...] = ()  # agents whose earlier result stands (LAUNCH 11.1)
        self.derived: DerivedState | None = None
        self.derived_context: DerivedContext | None = None
        self.dashboard: dict[str, Any] = {}
        self.auto_satisfied_stages: tuple[str, ...] = ()
        self.skipped_stages: tuple[str, ...] = ()
        self.launched_stages: tuple[str, ...] = ()
        self.ignored_gap_record_ids: frozenset[str] = frozenset()
        self.continued_sets: set[frozenset[str]] = set()  # sibling sets this launch has already continued to
        self.seen_feedback: dict[str, str] = {}
        self.resident: AgentHandle | None = None
        self.resident_reported = False
        self.flush_planned = False  # the dashboards are behind and will be written soon
        self.last_look = 0.0  # monotonic time of the last look at logs and feedback
        self.signals_told: dict[str, int] = {}  # signal -> the version whose event was written last
        self.signals_seen: tuple[object, ...] = ()  # stamps of the files that the last synced signals follow from
        self.alerted: dict[str, str] = {}  # alert -> the ids it was last told for
        self.reduced: dict[str, Any] | None = None
        self.gate_snapshot: dict[str, Any] | None = None
        self.trace_dir: str | None = None

    @property
    def number(self) -> int:
        """The wave's number."""
        return self.wave.wave

    def launched_ids(self) -> tuple[str, ...]:
        """Agents launched (or adopted) in the attempt at hand."""
        return tuple(run.agent_id for run in self.runs.values() if run.launched_attempt == self.attempt)

    def completed_ids(self) -> tuple[str, ...]:
        """Agents of the wave that have a successful status."""
        records = ((run.agent_id, read_status_record(run.status_path)) for run in self.runs.values())
        return tuple(agent_id for agent_id, record in records if record is not None and record["code"] == 0)

    def note_sweep(self, sweep: SweepResult) -> None:
        """What the pass's sweep decided counts in its snapshot. Spec: LAUNCH 7.4 step 7, 10.6."""
        self.auto_satisfied_stages = sweep.auto_satisfied_stages
        self.skipped_stages = sweep.skipped_stages
        self.launched_stages = sweep.launched_stages
        self.ignored_gap_record_ids = frozenset()

    def open_pass(self, selected: tuple[str, ...]) -> None:
        """Forget what the sweep of the pass before decided. Spec: LAUNCH 10.6 (gap records count again)."""
        self.selected = selected
        self.auto_satisfied_stages = self.skipped_stages = self.launched_stages = ()
        self.ignored_gap_record_ids = frozenset()
        self.gate_snapshot = self.trace_dir = None

    def current_wave(self) -> Wave:
        """The wave with its agents as they are now: executor and skills after fallbacks."""
        return self.wave._replace(agents=tuple(self.runs[agent.agent_id].agent for agent in self.wave.agents))

    def declared(self, agent_ids: Any) -> list[AgentRun]:
        """The runs of these agents in the order given; ids that the wave does not declare are left out."""
        return [self.runs[agent_id] for agent_id in agent_ids if agent_id in self.runs]
