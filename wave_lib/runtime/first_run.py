"""A workspace whose project was never set up: the setup on a terminal, a notice anywhere else.

Holds:       nothing.
Writes:      the project profile, when somebody answers the setup's questions.
When killed: nothing is lost; the next launch asks again.

Spec: LAUNCH 3.2, WORK 4.3.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..base.terminal import is_terminal
from ..definition.project_profile import read_profile

if TYPE_CHECKING:
    from ..definition.config import WaveConfig
    from .wave_context import LaneRun


def notice(lane: LaneRun, config: WaveConfig) -> None:
    """Apply the profile's terminal surface; without a profile set one up, or say in two lines what that means."""
    project = lane.options.project
    profile = read_profile(config, project)
    if profile is None and _may_ask(lane):
        from .project_setup import set_up_project
        from .questions import Questions

        lane.console.warn("[wave] This project has no profile yet; a few questions first (`wave project setup`).")
        profile = set_up_project(config, project, Questions())
    elif profile is None:
        lane.console.warn("[wave] notice: this project has no profile yet; the defaults of the configuration apply.")
        lane.console.warn("[wave] notice: `wave project setup` creates one.")
    surface = lane.options.terminal_surface
    if surface is None and profile is not None:
        surface = profile.default_terminal_surface
    lane.surface = surface or "vscode"


def _may_ask(lane: LaneRun) -> bool:
    """Whether somebody sits there: a launcher that a supervisor started never reads its stdin."""
    if lane.options.dry_run or lane.supervision is not None or sys.stdin is None:
        return False
    return is_terminal(sys.stdin)
