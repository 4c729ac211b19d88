"""Where canonical writers tell of what they appended. Nobody listens unless a sink is installed.

State knows nothing of providers: who runs (launcher, command) installs the sink of its lane. A sink never raises.
Spec: PROV 1, last paragraph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Sink = Callable[[str, Sequence[Mapping[str, Any]]], None]

CONTROL_PLANE, COORDINATION, FEEDBACK = "control-plane", "coordination", "feedback"

_sink: Sink | None = None


def install(sink: Sink | None) -> None:
    """Tell this sink from now on; None tells nobody."""
    global _sink
    _sink = sink


def emit(kind: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Tell of records that are on disk now. `kind` is one of the three words above."""
    if _sink is not None and records:
        _sink(kind, records)
