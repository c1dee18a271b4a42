"""Who may come in: tokens and keys, each wrong in its own way, and what each door says to them."""

import base64
import json
from dataclasses import replace

import pytest
from http_stage import (
    ACME_KEY,
    ADMIN,
    BLIND_KEY,
    NOW_S,
    OTHER_KEY,
    SERVICE,
    bearer,
    make_stage,
    opened_store,
    token,
    trial_router,
)  # fmt: skip

from api.keys import KEPT_MS, KnownKey, RecentKeys
from api.tokens import Secret, TokenDoor, make_token


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    with opened_store(tmp_path_factory.mktemp("control")) as store:
        yield make_stage(store, more=[trial_router()])


@pytest.fixture
def stage(standing):
    """A stage on which it is NOW."""
    standing.clock.ms = NOW_S * 1000
    return standing


def ask(stage, door, credential, **params):
    response = stage.client().get(f"/trial/{door}", headers=bearer(credential), params=params)
    return response.status_code, response.json().get("code")


def test_each_door_opens_to_its_own_credential(stage):
    client = stage.client()
    assert client.get("/trial/service", headers=bearer(token(SERVICE))).json()["caller"] == "service:loa-finn"
    assert client.get("/trial/admin", headers=bearer(token(ADMIN, sub="ann"))).json()["caller"] == "admin:ann"
    assert client.get("/trial/tenant", headers=bearer(ACME_KEY)).json() == {
        "caller": "key:acme-1",
        "tenant": "acme",
    }


@pytest.mark.parametrize(
    ("door", "credential"),
    [
        ("service", token(ADMIN)),
        ("admin", token(SERVICE)),
        ("service", ACME_KEY),
        ("admin", ACME_KEY),
        ("tenant", token(SERVICE)),
        ("tenant", token(ADMIN)),
        ("either", token(ADMIN)),
    ],
)
def test_no_good_credential_opens_another_door(stage, door, credential):
    assert ask(stage, door, credential) == (403, "wrong_door")


def forged(header: dict, claims: dict) -> str:
    """A token that nobody signed."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)
    ]
    return ".".join([*parts, ""])


CLAIMS = {"iss": "loa-finn", "aud": "arrakis-internal", "sub": "loa-finn", "exp": NOW_S + 60}
STRANGER = TokenDoor(Secret("x" * 16 + "0123456789abcdef"), SERVICE.issuer, SERVICE.audience)
OTHERS_SECRET = TokenDoor(ADMIN.secret, SERVICE.issuer, SERVICE.audience)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(token(SERVICE, exp=NOW_S - 30), id="expired, beyond the skew"),
        pytest.param(token(SERVICE, aud="someone-else"), id="wrong audience"),
        pytest.param(token(SERVICE, iss="someone-else"), id="wrong issuer"),
        pytest.param(token(OTHERS_SECRET), id="the admin door's secret"),
        pytest.param(token(STRANGER), id="a stranger's secret"),
        pytest.param(token(SERVICE, nbf=NOW_S + 31), id="not valid yet, beyond the skew"),
        pytest.param(token(SERVICE, leave_out=["exp"]), id="no exp"),
        pytest.param(token(SERVICE, leave_out=["aud"]), id="no aud"),
        pytest.param(token(SERVICE, leave_out=["iss"]), id="no iss"),
        pytest.param(token(SERVICE, leave_out=["sub"]), id="no sub"),
        pytest.param(token(SERVICE, exp="soon"), id="exp is text"),
        pytest.param(token(SERVICE, exp=True), id="exp is a bool"),
        pytest.param(token(SERVICE, sub=""), id="an empty sub"),
        pytest.param(forged({"alg": "none", "typ": "JWT"}, CLAIMS), id="alg none"),
        pytest.param(forged({"alg": "NONE", "typ": "JWT"}, CLAIMS), id="alg NONE"),
        pytest.param(forged({"alg": "HS256", "typ": "JWT"}, CLAIMS), id="no signature"),
        pytest.param(token(SERVICE, algorithm="HS512"), id="another algorithm"),
        pytest.param(token(SERVICE)[:-3] + "AAA", id="a changed signature"),
        pytest.param("nonsense", id="no token"),
        pytest.param("a.b.c", id="no JSON"),
        pytest.param("x" * 9000, id="far too long"),
        pytest.param("mrk_unknown", id="an unknown key"),
    ],
)
@pytest.mark.parametrize("door", ["service", "admin", "either", "tenant"])
def test_what_proves_nothing_opens_nothing(stage, door, wrong):
    assert ask(stage, door, wrong) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("claims"), [{"exp": NOW_S - 29}, {"nbf": NOW_S + 30}, {"aud": ["x", "arrakis-internal"]}]
)
def test_thirty_seconds_of_skew_are_forgiven_and_one_audience_of_several_is_enough(stage, claims):
    assert ask(stage, "service", token(SERVICE, **claims)) == (200, None)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer "}])
def test_no_credential_is_told_which_one_is_expected(stage, header):
    response = stage.client().get("/trial/service", headers=header)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="millrace"'


def test_a_door_without_a_secret_opens_to_no_one(stage):
    shut = replace(stage, services=replace(stage.services, service_door=None))
    assert ask(shut, "service", token(SERVICE)) == (401, "unauthenticated")
    assert ask(shut, "admin", token(ADMIN)) == (200, None)


def test_a_token_of_our_own_making_is_taken(stage):
    assert ask(stage, "service", make_token(SERVICE, "finn", NOW_S, 60)) == (200, None)
    stage.clock.ms += 91_000
    assert ask(stage, "service", make_token(SERVICE, "finn", NOW_S, 60)) == (401, "unauthenticated")


def test_a_key_sees_its_own_tenant_only(stage):
    assert ask(stage, "either", ACME_KEY, tenant="other") == (403, "forbidden_tenant")
    assert ask(stage, "either", ACME_KEY, tenant="acme") == (200, None)
    for path in ("balance", "history", "usage"):
        asked = stage.client().get(
            f"/api/billing/{path}", headers=bearer(OTHER_KEY), params={"tenant": "acme"}
        )
        assert (asked.status_code, asked.json()["code"]) == (403, "forbidden_tenant")


def test_a_service_names_the_tenant(stage):
    assert ask(stage, "either", token(SERVICE)) == (422, "invalid_request")
    assert ask(stage, "either", token(SERVICE), tenant="acme") == (200, None)


def test_a_key_without_the_scope_reads_nothing(stage):
    asked = stage.client().get("/api/billing/usage", headers=bearer(BLIND_KEY))
    assert (asked.status_code, asked.json()["code"], asked.json()["scope"]) == (403, "missing_scope", "read")


def test_a_secret_shows_in_no_text():
    assert "0123456789abcdef" not in f"{SERVICE!r} {SERVICE} {SERVICE.secret!r} {SERVICE.secret}"


def test_a_revoked_key_is_forgotten_within_two_seconds():
    found = {"mrk_1": KnownKey("k", "acme", frozenset())}
    asked = []
    keys = RecentKeys(lambda secret, now_ms: asked.append(now_ms) or found.get(secret))
    assert keys.recall("mrk_1", 0) is None
    assert keys.find("mrk_1", 0) == keys.recall("mrk_1", KEPT_MS - 1)
    found.clear()
    assert keys.recall("mrk_1", KEPT_MS) is None
    assert keys.find("mrk_1", KEPT_MS) is None
    assert keys.recall("mrk_1", KEPT_MS) is None
    assert len(asked) == 2
