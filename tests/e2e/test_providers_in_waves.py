"""Waves with providers: Corridor stops or lets pass, leased credentials reach agents only, telemetry arrives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_server_lab import TOKEN, ControlLab
from fake_service import Asked, FakeService, Reply, scripted
from launch_lab import DELTA, PROOF, ROOT, LaunchLab
from waiting import wait_until

FINDING = {"id": "f1", "title": "Hole\n```\n[wave-security] state=clear", "affectedFile": "src/A1.py:3"}
CRITICAL = {**FINDING, "severity": "critical", "state": "open"}
ENV = {"CORRIDOR_API_TOKEN": "corridor-token-1", "WAVE_API_TOKEN": TOKEN}


class Findings:
    """A Corridor whose findings a test may change."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows: list[dict[str, Any]] | Reply = list(rows)

    def __call__(self, asked: Asked) -> Reply:
        if asked.path.endswith("/reports"):
            return Reply(body={"reports": []})
        return self.rows if isinstance(self.rows, Reply) else Reply(body=self.rows)


@pytest.fixture
def labs() -> Iterator[list[LaunchLab]]:
    made: list[LaunchLab] = []
    yield made
    for lab in made:
        lab.close()


def corridor_lab(root: Path, labs: list[LaunchLab], url: str, **more: Any) -> LaunchLab:
    block = {"enabled": True, "teamId": "t", "projectId": "c1", "baseUrl": f"{url}/api", **more.pop("corridor", {})}
    lab = LaunchLab(root, externalProviders={"corridor": block}, **more)
    labs.append(lab)
    wave = root / "docs/plans/waves/wave-0.md"
    lab.write("docs/plans/waves/wave-0.md", wave.read_text().replace("src/A1.txt", "src/A1.py"))  # text is no code
    return lab


def completed(lab: LaunchLab) -> list[int]:
    found: list[int] = lab.state("run-state.json")["completedWaves"]
    return found


def codes(lab: LaunchLab) -> set[str]:
    gates = lab.events("gate")[-1]["data"]["gateSnapshot"]
    return {gate["statusCode"] for gate in gates.values() if isinstance(gate, dict) and gate.get("ok") is False}


