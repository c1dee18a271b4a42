"""`millrace analysts`: the door as a program, beside a run, and the grants on a server."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from urllib.parse import quote

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli import main
from cli.analysts import PASSWORD
from pipeline.errors import UsageError
from sinks.analysts import Account, Limits
from sinks.analysts_gate import CLOSED_TABLES
from sinks.analysts_grants import grants, without_password
from tests.event_lines import event, line

GOOD = "0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"
CODE = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"
ACCOUNT = Account("analyst", GOOD)


def start(*arguments, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def address_of(process):
    for said in process.stderr:
        if found := re.search(r"analysts read at http://127\.0\.0\.1:(\d+)", said):
            return int(found[1])
    raise RuntimeError("it ended without serving")


def test_the_door_is_opened_by_a_command_and_closed_by_a_signal(tmp_path):
    (tmp_path / "events.ndjson").write_bytes(line(event()) + b"\n")
    ledger = f"chdb://{tmp_path}/ledger"
    filled = start("run", str(tmp_path / "events.ndjson"), "--ledger", ledger, "--json")
    assert filled.wait(120) == 0, filled.stderr.read()
    door = start("analysts", "serve", "--ledger", ledger, "--port", "0", **{PASSWORD: GOOD})
    try:
        client = clickhouse_connect.get_client(
            host="127.0.0.1", port=address_of(door), username="analyst", password=GOOD
        )
        assert client.query("SELECT tenant FROM ledger").result_rows == [("acme",)]
        client.close()
    finally:
        door.send_signal(signal.SIGTERM)
    assert door.wait(30) == 0


def test_analysts_read_beside_a_run(tmp_path, mock_kafka):
    topic = mock_kafka.create_topic(f"beside-{time.time_ns()}")
    mock_kafka.send(topic, {0: [line(event())]})
    flags = ["--brokers", mock_kafka.address, "--topic", topic, "--ledger", f"chdb://{tmp_path}/ledger"]
    run = start("run", *flags, "--analysts-port", "0", **{PASSWORD: GOOD})
    try:
        client = clickhouse_connect.get_client(
            host="127.0.0.1", port=address_of(run), username="analyst", password=GOOD
        )
        deadline = time.monotonic() + 60
        while not rows(client) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert rows(client) == [("acme",)]
        client.close()
    finally:
        run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 0


def rows(client):
    try:
        return client.query("SELECT tenant FROM ledger").result_rows
    except ClickHouseError:
        return []  # the table is about to be made


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["serve"], {}, "no ledger is named"),
        (["serve", "--ledger", "chdb:///nowhere/at/all"], {PASSWORD: GOOD}, "there is no ledger"),
        (["serve", "--ledger", "{ledger}"], {}, f"set {PASSWORD}"),
        (["serve", "--ledger", "{ledger}"], {PASSWORD: "short"}, "not good enough"),
        (["serve", "--ledger", "http://127.0.0.1:9/x"], {PASSWORD: GOOD}, "millrace analysts grant"),
        (["grant", "--ledger", "{ledger}"], {PASSWORD: GOOD}, "millrace analysts serve"),
        (["grant", "--ledger", "{ledger}", "--dry-run", "--user", "a b"], {PASSWORD: GOOD}, "no plain name"),
    ],
)
def test_wrong_use_is_one_sentence(ledger, monkeypatch, capsys, arguments, variables, said):
    monkeypatch.delenv(PASSWORD, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)
    assert main.run(["analysts", *(word.format(ledger=ledger.url) for word in arguments)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert GOOD not in told
    signal.signal(signal.SIGTERM, before)


def test_the_grants_are_shown_without_the_password_and_parsed_by_the_engine(ledger, monkeypatch, capsys):
    """No server is needed: the embedded engine has the same parser."""
    monkeypatch.setenv(PASSWORD, GOOD)
    assert main.run(["analysts", "grant", "--dry-run", "--ledger", ledger.url]) == 0
    told = capsys.readouterr().out
    assert GOOD not in told
    tables = [row[0] for row in ledger.client.query("SHOW TABLES").result_rows]
    statements = grants("millrace", tables, ACCOUNT, Limits())
    assert [f"{without_password(one)};" for one in statements] == told.splitlines()
    for statement in statements:
        asked = "SELECT formatQuerySingleLine({q:String})"
        assert ledger.client.query(asked, parameters={"q": statement}).result_rows
    granted = {found[1] for one in statements if (found := re.search(r"`millrace`\.`(\w+)`", one))}
    assert granted == set(tables) - CLOSED_TABLES
    assert not re.search(r"\b(INSERT|ALTER TABLE|FILE|URL|REMOTE|ALL)\b", " ".join(told.splitlines()))


@pytest.mark.parametrize("password", ["a'b\\c", "x'); DROP USER y; --"])
def test_a_password_breaks_out_of_nothing(ledger, password):
    for statement in grants("a`b", ["t`u"], Account("analyst", password), Limits()):
        asked = "SELECT formatQuerySingleLine({q:String})"
        assert ledger.client.query(asked, parameters={"q": statement}).result_rows, statement
        assert password not in without_password(statement)


def test_an_odd_name_of_a_user_is_refused():
    with pytest.raises(UsageError, match="no plain name"):
        grants("d", [], Account("a; DROP", GOOD), Limits())


def test_on_a_real_server_the_role_reads_and_does_nothing_else():
    named = os.environ.get("MILLRACE_TEST_CLICKHOUSE")
    if not named:
        pytest.skip(
            "no ClickHouse server: name one by MILLRACE_TEST_CLICKHOUSE=http://user:password@host:8123"
        )
    user, database = f"analyst_{uuid.uuid4().hex[:8]}", f"millrace_test_{uuid.uuid4().hex[:8]}"
    url = f"{named.rstrip('/')}/{database}"
    granted = start("analysts", "grant", "--ledger", url, "--user", user, **{PASSWORD: GOOD})
    assert granted.wait(60) == 0, granted.stderr.read()
    host = named.rpartition("@")[2].removeprefix("http://")
    client = clickhouse_connect.get_client(dsn=f"http://{user}:{quote(GOOD)}@{host}/{database}")
    assert client.query("SELECT count() FROM ledger").result_rows == [(0,)]
    outside = "SELECT * FROM url('http://127.0.0.1:9/', 'CSV', 'a Int8')"
    writing = "INSERT INTO ledger (tenant) VALUES ('x')"
    for refused in (writing, outside, "SELECT * FROM meta", "DROP TABLE ledger", "SET max_result_rows = 0"):
        with pytest.raises(ClickHouseError):
            client.command(refused)
