"""The analysts' door with the real clickhouse-connect: reading works, nothing else does, and limits hold."""

import http.client
import json
import threading
import time
from decimal import Decimal
from urllib.parse import quote, urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.analysts import Account, Door, Limits, analysts_served
from sinks.analysts_gate import CLOSED_TABLES
from tests.ledger_rows import event, insert_events, insert_rejects

ACCOUNT = Account("analyst", "correct horse battery")
LIMITS = Limits(seconds=2, rows=2500, at_a_time=2)


@pytest.fixture(scope="module")
def door(_session_ledger):
    with analysts_served(_session_ledger.url.removeprefix("chdb://"), ACCOUNT, LIMITS) as url:
        yield urlsplit(url)


@pytest.fixture(scope="module")
def connected(door):
    made = clickhouse_connect.get_client(
        host=door.hostname, port=door.port, username=ACCOUNT.user, password=ACCOUNT.password
    )
    yield made
    made.close()


@pytest.fixture
def client(connected, ledger):
    insert_events(ledger.client, [event(2_500_001, principal=f"p{n}") for n in range(3)])
    insert_rejects(ledger.client, [{}])
    return connected


def ask(door, sql, *, headers=None, method="POST", user=ACCOUNT.user, password=ACCOUNT.password, **given):
    connection = http.client.HTTPConnection(door.hostname, door.port, timeout=20)
    pairs = "&".join(f"{name}={quote(str(value))}" for name, value in given.items())
    sent = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password, **(headers or {})}
    connection.request(method, f"/?{pairs}", sql.encode() if sql else None, sent)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body.decode(errors="replace"), dict(answer.headers)


def test_the_ledger_is_read_exactly(client):
    sql = "SELECT principal, cost_micro_usd, residual_pico_usd, base_units FROM ledger ORDER BY principal"
    answer = client.query(sql)
    assert answer.result_rows == [(f"p{n}", 2, 500_001, Decimal(0)) for n in range(3)]
    assert client.query("SELECT count() FROM rejected_events").result_rows == [(1,)]


def test_parameters_are_bound_and_results_come_in_any_format(client):
    found = client.query("SELECT count() FROM ledger WHERE principal = {p:String}", parameters={"p": "p1"})
    assert found.result_rows == [(1,)]
    assert client.raw_query("SELECT 1 AS one FORMAT JSONEachRow") == b'{"one":1}\n'
    assert client.query_np("SELECT cost_micro_usd FROM ledger").tolist() == [[2]] * 3
    assert client.query_arrow("SELECT principal FROM ledger ORDER BY 1").column(0).to_pylist()[0] in {
        "p0",
        b"p0",
    }


def test_what_tools_ask_first_is_answered(client, door):
    assert {"ledger", "usage_by_quarter"} <= {row[0] for row in client.query("SHOW TABLES").result_rows}
    assert client.query("SELECT name FROM system.databases WHERE name = 'millrace'").result_rows == [
        ("millrace",)
    ]
    columns = client.query("SELECT name FROM system.columns WHERE database = 'millrace' AND table = 'ledger'")
    assert ("tenant",) in columns.result_rows
    assert client.query("DESCRIBE TABLE ledger").result_rows[0][0] == "tenant"
    assert client.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'millrace'"
    ).result_rows
    assert client.ping()
    status, body, headers = ask(
        door, "SELECT displayName(), version(), revision(), timezone()", default_format="JSON"
    )
    assert status == 200
    assert json.loads(body)["rows"] == 1
    assert headers["X-ClickHouse-Format"] == "JSON"
    status, body, headers = ask(
        door, "SELECT 1", headers={"X-ClickHouse-Format": "RowBinaryWithNamesAndTypes"}
    )
    assert (status, headers["X-ClickHouse-Format"]) == (200, "RowBinaryWithNamesAndTypes")
    assert ask(door, "", method="GET", query="SELECT 1")[:2] == (200, "1\n")


