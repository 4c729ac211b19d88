"""`wave doctor` on real workspaces. Spec: WORK 3, 9.7; PROV 3.5; CFG 12.1."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wave_lab import CONTRACT, Lab, agent, role, wave

from wave_lib.cli import main
from wave_lib.runtime.doctor import CHECKS, examine

Edit = Callable[[Lab], Any]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A workspace without findings: git, install state, planner files, one wave with the local executor."""
    root = tmp_path / "wörk space"
    lab = Lab(root, executors={"default": "local"}, planner={"agentic": {"context7Bundle": "web"}})
    lab.write("wave.config.json", json.dumps({**config_of(lab), "sharedPlanDocs": ["docs/plans/master-plan.md"]}))
    lab.write("docs/plans/master-plan.md", "# Plan\n")
    lab.write("docs/plans/component-cutover-matrix.md", "- `api`: API\n\n| `api` | `repo-landed` |\n")
    for path in (
        "docs/agents/wave-planner-role.md",
        "docs/reference/wave-planning-lessons.md",
        "docs/context7/planner-agent/README.md",
        "docs/context7/planner-agent/manifest.json",
        "docs/context7/planner-agent/topics/planning-and-orchestration.md",
    ):
        lab.write(path, "{}\n")
    lab.skill("role-planner")
    lab.write(".wave/install-state.json", json.dumps({"packageName": "@chllming/wave-orchestration"}))
    lab.write(".gitignore", ".tmp\n/.wave/\n.vscode/terminals.json\n" + "".join(
        f"docs/research/{name}/**\n" for name in ("cache", "agent-context-cache", "papers", "articles")
    ))
    lab.wave_file(wave(agent("A1", exit_contract=CONTRACT)))
    (root / ".git").mkdir()
    profiles = {"planning-readonly": {"id": "local"}}
    configure(lab, executors={"default": "local", "profiles": profiles})
    return lab


def config_of(lab: Lab) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((lab.root / "wave.config.json").read_text(encoding="utf-8"))
    return value


def configure(lab: Lab, **changes: Any) -> None:
    lab.write("wave.config.json", json.dumps({**config_of(lab), **changes}))


def findings(lab: Lab, **options: Any) -> list[tuple[str, str, str]]:
    """(id, severity, message) of everything that is not ok."""
    found = examine(str(lab.root), os.environ, **options).checks
    return [(each["id"], each["severity"], each["message"]) for each in found if each["severity"] != "ok"]


def ids(lab: Lab) -> list[str]:
    return [check for check, _, _ in findings(lab)]


def test_a_sound_workspace_has_no_findings(lab: Lab) -> None:
    assert findings(lab) == []


def remove(path: str) -> Edit:
    return lambda lab: (lab.root / path).unlink()


def write(path: str, text: str = "") -> Edit:
    return lambda lab: lab.write(path, text)


def config(**changes: Any) -> Edit:
    return lambda lab: configure(lab, **changes)


def validation(**changes: Any) -> Edit:
    return lambda lab: configure(lab, validation={**config_of(lab)["validation"], **changes})


def documented(context7: dict[str, Any]) -> Edit:
    """Agent A1 wants documentation."""

    def edit(lab: Lab) -> None:
        configure(lab, externalProviders={"context7": context7})
        lab.write("docs/context7/bundles.json", '{"bundles":{"none":{},"web":{"libraries":[{"libraryId":"/a/b"}]}}}')
        text = (lab.root / "docs/plans/waves/wave-0.md").read_text()
        at = text.index("\n", text.index("## Agent A1")) + 1
        lab.write("docs/plans/waves/wave-0.md", f"{text[:at]}\n### Context7\n\n- bundle: web\n{text[at:]}")

    return edit


