"""A small workspace whose agents are shell scripts, and `wave launch` run in it as a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parent.parent

PROOF = "[wave-proof] completion=contract durability=none proof=unit state=met detail=tests pass"
GAP = "[wave-proof] completion=contract durability=none proof=unit state=gap detail=not yet"
DELTA = "[wave-doc-delta] state=owned paths=docs/widget.md detail=widget"
GATE = "[wave-gate] architecture=pass integration=pass durability=pass live=pass docs=pass detail=good"
VERDICT = "[wave-verdict] verdict=pass detail=good"

_QA = """## Agent A0: cont-QA

### Role prompts

- docs/agents/wave-cont-qa-role.md

### Prompt

```text
Judge the wave.

File ownership (only touch these paths):
- docs/reviews/wave-{wave}-cont-qa.md
```
"""
_WORKER = """## Agent {agent}: Widget {agent}

### Exit contract

- completion: contract
- durability: none
- proof: unit
- doc-impact: owned

### Prompt

```text
Build widget {agent}.

File ownership (only touch these paths):
- src/{agent}.txt
```
"""


_STEWARD = """## Agent {agent}: {role} steward

### Role prompts

- docs/agents/wave-{role}-role.md

### Prompt

```text
Do the {role} work.

File ownership (only touch these paths):
- docs/reports/{agent}-{role}.md
```
"""
STEWARDS = {"E0": "cont-eval", "A7": "security", "A8": "integration", "A9": "documentation"}
TARGETS = """## Eval targets

- id: holds | selection: pinned | benchmarks: smoke | objective: it holds | threshold: always

