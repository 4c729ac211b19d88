"""What is run under fire: two kinds of workspaces whose agents are shell scripts that keep a log of themselves."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from launch_lab import CLEAR, DELTA, GAP, NO_CHANGE, PROOF, READY
from supervisor_lab import SupervisorLab


class Scenario(NamedTuple):
    """A run: its waves, who works in each, and whether the launcher finds the waves itself (`--auto-next`)."""

    name: str
    waves: int
    workers: tuple[str, ...] = ("A1", "A2")
    stewards: tuple[str, ...] = ()
    auto_next: bool = False
    telemetry: bool = False  # its many files cost time and decide nothing
    seconds: tuple[float, ...] = (0.3, 0.6, 1.2)  # how long the two slowest agents of a case may take
    held_up: tuple[str, ...] = (r"look|60|900", ".|3|300")  # lines of WAVE_SLOW_AT, without the seed
    victims: tuple[str, ...] = ()  # kinds of `killers.WEIGHTS`; none: all of them
    patient: bool = False  # whether nobody is killed before an agent has begun or ended since the last kill

    @property
    def agents(self) -> tuple[str, ...]:
        """Everybody who runs in every wave."""
        return (*self.workers, *self.stewards, "A0")


PLAIN = Scenario("plain", 2)
"""Two workers, one of which fails once in every wave, and cont-QA."""

FULL = Scenario("full", 2, stewards=("A7", "A8", "A9"), auto_next=True)
"""The same with all closure stages; integration reports a proof gap once in every wave, which is forwarded."""

STEPS = FULL._replace(name="steps", waves=1, stewards=("A8",), telemetry=True)
"""For kills at durable steps: every kind of step, as briefly as possible."""

ADOPTION = Scenario(
    "adoption",
    1,
    seconds=(1.5, 2.5, 3.5),
    held_up=(r"look A\d\.tree|350|2500", "look|30|300"),
    victims=("launcher", "launch", "supervisor"),
    patient=True,
)
"""For agents that end while a resuming launcher looks at them: they live long, and it is held up after its looks."""

SCENARIOS = {scenario.name: scenario for scenario in (PLAIN, FULL, STEPS, ADOPTION)}

_RUN = """cat > /dev/null
name="$1 $2 $WAVE_ATTEMPT" code=0
if [ -e "agents/$1.pid" ]; then
    read -r before < "agents/$1.pid"
    [ ! -e "/proc/$before/cwd" ] || echo "overlap $name" >> agents/log
fi
echo $$ > "agents/$1.pid"
echo "start $name" >> agents/log
. "./agents/$1.sh"
echo "end $name $code" >> agents/log
exit $code
"""
_QUICK = (0, 0, 0.05, 0.1, 0.2)
"""Seconds that most agents take; two of each case outlive a resume of the launcher."""


def build(folder: Path, scenario: Scenario, dice: random.Random | None) -> SupervisorLab:
    """The workspace of a case. How long its agents take follows from the dice; without, they take no time."""
    # Many kills in a row before anything could progress are this test's doing, no reason to give up.
    settings: dict[str, object] = {"supervisor": {"resumeLimit": 45}}
    if not scenario.telemetry:
        settings["waveControl"] = {"enabled": False}
    lab = SupervisorLab(folder, workers=scenario.workers, waves=scenario.waves, stewards=scenario.stewards, **settings)
    lab.write("agents/run.sh", _RUN)
    says = {
        "A1": lab.echo(PROOF, DELTA),
        "A2": 'mkdir "agents/failed-$2" 2>/dev/null && { code=3; return; }\n' + lab.echo(PROOF, DELTA),
        "A7": _report("A7", "security") + lab.echo(CLEAR),
        "A8": _report("A8", "integration") + f"mkdir agents/gap-$2 2>/dev/null && echo '{GAP}'\n" + lab.echo(READY),
        "A9": _report("A9", "documentation") + lab.echo(NO_CHANGE),
        "A0": (folder / "agents/A0.sh").read_text(),
    }
    slow = dice.sample(scenario.agents, 2) if dice else ()
    for agent in scenario.agents:
        pause = dice.choice(scenario.seconds if agent in slow else _QUICK) if dice else 0
        lab.script(agent, (f"sleep {pause}\n" if pause else "") + says[agent])
    return lab


def _report(agent: str, role: str) -> str:
    return f"mkdir -p docs/reports; echo done > docs/reports/{agent}-{role}.md\n"
