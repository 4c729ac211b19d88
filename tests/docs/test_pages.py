"""The pages under docs/ say what is true: links, generated parts, module names, the picture, rules, commands."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from wave_lib import cli

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "wave_lib"
PAGES = sorted((ROOT / "docs").glob("*.md"))
ALL = [ROOT / "README.md", *PAGES]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_fences(text: str) -> str:
    """The text outside code fences."""
    return re.sub(r"(?ms)^(`{3,})[^\n]*\n.*?^\1$\n?", "", text)


def anchors(path: Path) -> set[str]:
    """The anchors GitHub gives the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.+)$", without_fences(path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def render() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_render", ROOT / "docs" / "render.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ALL, ids=name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{name(page)}: no such page: {target}"
        assert not anchor or anchor in anchors(place), f"{name(page)}: no such heading: {target}"


def test_the_index_lists_every_page() -> None:
    listed = set(re.findall(r"\]\(([^)#]+)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert listed == {page.name for page in PAGES} - {"index.md"}


def test_generated_parts_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "render.py"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"run `python3 docs/render.py`: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", ALL, ids=name)
def test_modules_that_are_named_exist(page: Path) -> None:
    layers = "base|definition|state|engines|projections|providers|runtime|commands"
    for module in re.findall(rf"`((?:{layers})/[\w/]+\.py)`", page.read_text(encoding="utf-8")):
        assert (PACKAGE / module).is_file(), f"{name(page)}: no module {module}"


# --- the picture of the layers ----------------------------------------------------------------------------------------


def imported_layers() -> set[tuple[str, str]]:
    """(layer, layer it imports) over the whole package; the router reaches commands through its table."""
    found = {("cli", entry.module.split(".")[0]) for entry in cli.COMMANDS if not entry.hidden}
    for path in PACKAGE.rglob("*.py"):
        folder = path.relative_to(PACKAGE).parts[:-1]
        own = folder[0] if folder else path.stem
        if own in ("starter", "__main__", "__init__") or name(path).endswith("commands/help_cli.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = folder[: len(folder) - (node.level - 1)]
                names = [node.module] if node.module else [alias.name for alias in node.names]
                found |= {(own, (*base, *item.split("."))[0]) for item in names if item}
    return {(own, other) for own, other in found if own != other and (PACKAGE / other).is_dir()}


def drawn_arrows() -> set[tuple[str, str]]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = text.split("```mermaid", 1)[1].split("```", 1)[0]
    return set(re.findall(r"(?m)^\s*(\w+)(?:\[[^\]]*\])? --> (\w+)", picture))


def test_the_picture_of_the_layers_shows_the_imports() -> None:
    real, drawn = imported_layers(), drawn_arrows()
    assert drawn, "docs/architecture.md holds no picture"
    assert drawn <= real, f"drawn, but nothing imports it: {drawn - real}"
    below = {own: reachable(own, drawn) for own, _ in real}
    missing = {(own, other) for own, other in real if other not in below[own]}
    assert not missing, f"imports that the picture does not allow: {missing}"
    assert all(layer not in below[layer] for layer in below), "the picture has a cycle"


def reachable(start: str, arrows: set[tuple[str, str]]) -> set[str]:
    seen: set[str] = set()
    front = [start]
    while front:
        layer = front.pop()
        following = {other for own, other in arrows if own == layer} - seen
        seen |= following
        front += following
    return seen


# --- rules and commands -----------------------------------------------------------------------------------------------


def test_the_rules_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "wave-files.md").read_text(encoding="utf-8")
    listed = re.findall(r"(?m)^\| (V\d+|W\d+|C7|skills) \|", text)
    assert len(listed) == len(set(listed))
    code = "".join(
        (PACKAGE / "definition" / f"{module}.py").read_text(encoding="utf-8")
        for module in ("wave_validation", "agent_rules", "component_rules")
    )
    assert set(listed) == set(re.findall(r'"(V\d+|W\d+|C7|skills)"', code))
    assert set(listed) >= {f"V{number}" for number in range(1, 37)} | {"W1", "W2"}


def commands_in(text: str) -> Iterator[str]:
    """What stands in inline code or on a line of a shell block and starts with `wave` or `python3 wave.py`."""
    shell = re.findall(r"(?ms)^```sh\n(.*?)^```$", text)
    inline = re.findall(r"`([^`\n]+)`", without_fences(text))
    for line in [*inline, *(line for block in shell for line in block.splitlines())]:
        found = re.match(r"(?:python3 wave\.py|wave) +(.*)", line.partition(" #")[0].strip())
        if found:
            yield found.group(1)


def test_commands_that_are_mentioned_exist() -> None:
    module = render()
    checked = 0
    for page in ALL:
        for command in commands_in(page.read_text(encoding="utf-8")):
            words = [word for word in command.split() if not word.startswith("--")]
            flags = {word.partition("=")[0].rstrip("`,;.") for word in command.split() if word.startswith("--")}
            if not words or not words[0][:1].isalpha():
                continue
            entry = cli.find(words[0])
            assert entry and not entry.hidden, f"{name(page)}: no such command: wave {command}"
            if not importlib.util.find_spec(f"wave_lib.{entry.module}"):
                continue
            kind = words[1:2] if entry.name == "signal" and words[1:2] and words[1].isalpha() else []
            verbs = getattr(importlib.import_module(f"wave_lib.{entry.module}"), "COMMANDS", {})
            named = [verb.split() for verb in verbs if words[1 : 1 + len(verb.split())] == verb.split()]
            kind = max(named, key=len, default=kind)
            known = set(re.findall(r"--[\w-]+", module.help_of(entry.name, *kind))) | {"--repo-root", "--help"}
            assert flags <= known, f"{name(page)}: unknown flags {flags - known} of `wave {command}`"
            checked += 1
    assert checked > 20
