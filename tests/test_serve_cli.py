"""`millrace serve` as a process: secrets, a stop that answers what is in flight, a late store, two on one store."""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from serve_process import Service, free_port

from api.tokens import Secret, TokenDoor, make_token
from cli import main
from cli.secret import read_secret, weakness
from pipeline.errors import UsageError
from tests.postgres import Server

SERVICE, ADMIN = "BILLING_INTERNAL_JWT_SECRET", "BILLING_ADMIN_JWT_SECRET"
STRONG = "0f" * 4 + "9c1d7e3a5b8264f0a1b2c3d4e5f60718"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("BILLING_", "MILLRACE_", "STRIPE_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("short-1a2b3c", "fewer than 32 bytes"),
        ("a" * 64, "different characters"),
        ("0123456789-change-me-0123456789abcdef", "'change-me'"),
        ("SuperSecretSuperSecret0123456789abc", "'secret'"),
        (STRONG, ""),
    ],
)
def test_what_makes_a_secret_weak(text, why):
    assert why in weakness(text)
    assert bool(weakness(text)) is bool(why)


def test_a_weak_secret_is_refused_and_taken_in_development(monkeypatch):
    monkeypatch.setenv(SERVICE, "hunter2")
    with pytest.raises(UsageError, match=f"{SERVICE} is not good enough") as refused:
        read_secret(SERVICE, is_development=False)
    assert "hunter2" not in str(refused.value)
    assert read_secret(SERVICE, is_development=True) == Secret("hunter2")


