"""Lane paths and the state tree. Spec: CFG 6, SUP 4."""

from __future__ import annotations

import inspect
import os
import re

import pytest

from wave_lib.base.errors import ConfigError
from wave_lib.definition.config import config_from_payload
from wave_lib.definition.lane_paths import LanePaths, agent_base, build_lane_paths
from wave_lib.definition.state_tree import STATE_TREE

SERVICE = {"defaultProject": "app", "projects": {"app": {}, "service": {"rootDir": "services/api"}}}


def paths_of(root, payload=None, *args, **keywords) -> LanePaths:
    return build_lane_paths(config_from_payload(str(root), payload or {}), *args, **keywords)


def test_an_explicit_project_has_its_id_in_every_state_path(tmp_path):
    paths = paths_of(tmp_path, SERVICE, "main", "service")
    assert paths.rel(paths.state_dir) == ".tmp/projects/service/main-wave-launcher"
    assert paths.rel(paths.orchestrator_state_dir) == ".tmp/wave-orchestrator/projects/service"
    assert paths.rel(paths.workspace_orchestrator_dir) == ".tmp/wave-orchestrator"
    assert paths.rel(paths.waves_dir) == "services/api/docs/plans/waves"
    assert paths.rel(paths.project_profile) == ".wave/projects/service/project-profile.json"
    assert (paths.project_id, paths.lane, paths.run_kind, paths.run_id) == ("service", "main", "roadmap", None)


def test_the_implicit_project_has_none(tmp_path):
    paths = paths_of(tmp_path)
    assert paths.rel(paths.state_dir) == ".tmp/main-wave-launcher" and paths.live_state_dir == paths.state_dir
    assert paths.rel(paths.orchestrator_board) == ".tmp/wave-orchestrator/messageboards/orchestrator.md"
    assert paths.rel(paths.project_profile) == ".wave/project-profile.json"


def test_a_dry_run_has_its_own_tree_but_no_supervisor(tmp_path):
    paths = paths_of(tmp_path, run_variant="dry-run")
    assert paths.dry_run and paths.rel(paths.state_dir) == ".tmp/main-wave-launcher/dry-run"
    assert paths.rel(paths.orchestrator_board) == (
        ".tmp/main-wave-launcher/dry-run/orchestrator/messageboards/orchestrator.md"
    )
    assert paths.rel(paths.docs_dir) == "docs"
    assert paths.rel(paths.supervisor_runs_dir) == ".tmp/main-wave-launcher/supervisor/runs"
    assert paths.rel(paths.agent_slot(0)) == ".tmp/wave-orchestrator/slots/agent-0.flock"
    with pytest.raises(ConfigError, match="run variant"):
        paths_of(tmp_path, run_variant="wet-run")


def test_an_adhoc_run_lives_beside_the_roadmap_and_promotes_nothing(tmp_path):
    paths = paths_of(tmp_path, None, "brand-new", adhoc_run_id="Fix It!")
    assert (paths.run_kind, paths.run_id) == ("adhoc", "fix-it")
    assert paths.rel(paths.state_dir) == ".tmp/brand-new-wave-launcher/adhoc/fix-it"
    assert paths.rel(paths.daemon_lock) == ".tmp/brand-new-wave-launcher/adhoc/fix-it/supervisor/daemon.lock"
    assert paths.rel(paths.wave_file(0)) == ".wave/adhoc/default/runs/fix-it/wave-0.md"
    validation = paths.profile.validation
    assert validation.require_component_promotions_from_wave is None
    assert validation.require_agent_components_from_wave is None
    assert validation.require_documentation_steward_from_wave == 0


def test_an_unknown_lane_is_an_error_and_nothing_is_created(tmp_path):
    with pytest.raises(ConfigError) as caught:
        paths_of(tmp_path, {"lanes": {"api": {}}}, "apl")
    assert "Unknown lane: apl" in str(caught.value) and "api" in str(caught.value)
    assert os.listdir(tmp_path) == []
    assert paths_of(tmp_path, None, "fresh", new_lane=True).lane == "fresh"


def test_a_lane_is_known_by_its_object_or_its_waves(tmp_path):
    assert paths_of(tmp_path, {"lanes": {"api": {}}}, "api").lane == "api"
    (tmp_path / "docs/web/plans/waves").mkdir(parents=True)
    assert paths_of(tmp_path, None, "web").lane == "web"


def test_waves_may_lie_directly_under_the_documents(tmp_path):
    (tmp_path / "docs/waves").mkdir(parents=True)
    assert paths_of(tmp_path).waves_dir == str(tmp_path / "docs/waves")
    (tmp_path / "docs/plans/waves").mkdir(parents=True)
    assert paths_of(tmp_path).waves_dir == str(tmp_path / "docs/plans/waves")


def test_a_tree_from_before_projects_is_pointed_out(tmp_path):
    (tmp_path / ".tmp/main-wave-launcher").mkdir(parents=True)
    warning = paths_of(tmp_path, SERVICE).warnings[0]
    assert ".tmp/main-wave-launcher" in warning and ".tmp/projects/app/main-wave-launcher" in warning
    assert paths_of(tmp_path, SERVICE, project="service").warnings == ()
    (tmp_path / ".tmp/projects/app/main-wave-launcher").mkdir(parents=True)
    assert paths_of(tmp_path, SERVICE).warnings == ()