BROKER = {"context7": {"mode": "broker"}}
CORRIDOR = {"enabled": True, "teamId": "t", "projectId": "p"}
CATALOG = "docs/evals/benchmark-catalog.json"
CASE = {"id": "one", "familyId": "output", "benchmarkId": "golden", "fixture": {"agents": [{}], "records": [{}]}}
BREAKAGES: list[tuple[str, str, str, Edit]] = [
    ("install-state.missing", "error", "wave init", remove(".wave/install-state.json")),
    ("install-state.invalid", "error", "unreadable", write(".wave/install-state.json", "[]")),
    ("config.invalid", "error", "wave.config.json:1:2", write("wave.config.json", "{")),
    ("config.warning", "warning", "defaultLane", config(defautLane="x")),
    ("config.inert", "warning", "validation.testCommand", validation(testCommand="make")),
    ("config.inert", "warning", "requireTestsPass", validation(bootstrapPassConditions={"requireTestsPass": True})),
    ("providers.broker-endpoint", "error", "Context7 mode broker", config(externalProviders=BROKER)),
    ("providers.broker-endpoint", "warning", "hybrid", config(externalProviders={"context7": {"mode": "hybrid"}})),
    ("providers.broker-token", "error", "WAVE_API_TOKEN", config(externalProviders=BROKER)),
    ("providers.leases", "error", "owned", config(waveControl={"credentialProviders": ["openai"]})),
    ("providers.corridor-token", "error", "CORRIDOR_API_TOKEN", config(externalProviders={"corridor": CORRIDOR})),
    (
        "providers.corridor-token", "warning", "no token",
        config(externalProviders={"corridor": {**CORRIDOR, "requiredAtClosure": False}}),
    ),
    ("providers.insecure-endpoint", "error", "example.org", config(waveControl={"endpoint": "http://example.org"})),
    (
        "providers.library-id", "warning", "react",
        write("docs/context7/bundles.json", '{"bundles":{"none":{},"web":{"libraries":[{"libraryName":"react"}]}}}'),
    ),
    (
        "providers.library-id", "warning", "/owner/library: react, /a b/c",
        write(
            "docs/context7/bundles.json",
            '{"bundles":{"none":{},"web":{"libraries":'
            '[{"libraryId":"react"},{"libraryId":"/a b/c"},{"libraryId":"/a/b"},{"libraryId":"/a/b/v1.2"}]}}}',
        ),
    ),
    (
        "providers.broker-endpoint", "error", "the public service brokers nothing",
        config(externalProviders=BROKER, waveControl={"endpoint": "https://wave-control.up.railway.app"}),
    ),
    (
        "providers.telemetry", "warning", "https://wave.example.org/api/v1 without a token: set MY_TOKEN or",
        config(waveControl={"endpoint": "https://wave.example.org", "authTokenEnvVar": "MY_TOKEN"}),
    ),
    (
        "providers.fallback", "warning", "set corridor.teamId, corridor.projectId, CORRIDOR_API_TOKEN or",
        config(externalProviders={"corridor": {"enabled": True, "mode": "hybrid"}}),
    ),
    ("providers.context7-key", "warning", "(wave 0 A1): set CONTEXT7_API_KEY", documented({})),
    ("providers.context7-key", "warning", "broker fails: set CONTEXT7_API_KEY", documented({"mode": "hybrid"})),
    (
        "providers.token-invalid", "error", "CONTEXT7_API_KEY: the token holds a blank",
        lambda lab: os.environ.update(CONTEXT7_API_KEY="secret word"),
    ),
    (
        "providers.token-variable", "warning", "MY_KEY",
        config(externalProviders={"context7": {"apiKeyEnvVar": "MY_KEY"}}),
    ),
    ("shared-plan.missing", "error", "Missing shared plan doc: docs/plans/master-plan.md",
     remove("docs/plans/master-plan.md")),
    ("required-file.missing", "error", f"Missing required Wave file: {CATALOG}", remove(CATALOG)),
    ("role-prompt.invalid", "error", "Standing prompt", write("docs/agents/wave-design-role.md", "# Design\n")),
    ("context7.invalid", "error", "none", write("docs/context7/bundles.json", '{"bundles": {"web": {}}}')),
    ("planner.incomplete", "error", "wave-planning-lessons.md", remove("docs/reference/wave-planning-lessons.md")),
    ("planner.incomplete", "error", "docs/context7/bundles.json#planner-agentic", config(planner={})),
    ("planner.file", "error", "Missing planner file: docs/context7/planner-agent/manifest.json",
     remove("docs/context7/planner-agent/manifest.json")),
    ("planner.bundle", "error", "nowhere", config(planner={"agentic": {"context7Bundle": "nowhere"}})),
    ("planner.profile", "warning", "planning-readonly", config(executors={"default": "local"})),
    ("matrix.docs", "warning", "api", write("docs/plans/component-cutover-matrix.md", "# Nothing\n")),
    ("matrix.invalid", "error", "levels", write("docs/plans/component-cutover-matrix.json", "{}")),
    ("evals.invalid", "error", "families", write(CATALOG, "{}")),
    ("evals.invalid", "error", "one.json", write("docs/evals/cases/one.json", "[]")),
    ("evals.invalid", "error", "no benchmark",
     write("docs/evals/cases/one.json", json.dumps({**CASE, "benchmarkId": "x"}))),
    ("skills.invalid", "error", "broken", write("skills/broken/skill.json", "{}")),
    ("skills.invalid", "error", "boats", config(skills={"byDeployKind": {"boats": []}})),
    ("waves.dir", "warning", "docs/plans/waves", remove("docs/plans/waves/wave-0.md")),
    ("waves.invalid", "error", "wave-1.md", write("docs/plans/waves/wave-1.md", "# Wave 7 - Other\n")),
    ("waves.invalid", "error", "duplicate wave 0", write("docs/plans/waves/wave-00.md", "# Wave 0\n")),
    ("profile.invalid", "error", "project-profile.json", write(".wave/project-profile.json", "{")),
    ("gitignore.missing", "warning", ".gitignore", remove(".gitignore")),
    ("gitignore.entry", "warning", "entry: .wave/", write(".gitignore", ".tmp/\n# .wave/\n")),
    ("env.git", "warning", "work tree", lambda lab: (lab.root / ".git").rmdir()),
    ("env.executor", "warning", "no-such-command (needed by wave 0 A0, wave 0 A1)",
     config(executors={"default": "codex", "codex": {"command": "no-such-command"}})),
    ("env.state-root", "error", ".tmp", write(".tmp", "a file")),
]  # fmt: skip


