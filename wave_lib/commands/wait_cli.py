"""`wave wait`: the command table wants a module for each verb; the work is beside `status`. Spec: SUP 14.3."""

from __future__ import annotations

from .status_cli import run_wait as run

__all__ = ["run"]
