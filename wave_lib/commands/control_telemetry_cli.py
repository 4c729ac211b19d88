"""`wave control telemetry status|flush|requeue`. Spec: PROV 9."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode

if TYPE_CHECKING:
    from .arguments import Parsed


def telemetry_document(given: Parsed, root: str, operation: str) -> tuple[dict[str, Any], int]:
    """What the command prints, and its exit code: 1 only when an error stopped a flush."""
    from ..providers.wave_control_client import Telemetry, status_document
    from ..providers.wave_control_delivery import flush, requeue
    from .subcommands import paths_of

    telemetry = Telemetry(paths_of(given, root))
    if operation == "status":
        return status_document(telemetry), ExitCode.DONE
    if operation == "requeue":
        return requeue(telemetry), ExitCode.DONE
    result = flush(telemetry)
    stopped = bool(result.get("error")) or (bool(result.get("pending")) and result.get("busy") is True)
    return result, ExitCode.FAILED if stopped else ExitCode.DONE
