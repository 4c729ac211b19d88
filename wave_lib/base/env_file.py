"""`.env.local`: tokens for the orchestrator, from an allowlist. Spec: CFG 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

ALLOWED = (
    "CONTEXT7_API_KEY",
    "CORRIDOR_API_TOKEN",
    "CORRIDOR_API_KEY",
    "WAVE_API_TOKEN",
    "WAVE_CONTROL_AUTH_TOKEN",
)


def load_env_file(path: str, environ: MutableMapping[str, str]) -> list[str]:
    """Fills allowed variables that are unset or empty in `environ`; returns warnings. A missing file is no error."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except UnicodeDecodeError as error:
        return [f"{path}: not UTF-8 at byte {error.start}; the file was ignored"]
    except OSError as error:
        return [f"{path}: cannot read: {error.strerror}; the file was ignored"]
    for line in text.splitlines():
        key, value = parse_line(line)
        if key in ALLOWED and not environ.get(key) and "\0" not in value:
            environ[key] = value
    return []


def parse_line(line: str) -> tuple[str, str]:
    """Key and value of one line; ("", "") for blank lines, comments and lines without a key."""
    line = line.strip()
    if line.startswith("#"):
        return "", ""
    if line.startswith("export ") or line.startswith("export\t"):
        line = line[7:].lstrip()
    key, equals, value = line.partition("=")
    return (key.strip(), _unquoted(value.strip())) if equals and key.strip() else ("", "")


def _unquoted(value: str) -> str:
    if value[:1] in ('"', "'"):
        quote = value[0]
        if len(value) > 1 and value.endswith(quote):
            return value[1:-1]
        end = value.find(quote, 1)
        rest = value[end + 1 :] if end > 0 else ""
        if rest[:1].isspace() and rest.lstrip().startswith("#"):  # a comment behind a quoted value
            return value[1:end]
        return value
    for at, char in enumerate(value):
        if char == "#" and at and value[at - 1].isspace():
            return value[:at].rstrip()
    return value
