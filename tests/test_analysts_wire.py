"""What clickhouse-go (Grafana's ClickHouse source) and the JDBC driver (DBeaver) need of the analysts' door.

Both were tried as they are: clickhouse-go 2.50 in HTTP mode with each of its compressions, clickhouse-jdbc 0.9.4.
"""

import base64
import http.client
import json
import struct
from urllib.parse import quote, urlsplit

import lz4.block
import pytest
from ledger_rows import event, insert_events

from sinks.analysts import Account, Limits, analysts_served
from sinks.compressed import BLOCK, city_hash_128, compressed
from sinks.native_revision import with_revision

ACCOUNT = Account("analyst", "correct horse battery")
GO = {"client_protocol_version": 54460, "database": "millrace", "default_format": "Native"}
INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
BASIC = {"Authorization": f"Basic {base64.b64encode(b'analyst:correct horse battery').decode()}"}


@pytest.fixture(scope="module")
def door(_session_ledger):
    with analysts_served(_session_ledger.url.removeprefix("chdb://"), ACCOUNT, Limits()) as url:
        yield urlsplit(url)


def ask(door, sql, *, headers=None, chunks=False, **given):
    connection = http.client.HTTPConnection(door.hostname, door.port, timeout=20)
    pairs = "&".join(f"{name}={quote(str(value))}" for name, value in given.items())
    body = iter([sql.encode()]) if chunks else sql.encode()
    connection.request("POST", f"/?{pairs}", body, {**BASIC, **(headers or {})}, encode_chunked=chunks)
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.headers)
    connection.close()
    return found


def text(value):
    return bytes([len(value)]) + value.encode() if len(value) < 128 else None


