"""Reading a JSON document of the definition layer, with an error that names file, line and column."""

from __future__ import annotations

import json
from typing import Any

from ..base.errors import ConfigError


def load_object(path: str, shown_path: str, what: str) -> dict[str, Any]:
    """The JSON object in a file. ConfigError `<what> is missing or invalid: …` naming the place otherwise."""
    problem = f"{what} is missing or invalid"
    try:
        with open(path, encoding="utf-8-sig") as file:
            payload = json.loads(file.read())
    except json.JSONDecodeError as error:
        where = f"{shown_path}:{error.lineno}:{error.colno}"
        raise ConfigError(f"{problem}: not valid JSON: {error.msg}", where=where) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{problem}: not UTF-8", where=shown_path) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise ConfigError(f"{problem}: not JSON that can be read", where=shown_path) from None
    except OSError as error:
        raise ConfigError(f"{problem}: {error.strerror}", where=shown_path) from None
    if not isinstance(payload, dict):
        raise ConfigError(f"{problem}: not a JSON object", where=shown_path)
    return payload
