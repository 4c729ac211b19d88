"""`wave demo`: a small real wave in a temporary folder, and what came of it. Needs nothing but Python."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError
from .arguments import JSON, TEXT, Command, Flag, read

if TYPE_CHECKING:
    from ..base.terminal import Style
    from ..runtime.demo import AgentAccount, DemoAccount, GateAccount

COMMAND = Command(
    "demo",
    "Make an example workspace and run a real wave of six agents in it, with the built-in executor.",
    (Flag("--keep", TEXT, "keep the workspace in this new or empty folder", metavar="dir", default="removed"), JSON),
    notes="The agents are real processes; the built-in executor writes placeholders instead of asking a model.",
)


def run(argv: list[str], root: str) -> int:
    """Make the workspace, launch the wave, give the account; a workspace of a failed run is kept."""
    parsed = read(COMMAND, argv)
    if parsed is None:
        return 0
    keep, as_json = parsed.text("keep"), parsed.has("json")
    from ..runtime import demo
    from ..runtime.console import Console

    workspace = demo.new_workspace(keep)
    try:
        with redirect_stdout(sys.stderr if as_json else sys.stdout):
            Console().say(f"[demo] workspace: {workspace}")
            demo.fill_workspace(workspace)
            account = demo.run_wave(workspace)
    except WaveError as error:
        raise WaveError(error.what, error.where, f"the workspace is kept: {workspace}", error.code) from None
    removed = keep is None and account.exit_code == 0
    if removed:
        demo.discard(workspace)  # before anything is printed, for that may fail
    if as_json:
        import json

        print(json.dumps(_document(account, removed), indent=2, ensure_ascii=False))
    else:
        _report(account, removed)
    return account.exit_code


def _document(account: DemoAccount, removed: bool) -> dict[str, Any]:
    return {
        "ok": account.exit_code == 0,
        "exitCode": account.exit_code,
        "seconds": round(account.seconds, 3),
        "workspace": None if removed else account.workspace,
        "agents": [
            {
                "agentId": agent.agent_id,
                "title": agent.title,
                "role": agent.role,
                "exitCode": agent.exit_code,
                "seconds": None if agent.seconds is None else round(agent.seconds, 3),
                "logPath": agent.log,
                "resultPath": agent.envelope,
            }
            for agent in account.agents
        ],
        "gates": [
            {
                "gate": gate.key,
                "label": gate.label,
                "ok": gate.ok,
                "statusCode": gate.status_code,
                "detail": gate.detail,
            }
            for gate in account.gates
        ],
        "evidence": dict(account.evidence),
    }


def _report(account: DemoAccount, removed: bool) -> None:
    import os

    from ..base.terminal import Style

    style = Style.of(sys.stdout, os.environ)
    lines = ["", style.paint("What ran", "bold")]
    lines += [_agent_line(agent, style) for agent in account.agents]
    lines += ["", style.paint("Which gates passed", "bold")]
    lines += [_gate_line(gate, style) for gate in account.gates] or ["  none was reached"]
    lines += ["", style.paint("Where the evidence lay" if removed else "Where the evidence lies", "bold")]
    lines += [f"  {what:<30}  {path}" for what, path in account.evidence]
    closed = account.exit_code == 0
    verdict = style.paint("closed", "green", "bold") if closed else style.paint("not closed", "red", "bold")
    ran = sum(agent.exit_code is not None for agent in account.agents)
    lines += ["", f"The wave is {verdict}: {ran} agents, each a process of its own, in {account.seconds:.1f} s."]
    if removed:
        lines.append("Its workspace was temporary and is removed, evidence and all; `wave demo --keep <dir>` keeps it.")
    else:
        lines.append(f"Look around: {account.workspace}")
    print("\n".join(lines))


def _agent_line(agent: AgentAccount, style: Style) -> str:
    if agent.exit_code is None:
        end = style.paint("did not run", "yellow")
    else:
        end = style.paint(f"exit {agent.exit_code}", "green" if agent.exit_code == 0 else "red")
        end += f"  {agent.seconds:.2f} s" if agent.seconds is not None else ""
    return f"  {agent.agent_id:<3} {agent.title:<18} {agent.role:<15} {end}"


def _gate_line(gate: GateAccount, style: Style) -> str:
    mark = style.paint("pass", "green") if gate.ok else style.paint(gate.status_code, "red")
    return f"  {mark}  {gate.label}" + (f": {gate.detail}" if gate.detail else "")
