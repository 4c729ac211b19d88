"""A lane with one wave (A1 and A2 implement, A0 judges) and the operator's commands run against it in this process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lane_lab import WAVE, LaneLab

from wave_lib import cli
from wave_lib.base.timestamps import now_iso
from wave_lib.runtime.wave_scene import WaveScene, open_wave
from wave_lib.state import control_plane
from wave_lib.state.artifact_schemas import normalize
from wave_lib.state.retry_state import write_relaunch_plan

SECOND = """
## Agent A2: Gadget

### Capabilities

- runtime

### Exit contract

- completion: contract
- durability: none
- proof: unit
- doc-impact: owned

### Prompt

```text
Build the gadget.

File ownership (only touch these paths):
- src/gadget.py
```
"""


class ControlLab(LaneLab):
    """`say(...)` runs a command and gives its JSON, `fails(...)` its exit code and stderr."""

    def __init__(self, root: Path, capsys: Any) -> None:
        super().__init__(root)
        self.capsys = capsys
        self.write("docs/plans/waves/wave-0.md", WAVE + SECOND)
        self.wave, self.bindings = self.parse()

    @property
    def scene(self) -> WaveScene:
        """The wave as the commands open it."""
        return open_wave(self.paths, 0)

    def call(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of one command line."""
        self.capsys.readouterr()
        code = cli.main([*words, "--repo-root", str(self.root)])
        out, err = self.capsys.readouterr()
        return code, out, err

    def say(self, *words: str) -> Any:
        """The JSON that a command about wave 0 prints."""
        code, out, err = self.call(*words, "--lane", "main", "--wave", "0")
        assert code == 0, err
        return json.loads(out)

    def fails(self, *words: str) -> tuple[int, str]:
        """Exit code and stderr of a command about wave 0 that is refused."""
        code, _, err = self.call(*words, "--lane", "main", "--wave", "0")
        assert code != 0
        return code, err

    def status(self, *words: str) -> Any:
        """`control status --json`."""
        return self.say("control", "status", "--json", *words)

    def post(self, kind: str, agent: str = "A1", *words: str) -> str:
        """Post a record and return its id."""
        return str(self.say("coord", "post", "--agent", agent, "--kind", kind, "--summary", f"a {kind}", *words)["id"])

    def record(self, record_id: str) -> dict[str, Any]:
        """The latest version of a record."""
        found: dict[str, Any] = self.say("coord", "show", "--json")["byId"][record_id]
        return found

    def event(self, entity_type: str, entity_id: str, action: str, **data: Any) -> None:
        """A control-plane event of the launcher."""
        control_plane.append_event(self.paths, 0, entity_type, entity_id, action, data)

    def attempt(self, *agents: str) -> None:
        """An attempt of these agents that is running, as the log has it."""
        self.event(
            "attempt",
            "wave-0-attempt-1",
            "running",
            attemptId="wave-0-attempt-1",
            attemptNumber=1,
            state="running",
            selectedAgentIds=list(agents),
        )

    def plan(self, *agents: str) -> None:
        """A relaunch plan for these agents."""
        plan = {"wave": 0, "attempt": 1, "selectedAgentIds": list(agents)}
        write_relaunch_plan(self.paths, 0, normalize("wave-relaunch-plan", plan, now=now_iso()))

    def agent(self, payload: Any, agent_id: str) -> dict[str, Any]:
        """An agent's row of a status."""
        return next(row for row in payload["logicalAgents"] if row["agentId"] == agent_id)

    def tree(self) -> dict[str, bytes]:
        """Every file of the state, with its content."""
        return {
            os.path.join(folder, name): Path(folder, name).read_bytes()
            for folder, _, names in os.walk(self.root / ".tmp")
            for name in names
        }
