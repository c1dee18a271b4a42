"""The routes of caps and admins: statuses, headers and bodies; what they decide is held by the tests of the caps."""

import pytest
from caps_stage import migrated_url
from http_stage import ACME_KEY, ADMIN, BLIND_KEY, OTHER_KEY, SERVICE, bearer, make_stage, token

from api.admin import router as admin_router
from api.billing import router as caps_router
from api.internal import router as internal_router
from billing.accounts import Change, add, set_global_mode
from billing.asks import Mode
from billing.audit import By
from billing.store import open_store

__all__ = ["migrated_url"]

pytest_plugins = ["stripe_double.fixtures"]

KEY, SERVICE_TOKEN, ADMIN_TOKEN = bearer(ACME_KEY), bearer(token(SERVICE)), bearer(token(ADMIN))


@pytest.fixture
def stage(migrated_url):
    store = open_store(migrated_url)
    add(store, "acme", Change(daily_limit="0.001", monthly_limit="0.002"), By("test", 0))
    stage = make_stage(store, more=[caps_router, internal_router, admin_router], has_caps=True)
    yield stage
    stage.services.caps.close()
    store.close()


@pytest.fixture
def client(stage):
    return stage.client()


def authorize(client, micro, headers=KEY, **body):
    return client.post("/api/billing/authorize", json={"estimatedMicro": micro, **body}, headers=headers)


def reserve(client, micro, headers=KEY, **body):
    return client.post("/api/billing/reservations", json={"amountMicro": micro, **body}, headers=headers)


def finalize(client, ident, micro, headers=SERVICE_TOKEN):
    body = {"reservationId": ident, "actualCostMicro": micro}
    return client.post("/api/internal/billing/finalize", json=body, headers=headers)


def settle(client, micro, headers=KEY, **body):
    return client.post("/api/billing/settlements", json={"amountMicro": micro, **body}, headers=headers)


def with_key(key, headers=KEY):
    return {**headers, "Idempotency-Key": key}


def test_allowed_says_where_the_tenant_stands_in_the_body_and_in_headers(client):
    answer = authorize(client, "400")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["allowed"], body["tenant"], body["estimatedMicro"], body["mode"]) == (
        True,
        "acme",
        "400",
        "live",
    )
    assert body["spend"]["day"]["limit"] == "1000"
    assert body["spend"]["month"]["remaining"] == "2000"
    headers = answer.headers
    assert headers["X-Spend-Window"] == "day"
    assert (headers["X-Spend-Limit"], headers["X-Spend-Current"], headers["X-Spend-Remaining"]) == (
        "1000",
        "0",
        "1000",
    )
    assert headers["X-Spend-Month-Limit"] == "2000"


def test_beyond_the_cap_is_402_with_window_limit_current_and_projected(client):
    assert reserve(client, 600).status_code == 201
    answer = authorize(client, "401")
    assert answer.status_code == 402
    problem = answer.json()
    assert problem["code"] == "cap_exceeded"
    told = {name: problem[name] for name in ("window", "limit", "current", "projected")}
    assert told == {"window": "day", "limit": "1000", "current": "600", "projected": "1001"}
    assert answer.headers["X-Spend-Remaining"] == "400"


def test_from_reservation_to_settlement(client):
    held = reserve(client, "300", context={"principal": "ann", "operation": "ask"})
    assert held.status_code == 201
    assert held.json()["state"] == "open"
    ident = held.json()["reservationId"]
    done = finalize(client, ident, "350")
    assert done.status_code == 200
    body = done.json()
    assert (body["reservationId"], body["billingMode"]) == (ident, "live")
    assert (body["finalizedMicro"], body["releasedMicro"], body["overrunMicro"]) == ("350", "0", "50")
    assert done.headers["x-payment-idempotency-key"] == f"reservation:{ident}"
    assert "x-payment-deduped" not in done.headers
    again = finalize(client, ident, 350)
    assert again.json() == body
    assert again.headers["x-payment-deduped"] == "true"
    assert (finalize(client, ident, 351).status_code, finalize(client, ident, 351).json()["code"]) == (
        409,
        "reservation_finalized",
    )
    assert finalize(client, "res_none", 1).status_code == 404
    assert authorize(client, 0).headers["X-Spend-Current"] == "350"


def test_a_released_reservation_is_a_conflict_to_finalise_and_an_expired_one_too(client, stage):
    released = reserve(client, 100).json()["reservationId"]
    answer = client.post(f"/api/billing/reservations/{released}/release", headers=KEY)
    assert (answer.status_code, answer.json()["state"]) == (200, "released")
    assert finalize(client, released, 1).json()["code"] == "reservation_released"
    expired = reserve(client, 100, expiresInS=1).json()["reservationId"]
    stage.clock.ms += 1_000
    assert finalize(client, expired, 1).json()["code"] == "reservation_expired"
    assert authorize(client, 1_000).status_code == 200