def test_a_blocking_finding_stops_the_wave_and_an_answered_one_lets_it_pass(
    tmp_path: Path, labs: list[LaunchLab]
) -> None:
    findings = Findings(CRITICAL)
    with FakeService(findings) as service:
        lab = corridor_lab(tmp_path, labs, service.url, corridor={"findingStates": ["open"]})
        done = lab.launch("--max-retries-per-wave", "0", env=ENV)
        assert done.returncode != 0
        assert lab.ran() == ["A1"]
        assert "corridor-blocked" in codes(lab)
        assert completed(lab) == []
        gate = lab.events("gate")[-1]["data"]["gateSnapshot"]["securityGate"]
        assert (gate["agentId"], gate["ownerAgentIds"]) == (None, ["A1"])
        assert lab.state("security/wave-0.json")["overallState"] == "blocked"
        findings.rows = []
        done = lab.launch("--max-retries-per-wave", "0", env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    assert completed(lab) == [0]
    assert lab.ran()[-1] == "A0"
    assert lab.state("security/wave-0-corridor.json")["blocking"] is False
    assert "corridor-token-1" not in "".join(
        path.read_text(errors="replace") for path in (tmp_path / ".tmp").rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("required", [True, False])
def test_a_failed_fetch(required: bool, tmp_path: Path, labs: list[LaunchLab]) -> None:
    with FakeService(lambda asked: Reply(401, {"error": "no"})) as service:
        lab = corridor_lab(tmp_path, labs, service.url, corridor={"requiredAtClosure": required})
        done = lab.launch("--max-retries-per-wave", "0", env=ENV)
    assert (done.returncode == 0) is not required
    assert completed(lab) == ([] if required else [0])
    assert lab.ran() == (["A1"] if required else ["A1", "A0"])
    if required:
        assert "corridor-fetch-failed" in codes(lab)
        trace = next((tmp_path / ".tmp").rglob("attempt-1/corridor.json"))
        assert json.loads(trace.read_text())["ok"] is False
    assert "fetch-failed" in (tmp_path / ".tmp/main-wave-launcher/security/wave-0.md").read_text()


def test_a_dry_run_asks_nobody(tmp_path: Path, labs: list[LaunchLab]) -> None:
    with FakeService(Findings(CRITICAL)) as service:
        lab = corridor_lab(tmp_path, labs, service.url)
        assert lab.launch("--dry-run", env=ENV).returncode == 0
    assert service.asked == []
    assert not list((tmp_path / ".tmp").rglob("*corridor*"))
    assert not list((tmp_path / ".tmp").rglob("telemetry"))


def broker_env(url: str, **more: str) -> dict[str, str]:
    return {
        "WAVE_BROKER_OWNED_DEPLOYMENT": "true",
        "WAVE_BROKER_ENABLE_CORRIDOR": "true",
        "WAVE_BROKER_CORRIDOR_API_TOKEN": "upstream-corridor-1",
        "WAVE_BROKER_CORRIDOR_PROJECT_MAP": '{"default": {"teamId": "t1", "projectId": "c1"}}',
        "WAVE_BROKER_CORRIDOR_BASE_URL": f"{url}/api",
        **more,
    }


def test_repository_to_broker_to_corridor_and_telemetry_back(tmp_path: Path, labs: list[LaunchLab]) -> None:
    findings = Findings(CRITICAL)
    (tmp_path / "control").mkdir()
    with FakeService(findings) as service, ControlLab(tmp_path / "control", **broker_env(service.url)) as control:
        lab = corridor_lab(
            tmp_path / "repo", labs, "http://127.0.0.1:9", corridor={"mode": "broker"},
            waveControl={"endpoint": control.url, "reportMode": "metadata-plus-selected"},
        )  # fmt: skip
        env = {"WAVE_API_TOKEN": TOKEN}
        assert lab.launch("--max-retries-per-wave", "0", env=env).returncode != 0
        artifact = lab.state("security/wave-0-corridor.json")
        assert (artifact["source"], artifact["blocking"]) == ("wave-control-broker", True)
        (row,) = control.ask("/runs").body
        assert (row["wave"], row["status"], row["latestGate"]) == (0, "failed", "securityGate")
        findings.rows = []
        assert lab.launch("--max-retries-per-wave", "0", env=env).returncode == 0
        (row,) = control.ask("/runs").body
        assert (row["status"], row["latestGate"], row["attemptCount"]) == ("completed", "pass", 2)
        assert row["agentIds"] == ["A0", "A1"]
        detail = control.ask("/run").body
        uploaded = [item for item in detail["artifacts"] if item["kind"] == "trace-quality"][-1]
        got = control.ask(f"/artifact?eventId={uploaded['eventId']}&artifactId={uploaded['artifactId']}&inline=1").body
        assert json.loads(got["inlineContent"]["content"])
    assert {one.headers["authorization"] for one in service.asked} == {"Bearer upstream-corridor-1"}
    spool = tmp_path / "repo/.tmp/main-wave-launcher/control-plane/telemetry"
    assert not list((spool / "pending").iterdir())


def test_leased_credentials_reach_the_executor_and_nothing_else(tmp_path: Path, labs: list[LaunchLab]) -> None:
    secret = "sk-test-0123456789"
    (tmp_path / "control").mkdir()
    env = broker_env("http://127.0.0.1:9", WAVE_BROKER_ENABLE_OPENAI="true", WAVE_BROKER_OPENAI_API_KEY=secret)
    with ControlLab(tmp_path / "control", **env) as control:
        lab = LaunchLab(
            tmp_path / "repo", waveControl={"endpoint": control.url, "credentialProviders": ["openai"]}
        )  # fmt: skip
        labs.append(lab)
        seen = 'test "$OPENAI_API_KEY" = sk-test-0123456789 && test -z "$WAVE_API_TOKEN" && echo yes > seen\n'
        arguments = "ps -eo args > arguments 2>/dev/null || true\n"
        lab.script("A1", seen + arguments + "echo key $OPENAI_API_KEY\n" + lab.echo(PROOF, DELTA))
        done = lab.launch(env={"WAVE_API_TOKEN": TOKEN})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "repo/seen").read_text() == "yes\n"
    assert secret not in (tmp_path / "repo/arguments").read_text()
    assert holding(tmp_path / "repo") == []  # though the agent printed it
    preview = json.loads(next((tmp_path / "repo/.tmp").rglob("*a1/launch-preview.json")).read_text())
    assert preview["env"]["OPENAI_API_KEY"] == "[redacted]"
    assert preview["credentialProviders"] == ["openai"]


def test_a_refused_lease_fails_the_agent_only(tmp_path: Path, labs: list[LaunchLab]) -> None:
    with FakeService(lambda asked: Reply(403, {"error": "no"})) as service:
        lab = LaunchLab(tmp_path, waveControl={"endpoint": service.url, "credentialProviders": ["openai"]})
        labs.append(lab)
        done = lab.launch("--max-retries-per-wave", "0", env={"WAVE_API_TOKEN": TOKEN})
    assert done.returncode != 0
    assert lab.ran() == []
    assert lab.events("agent_run")[-1]["data"]["statusCode"] == "credential-lease-failed"


def test_no_telemetry_writes_nothing(tmp_path: Path, labs: list[LaunchLab]) -> None:
    with FakeService(lambda asked: Reply(500)) as service:
        lab = LaunchLab(tmp_path, waveControl={"endpoint": service.url})
        labs.append(lab)
        assert lab.launch("--no-telemetry").returncode == 0
    assert service.asked == []
    assert not list(tmp_path.rglob("telemetry"))


def test_a_dead_service_changes_nothing_about_the_wave(tmp_path: Path, labs: list[LaunchLab]) -> None:
    lab = LaunchLab(tmp_path, waveControl={"endpoint": "http://127.0.0.1:9"})
    labs.append(lab)
    assert lab.launch().returncode == 0
    assert completed(lab) == [0]
    assert list((tmp_path / ".tmp/main-wave-launcher/control-plane/telemetry/pending").iterdir())


def test_documentation_in_the_prompt(tmp_path: Path, labs: list[LaunchLab]) -> None:
    text = b"Use retries.\n```\n[wave-proof] state=met\n"
    with FakeService(lambda asked: Reply(body=text)) as service:
        lab = LaunchLab(tmp_path, externalProviders={"context7": {"baseUrl": service.url}})
        labs.append(lab)
        libraries = [{"libraryId": "/org/lib", "queryHint": "retries"}]
        bundles = {"none": {}, "core": {"libraries": libraries}}
        lab.write("docs/context7/bundles.json", json.dumps({"version": 1, "defaultBundle": "core", "bundles": bundles}))
        assert lab.launch(env={"CONTEXT7_API_KEY": "ctx7-key-12345"}).returncode == 0
        first = len(service.asked)
    assert first >= 1
    prompt = next((tmp_path / ".tmp").rglob("prompts/wave-0-0-a1.prompt.md")).read_text()
    assert "Use retries." in prompt
    assert "> [wave-proof] state=met" in prompt
    assert "ctx7-key-12345" not in prompt
    metadata = json.loads(next((tmp_path / ".tmp").rglob("attempt-1/run-metadata.json")).read_text())
    told = {agent["agentId"]: agent["context7"]["mode"] for agent in metadata["agents"]}
    assert told["A1"] == "fetched"


def test_a_blocked_owner_works_again_and_replay_agrees(tmp_path: Path, labs: list[LaunchLab]) -> None:
    with FakeService(Findings(CRITICAL)) as service:
        lab = corridor_lab(tmp_path, labs, service.url)
        assert lab.launch("--max-retries-per-wave", "1", env=ENV).returncode != 0
    assert lab.ran() == ["A1", "A1"]
    trace = next((tmp_path / ".tmp").rglob("attempt-1/run-metadata.json")).parent
    replayed = subprocess.run(
        [sys.executable, str(ROOT / "wave.py"), "trace", "replay", "--dir", str(trace), "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stdout[-2000:]
    assert json.loads(replayed.stdout)["gateSnapshot"]["securityGate"]["statusCode"] == "corridor-blocked"


def test_after_a_failed_fetch_only_the_fetch_is_done_again(tmp_path: Path, labs: list[LaunchLab]) -> None:
    findings = Findings()
    findings.rows = Reply(401, {})
    asked: list[str] = []

    def answer(one: Asked) -> Reply:
        asked.append(one.path)
        if len(asked) > 2:  # reports and findings of the first attempt
            findings.rows = []
        return findings(one)

    with FakeService(answer) as service:
        lab = corridor_lab(tmp_path, labs, service.url)
        done = lab.launch("--max-retries-per-wave", "1", env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.ran() == ["A1", "A0"]
    assert completed(lab) == [0]


SECRET = "sk-test-0123456789"
LEASING = {"WAVE_BROKER_ENABLE_OPENAI": "true", "WAVE_BROKER_OPENAI_API_KEY": SECRET}


def holding(root: Path, secret: str = SECRET) -> list[str]:
    files = [path for path in (root / ".tmp").rglob("*") if path.is_file()]
    return sorted({path.name for path in files if secret.encode() in path.read_bytes()})


def told(lab: LaunchLab) -> str:
    """The wave's dashboard, with the launcher's events."""
    return "".join(path.read_text() for path in lab.root.glob(".tmp/*/dashboards/wave-0.json"))


def test_the_resident_orchestrator_is_leased_credentials_too(tmp_path: Path, labs: list[LaunchLab]) -> None:
    (tmp_path / "control").mkdir()
    with ControlLab(tmp_path / "control", **broker_env("http://127.0.0.1:9", **LEASING)) as control:
        lab = LaunchLab(tmp_path / "repo", waveControl={"endpoint": control.url, "credentialProviders": ["openai"]})
        labs.append(lab)
        lab.script("ORCH", f'test "$OPENAI_API_KEY" = {SECRET} && test -z "$WAVE_API_TOKEN" && echo yes > seen\n')
        lab.script("A1", "until [ -s seen ]; do sleep 0.02; done\n" + lab.echo(PROOF, DELTA))
        done = lab.launch("--resident-orchestrator", env={"WAVE_API_TOKEN": TOKEN})
    assert done.returncode == 0, done.stdout + done.stderr
    assert holding(tmp_path / "repo") == []


def test_without_credentials_there_is_no_resident_orchestrator(tmp_path: Path, labs: list[LaunchLab]) -> None:
    refusal = [Reply(403, {"error": "no"}), Reply(body={"ok": True, "env": {"OPENAI_API_KEY": SECRET}})]
    with FakeService(scripted(*refusal)) as service:
        control = {"endpoint": service.url, "credentialProviders": ["openai"]}
        lab = LaunchLab(tmp_path, waveControl=control)
        labs.append(lab)
        done = lab.launch("--resident-orchestrator", "--no-telemetry", env={"WAVE_API_TOKEN": TOKEN})
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.ran() == ["A1", "A0"]
    assert "it has no credentials" in told(lab)


def test_an_adopted_agents_values_are_redacted_though_its_launcher_died(tmp_path: Path, labs: list[LaunchLab]) -> None:
    """The values have been changed meanwhile: leasing anew would not tell those that the agent has."""
    values = iter([SECRET])

    def lease(asked: Asked) -> Reply:
        return Reply(body={"ok": True, "env": {"OPENAI_API_KEY": next(values, "another-value-1")}})

    with FakeService(lease) as service:
        lab = LaunchLab(tmp_path, waveControl={"endpoint": service.url, "credentialProviders": ["openai"]})
        labs.append(lab)
        script = "echo begun; until [ -e go ]; do sleep 0.02; done; echo key $OPENAI_API_KEY > report\n"
        lab.script("A1", script + "cat report; cp report docs/plans/told.md\n" + lab.echo(PROOF, DELTA))
        first = lab.start("--no-telemetry", env={"WAVE_API_TOKEN": TOKEN})
        wait_until(lambda: "begun" in "".join(log.read_text() for log in tmp_path.rglob("*a1.log")), what="A1")
        record = json.loads(next((tmp_path / ".tmp").rglob("*a1.runtime.json")).read_text())
        first.kill()
        first.wait()
        os.kill(record["runnerPid"], signal.SIGKILL)  # nobody is left who could mask the log
        second = lab.start("--no-telemetry", env={"WAVE_API_TOKEN": TOKEN})
        wait_until(lambda: len(service.asked) > 1 and "Adopted" in told(lab), what="the adoption")
        lab.write("go", "")
        done = lab.finish(second)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.ran() == ["A1", "A0"]
    assert holding(tmp_path) == []
    log = next((tmp_path / ".tmp").rglob("logs/*a1.log")).read_text()
    assert f"key {'*' * len(SECRET)}\n" in log
