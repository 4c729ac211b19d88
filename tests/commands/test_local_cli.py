"""`wave local`: what it reads, what it makes, what it prints. Spec: SUP 17.7, test cases 53, 54."""

from __future__ import annotations

from pathlib import Path

import pytest

from wave_lib.base.errors import UsageError
from wave_lib.commands import local_cli
from wave_lib.commands.local_executor import assigned_prompt, read_assignment
from wave_lib.state.structured_signal_parser import parse_marker_line

HEAD = """You are the Wave executor running Wave 3 / Agent {agent}: Title

- cont-QA agent id: A0
- cont-EVAL agent id: E0
- Integration steward agent id: A8
- Documentation steward agent id: A9

"""


def prompt(agent: str, assigned: str = "", more: str = "") -> str:
    return HEAD.format(agent=agent) + more + f"\nAssigned implementation prompt:\n```text\n{assigned}\n```\n"


def act(root: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    path = root / "prompt.md"
    path.write_text(text)
    code = local_cli.run(["--prompt-file", str(path)], str(root))
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def markers(lines: list[str]) -> list[str]:
    found = [line for line in lines if line.startswith("[wave-")]
    for line in found:
        assert parse_marker_line(line) is not None, line
    return found


def test_implementation_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "Deliverables required for this agent:\n- src/a.json\n- docs/x.md\n\n"
    more += "Components you own in this wave:\n- core: pilot-live\n- edge\n\nOther:\n"
    code, lines, _ = act(tmp_path, prompt("A1", "- do this\n- and that", more), capsys)
    assert code == 0
    assert lines[:4] == [
        "[local-executor] prompt=prompt.md",
        "[local-executor] deliverables=src/a.json, docs/x.md",
        "[local-executor] created: src/a.json",
        "[local-executor] created: docs/x.md",
    ]
    detail = "detail=local-executor-smoke"
    assert markers(lines) == [
        f"[wave-proof] completion=contract durability=none proof=unit state=met {detail}",
        f"[wave-doc-delta] state=owned {detail}",
        f"[wave-component] component=core level=pilot-live state=met {detail}",
        f"[wave-component] component=edge level=repo-landed state=met {detail}",
    ]
    assert lines[-1] == "[local-executor] completed."
    assert (tmp_path / "src/a.json").read_text() == "{}\n"
    assert "- and that" in (tmp_path / "docs/x.md").read_text()
    (tmp_path / "docs/x.md").write_text("mine")
    _, lines, _ = act(tmp_path, prompt("A1", "", more), capsys)
    assert "[local-executor] exists: docs/x.md" in lines and (tmp_path / "docs/x.md").read_text() == "mine"


def test_closure_roles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    owned = "File ownership (only touch these paths):\n- docs/reviews/wave-3-cont-qa.md"
    _, lines, _ = act(tmp_path, prompt("A0", owned), capsys)
    assert [line.split(" detail=")[0] for line in markers(lines)] == [
        "[wave-gate] architecture=pass integration=pass durability=pass live=pass docs=pass",
        "[wave-verdict] pass",
    ]
    assert "\nVerdict: PASS\n" in (tmp_path / "docs/reviews/wave-3-cont-qa.md").read_text()
    _, lines, _ = act(tmp_path, prompt("A8"), capsys)
    assert lines[0] == "[local-executor] no deliverables detected; nothing to do." and len(lines) == 2
    assert markers(lines)[0].startswith("[wave-integration] state=ready-for-doc-closure claims=0 conflicts=0 ")
    _, lines, _ = act(tmp_path, prompt("A9", "uses [wave-design] words"), capsys)
    assert markers(lines)[0].startswith("[wave-doc-closure] state=no-change")


def test_eval_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = (
        "Eval targets for this wave:\n- Benchmark catalog: docs/evals/benchmark-catalog.json\n"
        "- quality: selection=delegated family=x allowed-benchmarks=B, a objective=go far threshold=1\n\n- not: this\n"
    )
    _, lines, _ = act(tmp_path, prompt("E0", "", more), capsys)
    assert markers(lines)[0].startswith(
        "[wave-eval] state=satisfied targets=1 benchmarks=2 regressions=0 target_ids=quality benchmark_ids=a,b detail="
    )


def test_design_hybrid_and_security(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = act(tmp_path, prompt("D1", "Print [wave-design]."), capsys)
    assert markers(lines) == [
        "[wave-design] state=ready-for-implementation decisions=1 assumptions=1 open_questions=0 "
        "detail=local-executor-no-deliverables"
    ]
    _, lines, _ = act(tmp_path, prompt("D1", "Print [wave-design] and [wave-proof]."), capsys)
    assert [line.split()[0] for line in markers(lines)] == ["[wave-design]", "[wave-proof]", "[wave-doc-delta]"]
    _, lines, _ = act(tmp_path, prompt("S1", "Print [wave-security]."), capsys)
    assert markers(lines)[0].startswith("[wave-security] state=clear findings=0 approvals=0")


def test_without_an_agent_id_there_are_no_markers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _ = act(tmp_path, "Just a text", capsys)
    assert lines == ["[local-executor] no deliverables detected; nothing to do."]


@pytest.mark.parametrize("path", ["/etc/x.md", "../x.md", "link/x.md"])
def test_unsafe_deliverables_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path.parent)
    more = f"Deliverables required for this agent:\n- fine.md\n- {path}\n"
    code, lines, err = act(tmp_path, prompt("A1", "", more), capsys)
    assert code == 1 and lines == [] and err.startswith("[wave-local-executor] ")
    assert ("Unsafe deliverable path" if path.startswith("/") else "escapes repo root") in err
    assert not (tmp_path / "fine.md").exists()


def test_placeholders_fit_their_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["src/q/", "a.json", "b.py", "c.ts", "d.txt", "e.yaml"]
    more = "Deliverables required for this agent:\n" + "".join(f"- `{name}`\n" for name in names)
    assert act(tmp_path, prompt("A1", "", more), capsys)[0] == 0
    assert (tmp_path / "src/q").is_dir()
    compile((tmp_path / "b.py").read_text(), "b.py", "exec")
    assert (tmp_path / "c.ts").read_text().startswith("//") and (tmp_path / "e.yaml").read_text().startswith("#")


def test_nested_fences_survive() -> None:
    text = "Assigned implementation prompt:\n````text\none\n```sh\ntwo\n```\nthree\n````\nafter"
    assert assigned_prompt(text) == "one\n```sh\ntwo\n```\nthree"
    assert assigned_prompt("no fence") == "no fence"


def test_deliverables_fall_back_to_ownership_and_numbered_items() -> None:
    owned = "File ownership (only touch these paths):\n- src/a\n- words\n\n"
    text = prompt("A1", owned + "Notes:\n- not/this\n1. 'src/b.py'")
    assert read_assignment(text).deliverables == ("src/a", "src/b.py")


def test_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--prompt-file is required"):
        local_cli.run([], str(tmp_path))
    assert local_cli.run(["--prompt-file", str(tmp_path / "none")], str(tmp_path)) == 1