def test_state_directories_at_the_root(tmp_path):
    paths = paths_of(tmp_path, {"paths": {"stateRoot": ".", "orchestratorStateDir": "o"}})
    assert paths.rel(paths.state_dir) == "main-wave-launcher" and paths.rel(paths.orchestrator_state_dir) == "o"


SAMPLES = {
    **{"wave": 3, "attempt": 2, "seq": 1, "generation": 4, "index": 5},
    **{"slug": "3-a1", "agent_id": "A1", "run_id": "run-1-abc", "request_id": "q-1", "digest": "0" * 64},
    **{"lane_id": "api", "project": "app", "adhoc_run": "adhoc-1", "planner_run": "planner-1"},
}


@pytest.mark.parametrize("entry", STATE_TREE, ids=lambda entry: entry.name)
def test_every_entry_of_the_state_tree_has_its_member(tmp_path, entry):
    paths = paths_of(tmp_path)
    names = set(re.findall(r"\{(\w+)\}", entry.template))
    assert entry.kind in "ESCPIL" and entry.writer and entry.contents
    if entry.name in ("default_project_profile", "project_profile"):
        return
    if not names:
        assert getattr(paths, entry.name).endswith("/" + entry.template)
        return
    member = getattr(paths, entry.name)
    parameters = inspect.signature(member).parameters
    assert set(parameters) == names
    expected = entry.template.format(**{name: SAMPLES[name] for name in names})
    assert member(*(SAMPLES[name] for name in parameters)).endswith("/" + expected)


def test_no_two_entries_share_a_path_or_a_name():
    assert len({entry.name for entry in STATE_TREE}) == len(STATE_TREE)
    assert len({(entry.base, entry.template) for entry in STATE_TREE}) == len(STATE_TREE)


@pytest.mark.parametrize(
    "build",
    [
        lambda paths: paths.status_file(0, "../x"),
        lambda paths: paths.status_file(-1, "0-a1"),
        lambda paths: paths.status_file(True, "0-a1"),
        lambda paths: paths.inbox(0, "a/b"),
        lambda paths: paths.supervisor_run_dir(".."),
        lambda paths: paths.feedback_request("../../x"),
        lambda paths: paths.dependency_log("a/b"),
        lambda paths: paths.adhoc_dir("app", ".."),
    ],
)
def test_an_id_cannot_leave_its_directory(tmp_path, build):
    with pytest.raises(ConfigError, match="invalid"):
        build(paths_of(tmp_path))


def test_a_few_paths_by_their_full_name(tmp_path):
    paths = paths_of(tmp_path)
    base = str(tmp_path / ".tmp/main-wave-launcher")
    assert paths.status_file(0, "0-a1") == f"{base}/status/wave-0-0-a1.status"
    assert paths.status_file(0, "resident-orchestrator") == f"{base}/status/wave-0-resident-orchestrator.status"
    assert paths.result_envelope(1, 2, "A1") == f"{base}/results/wave-1/attempt-2/A1.json"
    assert paths.relaunch_plan(7) == f"{base}/status/relaunch-plan-wave-7.json"
    runtime = paths.run_agent_runtime("run-1", "A1")
    assert runtime == f"{base}/supervisor/runs/run-1/agents/A1.runtime.json"
    assert agent_base(runtime) + ".tree.flock" == paths.run_agent_tree_lock("run-1", "A1")
    with pytest.raises(ConfigError):
        agent_base("x.json")


def test_paths_in_json_are_relative_with_slashes(tmp_path):
    paths = paths_of(tmp_path)
    assert paths.rel(str(tmp_path / "a/b")) == "a/b" and paths.absolute("a/b") == str(tmp_path / "a/b")
    assert paths.rel("/elsewhere/x") == "/elsewhere/x" and paths.rel("docs/x") == "docs/x"
    assert paths.rel(str(tmp_path / "..x")) == "..x"


def test_names_of_terminals(tmp_path):
    root = tmp_path / "My Very Long Repo"
    root.mkdir()
    paths = paths_of(root, {"defaultProject": "my-app", "defaultLane": "big-lane"})
    token = paths.workspace_token
    assert re.fullmatch(r"my_very_long_[0-9a-f]{8}", token)
    assert paths.terminal_name_prefix == "my-app-big-lane-wave"
    assert paths.global_dashboard_terminal_name == "my-app-big-lane-wave-dashboard-global"
    assert paths.tmux_session_prefix == f"oc_my_app_big_lane_{token}_wave"
    assert paths.tmux_global_dashboard_session_prefix.endswith("_wave_dashboard_global")
    assert paths.tmux_socket_name == f"oc_my_app_big_lane_{token}_waves"
    assert paths.session_name(3, "3-a.1") == f"oc_my_app_big_lane_{token}_wave3_3-a_1"


def test_the_project_id_of_reports(tmp_path):
    assert paths_of(tmp_path).telemetry_project_id == "default"
    assert paths_of(tmp_path, {"waveControl": {"projectId": "My  Org/App"}}).telemetry_project_id == "my-org-app"
    assert paths_of(tmp_path, {"waveControl": {"projectId": "!!"}}).telemetry_project_id == "wave"


def test_replaced_copies_keep_their_methods(tmp_path):
    paths = paths_of(tmp_path, orchestrator_id="o1", runtime_version="1.0")
    other = paths._replace(orchestrator_id="o2")
    assert (paths.orchestrator_id, other.orchestrator_id) == ("o1", "o2")
    assert isinstance(other, LanePaths) and other.run_state == paths.run_state