TYPES = {
    "UInt8": "number",
    "Int256": "number",
    "Float64": "number / 3",
    "Bool": "number % 2",
    "UUID": "toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')",
    "Date": "number",
    "DateTime('UTC')": "number",
    "DateTime64(3, 'Europe/Berlin')": "number",
    "Decimal(38, 6)": "number",
    "Decimal(9, 2)": "number",
    "String": "repeat('ü', number * 90)",
    "FixedString(3)": "'abc'",
    "IPv6": "'::1'",
    "Enum8('a, b' = 0, 'it''s (c' = 1, '`' = 2)": "toInt8(number % 3)",
    "Nullable(Int64)": "if(number = 1, NULL, number)",
    "Array(String)": "arrayMap(x -> toString(x), range(number))",
    "Array(Array(UInt16))": "arrayMap(x -> range(x), range(number))",
    "Tuple(UInt8, String)": "(number, 'x')",
    "Tuple(a UInt8, `b c` Nullable(String))": "(number, NULL)",
    "Map(String, Decimal(38, 6))": "map(toString(number), number)",
    "LowCardinality(String)": "toString(number % 2)",
    "LowCardinality(Nullable(String))": "if(number = 1, NULL, 'x')",
    "Array(LowCardinality(String))": "arrayMap(x -> toString(x % 2), range(number))",
    "Map(LowCardinality(String), Array(LowCardinality(String)))": "map('k', ['a', 'b', 'a'])",
    "Tuple(LowCardinality(String), Array(LowCardinality(Nullable(String))))": "('x', [NULL, 'y'])",
    "IntervalDay": "toIntervalDay(number)",
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("rows", [0, 1, 4])
def test_a_column_of_any_type_is_walked_over_to_its_end(ledger, kind, rows):
    """Two columns together are what each is alone, with what the revision adds between them."""
    client = ledger.client
    value = TYPES[kind] if kind.startswith("Interval") else f"CAST({TYPES[kind]} AS {kind})"
    both = client.raw_query(f"SELECT {value} AS c, 7::UInt8 AS after FROM numbers({rows})", fmt="Native")
    if not rows and not both:
        return  # an empty answer has no block
    alone = client.raw_query(f"SELECT {value} AS c FROM numbers({rows})", fmt="Native")
    head, written = bytes([1, rows]), alone[2:]
    assert alone.startswith(head)
    name = text("c")
    size = written[len(name)]
    begins = len(name) + 1 + size
    first = written[:begins] + b"\x00" + written[begins:]
    second = text("after") + text("UInt8") + b"\x00" + b"\x07" * rows
    assert with_revision(both, 54460) == INFO + bytes([2, rows]) + first + second
    assert with_revision(both, 54405) == both


def test_all_of_the_ledger_comes_in_blocks_of_the_revision(door, ledger):
    insert_events(ledger.client, [event({"compute": 5, "openai": n}, principal=f"p{n}") for n in range(50)])
    status, body, headers = ask(door, "SELECT * FROM ledger", **GO)
    assert (status, headers["X-ClickHouse-Format"]) == (200, "Native")
    columns = len(ledger.client.query("SELECT * FROM ledger LIMIT 1").column_names)
    assert body.startswith(
        INFO + bytes([columns, 50]) + text("tenant") + text("LowCardinality(String)") + b"\x00"
    )
    plain = ask(door, "SELECT * FROM ledger", default_format="Native")[1]
    assert len(body) == len(plain) + len(INFO) + columns


def test_what_clickhouse_go_says_hello_with_is_answered(door):
    status, body, headers = ask(door, "SELECT displayName(), version(), revision(), timezone()", **GO)
    assert status == 200
    assert body.startswith(INFO + bytes([4, 1]) + text("displayName()") + text("String") + b"\x00")
    assert json.loads(headers["X-ClickHouse-Summary"])["result_rows"] == "1"
    assert ask(door, "SELECT * FROM ledger WHERE 0", **GO)[0] == 200


def test_a_type_that_cannot_be_walked_over_is_one_sentence(door):
    status, body, _ = ask(door, "SELECT sumState(1) AS s", **GO)
    assert status == 403
    assert b"the column s is of the type AggregateFunction" in body
    assert b"select toString(s)" in body


CITY = {
    0: (4463240938071824939, 4374473821787594281),
    5: (13505813476483276286, 8380895383668941797),
    9: (741042772068410567, 16615306472197866829),
    16: (1410847276045007924, 14016228952733041348),
    17: (12112174217606909757, 14617663716525753002),
    40: (6473566798374772877, 6670137544996172364),
    127: (8633791083407807611, 1062270052365989548),
    128: (6569765298064181112, 3188516921758113455),
    129: (5287532464621363474, 5871337019369760004),
    300: (8466926077968370061, 1996777410563571508),
    699: (10877349304718958924, 10035367731128680190),
    5000: (15057011170868669366, 17657326260029238078),
}


def noise(size):
    made, x = bytearray(), 12345
    for _ in range(size):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        made.append(x >> 24)
    return bytes(made)


@pytest.mark.parametrize("size", CITY)
def test_the_checksum_is_that_of_other_programs(size):
    """Worked out with go-faster/city, which clickhouse-go uses."""
    assert city_hash_128(noise(size)) == CITY[size]


@pytest.mark.parametrize("size", [0, 1, 70_000, BLOCK + 5])
def test_compressed_blocks_hold_the_content(size):
    content, found = noise(size % 1000) * 3 + bytes(size - size % 1000), b""
    for block in compressed(content):
        low, high, method, packed, plain = struct.unpack_from("<QQBII", block)
        assert (low, high) == city_hash_128(block[16:])
        assert (method, packed) == (0x82, len(block) - 16)
        found += lz4.block.decompress(block[25:], uncompressed_size=plain)
    assert found == content


def test_the_jdbc_driver_sends_in_chunks_and_gets_compressed_rows(door):
    form = {"X-ClickHouse-Format": "RowBinaryWithNamesAndTypes", "X-ClickHouse-Database": "millrace"}
    given = {"compress": 1, "wait_end_of_query": 1, "async_insert": 0}
    status, body, headers = ask(door, "SELECT 'x' AS v", headers=form, chunks=True, **given)
    assert (status, json.loads(headers["X-ClickHouse-Summary"])["result_rows"]) == (200, "1")
    assert lz4.block.decompress(body[25:], uncompressed_size=100) == b"\x01\x01v\x06String\x01x"
    metadata = "SELECT system.tables.name FROM system.tables WHERE system.tables.database = 'millrace'"
    assert b"ledger\n" in ask(door, metadata)[1]
    assert ask(door, "SELECT * FROM VALUES('a UInt8', 1, 2)")[1] == b"1\n2\n"


def test_a_statement_in_chunks_is_no_longer_than_another(door):
    connection = http.client.HTTPConnection(door.hostname, door.port, timeout=20)
    connection.putrequest("POST", "/")
    for name, value in {**BASIC, "Transfer-Encoding": "chunked"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"fffffff\r\n")
    assert connection.getresponse().status == 413
    connection.close()
    for head in (b"zz\r\n", b"-5\r\n", b"\r\n"):
        connection.request("POST", "/", head, {**BASIC, "Transfer-Encoding": "chunked"})
        assert connection.getresponse().status == 413
        connection.close()


@pytest.mark.parametrize(
    "sql", ["SELECT system.users.name FROM system.users", "SELECT 1 IN system.users.name"]
)
def test_a_column_behind_a_closed_table_does_not_open_it(door, sql):
    assert ask(door, sql)[0] in {403, 500}
    assert b"not open" in ask(door, sql)[1] or b"Unknown" in ask(door, sql)[1]