@pytest.mark.parametrize(("check", "severity", "text", "edit"), BREAKAGES, ids=[row[0] for row in BREAKAGES])
def test_each_check_sees_its_own_breakage(
    lab: Lab, check: str, severity: str, text: str, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    edit(lab)
    own = [(found_severity, message) for found, found_severity, message in findings(lab) if found == check]
    assert own, findings(lab)
    assert own[0][0] == severity and any(text in message for _, message in own), own


def test_every_row_of_the_table_is_broken_by_some_test() -> None:
    elsewhere = {
        "env.python", "config.missing", "waves.warning", "env.tmux", "install-state.version",
        "providers.env-file-mode", "providers.env-file-tracked",
    }  # fmt: skip
    assert {check.id for check in CHECKS} == {row[0] for row in BREAKAGES} | elsewhere


def test_one_broken_wave_hides_no_other(lab: Lab) -> None:
    lab.write("docs/plans/waves/wave-1.md", "# Wave 1\n\n## Agent A1\n")
    unjudged = role("A0", "cont-qa", "docs/qa.json")
    lab.write("docs/plans/waves/wave-2.md", f"# Wave 2\n\n**Commit message**: `Feat: x`\n\n{unjudged}")
    texts = [message for check, _, message in findings(lab) if check == "waves.invalid"]
    assert len(texts) == 2 and "wave-1.md" in texts[0] and "wave-2.md" in texts[1]


def test_a_completed_wave_only_warns(lab: Lab) -> None:
    lab.write("docs/plans/waves/wave-0.md", wave(agent("A1")).replace("docs/reviews/qa.md", "docs/qa.json"))
    assert ("waves.invalid", "error") in [found[:2] for found in findings(lab)]
    entry = {"wave": 0, "currentState": "completed"}
    lab.write(
        ".tmp/main-wave-launcher/run-state.json",
        json.dumps({"schemaVersion": 2, "kind": "wave-run-state", "waves": {"0": entry}, "completedWaves": [0]}),
    )
    assert {found[:2] for found in findings(lab)} == {("waves.warning", "warning")}


def test_a_saved_tmux_surface_needs_tmux(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(".wave/project-profile.json", json.dumps({"schemaVersion": 1, "defaultTerminalSurface": "tmux"}))
    monkeypatch.setenv("PATH", str(lab.root))
    assert "env.tmux" in ids(lab) and "env.git" in ids(lab)


def test_the_version_is_compared_within_one_package_only(lab: Lab) -> None:
    lab.write(".wave/install-state.json", json.dumps({"packageName": "wave-for-python", "installedVersion": "0.0.1"}))
    assert [found for found in findings(lab) if found[0] == "install-state.version"][0][2].endswith("`wave upgrade`.")
    lab.write(".wave/install-state.json", json.dumps({"packageName": "other", "installedVersion": "0.0.1"}))
    assert ids(lab) == []


def test_an_env_file_that_others_can_read_or_git_tracks(lab: Lab) -> None:
    env_file = lab.write(".env.local", "WAVE_API_TOKEN=secret\n")
    env_file.chmod(0o644)
    assert ids(lab) == ["providers.env-file-mode"]
    env_file.chmod(0o600)
    assert ids(lab) == []
    (lab.root / ".git").rmdir()
    for arguments in (["init", "-q"], ["add", "-f", ".env.local"]):
        subprocess.run(["git", *arguments], cwd=lab.root, check=True)
    assert ids(lab) == ["providers.env-file-tracked"]


def test_a_missing_config_is_an_error_and_the_rest_is_checked(lab: Lab) -> None:
    (lab.root / "wave.config.json").unlink()
    found = ids(lab)
    assert found[0] == "config.missing" and "shared-plan.missing" in found


def test_every_project_and_lane_is_in_scope(lab: Lab) -> None:
    projects = {"app": {"rootDir": "app"}, "web": {"rootDir": "web", "lanes": {"blue": {}, "green": {}}}}
    configure(lab, projects=projects, defaultProject="app")
    del_shared = config_of(lab)
    del_shared.pop("sharedPlanDocs")
    lab.write("wave.config.json", json.dumps(del_shared))
    places = {(each["project"], each["lane"]) for each in examine(str(lab.root), {}).checks if each["lane"]}
    assert places == {("app", "main"), ("web", "blue"), ("web", "green")}
    some = examine(str(lab.root), {}, project="web", lane="green").checks
    assert {(each["project"], each["lane"]) for each in some if each["lane"]} == {("web", "green")}


# The command line


def run(lab: Lab, *argv: str) -> int:
    return main(["--repo-root", str(lab.root), "doctor", *argv])


def test_a_sound_workspace_is_ok(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lab) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"[wave:doctor] workspace={lab.root}", "[wave:doctor] package=wave-for-python@0.1.0", "[wave:doctor] ok",
        "[wave:doctor] telemetry stays on this machine: no waveControl.endpoint is set, nothing is sent",
    ]  # fmt: skip
    assert said.err == ""


@pytest.mark.parametrize(
    ("control", "told"),
    [
        ({"enabled": False}, "telemetry is off: nothing is recorded or sent"),
        (
            {"enabled": False, "endpoint": "https://wave.example.org"},
            "telemetry is off, although waveControl.endpoint is set: nothing is recorded or sent",
        ),
        ({"reportMode": "disabled"}, "telemetry is off: nothing is recorded or sent"),
        ({"endpoint": "https://wave.example.org"}, "telemetry goes to https://wave.example.org/api/v1 (metadata-only)"),
    ],
)
def test_what_becomes_of_telemetry_is_told(
    lab: Lab, control: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVE_API_TOKEN", "wave-token-123")
    configure(lab, waveControl=control)
    assert run(lab) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[2:] == ["[wave:doctor] ok", f"[wave:doctor] {told}"]
    assert said.err == ""


def test_errors_come_before_warnings_and_exit_1(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    (lab.root / ".gitignore").unlink()
    (lab.root / "docs/plans/master-plan.md").unlink()
    assert run(lab) == 1
    said = capsys.readouterr()
    assert "[wave:doctor] ok" not in said.out
    assert said.err.splitlines() == [
        "[wave:doctor] error: Missing shared plan doc: docs/plans/master-plan.md",
        "[wave:doctor] warning: Missing .gitignore: state and caches would be committed",
        "[wave] doctor found 1 error and 1 warning",
    ]


def test_warnings_alone_exit_0(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    (lab.root / ".gitignore").unlink()
    assert run(lab) == 0
    assert "warning: Missing .gitignore" in capsys.readouterr().err


def test_json_carries_stable_ids(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    (lab.root / "docs/plans/master-plan.md").unlink()
    assert run(lab, "--json") == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert said.err == ""
    assert list(document) == ["ok", "workspaceRoot", "packageName", "packageVersion", "errors", "warnings", "checks"]
    assert document["ok"] is False and document["workspaceRoot"] == str(lab.root)
    assert document["errors"] == ["Missing shared plan doc: docs/plans/master-plan.md"]
    own = [each for each in document["checks"] if each["id"] == "shared-plan.missing"]
    assert own == [{
        "id": "shared-plan.missing", "severity": "error", "message": document["errors"][0],
        "path": "docs/plans/master-plan.md", "project": "default", "lane": "main",
    }]  # fmt: skip
    assert [check.id for check in CHECKS] == list(dict.fromkeys(each["id"] for each in document["checks"]))


def test_unknown_names_are_errors(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lab, "--project", "nope") == 1
    assert "Unknown project: nope" in capsys.readouterr().err
    assert run(lab, "--lane", "nope") == 1
    assert "Unknown lane: nope" in capsys.readouterr().err


def test_doctor_writes_nothing(lab: Lab) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in lab.root.rglob("*"))
    run(lab)
    assert sorted((path, path.stat().st_mtime_ns) for path in lab.root.rglob("*")) == before
