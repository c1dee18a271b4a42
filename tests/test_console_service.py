"""The console as `millrace serve` has it: the API's doors, the real flow, and nothing left in the folder."""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api.tokens import Secret, TokenDoor, make_token
from billing import accounts, api_keys
from billing.audit import By
from billing.meters import load_meters
from billing.store import open_store
from cli.console_parts import meters_of
from pipeline.errors import ConfigError

SECRET = "5f0c" * 4 + "9ab8d7e6c1f2a3b4"
ADMIN = TokenDoor(Secret(SECRET), "millrace", "millrace-admin")
WAIT_S = 90


@dataclass(frozen=True, slots=True)
class Service:
    """A running `millrace serve`."""

    url: str
    keys: dict[str, str]
    folder: Path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("serve")
    store = open_store(f"sqlite:///{folder / 'control.db'}")
    by = By("test", int(time.time() * 1000))
    keys = {}
    for tenant, scopes in (("acme", ["read"]), ("globex", ["ingest"])):
        accounts.add(store, tenant, accounts.Change(display_name=tenant.title()), by)
        keys[tenant] = api_keys.create(
            store, tenant, name="console", scopes=scopes, by=by, random_hex=secrets.token_hex
        )[1]
    store.close()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    program = [
        sys.executable,
        "-c",
        "from cli.main import main; main()",
        "serve",
        "--port",
        "0",
        "--state",
        str(folder),
    ]
    flags = ["--ledger", f"chdb://{folder}/ledger", "--no-access-log", "--grace-s", "5"]
    with subprocess.Popen(
        [*program, *flags],
        cwd=folder,
        env={**environment, "BILLING_ADMIN_JWT_SECRET": SECRET},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        try:
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"serving at (http://\S+?:\d+)", line):
                    yield Service(found[1], keys, folder)
                    break
            else:
                pytest.fail("".join(said))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=WAIT_S)


@contextmanager
def signed_in(service: Service, credential: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{service.url}/console", timeout=WAIT_S) as client:
        client.post("/sign-in", data={"credential": credential, "to": "/"})
        yield client


def test_the_doors_are_those_of_the_api(service: Service) -> None:
    admin = make_token(ADMIN, "ops", int(time.time()), 600)
    with signed_in(service, admin) as client:
        assert client.get("/tenants").status_code == 200
        assert client.cookies.jar
    with signed_in(service, service.keys["acme"]) as client:
        assert client.get("/tenant").status_code == 200
        assert client.get("/tenant", params={"tenant": "globex"}).status_code == 403
        assert client.get("/stripe").status_code == 403
    stale = make_token(ADMIN, "ops", int(time.time()) - 3600, 600)
    foreign = make_token(
        TokenDoor(Secret("x" * 40), "millrace", "millrace-admin"), "ops", int(time.time()), 600
    )
    for credential in (stale, foreign, service.keys["globex"], "", "mrk_nobody_1"):
        with signed_in(service, credential) as client:
            assert client.get("/").headers["location"].startswith("/console/sign-in")
            assert client.get("/enter", params={"key": credential}).headers["location"] == "/console/sign-in"


def test_the_cookie_is_for_the_console_alone_and_no_script_reads_it(service: Service) -> None:
    answer = httpx.post(
        f"{service.url}/console/sign-in",
        data={"credential": service.keys["acme"], "to": "//evil"},
        timeout=WAIT_S,
        headers={"x-forwarded-proto": "https"},
    )
    assert answer.headers["location"] == "/console/"
    cookie = answer.headers["set-cookie"]
    assert [part in cookie for part in ("HttpOnly", "Path=/console", "SameSite=lax", "Secure")] == [True] * 4
    assert service.keys["acme"] not in cookie


def test_the_ledger_has_the_index_and_the_folder_nothing_of_the_consoles(service: Service) -> None:
    with signed_in(service, make_token(ADMIN, "ops", int(time.time()), 600)) as client:
        assert client.get("/events").status_code == 200
    assert not [path for path in service.folder.iterdir() if "nicegui" in path.name]


def test_the_console_goes_by_the_meters_that_reports_go_by() -> None:
    path = Path(__file__).parent.parent / "examples" / "meters.toml"
    named = meters_of({"MILLRACE_METERS": str(path)})
    assert [one.event_name for one in named.meters] == [one.event_name for one in load_meters(path).meters]
    assert len(named.meters) > 1
    assert meters_of({}) == load_meters(None)
    with pytest.raises(ConfigError):
        meters_of({"MILLRACE_METERS": str(path.with_name("nothing.toml"))})