def test_a_secret_comes_from_a_file_whose_end_of_line_is_no_part_of_it(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text(f"{STRONG}\n")
    monkeypatch.setenv(f"{SERVICE}_FILE", str(tmp_path / "secret"))
    assert read_secret(SERVICE, is_development=False) == Secret(STRONG)
    monkeypatch.setenv(SERVICE, STRONG)
    with pytest.raises(UsageError, match="both set"):
        read_secret(SERVICE, is_development=False)


@pytest.mark.parametrize("content", [None, "", b"\xff\xfe"])
def test_a_secrets_file_that_is_none_is_told(monkeypatch, tmp_path, content):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv(f"{SERVICE}_FILE", str(path))
    with pytest.raises(UsageError, match=str(path)):
        read_secret(SERVICE, is_development=False)


@pytest.mark.parametrize(
    ("variables", "flags", "sentence"),
    [
        ({SERVICE: "weak"}, (), f"{SERVICE} is not good enough"),
        ({SERVICE: STRONG, ADMIN: STRONG}, (), "are the same: give each door its own"),
        ({}, ("--rate", "nothing=1/minute"), "--rate takes DOOR=RATE"),
        ({}, ("--rate", "admin=often"), "--rate takes a rate such as 200/minute"),
        ({}, ("--control", "mysql://x"), "the control store's URL is not understood"),
        ({}, ("--host", "256.1.1.1"), "cannot be listened on"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_anything_is_served(
    monkeypatch, tmp_path, capsys, variables, flags, sentence
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main.run(["serve", "--port", "0", "--state", str(tmp_path), *flags]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert all(value not in err for value in variables.values())


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """An embedded service with both secrets, and the secrets."""
    known = {SERVICE: secrets.token_hex(32), ADMIN: secrets.token_hex(32)}
    os.environ.update(known)
    service = Service(tmp_path_factory.mktemp("serve"), ("--access-log",))
    key = service.make_key("acme")
    try:
        service.start()
        yield service, known, key
    finally:
        for name in known:
            os.environ.pop(name, None)
        if service.process:
            service.kill()


def token(known: dict[str, str], lives_s: int = 600) -> dict[str, str]:
    door = TokenDoor(Secret(known[SERVICE]), "loa-finn", "arrakis-internal")
    return {"Authorization": f"Bearer {make_token(door, 'finn', int(time.time()), lives_s)}"}


def test_a_cap_holds_from_request_to_ledger_and_no_secret_is_logged_and_a_stop_answers_what_is_in_flight(
    served,
):
    service, known, key = served
    mine = {"Authorization": f"Bearer {key}"}
    admin = TokenDoor(Secret(known[ADMIN]), "millrace", "millrace-admin")
    boss = {"Authorization": f"Bearer {make_token(admin, 'ann', int(time.time()), 600)}"}
    limit = {"tenant": "acme", "spendLimit": {"dailySpendUsd": "0.000100"}}
    assert service.ask("POST", "/api/admin/tenants", limit, **boss)[0] in {200, 201, 409}
    assert (
        service.ask("PATCH", "/api/admin/tenants/acme", {"spendLimit": limit["spendLimit"]}, **boss)[0] == 200
    )

    status, body = service.ask("POST", "/api/billing/reservations", {"amountMicro": "60"}, **mine)
    reservation = json.loads(body)["reservationId"]
    refused = service.ask("POST", "/api/billing/authorize", {"estimatedMicro": "41"}, **mine)
    assert (status, refused[0]) == (201, 402)
    told = json.loads(refused[1])
    assert (told["code"], told["window"], told["limit"], told["current"], told["projected"]) == (
        "cap_exceeded", "day", "100", "60", "101",
    )  # fmt: skip
    settled = {"reservationId": reservation, "actualCostMicro": "50"}
    status, body = service.ask("POST", "/api/internal/billing/finalize", settled, **token(known))
    assert (status, json.loads(body)["releasedMicro"]) == (200, "10")
    assert service.ask("POST", "/api/internal/billing/finalize", settled, **mine)[0] == 403

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        lines = json.loads(service.ask("GET", "/api/billing/usage?by=operation", **mine)[1])["lines"]
        if lines:
            break
        time.sleep(0.1)
    assert [(line["key"], line["cost"]) for line in lines] == [("settlement", "50")]

    answers: list[int] = []
    slow = threading.Thread(target=lambda: answers.append(slow_authorize(service.port, key)))
    slow.start()
    time.sleep(0.3)
    assert service.stop() == 0
    slow.join(10)
    assert answers == [200]

    said = service.said()
    assert '"caller": "key:' in said
    assert said.count('"event": "request"') > 5
    for secret in (
        *known.values(),
        key,
        key.rpartition("_")[2],
        boss["Authorization"][7:],
        "actualCostMicro",
    ):
        assert secret not in said


def slow_authorize(port: int, key: str) -> int:
    """An authorize whose body's last byte comes after the stop."""
    body = b'{"estimatedMicro":"1"}'
    head = (
        f"POST /api/billing/authorize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(head.encode() + body[:-1])
        time.sleep(0.8)
        line.sendall(body[-1:])
        return int(line.recv(100)[9:12])


def test_two_services_on_one_postgresql_hold_one_cap(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(SERVICE, secrets.token_hex(32))
    with postgres.database() as url:
        pair = [PlainService(tmp_path / name, url) for name in ("one", "two")]
        key = pair[0].key_of("acme", "0.000100")
        for service in pair:
            service.start()
        asked = [(pair[number % 2], number) for number in range(40)]
        answers: list[int] = []

        def reserve(service: Service, number: int) -> None:
            status, _ = service.ask(
                "POST", "/api/billing/reservations", {"amountMicro": "10"},
                **{"Authorization": f"Bearer {key}", "Idempotency-Key": str(number)},
            )  # fmt: skip
            answers.append(status)

        threads = [threading.Thread(target=reserve, args=one) for one in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        same = [service.ask("POST", "/api/billing/reservations", {"amountMicro": "10"},
                **{"Authorization": f"Bearer {key}", "Idempotency-Key": "0"}) for service in pair]  # fmt: skip
        codes = [service.stop() for service in pair]
    assert (answers.count(201), answers.count(402)) == (10, 30)
    first, second = [json.loads(body) for _, body in same]
    assert first.pop("requestId", "1") != second.pop("requestId", "2")
    assert (same[0][0], first) == (same[1][0], second)
    assert codes == [0, 0]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """What a test that failed has started ends with it."""
    PlainService.started.clear()
    yield
    for service in PlainService.started:
        if service.process:
            service.kill()


class PlainService(Service):
    """A service without a ledger on a store that is named."""

    started: ClassVar[list["PlainService"]] = []

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir()
        PlainService.started.append(self)
        super().__init__(folder, ("--control", url), free_port())
        self.url = url

    @property
    def ledger(self) -> str:
        return ""

    def key_of(self, tenant: str, day_usd: str) -> str:
        from billing import accounts, api_keys
        from billing.audit import By
        from billing.store import open_store

        store = open_store(self.url)
        by = By("test", int(time.time() * 1000))
        accounts.add(store, tenant, accounts.Change(daily_limit=day_usd), by)
        _, secret = api_keys.create(store, tenant, name="test", by=by, random_hex=secrets.token_hex)
        store.close()
        return secret


def test_a_service_starts_before_its_store_and_prices_are_there_from_the_first_moment(tmp_path, monkeypatch):
    service = PlainService(tmp_path / "early", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    try:
        service.start()
        status, body = service.ask("GET", "/api/billing/pricing")
        assert (status, json.loads(body)["accountsFrom"]) == (200, "defaults")
        assert service.ask("GET", "/readyz")[0] == 503
        status, body = service.ask(
            "GET", "/api/billing/balance", Authorization=f"Bearer mrk_{'0' * 16}_{'1' * 64}"
        )
        assert (status, json.loads(body)["code"]) == (503, "store_unavailable")
        assert service.stop() == 0
    finally:
        if service.process:
            service.kill()
