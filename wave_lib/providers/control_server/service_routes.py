"""Managing users and tokens over HTTP, with service tokens only. Spec: PROV 10.10."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import accounts
from .api import Request, Response, body_object
from .leases import list_credentials

if TYPE_CHECKING:
    from .settings import Broker

    JsonObject = dict[str, Any]

_CATALOG = (
    ("anthropic", "Anthropic", "env", ("ANTHROPIC_API_KEY",)),
    ("context7", "Context7", "broker", ()),
    ("corridor", "Corridor", "broker", ()),
    ("openai", "OpenAI", "env", ("OPENAI_API_KEY",)),
)


def provider_catalog(broker: Broker) -> list[JsonObject]:
    """The providers a user can be granted."""
    return [
        {
            "id": provider,
            "label": label,
            "delivery": delivery,
            "envVars": list(variables),
            "enabled": broker.owned and provider in broker.enabled,
        }
        for provider, label, delivery, variables in _CATALOG
    ]


def session(request: Request) -> Response:
    """`GET /service/session`."""
    token = {"label": request.principal.label, "scopes": list(request.principal.scopes)}
    return Response({"ok": True, "serviceToken": token})


def users(request: Request) -> Response:
    """`GET /service/users`."""
    items = accounts.list_users(request.app.store)
    return Response({"items": items, "providerCatalog": provider_catalog(request.app.settings.broker)})


def upsert_user(request: Request) -> Response:
    """`POST /service/users`."""
    user, created = accounts.upsert_user(request.app.store, _actor(request), body_object(request))
    return Response({"ok": True, "user": user}, 201 if created else 200)


def set_state(request: Request) -> Response:
    """`POST /service/users/<id>/state`."""
    return _change(request, "accessState", "app-user-state-updated")


def set_role(request: Request) -> Response:
    """`POST /service/users/<id>/role`."""
    return _change(request, "role", "app-user-role-updated", also="providerGrants")


def set_providers(request: Request) -> Response:
    """`POST /service/users/<id>/providers`."""
    return _change(request, "providerGrants", "app-user-provider-grants-updated")


def _change(request: Request, field: str, event_type: str, also: str = "") -> Response:
    body = body_object(request)
    value = body.get(field)
    # A missing value must not pass as "nothing to change": the checks below refuse an empty one.
    fields = {field: "" if value is None else value}
    if also and body.get(also) is not None:
        fields[also] = body[also]
    user = accounts.change_user(request.app.store, _actor(request), request.parts["id"], fields, event_type)
    return Response({"ok": True, "user": user})


def credentials(request: Request) -> Response:
    """`GET /service/users/<id>/credentials`: names and times."""
    with request.app.store.reading() as db:
        accounts.find_user(db, request.parts["id"])
    return Response({"items": list_credentials(request.app.settings.credentials_dir, request.parts["id"])})


def create_token(request: Request) -> Response:
    """`POST /service/users/<id>/tokens`."""
    body = body_object(request)
    token, record = accounts.create_token(
        request.app.store, _actor(request), request.parts["id"], body.get("label"), body.get("scopes")
    )
    return Response({"ok": True, "token": token, "record": record}, 201)


def revoke_token(request: Request) -> Response:
    """`POST /service/tokens/<id>/revoke`."""
    return Response(
        {"ok": True, "record": accounts.revoke_token(request.app.store, _actor(request), request.parts["id"])}
    )


def _actor(request: Request) -> tuple[str, str]:
    return request.principal.kind, request.principal.label