def test_another_tenants_reservation_is_not_there(client):
    ident = reserve(client, 100, SERVICE_TOKEN, tenant="zeta").json()["reservationId"]
    assert client.post(f"/api/billing/reservations/{ident}/release", headers=KEY).status_code == 404
    assert client.post(f"/api/billing/reservations/{ident}/release", headers=SERVICE_TOKEN).status_code == 200


@pytest.mark.parametrize("ask", [authorize, reserve, settle])
def test_the_same_key_and_body_get_the_first_answer_and_another_body_a_conflict(client, stage, ask):
    first = ask(client, 900, with_key("k"))
    stage.clock.ms += 1_000
    again = ask(client, "900", with_key("k"))
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["X-Spend-Current"] == first.headers["X-Spend-Current"]
    other = ask(client, 901, with_key("k"))
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_a_refusal_is_given_again_too(client):
    assert settle(client, 1_001, with_key("k")).status_code == 402
    assert settle(client, 1_001, with_key("k")).status_code == 402
    assert settle(client, 1_000, with_key("other")).status_code == 201


def test_a_settlement_without_a_key_gets_one_of_its_payload(client):
    first = settle(client, 10, facilitatorTx="0xabc")
    again = settle(client, "10", facilitatorTx="0xabc")
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert first.headers["x-payment-idempotency-key"].startswith("derived:")
    assert again.headers["x-payment-deduped"] == "true"
    assert settle(client, 10, facilitatorTx="0xdef").json()["settlementId"] != first.json()["settlementId"]
    assert authorize(client, 0).headers["X-Spend-Current"] == "20"


def test_soft_lets_it_through_and_says_so(client, stage):
    set_global_mode(stage.services.store, Mode.SOFT, By("test", 0))
    answer = authorize(client, 1_001)
    assert answer.status_code == 200
    assert (answer.headers["X-Spend-Exceeded"], answer.json()["exceeded"]) == ("day", "day")


@pytest.mark.parametrize("amount", [-1, 1.0, "1.0", "01", "-1", "1e3", "", None, True, 10**15 + 1, "\u0661"])
def test_an_amount_is_a_whole_number_of_micro_usd_and_nothing_else(client, amount):
    assert authorize(client, amount).status_code == 422


@pytest.mark.parametrize(
    ("ask", "headers", "status"),
    [
        (authorize, bearer(BLIND_KEY), 403),
        (reserve, bearer(OTHER_KEY), 403),
        (authorize, ADMIN_TOKEN, 403),
        (authorize, SERVICE_TOKEN, 422),
        (lambda c, m, h: finalize(c, "res", m, h), KEY, 403),
        (lambda c, m, h: finalize(c, "res", m, h), ADMIN_TOKEN, 403),
        (lambda c, m, h: authorize(c, m, h, tenant="zeta"), KEY, 403),
    ],
)
def test_each_door_is_for_its_own(client, ask, headers, status):
    assert ask(client, 1, headers).status_code == status


def test_amounts_above_policy_are_told_apart(client, stage):
    headers = SERVICE_TOKEN
    assert reserve(client, 10**10, headers, tenant="zeta").json()["code"] == "amount_above_policy"
    assert (
        reserve(client, 1, headers, tenant="zeta", expiresInS=3_601).json()["code"] == "expiry_above_policy"
    )


def test_finalize_opens_two_hundred_times_a_minute_for_each_service(client):
    statuses = [finalize(client, "res_none", 1).status_code for _ in range(201)]
    assert statuses == [404] * 200 + [429]
    other = bearer(token(SERVICE, sub="other"))
    assert finalize(client, "res_none", 1, other).status_code == 404


def admin(client, method, path, body=None, **headers):
    return client.request(method, f"/api/admin/{path}", json=body, headers={**ADMIN_TOKEN, **headers})


def test_admins_declare_change_and_list_tenants(client):
    body = {
        "tenant": "beta",
        "spendLimit": {"dailySpendUsd": "2.5"},
        "tier": "gold",
        "timeZone": "Europe/Berlin",
    }
    made = admin(client, "POST", "tenants", body)
    assert (made.status_code, made.json()["dailyLimit"], made.json()["tier"]) == (201, "2500000", "gold")
    assert admin(client, "POST", "tenants", body).status_code == 409
    changed = admin(
        client, "PATCH", "tenants/beta", {"spendLimit": {"dailySpendUsd": "none"}, "mode": "soft"}
    )
    assert (changed.json()["dailyLimit"], changed.json()["mode"], changed.json()["tier"]) == (
        None,
        "soft",
        "gold",
    )
    assert [t["tenant"] for t in admin(client, "GET", "tenants").json()["tenants"]] == ["acme", "beta"]
    assert admin(client, "GET", "tenants/none").status_code == 404
    assert admin(client, "PATCH", "tenants/none", {}).status_code == 404
    assert admin(client, "PATCH", "tenants/beta", {"timeZone": "Europe/Berln"}).status_code == 422


