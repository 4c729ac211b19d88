"""Tokens, endpoints and credential leases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_service import Asked, FakeService, Reply
from providers_lab import lane_paths

from wave_lib.base.errors import ConfigError
from wave_lib.base.redaction import redact
from wave_lib.providers import provider_runtime as runtime
from wave_lib.providers.provider_runtime import LeaseError, endpoint_class, lease_credentials, normalize_endpoint

ENV = {"WAVE_API_TOKEN": "wave-token-123"}


def test_the_first_variable_with_a_value_wins() -> None:
    assert runtime.resolve_env_value(["A", "B"], {"A": "  ", "B": " token-b-1 "}) == "token-b-1"
    assert runtime.resolve_env_value(["A"], {}) == ""
    assert redact("x token-b-1 y") == "x [redacted] y"


@pytest.mark.parametrize("value", ["left right", "a\nb", "a\x00b", "a\tb", "tökén"])
def test_tokens_that_would_break_a_header(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        runtime.resolve_env_value(["MY_TOKEN"], {"MY_TOKEN": value})
    assert "MY_TOKEN" in str(caught.value)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("https://wc.example/", "https://wc.example/api/v1"),
        ("https://wc.example", "https://wc.example/api/v1"),
        ("https://wc.example/api/v1/ingest/batches", "https://wc.example/api/v1"),
        ("https://wc.example/api/v1/", "https://wc.example/api/v1"),
        ("https://wc.example:8443/base", "https://wc.example:8443/base"),
        ("  ", None),
        (None, None),
    ],
)
def test_endpoints(raw: str | None, expected: str | None) -> None:
    assert normalize_endpoint(raw) == expected


@pytest.mark.parametrize("raw", ["wc.example", "ftp://x/", "https://u@x/", "https://x/?a", "https://x/#a", "https://"])
def test_endpoints_that_are_none(raw: str) -> None:
    with pytest.raises(ConfigError):
        normalize_endpoint(raw)


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        (None, "none"),
        ("", "none"),
        ("https://wave-control.up.railway.app/api/v1", "public-default"),
        ("HTTP://Wave-Control.up.railway.app:80/api/v1", "public-default"),
        ("https://wave-control.up.railway.app./x", "public-default"),
        ("https://wave-control.up.railway.app.evil.example", "owned"),
        ("https://wc.example", "owned"),
    ],
)
def test_classes(endpoint: str | None, kind: str) -> None:
    assert endpoint_class(endpoint) == kind


def test_a_lane_names_its_own_token(tmp_path: Path) -> None:
    lanes = {"main": {"waveControl": {"authTokenEnvVar": "LANE_TOK"}}}
    paths = lane_paths(tmp_path, waveControl={"authTokenEnvVars": ["TOP"]}, lanes=lanes)
    assert runtime.control_token_names(paths.profile.wave_control) == ["LANE_TOK", "WAVE_CONTROL_AUTH_TOKEN"]


# --- leases -----------------------------------------------------------------------------------------------------------


def lease(answer: Any, environ: dict[str, str] | None = None, **control: Any) -> tuple[runtime.Leases, list[Asked]]:
    with FakeService(answer if callable(answer) else lambda asked: answer) as service:
        block = {"endpoint": service.url, "authTokenEnvVars": ["WAVE_API_TOKEN"], **control}
        return lease_credentials(block, ENV if environ is None else environ), service.asked


def refused(answer: Any, environ: dict[str, str] | None = None, **control: Any) -> LeaseError:
    with pytest.raises(LeaseError) as caught:
        lease(answer, environ, **control)
    assert caught.value.key == caught.value.status_code
    return caught.value


OPENAI = {"credentialProviders": ["openai"]}
GITHUB = {"credentials": [{"id": "github_pat", "envVar": "GITHUB_TOKEN"}]}


def test_nothing_wanted_asks_nobody() -> None:
    found, asked = lease(Reply(500))
    assert (found.values, asked) == ({}, [])


def test_keys_and_credentials() -> None:
    def answer(asked: Asked) -> Reply:
        key = "OPENAI_API_KEY" if asked.path.endswith("provider-env") else "GITHUB_TOKEN"
        return Reply(body={"ok": True, "env": {key: f"value-of-{key}"}})

    found, asked = lease(answer, **OPENAI, **GITHUB)
    assert found.values == {"OPENAI_API_KEY": "value-of-OPENAI_API_KEY", "GITHUB_TOKEN": "value-of-GITHUB_TOKEN"}
    assert [one.path for one in asked] == ["/api/v1/runtime/provider-env", "/api/v1/runtime/credential-env"]
    assert asked[0].body == {"providers": ["openai"]}
    assert asked[1].body == {"credentials": [{"id": "github_pat", "envVar": "GITHUB_TOKEN"}]}
    assert redact("value-of-GITHUB_TOKEN") == "[redacted]"


def test_what_nobody_asked_for_is_ignored_and_told() -> None:
    env = {"OPENAI_API_KEY": "sk-test-0123456789", "LD_PRELOAD": "/evil.so"}
    found, _ = lease(Reply(body={"ok": True, "env": env}), **OPENAI)
    assert found.values == {"OPENAI_API_KEY": "sk-test-0123456789"}
    assert len(found.warnings) == 1
    assert "evil" not in found.warnings[0]


@pytest.mark.parametrize(
    "body",
    [
        {}, [], None, {"env": []}, {"env": {}}, {"env": {"OPENAI_API_KEY": 5}}, {"env": {"OPENAI_API_KEY": ""}},
        {"env": {"OPENAI_API_KEY": "a\0b"}}, {"env": {"openai_api_key": "x"}},
    ],
)  # fmt: skip
def test_incomplete_answers(body: Any) -> None:
    assert refused(Reply(body=body), **OPENAI).status_code == "credential-lease-invalid"


def test_no_json_is_an_invalid_answer() -> None:
    assert refused(Reply(body=b"<html>"), **OPENAI).status_code == "credential-lease-invalid"


def test_a_name_from_both_is_a_conflict() -> None:
    answer = Reply(body={"env": {"OPENAI_API_KEY": "sk-test-0123456789"}})
    both = {**OPENAI, "credentials": [{"id": "x", "envVar": "OPENAI_API_KEY"}]}
    assert refused(answer, **both).status_code == "credential-lease-invalid"


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_refusals(status: int) -> None:
    error = refused(Reply(status, {"error": "no wave-token-123"}), **OPENAI)
    assert error.status_code == "credential-lease-failed"
    assert "wave-token-123" not in str(error)


@pytest.mark.parametrize("endpoint", [None, "https://wave-control.up.railway.app"])
def test_only_an_owned_service_leases(endpoint: str | None) -> None:
    with pytest.raises(LeaseError) as caught:
        lease_credentials({"endpoint": endpoint, **OPENAI}, ENV)
    assert caught.value.status_code == "credential-lease-unavailable"
    assert refused(Reply(), {}, **OPENAI).status_code == "credential-lease-unavailable"
