"""The launcher's command line. Spec: LAUNCH 2, 21 cases 1-4."""

from __future__ import annotations

import pytest

from wave_lib.base.errors import UsageError
from wave_lib.commands.launch_flags import normalised_args, parse_launch_args
from wave_lib.runtime.launcher_options import LauncherOptions, clean_lane, clean_orchestrator_id


def parsed(*argv: str) -> LauncherOptions:
    options = parse_launch_args(argv)
    assert options is not None
    return options


def test_defaults() -> None:
    assert parsed() == LauncherOptions()
    assert (parsed().timeout_minutes, parsed().max_retries_per_wave, parsed().agent_launch_stagger_ms) == (240, 1, 1200)


def test_both_forms_of_a_value_and_the_last_one_wins() -> None:
    options = parsed("--lane", "One Two", "--lane=B.c", "--start-wave=3", "--", "--end-wave", "4")
    assert (options.lane, options.start_wave, options.end_wave) == ("b.c", 3, 4)


def test_switches_turn_options_off() -> None:
    options = parsed("--no-dashboard", "--keep-sessions", "--no-orchestrator-board", "--no-telemetry", "--no-context7")
    shown = (options.dashboard, options.cleanup_sessions, options.board, options.telemetry, options.context7)
    assert shown == (False,) * 5
    assert parsed("--terminal-surface", "none").dashboard is False


@pytest.mark.parametrize("argv", [("--help",), ("-h",), ("--lane", "x", "--help")])
def test_help_comes_before_any_check(argv: tuple[str, ...]) -> None:
    assert parse_launch_args(argv) is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--bogus",), "Unknown argument: --bogus"),
        (("word",), "Unknown argument: word"),
        (("--lane",), "--lane requires a value"),
        (("--lane", "--dry-run"), "--lane requires a value"),
        (("--lane=",), "--lane requires a value"),
        (("--lane", " / "), "Lane name is required"),
        (("--start-wave", "5x"), "--start-wave must be a non-negative integer, got: 5x"),
        (("--timeout-minutes", "0"), "--timeout-minutes must be a positive integer, got: 0"),
        (("--start-wave", "2", "--end-wave", "1"), "--end-wave must be >= --start-wave"),
        (
            ("--agent-rate-limit-base-delay-seconds", "50", "--agent-rate-limit-max-delay-seconds", "10"),
            "--agent-rate-limit-max-delay-seconds must be >= --agent-rate-limit-base-delay-seconds",
        ),
        (("--dry-run", "--reconcile-status"), "--dry-run and --reconcile-status exclude each other"),
        (("--executor", "vi"), "--executor must be one of: codex, claude, opencode, local, command (got: vi)"),
        (("--terminal-surface", "x"), "--terminal-surface must be one of: vscode, tmux, none"),
    ],
)
def test_usage_errors(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_launch_args(argv)
    assert str(caught.value).startswith(message)
    assert caught.value.code == 2


def test_auto_next_takes_any_range() -> None:
    assert parsed("--auto-next", "--start-wave", "2", "--end-wave", "1").end_wave == 1


def test_the_stored_form() -> None:
    argv = ["--lane=main", "--", "--dry-run", "--coordination-note=a=b"]
    assert normalised_args(argv) == ["--lane", "main", "--dry-run", "--coordination-note", "a=b"]


def test_names_are_cleaned() -> None:
    assert clean_lane("  My Lane/2 ") == "my-lane-2"
    assert clean_orchestrator_id("a b/c") == "a-b-c"
    assert len(clean_orchestrator_id("x" * 99)) == 64