"""
CATALOG = {"version": 1, "families": {"golden": {"benchmarks": {"smoke": {}}}}}
SATISFIED = (
    "[wave-eval] state=satisfied targets=1 benchmarks=1 regressions=0 target_ids=holds benchmark_ids=smoke detail=holds"
)
CLEAR = "[wave-security] state=clear findings=0 approvals=0 detail=clean"
READY = "[wave-integration] state=ready-for-doc-closure claims=0 conflicts=0 blockers=0 detail=fits"
NO_CHANGE = "[wave-doc-closure] state=no-change paths= detail=none"


class LaunchLab:
    """One workspace. `script(agent, text)` says what an agent does; `launch(...)` runs the real command."""

    def __init__(
        self,
        root: Path,
        workers: tuple[str, ...] = ("A1",),
        waves: int = 1,
        stewards: tuple[str, ...] = (),
        **config: Any,
    ) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.children: list[subprocess.Popen[str]] = []
        off = ("DocumentationSteward", "IntegrationSteward", "ComponentPromotions", "AgentComponents")
        document = {
            "version": 1,
            "validation": {"requiredPromptReferences": [], **{f"require{name}FromWave": None for name in off}},
            "executors": {"default": "command", "command": {"argv": ["sh", "agents/run.sh", "{agentId}", "{wave}"]}},
            "runtimePolicy": {"fallbackExecutorOrder": []},
            "supervisor": {"terminationGraceSeconds": 2},
            **config,
        }
        self.write("wave.config.json", json.dumps(document))
        for role in ("cont-qa", *STEWARDS.values()):
            standing = f"# Role\n\n## Standing prompt\n\n```text\nYou do {role}.\n```\n"
            self.write(f"docs/agents/wave-{role}-role.md", standing)
        self.write("docs/context7/bundles.json", '{"version": 1, "bundles": {"none": {}}}')
        for number in range(waves):
            agents = [_QA.format(wave=number), *(_WORKER.format(agent=agent) for agent in workers)]
            agents += [_STEWARD.format(agent=agent, role=STEWARDS[agent]) for agent in stewards]
            head = f"# Wave {number} - Small\n\n" + (TARGETS if "E0" in stewards else "")
            self.write(f"docs/plans/waves/wave-{number}.md", head + "\n".join(agents))
        self.write("docs/evals/benchmark-catalog.json", json.dumps(CATALOG))
        # Every invocation is noted before and after: a test sees who ran, how often, and beside whom.
        self.write(
            "agents/run.sh",
            'cat > /dev/null\necho "start $1 $2" >> agents/log\n. "./agents/$1.sh"\necho "end $1 $2" >> agents/log\n',
        )
        for worker in workers:
            self.prints(worker, PROOF, DELTA)
        words = {"E0": SATISFIED, "A7": CLEAR, "A8": READY, "A9": NO_CHANGE}
        for steward in stewards:
            path = f"docs/reports/{steward}-{STEWARDS[steward]}.md"
            self.script(steward, f"mkdir -p docs/reports; echo done > {path}\n" + self.echo(words[steward]))
        report = 'mkdir -p docs/reviews; printf "# QA\\n\\nVerdict: PASS\\n" > "docs/reviews/wave-$2-cont-qa.md"\n'
        self.script("A0", report + self.echo(GATE, VERDICT))

    def write(self, path: str, text: str) -> None:
        """Write a file of the workspace."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    @staticmethod
    def echo(*lines: str) -> str:
        """Shell text that prints these lines."""
        return "".join(f"echo '{line}'\n" for line in lines)

    def script(self, agent: str, text: str) -> None:
        """What the agent does, as shell text."""
        self.write(f"agents/{agent}.sh", text)

    def prints(self, agent: str, *lines: str) -> None:
        """The agent prints these lines and succeeds."""
        self.script(agent, self.echo(*lines))

    # --- running

    def start(self, *arguments: str, env: dict[str, str] | None = None, hurried: str = "") -> subprocess.Popen[str]:
        """`wave launch` without stagger and dashboards, not waited for; the agent `hurried` has a tiny deadline."""
        program = [str(ROOT / "tests/short_deadline.py"), hurried] if hurried else []
        argv = [sys.executable, *program, str(ROOT / "wave.py"), "launch", "--no-dashboard"]
        argv += ["--agent-launch-stagger-ms", "0"]
        return self.run_beside([*argv, *arguments], env)

    def run_beside(self, argv: list[str], env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Any program in the workspace, in a session of its own, not waited for; `close` ends it."""
        child = subprocess.Popen(
            argv,
            cwd=self.root,
            env={**os.environ, "NO_COLOR": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.children.append(child)
        return child

    def launch(
        self, *arguments: str, env: dict[str, str] | None = None, hurried: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """The same, waited for."""
        return self.finish(self.start(*arguments, env=env, hurried=hurried))

    def finish(self, child: subprocess.Popen[str], within: float = 60) -> subprocess.CompletedProcess[str]:
        """Wait for a started launch."""
        out, err = child.communicate(timeout=within)
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def close(self) -> None:
        """End whatever a failed test left: launchers by their process, agents by their records."""
        from wave_lib.runtime.agent_sessions import agent_alive, terminate_agent_tree

        for child in self.children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            for stream in (child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
            child.wait()
        for record in self.root.glob(".tmp/**/*.runtime.json"):
            if agent_alive(str(record)):
                terminate_agent_tree(str(record), "test over", 0.1)

    # --- what happened

    def ran(self) -> list[str]:
        """Agents in the order in which they were started."""
        return [line.split()[1] for line in self.log() if line.startswith("start")]

    def log(self) -> list[str]:
        """Lines `start|end <agent> <wave>`."""
        path = self.root / "agents" / "log"
        return path.read_text().splitlines() if path.exists() else []

    def state(self, path: str) -> Any:
        """A JSON file of the lane's state."""
        return json.loads((self.root / ".tmp/main-wave-launcher" / path).read_text())

    def events(self, entity: str, wave: int = 0) -> list[dict[str, Any]]:
        """Control-plane events of one entity type."""
        path = self.root / f".tmp/main-wave-launcher/control-plane/wave-{wave}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [row for row in rows if row["entityType"] == entity]

    def board(self) -> str:
        """The orchestrator board."""
        return (self.root / ".tmp/wave-orchestrator/messageboards/orchestrator.md").read_text()


@contextmanager
def labs(kind: Callable[..., LaunchLab], root: Path) -> Iterator[Callable[..., Any]]:
    """`make(**options)` makes labs of this kind in `root`; whatever they leave is ended in the end."""
    made: list[LaunchLab] = []

    def make(**options: Any) -> LaunchLab:
        made.append(kind(root, **options))
        return made[-1]

    try:
        yield make
    finally:
        for item in made:
            item.close()
