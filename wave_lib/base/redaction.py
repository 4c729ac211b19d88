"""The secrets this process knows, and texts without them. Spec: PROV 2.5."""

from __future__ import annotations

from typing import Any

HIDDEN = "[redacted]"
_SHORTEST = 8

_secrets: set[str] = set()


def register_secret(value: str) -> None:
    """Remember a token or a leased value for the life of this process; shorter than 8 characters is no secret."""
    _secrets.update(forms_of(value))


def forms_of(value: str) -> list[str]:
    """The forms in which a secret is to be found: as it is, and as it stands in JSON. None for what is too short."""
    if len(value) < _SHORTEST:
        return []
    import json

    return list(dict.fromkeys([value, *(json.dumps(value, ensure_ascii=plain)[1:-1] for plain in (False, True))]))


def mask_log(path: str) -> int:
    """Overwrites every known secret in a plain-text log, in place; returns how many were found. Raises DiskError."""
    from .files import mask_in_log

    return mask_in_log(path, [secret.encode("utf-8", "replace") for secret in sorted(_secrets, key=len, reverse=True)])


def redact(text: str) -> str:
    """The text with every known secret replaced by `[redacted]`."""
    # Longest first: a secret that contains another one must not leave its rest behind.
    for secret in sorted(_secrets, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def redact_bytes(data: bytes) -> bytes:
    """The same for bytes of any encoding that keeps ASCII."""
    for secret in sorted(_secrets, key=len, reverse=True):
        data = data.replace(secret.encode("utf-8", "surrogateescape"), HIDDEN.encode())
    return data


def redact_value(value: Any) -> Any:
    """A JSON value with every text in it redacted, keys included."""
    if not _secrets:
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(str(key)): redact_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_value(item) for item in value]
    return value
