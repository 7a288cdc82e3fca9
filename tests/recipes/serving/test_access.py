"""Who may ask: this machine alone without a key, and whoever has the key with one."""

from __future__ import annotations

import dataclasses
import hmac
from typing import Any

import pytest
from serving_requests import RECIPE
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from recipes.launcher.answering_recipe import answering_recipe
from recipes.serving.access import Access
from recipes.serving.request_errors import RequestError
from recipes.serving.serving_settings import ServingLimits, ServingSettings, UpstreamSettings

KEY = "a-key-of-the-test"


def test_any_other_address_than_this_machine_wants_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAIROS_API_KEY", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1.evil.org"):
        with pytest.raises(ValueError, match="set KAIROS_API_KEY"):
            Access.of(ServingSettings(host=host))
    assert not Access.of(ServingSettings()).asks_for_a_key
    monkeypatch.setenv("KAIROS_API_KEY", KEY)
    assert Access.of(ServingSettings(host="0.0.0.0")).asks_for_a_key
    assert Access.of(ServingSettings()).asks_for_a_key  # a key that is set is asked for anywhere
    monkeypatch.setenv("KAIROS_API_KEY", "short")
    with pytest.raises(ValueError, match="5 characters"):
        Access.of(ServingSettings())


def test_the_key_lets_in_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access(KEY)
    access.check("/v1/models", Headers({"authorization": f"Bearer {KEY}"}))
    access.check("/v1/models", Headers({"authorization": f"bearer  {KEY}"}))
    for given in (
        "",
        KEY,
        f"Basic {KEY}",
        "Bearer",
        "Bearer ",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        "Bearer \u00e9",
    ):
        for path in ("/v1/models", "/metrics", "/v1/chat/completions", "//", "/health/", "/Health"):
            with pytest.raises(RequestError) as error:
                access.check(path, Headers(raw=[(b"authorization", given.encode())]))
            assert error.value.status == 401
            assert error.value.headers == {"WWW-Authenticate": "Bearer"}
    access.check("/health", Headers({}))
    access.check("/", Headers({}))
    compared: list[int] = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(1) or a == b)
    with pytest.raises(RequestError):
        access.check("/v1/models", Headers({}))
    assert compared  # also where nothing was sent


def test_without_a_key_a_request_for_another_host_is_refused(client: TestClient) -> None:
    """A stranger's page reaches this machine by a name that leads to 127.0.0.1; its Host gives it away."""
    for host in ("evil.org", "evil.org:8080", "127.0.0.1.evil.org", "192.0.2.1", "", "localhost.evil.org:80"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 403, host
    for host in ("127.0.0.1", "127.0.0.1:8080", "localhost:1", "[::1]:8080", "LOCALHOST"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200, host
    reply = client.options("/v1/chat/completions", headers={"Origin": "http://evil.org"})
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("port", 99999, "ports go up to 65535"),
        ("port", "many", "serve.port"),
        ("serve.limit.queue", 3, "serve.limit"),
        ("serve.limits.queue", 0, "serve.limits.queue"),
        ("serve.limits.body_mib", 512, "bodies_mib"),
        ("dtype", "int8", "serve.dtype"),
        ("upstream", "localhost", "begins with http"),
        ("serve.key_variable", "HOME", "API_KEY"),
        ("overlay", "x.yaml", "overlay"),
        ("checkpoint", "last:nothing_of_that_name", "nothing_of_that_name"),
    ],
)
def test_what_is_typed_wrongly_is_told_before_anything_is_built(key: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        answering_recipe(RECIPE, {key: value}, [])


def test_settings_are_checked() -> None:
    for kind, wrong in (
        (ServingSettings, {"port": 70000}),
        (ServingSettings, {"host": " "}),
        (ServingLimits, {"body_mib": 64, "bodies_mib": 8}),
        (UpstreamSettings, {"url": "127.0.0.1:8000"}),
        (UpstreamSettings, {"jpeg_quality": 100}),
    ):
        made: Any = kind
        with pytest.raises(ValueError):  # noqa: PT011
            made(**wrong)
    assert ServingSettings(remote_hosts="A.org, b.org:80,").hosts == ("a.org", "b.org:80")
    assert ServingSettings(remote_hosts=["A.org"]).hosts == ("a.org",)
    assert dataclasses.replace(ServingSettings(), host="localhost").on_loopback
