"""Users, personal access tokens and the audit log. Spec: PROV 10.4, 10.9, 10.10."""

from __future__ import annotations

import json
import secrets
import uuid
from typing import TYPE_CHECKING, Any

from ...base.timestamps import iso_of, now_iso, parse_iso
from .api import ApiError, clean_text
from .store import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from .store import Store

    JsonObject = dict[str, Any]

PROVIDERS = ("anthropic", "context7", "corridor", "openai")
ROLES = ("member", "superuser")
ACCESS_STATES = ("pending", "approved", "rejected", "revoked")
PAT_SCOPES = ("broker:read", "credential:read", "ingest:write")
_USED_SECONDS = 60.0


def audit(
    db: sqlite3.Connection, actor: tuple[str, str], event_type: str, subject: tuple[str, str], payload: JsonObject
) -> None:
    """One line of the audit log; `payload` never holds a value of a secret."""
    row = (uuid.uuid4().hex, *actor, event_type, *subject, json.dumps(payload), now_iso())
    db.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


# --- users ------------------------------------------------------------------------------------------------------------


def user_json(row: sqlite3.Row) -> JsonObject:
    """A user as it is shown."""
    return {
        "id": row["id"],
        "stackUserId": None,
        "email": row["email"],
        "displayName": row["display_name"],
        "role": row["role"],
        "accessState": row["access_state"],
        "providerGrants": json.loads(row["provider_grants"]),
        "accessRequestReason": row["access_request_reason"],
        "accessReviewedBy": row["access_reviewed_by"],
        "accessReviewedAt": row["access_reviewed_at"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
    }


def list_users(store: Store) -> list[JsonObject]:
    """All users by e-mail."""
    with store.reading() as db:
        return [user_json(row) for row in rows(db, "SELECT * FROM users ORDER BY email")]


def find_user(db: sqlite3.Connection, user_id: str) -> JsonObject:
    """One user. Raises ApiError."""
    row = db.execute("SELECT * FROM users WHERE id = ?", (user_id,)).fetchone()
    if row is None:
        raise ApiError("user-not-found", "There is no such user.")
    return user_json(row)


def upsert_user(store: Store, actor: tuple[str, str], fields: JsonObject) -> tuple[JsonObject, bool]:
    """(user, whether it is new) by e-mail. Spec: PROV 10.10."""
    email = (clean_text(fields.get("email"), 320) or "").lower()
    if "@" not in email[1:-1] or any(char.isspace() for char in email):
        raise ApiError("invalid-body", "email must be an e-mail address.")
    with store.writing() as db:
        row = db.execute("SELECT id FROM users WHERE email = ?", (email,)).fetchone()
        if row is not None:
            return _changed(db, actor, row["id"], fields, "app-user-updated"), False
        role = one_of("member" if fields.get("role") is None else fields["role"], ROLES, "role")
        access = fields.get("accessState")
        state = one_of("approved" if access is None else access, ACCESS_STATES, "accessState")
        grants: tuple[str, ...] = PROVIDERS if role == "superuser" else ()
        if fields.get("providerGrants") is not None:
            grants = grants_of(fields["providerGrants"])
        now = now_iso()
        user_id, name = f"user_{uuid.uuid4().hex}", clean_text(fields.get("displayName"), 200)
        db.execute(
            "INSERT INTO users (id, email, display_name, role, access_state, provider_grants, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (user_id, email, name, role, state, json.dumps(list(grants)), now, now),
        )
        audit(db, actor, "app-user-created", ("user", user_id), {"role": role, "accessState": state})
        return find_user(db, user_id), True


def change_user(
    store: Store, actor: tuple[str, str], user_id: str, fields: JsonObject, event_type: str
) -> JsonObject:
    """Change state, role, grants or name of a user. Raises ApiError."""
    with store.writing() as db:
        return _changed(db, actor, user_id, fields, event_type)


def _changed(
    db: sqlite3.Connection, actor: tuple[str, str], user_id: str, fields: JsonObject, event_type: str
) -> JsonObject:
    user = find_user(db, user_id)
    role, grants, state = user["role"], list(user["providerGrants"]), user["accessState"]
    now = now_iso()
    reviewed = (user["accessReviewedBy"], user["accessReviewedAt"])
    if fields.get("role") is not None:
        new_role = one_of(fields["role"], ROLES, "role")
        if new_role != role:  # a promotion brings all grants, a demotion takes them
            grants = list(PROVIDERS) if new_role == "superuser" else []
        role = new_role
    if fields.get("providerGrants") is not None:
        grants = list(grants_of(fields["providerGrants"]))
    if fields.get("accessState") is not None:
        state = one_of(fields["accessState"], ACCESS_STATES, "accessState")
        reviewed = (actor[1], now)
    name = clean_text(fields.get("displayName"), 200) or user["displayName"]
    db.execute(
        "UPDATE users SET display_name = ?, role = ?, access_state = ?, provider_grants = ?, access_reviewed_by = ?,"
        " access_reviewed_at = ?, updated_at = ? WHERE id = ?",
        (name, role, state, json.dumps(grants), *reviewed, now, user_id),
    )
    audit(db, actor, event_type, ("user", user_id), {"role": role, "accessState": state, "providerGrants": grants})
    return find_user(db, user_id)


def one_of(value: object, allowed: Sequence[str], field: str) -> str:
    """An enum value. Raises ApiError."""
    text = value.strip().lower() if isinstance(value, str) else ""
    if text not in allowed:
        raise ApiError("invalid-body", f"{field} must be one of: {', '.join(allowed)}.")
    return text


def grants_of(value: object) -> tuple[str, ...]:
    """Provider ids, each once. Raises ApiError."""
    if not isinstance(value, list):
        raise ApiError("invalid-body", "providerGrants must be a list.")
    return tuple(dict.fromkeys(one_of(item, PROVIDERS, "providerGrants") for item in value))


# --- tokens -----------------------------------------------------------------------------------------------------------


def token_json(row: sqlite3.Row) -> JsonObject:
    """A token's record without its hash."""
    return {
        "id": row["id"],
        "label": row["label"],
        "ownerUserId": row["owner_user_id"],
        "scopes": json.loads(row["scopes"]),
        "createdBy": row["created_by"],
        "createdAt": row["created_at"],
        "lastUsedAt": row["last_used_at"],
        "revokedAt": row["revoked_at"],
    }


def list_tokens(store: Store, user_id: str | None = None) -> list[JsonObject]:
    """Tokens of one user or of all, oldest first."""
    statement = "SELECT * FROM tokens WHERE ? IS NULL OR owner_user_id = ? ORDER BY created_at, id"
    with store.reading() as db:
        return [token_json(row) for row in rows(db, statement, (user_id, user_id))]


def create_token(
    store: Store, actor: tuple[str, str], user_id: str, label: object = None, scopes: object = None
) -> tuple[str, JsonObject]:
    """(the token, shown this once, and its record). Raises ApiError. Spec: PROV 10.4."""
    from .auth import token_hash

    wanted = list(PAT_SCOPES)
    if scopes is not None:
        if not isinstance(scopes, list):
            raise ApiError("invalid-body", "scopes must be a list.")
        wanted = list(dict.fromkeys(one_of(item, PAT_SCOPES, "scopes") for item in scopes))
    token = f"wave_pat_{uuid.uuid4()}.{secrets.token_urlsafe(24)}"
    with store.writing() as db:
        user = find_user(db, user_id)
        if user["accessState"] != "approved":
            raise ApiError("owner-not-approved", "The user has no access.")
        token_id = f"pat_{uuid.uuid4().hex}"
        db.execute(
            "INSERT INTO tokens (id, token_hash, label, owner_user_id, scopes, created_by, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (token_id, token_hash(token), clean_text(label, 200), user_id, json.dumps(wanted), actor[1], now_iso()),
        )
        audit(db, actor, "pat-created", ("token", token_id), {"ownerUserId": user_id, "scopes": wanted})
        row = db.execute("SELECT * FROM tokens WHERE id = ?", (token_id,)).fetchone()
        return token, token_json(row)


def revoke_token(store: Store, actor: tuple[str, str], token_id: str) -> JsonObject:
    """The record of a token that is good for nothing from now on. Raises ApiError."""
    with store.writing() as db:
        row = db.execute("SELECT * FROM tokens WHERE id = ?", (token_id,)).fetchone()
        if row is None:
            raise ApiError("token-not-found", "There is no such token.")
        if row["revoked_at"] is None:
            db.execute("UPDATE tokens SET revoked_at = ? WHERE id = ?", (now_iso(), token_id))
            audit(db, actor, "pat-revoked", ("token", token_id), {"ownerUserId": row["owner_user_id"]})
        return token_json(db.execute("SELECT * FROM tokens WHERE id = ?", (token_id,)).fetchone())


def owner_of_token(store: Store, digest: str) -> tuple[JsonObject, JsonObject] | None:
    """(token record, its owner as stored now) by the token's hash; None when unknown or revoked."""
    with store.reading() as db:
        row = db.execute("SELECT * FROM tokens WHERE token_hash = ? AND revoked_at IS NULL", (digest,)).fetchone()
        owner = row and db.execute("SELECT * FROM users WHERE id = ?", (row["owner_user_id"],)).fetchone()
        if row is None or owner is None:
            return None
        record, user = token_json(row), user_json(owner)
    now = now_iso()
    used = parse_iso(record["lastUsedAt"])
    if used is None or iso_of(used + _USED_SECONDS) < now:  # at most one write a minute
        with store.writing() as db:
            db.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", (now, record["id"]))
    return record, user