WRITES = [
    "INSERT INTO ledger (tenant) VALUES ('x')",
    "INSERT INTO ledger_in (tenant) VALUES ('x')",
    "INSERT INTO FUNCTION file('{folder}/out', 'CSV', 'a Int8') SELECT 1",
    "CREATE TABLE mine (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE mine (a Int8)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine AS x -> x",
    "CREATE USER mine",
    "DROP TABLE ledger",
    "DROP DATABASE millrace",
    "TRUNCATE TABLE ledger",
    "ALTER TABLE ledger DELETE WHERE 1",
    "ALTER TABLE ledger DROP PARTITION 202611",
    "DELETE FROM ledger WHERE 1",
    "UPDATE ledger SET tenant = 'x' WHERE 1",
    "OPTIMIZE TABLE ledger FINAL",
    "RENAME TABLE ledger TO gone",
    "EXCHANGE TABLES ledger AND rejected_events",
    "DETACH TABLE ledger",
    "ATTACH TABLE ledger",
    "SYSTEM SHUTDOWN",
    "SYSTEM FLUSH LOGS",
    "KILL QUERY WHERE 1",
    "GRANT ALL ON *.* TO analyst",
    "USE system",
    "SET readonly = 0",
    "SET max_result_rows = 0",
    "BACKUP TABLE ledger TO File('{folder}/out')",
    "SELECT 1 INTO OUTFILE '{folder}/out'",
    "SELECT 1 /* */ INTO /* */ OUTFILE '{folder}/out'",
    "SELECT \u2018 -- \u2019 INTO OUTFILE '{folder}/out'",
    "EXPLAIN SELECT 1 INTO OUTFILE '{folder}/out'",
    "SELECT 1; DROP TABLE ledger",
    "SELECT 1 PARALLEL WITH DROP TABLE ledger",
    "BEGIN TRANSACTION",
    "EXECUTE AS default SELECT 1",
]
ESCAPES = [
    "SELECT file('{folder}/secret')",
    "SELECT `file`('{folder}/secret')",
    "SELECT FILE('{folder}/secret')",
    "SELECT * FROM file('{folder}/secret', 'LineAsString')",
    "SELECT * FROM view(SELECT file('{folder}/secret'))",
    "SELECT * FROM (SELECT file('{folder}/secret') AS x)",
    "WITH x AS (SELECT file('{folder}/secret')) SELECT * FROM x",
    "SELECT count() FROM ledger WHERE file('{folder}/secret') != ''",
    "SELECT arrayMap(x -> file(x), ['{folder}/secret'])",
    "DESCRIBE TABLE file('{folder}/secret')",
    "SELECT * FROM default.`{folder}/secret`",
    "SELECT * FROM '{folder}/secret'",
    "SELECT * FROM `{folder}/secret`",
    "SELECT * FROM url('http://127.0.0.1:9/', 'CSV', 'a Int8')",
    "SELECT * FROM remote('127.0.0.1', system.one)",
    "SELECT * FROM s3('http://127.0.0.1:9/b/k')",
    "SELECT * FROM postgresql('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "SELECT * FROM mysql('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "SELECT * FROM sqlite('{folder}/db', 't')",
    "SELECT * FROM executable('ls', 'TSV', 'a String')",
    "SELECT * FROM python(os)",
    "SELECT * FROM merge('', '.*')",
    "SELECT * FROM loop(meta)",
    "SELECT * FROM mergeTreeIndex(millrace, meta)",
    "SELECT hasColumnInTable('127.0.0.1:9', 'u', 'p', 'd', 't', 'c')",
    "SELECT * FROM meta",
    "SELECT * FROM millrace.meta",
    "SELECT * FROM ledger AS l JOIN meta AS m ON 1 = 1",
    "SELECT ('seed', '0') IN meta",
    "SELECT * FROM {{t:Identifier}}",
    "SHOW CREATE TABLE meta",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.users",
    "SELECT * FROM system.server_settings",
    "SELECT * FROM system.stack_trace",
    "SELECT * FROM ledger SETTINGS max_execution_time = 0",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT sleep(3)",
    "SELECT getServerSetting('max_server_memory_usage')",
]


@pytest.mark.parametrize("sql", [*WRITES, *ESCAPES])
def test_what_does_not_read_the_ledger_is_refused(connected, request, tmp_path, sql):
    (tmp_path / "secret").write_text("a secret of the machine")
    ledger = request.getfixturevalue("_session_ledger")  # with what it holds
    before = ledger.client.query("SHOW TABLES").result_rows, rows(ledger)
    with pytest.raises(ClickHouseError) as caught:
        connected.raw_query(sql.format(folder=tmp_path), parameters={"t": "meta"})
    assert "a secret of the machine" not in str(caught.value)
    assert (ledger.client.query("SHOW TABLES").result_rows, rows(ledger)) == before
    assert not (tmp_path / "out").exists()


def rows(ledger):
    return ledger.client.query("SELECT count(), sum(cost_micro_usd) FROM ledger").result_rows


def test_the_client_cannot_insert(client):
    with pytest.raises(ClickHouseError):
        client.insert("ledger", [["x"]], column_names=["tenant"])
    with pytest.raises(ClickHouseError):
        client.raw_insert("ledger_in", ["tenant"], b"x\n", fmt="TabSeparated")


def test_every_table_but_those_with_secrets_is_open(client, ledger):
    named = [row[0] for row in ledger.client.query("SHOW TABLES").result_rows]
    open_ = []
    for name in named:
        try:
            client.query(f"SELECT * FROM `{name}` LIMIT 1")
            open_.append(name)
        except ClickHouseError as error:
            assert "not open to analysts" in str(error) or "engine" in str(error).lower(), name
    assert set(named) - set(open_) == CLOSED_TABLES


def test_limits_hold_and_can_be_lowered_and_not_raised(door, client):
    begun = time.monotonic()
    status, body, _ = ask(door, "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 7")
    assert (status, "TIMEOUT_EXCEEDED" in body) == (500, True)
    assert time.monotonic() - begun < 20
    with pytest.raises(ClickHouseError, match="Limit for result exceeded"):
        client.query("SELECT number FROM numbers(2501)")
    assert len(client.query("SELECT number FROM numbers(2500)").result_rows) == 2500
    status, body, _ = ask(door, "SELECT number FROM numbers(50)", max_result_rows=10)
    assert (status, "TOO_MANY_ROWS" in body) == (500, True)
    for raised in ("0", "5000", "-1", "x"):
        assert ask(door, "SELECT number FROM numbers(2501)", max_result_rows=raised)[0] == 500
    assert ask(door, "SELECT 1", max_rows_to_read="0")[0] == 500
    assert ask(door, "SELECT 1", readonly="0")[0] == 500
    assert ask(door, "SELECT 1", format_schema_rows_template="{/etc}")[0] == 500
    assert ask(door, "", headers={"Content-Length": "600000"})[0] == 413


def test_only_so_many_run_at_a_time(door):
    slow = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 7"
    found = []
    threads = [threading.Thread(target=lambda: found.append(ask(door, slow)[0])) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(found)) == [500, 503]
    assert ask(door, "SELECT 1")[0] == 200


@pytest.mark.parametrize(
    ("user", "password"),
    [("analyst", ""), ("analyst", "wrong"), ("default", ""), ("", ACCOUNT.password), ("", "")],
)
def test_nobody_else_is_let_in(door, user, password):
    status, body, headers = ask(door, "SELECT 1", user=user, password=password)
    assert status == 401
    assert "AUTHENTICATION_FAILED" in body
    assert headers["WWW-Authenticate"].startswith("Basic")
    with pytest.raises(ClickHouseError):
        clickhouse_connect.get_client(host=door.hostname, port=door.port, username=user, password=password)


def test_faults_cannot_be_asked_for(door):
    connection = http.client.HTTPConnection(door.hostname, door.port, timeout=20)
    sent = {"X-ClickHouse-User": ACCOUNT.user, "X-ClickHouse-Key": ACCOUNT.password}
    connection.request("POST", "/faults", b'{"kind": "refuse"}', sent)
    assert connection.getresponse().status == 404
    connection.close()


def test_a_password_is_not_shown():
    assert ACCOUNT.password not in repr(ACCOUNT)


def test_writing_goes_on_beside_analysts(client, ledger):
    insert_events(ledger.client, [event(1, principal="later")])
    assert client.query("SELECT count() FROM ledger WHERE principal = 'later'").result_rows == [(1,)]
    ledger.client.command("SET max_result_rows = 0")  # the analysts' read-only mode is not everybody's


def test_a_statement_that_is_asked_again_has_its_own_values_and_is_judged_alike(client, door):
    sql = "SELECT count() FROM ledger WHERE principal = {p:String}"
    found = [client.query(sql, parameters={"p": name}).result_rows for name in ("p1", "nobody", "p2")]
    assert found == [[(1,)], [(0,)], [(1,)]]
    assert [ask(door, "SELECT value FROM meta")[0] for _ in range(2)] == [403, 403]
    assert ask(door, sql)[0] == 500  # let through before, and still no value is made up for it


def test_what_is_remembered_of_statements_is_bounded(ledger, monkeypatch):
    monkeypatch.setattr("sinks.analysts._STATEMENTS_KEPT", 3)
    made = Door(ledger.url.removeprefix("chdb://"), ACCOUNT, LIMITS, "127.0.0.1", 0)
    try:
        for n in [*range(5), 2]:
            assert made.ask(f"SELECT {n}", {}).body == f"{n}\n".encode()
        made.ask(f"SELECT 1 AS {'long' * 3000}", {})
        assert list(made._let_through) == ["SELECT 2", "SELECT 3", "SELECT 4"]
    finally:
        made.close()


def test_an_answer_does_not_wait_for_its_head_to_be_confirmed(door):
    connection = http.client.HTTPConnection(door.hostname, door.port, timeout=20)
    headers, took = {"X-ClickHouse-User": ACCOUNT.user, "X-ClickHouse-Key": ACCOUNT.password}, []
    for _ in range(20):
        begun = time.monotonic()
        connection.request("POST", "/", b"SELECT 1", headers)
        connection.getresponse().read()
        took.append(time.monotonic() - begun)
    connection.close()
    assert min(took[10:]) < 0.03, "a system confirms after 40 milliseconds"
