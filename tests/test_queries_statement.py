"""What a user may ask: one statement that reads, and nothing passes the read-only session."""

import pytest
from conftest import Ledger
from ledger_rows import event, insert_events

from pipeline.errors import UsageError
from queries.reading import Format, Session
from queries.statement import placeholders, reading_statement
from sinks.clickhouse import connect

READ = [
    "SELECT 1",
    "select ';' AS a -- ; DROP TABLE ledger",
    "/* DROP TABLE ledger; */ WITH 1 AS x SELECT x",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "EXPLAIN SELECT 1",
    "SHOW TABLES",
    "DESCRIBE ledger",
    "FROM ledger SELECT count()",
    "SELECT 'into outfile' AS x, `format y` FROM (SELECT 1 AS `format y`)",
    'SELECT "a;b" FROM (SELECT 1 AS "a;b")',
    "SELECT 'it''s; \\' fine' AS x",
]
REFUSED = [
    ("", "nothing was given"),
    (" ; -- only a comment", "nothing was given"),
    ("SELECT 1; SELECT 2", "2 were given"),
    ("SELECT 1; DROP TABLE ledger", "2 were given"),
    ("INSERT INTO ledger (tenant) VALUES ('x')", "starts with INSERT"),
    ("drop table ledger", "starts with DROP"),
    ("/* SELECT */ ALTER TABLE ledger DELETE WHERE 1", "starts with ALTER"),
    ("TRUNCATE TABLE ledger", "starts with TRUNCATE"),
    ("KILL QUERY WHERE 1", "starts with KILL"),
    ("SET readonly = 0", "starts with SET"),
    ("USE default", "starts with USE"),
    ("SYSTEM STOP MERGES", "starts with SYSTEM"),
    ("SELECT 1 INTO/**/OUTFILE '/tmp/x'", "--out FILE"),
    ("SELECT \u2018 -- \u2019 INTO OUTFILE '/tmp/x'", "--out FILE"),
    ("SELECT 1 AS \u201c # \u201d INTO OUTFILE '/tmp/x'", "--out FILE"),
    ("SELECT 1 into\noutfile '/tmp/x'", "--out FILE"),
    ("SELECT 1 FORMAT JSON", "--format"),
    ("'SELECT'", "nothing was given"),
    ("(*)", "has no word"),
]
WRITING = [
    "INSERT INTO runs VALUES (1, now())",
    "INSERT INTO ledger (tenant) SELECT 'x'",
    "WITH 1 AS x INSERT INTO runs SELECT x, now()",
    "DROP TABLE ledger",
    "ALTER TABLE ledger DELETE WHERE 1",
    "ALTER TABLE ledger UPDATE principal = 'x' WHERE 1",
    "TRUNCATE TABLE ledger",
    "CREATE TABLE z (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE z (a Int8)",
    "RENAME TABLE ledger TO z",
    "OPTIMIZE TABLE ledger",
    "SET readonly = 0",
    "DROP TABLE ledger; SELECT 1",
    "SELECT 1; DROP TABLE ledger",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT * FROM file('/etc/hostname', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
]


@pytest.mark.parametrize("sql", READ)
def test_a_statement_that_reads_is_taken_as_it_is(sql: str) -> None:
    assert reading_statement(sql) == sql
    assert reading_statement(f"{sql}\n;\n") == sql + "\n"


@pytest.mark.parametrize(("sql", "why"), REFUSED)
def test_every_other_statement_is_refused_with_a_reason(sql: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        reading_statement(sql)


def test_placeholders_are_found_outside_of_texts_and_comments() -> None:
    sql = "SELECT {a:String}, '{b:String}', {c: Array(UInt8)}, {a:String} -- {d:String}"
    assert placeholders(sql) == ("a", "c")


@pytest.mark.parametrize("sql", WRITING)
@pytest.mark.parametrize("form", [Format.JSON, Format.TABLE])
def test_the_session_itself_refuses_to_write(sql: str, form: Format, ledger: Ledger) -> None:
    """Past the check of the text, ClickHouse refuses: nothing changes and the session stays read-only."""
    insert_events(ledger.client, [event(7, tenant="kept")])
    client = connect(ledger.url)
    session = Session(client)
    try:
        with pytest.raises(UsageError, match="refused by the ledger"):
            b"".join(session.write(sql, {}, form, "the statement"))
        with pytest.raises(UsageError, match="refused by the ledger"):
            b"".join(session.write("TRUNCATE TABLE ledger", {}, form, "the statement"))
    finally:
        client.close()
    assert ledger.client.query("SELECT tenant, principal FROM ledger").result_rows == [("kept", "ann")]
    assert ledger.client.query("SELECT count() FROM runs").result_rows == [(0,)]


def test_a_reading_session_leaves_other_clients_able_to_write(ledger: Ledger) -> None:
    client = connect(ledger.url)
    Session(client)
    insert_events(ledger.client, [event(7)])
    assert ledger.client.query("SELECT count() FROM ledger").result_rows == [(1,)]
    client.close()
