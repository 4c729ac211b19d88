"""The structure that docs/architecture.md promises: who may import whom, who may write, who may handle signals."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "wave_lib"
NAME = PACKAGE.name
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "starter" not in path.relative_to(PACKAGE).parts)

RANK = {
    "base": 0,
    "definition": 1,
    "state": 2,
    "engines": 3,
    "projections": 4,
    "providers": 4,
    "runtime": 5,
    "commands": 6,
    "cli": 7,
    "__main__": 8,
    "__init__": 8,
}
# Modules that may write otherwise; each says in its docstring, or in that of base/files.py, why.
WRITERS = {
    "base/files.py",
    "base/locks.py",
    "base/lease.py",
    "base/owner_files.py",
    "base/durable_steps.py",
    "runtime/packaging.py",  # swaps whole folders of the program, no state
}
# The help text is the command table, which the router owns.
ALLOWED_UPWARDS = {("commands/help_cli.py", "cli")}
WRITING_CALLS = {
    "os.open", "os.replace", "os.rename", "os.unlink", "os.remove", "os.mkdir", "os.makedirs", "os.truncate",
    "os.link", "os.ftruncate", "os.pwrite", "os.symlink", "os.mkfifo", "os.rmdir", "shutil.rmtree", "shutil.copy",
    "shutil.copyfile", "shutil.copytree", "shutil.move",
}  # fmt: skip
IMPURE = {
    "os", "io", "pathlib", "shutil", "tempfile", "glob", "subprocess", "signal", "socket", "selectors", "fcntl", "time",
    "datetime", "random", "secrets", "uuid", "threading", "multiprocessing", "asyncio", "sqlite3", "urllib", "http",
    "platform", "getpass", "ctypes",
}  # fmt: skip
PURE_BASE = {"errors", "text", "timestamps"}


def inside(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def layer(parts: tuple[str, ...]) -> str:
    return parts[0][:-3] if parts[0].endswith(".py") else parts[0]


def imports(path: Path) -> Iterator[tuple[int, int, str]]:
    """(line, level, dotted module) of every import; `from .. import x` names x."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, 0, alias.name
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                yield node.lineno, node.level, name or ""


def imported_parts(path: Path, level: int, name: str) -> tuple[str, ...]:
    """The place inside the package that a relative import names."""
    folder = path.relative_to(PACKAGE).parts[:-1]
    return (*folder[: len(folder) - (level - 1)], *name.split("."))


def calls(path: Path) -> Iterator[tuple[int, str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


@pytest.mark.parametrize("path", MODULES, ids=inside)
def test_imports_point_one_way_and_are_relative(path: Path) -> None:
    own = layer(path.relative_to(PACKAGE).parts)
    assert own in RANK, f"{inside(path)} stands in no layer"
    for line, level, name in imports(path):
        if level == 0:
            assert name.split(".")[0] != NAME, f"{inside(path)}:{line}: spells the package's name"
            continue
        parts = imported_parts(path, level, name)
        other = parts[0]
        if other not in RANK:  # `from .. import __version__`
            continue
        allowed = RANK[other] < RANK[own] or other == own or (inside(path), other) in ALLOWED_UPWARDS
        assert allowed, f"{inside(path)}:{line}: {own} must not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=inside)
def test_no_module_spells_the_name_of_the_package(path: Path) -> None:
    """Outside docstrings: it is vendored under other names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME in node.value:
            raise AssertionError(f"{inside(path)}:{node.lineno}: spells {NAME!r}")


@pytest.mark.parametrize("path", MODULES, ids=inside)
def test_only_the_door_writes(path: Path) -> None:
    if inside(path) in WRITERS:
        return
    for line, name, call in calls(path):
        writes = name in WRITING_CALLS or name.endswith((".write_text", ".write_bytes")) and "files" not in name
        if name == "os.open" and not _names_writing_flag(call):
            writes = False
        if name in ("open", "io.open") or name.endswith(".open") and name != "os.open":
            mode = _mode_of(call)
            writes = any(letter in mode for letter in "wax+")
        assert not writes, f"{inside(path)}:{line}: {name}(...) writes; use base/files.py"


def _mode_of(call: ast.Call) -> str:
    candidates = [call.args[1]] if len(call.args) > 1 else []
    candidates += [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    texts = [node.value for node in candidates if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return texts[0] if texts else "r"


def _names_writing_flag(call: ast.Call) -> bool:
    flags = ast.unparse(call)
    if "os.devnull" in flags:
        return False
    # opening a FIFO to wake its reader writes no file
    return any(flag in flags for flag in ("O_CREAT", "O_TRUNC", "O_APPEND", "O_RDWR")) or (
        "O_WRONLY" in flags and "O_NONBLOCK" not in flags
    )


@pytest.mark.parametrize("path", MODULES, ids=inside)
def test_only_the_event_loop_handles_signals(path: Path) -> None:
    if inside(path) == "base/event_loop.py":
        return
    for line, name, _ in calls(path):
        forbidden = name in ("signal.signal", "signal.set_wakeup_fd", "signal.setitimer")
        assert not forbidden, f"{inside(path)}:{line}: {name}"


@pytest.mark.parametrize("path", [path for path in MODULES if inside(path).startswith("engines/")], ids=inside)
def test_engines_are_pure(path: Path) -> None:
    for line, level, name in imports(path):
        if level == 0:
            assert name.split(".")[0] not in IMPURE, f"{inside(path)}:{line}: an engine imports {name}"
        else:
            parts = imported_parts(path, level, name)
            if parts[0] == "base" and len(parts) > 1:
                assert parts[1] in PURE_BASE, f"{inside(path)}:{line}: an engine imports base/{parts[1]}"
    for line, name, _ in calls(path):
        assert name not in ("open", "input", "print", "now_iso"), f"{inside(path)}:{line}: an engine calls {name}"


@pytest.mark.parametrize("path", MODULES, ids=inside)
def test_records_are_named_tuples(path: Path) -> None:
    for line, _, name in imports(path):
        assert name != "dataclasses", f"{inside(path)}:{line}: importing dataclasses costs 6 ms; use NamedTuple"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if inside(path).startswith(("state/", "runtime/"))], ids=inside
)
def test_owners_open_with_their_promise(path: Path) -> None:
    """Who owns a process or a file says what it holds, writes, and what is true when it is killed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owning = {"write_json", "write_text", "append_jsonl", "open_log", "spawn", "spawn_once", "spawn_on", "publish"}
    owns = any(name.split(".")[-1] in owning | {"take"} for _, name, _ in calls(path))
    if not owns or path.name == "__init__.py":
        return
    text = ast.get_docstring(tree) or ""
    for word in ("Holds:", "Writes:", "When killed:"):
        assert word in text, f"{inside(path)}: its docstring lacks {word!r}"


def test_only_the_waiting_helper_sleeps() -> None:
    tests = Path(__file__).resolve().parent
    for path in sorted(tests.rglob("*.py")):
        if path == tests / "waiting.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in ("time.sleep", "sleep"), f"{path.relative_to(tests)}:{node.lineno} sleeps"
