"""The notice of a workspace whose project was never set up.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: LAUNCH 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..definition.project_profile import read_profile

if TYPE_CHECKING:
    from ..definition.config import WaveConfig
    from .wave_context import LaneRun


def notice(lane: LaneRun, config: WaveConfig) -> None:
    """Apply the project profile's terminal surface; without a profile say in two lines what that means."""
    profile = read_profile(config, lane.options.project)
    surface = lane.options.terminal_surface
    if profile is None:
        lane.console.warn("[wave] notice: this project has no profile yet; the defaults of the configuration apply.")
        lane.console.warn("[wave] notice: `wave project setup` creates one.")
    elif surface is None:
        surface = profile.default_terminal_surface
    lane.surface = surface or "vscode"
