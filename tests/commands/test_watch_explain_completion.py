"""`wave watch`, `wave explain`, `wave completion`. Spec: COORD 27, case 58."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from control_lab import ControlLab

from wave_lib import cli
from wave_lib.commands.completion_cli import command_tables, completion_script

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def lab(tmp_path, capsys):
    return ControlLab(tmp_path, capsys)


@pytest.mark.parametrize(("action", "code"), [("completed", 0), ("failed", 40)])
def test_watching_a_wave_that_has_ended_ends_at_once(lab, action, code):
    lab.event("wave_run", "wave-0", action, waveId="wave-0")
    got, out, _ = lab.call("watch", "--wave", "0")
    assert got == code and out.startswith(f"signal={action} lane=main wave=0 ")


def test_watching_ends_when_a_person_is_asked_or_time_is_up(lab):
    assert lab.call("control", "watch", "--wave", "0", "--timeout-seconds", "0")[0] == 10
    lab.say("feedback", "ask", "--agent", "A1", "--question", "Which?", "--json")
    before = lab.tree()
    assert lab.call("watch", "--wave", "0")[0] == 20
    assert lab.tree() == before


def test_watching_until_something_changes(lab):
    argv = [sys.executable, str(ROOT / "wave.py"), "--repo-root", str(lab.root), "watch", "--wave", "0"]
    with subprocess.Popen(
        [*argv, "--until-change", "--timeout-seconds", "60"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("signal=stable ")
        lab.post("request", "A1", "--target", "agent:A2")
        rest, _ = child.communicate(timeout=60)
    assert child.returncode == 30 and rest.startswith("signal=coordination-action ")


def test_watching_refuses_a_stranger(lab):
    assert lab.fails("watch", "--agent", "A9")[0] == 1


# --- explain --------------------------------------------------------------------------------------------------------


def test_a_wave_that_never_ran_is_explained_by_how_to_run_it(lab):
    code, out, _ = lab.call("explain", "--lane", "main", "--wave", "0")
    assert code == 1 and out.splitlines() == [
        "Wave 0 has not run yet.",
        "  Next: wave launch --lane main --start-wave 0 --end-wave 0",
    ]


def test_a_gap_is_explained_with_its_line(lab):
    gap = "[wave-proof] completion=contract durability=none proof=unit state=gap detail=two tests fail"
    lab.ran("A1", log=["[wave-phase] coding", gap])
    before = lab.tree()
    code, out, _ = lab.call("explain", "--wave", "0", "--json")
    explained = json.loads(out)
    assert code == 1 and explained["ok"] is False and lab.tree() == before
    failure = next(item for item in explained["failures"] if item["gate"] == "implementationGate")
    assert (failure["agentId"], failure["statusCode"]) == ("A1", "wave-proof-gap")
    assert failure["evidence"].endswith(".log:2") and failure["remedy"] and failure["meaning"]
    text = lab.call("explain", "--wave", "0")[1]
    assert "two tests fail" in text and ".log:2" in text and "\n  Next: wave launch " in text


def test_the_log_of_an_agent_that_never_ran_is_not_named(lab):
    lab.ran("A1")
    explained = json.loads(lab.call("explain", "--wave", "0", "--json")[1])
    absent = [item for item in explained["failures"] if item["agentId"] == "A0"]
    assert absent and all(item["evidence"] is None for item in absent)
    assert "a0.log" not in lab.call("explain", "--wave", "0")[1]


def test_every_refusal_of_the_wave_has_a_line_of_its_own(lab):
    lab.ran("A1")
    request = lab.post("request", "A1", "--target", "agent:A2")
    question = lab.post("clarification-request", "A1")
    log = Path(lab.paths.coordination_log(0))
    explained = json.loads(lab.call("explain", "--wave", "0", "--json")[1])
    found = {item["statusCode"]: item["evidence"] for item in explained["failures"] if item["agentId"] is None}
    for code, record_id in (("helper-assignment-open", request), ("clarification-open", question)):
        path, _, line = found[code].rpartition(":")
        assert path == lab.paths.rel(str(log))
        assert json.loads(log.read_text().splitlines()[int(line) - 1])["id"] == record_id


def test_what_waits_for_a_person_is_explained_by_the_command_that_answers(lab):
    asked = lab.say("feedback", "ask", "--agent", "A1", "--question", "Which?", "--json")
    out = lab.call("explain", "--wave", "0")[1]
    assert f"Next: wave control task act answer --lane main --wave 0 --id {asked['id']} --response" in out


def test_a_completed_wave_needs_no_explanation(lab):
    lab.event("wave_run", "wave-0", "completed", waveId="wave-0")
    assert lab.call("explain", "--wave", "0")[:2] == (0, "Wave 0 is completed.\n")


# --- completion -----------------------------------------------------------------------------------------------------


def complete(*words: str) -> list[str]:
    """What bash offers for a command line whose last word is being typed."""
    line = " ".join(f"'{word}'" for word in words)
    script = completion_script("bash")
    script += (
        f"\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _wave_complete; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run([bash, "--norc", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["wave", "com"], ["completion"]),
        (["wave", "control", "ta"], ["task"]),
        (["wave", "control", "task", "ac"], ["act"]),
        (["wave", "control", "task", "act", "ack", "--reop"], ["--reopen"]),
        (["wave", "coord", "post", "--priority", "ur"], ["urgent"]),
        (["wave", "retry", "ap"], ["apply"]),
        (["wave", "launch", "--reconcile"], ["--reconcile-status"]),
    ],
)
def test_bash_completes_commands_verbs_flags_and_values(words, offered):
    assert complete(*words) == offered


def test_every_command_and_flag_can_be_completed():
    script = completion_script("zsh")
    for path, command in command_tables():
        assert f'"{path}")' in script
        assert all(flag.name in script for flag in command.flags if not flag.hidden)
    names = {path.split()[0] for path, _ in command_tables()}
    assert names == {entry.name for entry in cli.COMMANDS if not entry.hidden}


def test_an_unknown_shell_is_a_usage_error(lab):
    assert lab.call("completion", "fish")[0] == 2
    assert lab.call("completion", "bash")[1] == completion_script("bash")
