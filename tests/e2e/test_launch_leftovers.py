"""What agents and disks leave behind ends no wave, and is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from launch_lab import DELTA, GAP, PROOF, LaunchLab
from waiting import wait_until

from wave_lib.base.processes import group_alive


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LaunchLab]:
    lab = LaunchLab(tmp_path)
    yield lab
    lab.close()


def test_a_dashboard_that_cannot_be_written_ends_no_wave(lab: LaunchLab) -> None:
    (lab.root / ".tmp/main-wave-launcher/dashboards/global.json").mkdir(parents=True)
    done = lab.launch()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("dashboards are not up to date") == 1


def test_processes_that_an_agent_left_are_named_and_ended_by_its_next_launch(lab: LaunchLab) -> None:
    leave = 'sh -c \'echo $$ >> agents/left; exec sleep 300\' &\nuntil [ -s agents/left ]; do :; done\n'
    lab.script("A1", leave + lab.echo(GAP, DELTA))
    assert lab.launch("--max-retries-per-wave", "0").returncode == 1
    log = (lab.root / ".tmp/main-wave-launcher/logs/wave-0-0-a1.log").read_text()
    group = int(log.split("left processes running in group ")[1].split(";")[0])
    assert group_alive(group)
    lab.prints("A1", PROOF, DELTA)
    assert lab.launch().returncode == 0
    wait_until(lambda: not group_alive(group), 10, "the left process ended")