def test_a_limit_that_an_admin_sets_holds_at_once(client):
    assert authorize(client, 1_001).status_code == 402
    admin(client, "PATCH", "tenants/acme", {"spendLimit": {"dailySpendUsd": "0.002"}})
    assert authorize(client, 1_001).status_code == 200
    admin(client, "PATCH", "tenants/acme", {"mode": "shadow"})
    assert authorize(client, 2_001).status_code == 200
    admin(client, "PATCH", "tenants/acme", {"mode": "global"})
    assert admin(client, "PUT", "mode", {"mode": "soft"}).status_code == 200
    assert admin(client, "GET", "defaults").json()["mode"] == "soft"
    (line,) = admin(client, "GET", "caps/report").json()["rows"]
    assert (line["refusedRequests"], line["passedRequests"], line["passedMicro"]) == (1, 1, "2001")


def test_admins_make_and_revoke_keys_and_the_secret_is_shown_once(client):
    made = admin(client, "POST", "tenants/acme/keys", {"name": "backend", "scopes": ["read"]})
    assert made.status_code == 201
    assert made.json()["secret"].startswith("mrk_")
    (listed,) = admin(client, "GET", "tenants/acme/keys").json()["keys"]
    assert "secret" not in listed
    assert admin(client, "DELETE", f"keys/{listed['keyId']}").json()["revokedAt"] is not None
    assert admin(client, "DELETE", "keys/none").status_code == 404
    assert admin(client, "POST", "tenants/acme/keys", {"name": "x", "scopes": ["all"]}).status_code == 422


def test_admins_declare_principals_by_names_that_people_know(client):
    put = admin(client, "PUT", "tenants/acme/principals/ann", {"displayName": "Ann Lee", "kind": "user"})
    assert (put.status_code, put.json()["displayName"], put.json()["removedAt"]) == (200, "Ann Lee", None)
    admin(client, "PUT", "tenants/acme/principals/bob", {})
    listed = admin(client, "GET", "tenants/acme/principals").json()["principals"]
    assert [one["principal"] for one in listed] == ["ann", "bob"]
    assert admin(client, "DELETE", "tenants/acme/principals/ann").json()["removedAt"] is not None
    assert [p["principal"] for p in admin(client, "GET", "tenants/acme/principals").json()["principals"]] == [
        "bob"
    ]
    assert admin(client, "DELETE", "tenants/acme/principals/none").status_code == 404
    actions = [e["action"] for e in admin(client, "GET", "audit?tenant=acme").json()["rows"]]
    assert actions == ["principal_removed", "principal_added", "principal_added", "tenant_added"]


def test_credits_are_minted_once_and_pay(client):
    body = {"amountMicro": "500", "source": "purchase"}
    made = admin(client, "POST", "tenants/acme/credits", body, **{"Idempotency-Key": "m"})
    again = admin(client, "POST", "tenants/acme/credits", body, **{"Idempotency-Key": "m"})
    assert (made.status_code, again.status_code) == (201, 201)
    assert (made.json()["lotId"], again.json()["isReplay"]) == (again.json()["lotId"], True)
    other = admin(client, "POST", "tenants/acme/credits", {"amountMicro": 1}, **{"Idempotency-Key": "m"})
    assert other.json()["code"] == "idempotency_conflict"
    assert admin(client, "POST", "tenants/acme/credits", body).status_code == 422
    paid = settle(client, 400, method="credit")
    assert (paid.json()["creditMicro"], paid.json()["shortfallMicro"]) == ("400", "0")
    assert settle(client, 101, method="credit").json()["code"] == "credits_exhausted"
    balance = client.get("/api/billing/balance", headers=KEY).json()
    assert (balance["total"], balance["pools"][0]["lots"][0]["remaining"]) == ("100", "100")


def test_the_audit_shows_what_admins_and_settlements_did_with_the_request_id(client):
    admin(client, "PATCH", "tenants/acme", {"tier": "gold"}, **{"X-Request-Id": "req-77"})
    settle(client, 5)
    entries = admin(client, "GET", "audit?tenant=acme").json()["rows"]
    assert [e["action"] for e in entries] == ["payment_settled", "tenant_changed", "tenant_added"]
    assert (entries[1]["who"], entries[1]["request_id"]) == ("admin:loa-finn", "req-77")
    assert entries[1]["after"] == '{"tier":"gold"}'


def test_admin_routes_are_for_admins(client):
    for headers in (KEY, SERVICE_TOKEN):
        assert client.get("/api/admin/tenants", headers=headers).status_code == 403
    assert client.get("/api/admin/tenants").status_code == 401


def test_admin_routes_open_thirty_times_a_minute(client):
    statuses = [admin(client, "GET", "tenants").status_code for _ in range(31)]
    assert statuses == [200] * 30 + [429]
