"""The files of named queries: what a header declares is what the SQL takes and gives."""

import re

import pytest
from conftest import Ledger
from ledger_rows import event, insert_decisions, insert_events, insert_rejects

from pipeline.errors import UsageError
from queries.named import NamedQuery, find_query, named_queries, run
from queries.statement import placeholders, reading_statement

REQUIRED = {
    "tenant": "acme",
    "key": "k",
    "period": "2026-03",
    "from": "2026-03-01",
    "to": "2026-04-01",
}
GIVEN = {"at": "2026-03-10T12:00:00Z", "windows": '[["acme", 1772323200, 1772323200]]'}
PROGRESS = "INSERT INTO progress (run, topic, accepted, written_at) VALUES (1, 't', 2, '2026-03-10 12:00:00')"
MONEY = """\
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
"""
QUERIES = list(named_queries().values())
every_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)


def required(query: NamedQuery) -> dict[str, str]:
    return {
        parameter.name: (GIVEN | REQUIRED)[parameter.name]
        for parameter in query.parameters
        if parameter.default is None or parameter.name in GIVEN
    }


@every_query
def test_the_header_declares_exactly_the_parameters_that_the_sql_binds(query: NamedQuery) -> None:
    bound = dict(re.findall(r"\{(\w+):(\w+)\}", query.sql))
    assert {parameter.name: parameter.type for parameter in query.parameters} == bound
    assert set(placeholders(query.sql)) == set(bound)


@every_query
def test_a_query_is_documented_and_only_reads(query: NamedQuery) -> None:
    assert query.summary[0].isupper()
    assert query.doc.endswith(".")
    assert query.columns
    assert reading_statement(query.sql).strip() == query.sql.strip()


@every_query
def test_money_is_split_in_one_way_everywhere(query: NamedQuery) -> None:
    if "residual_pico_usd" in query.columns:
        assert MONEY in query.sql
        assert "toFloat" not in query.sql
        assert "/" not in re.sub(r"--.*", "", query.sql), "a division makes a binary float"


@every_query
def test_a_query_gives_the_columns_that_its_header_names(query: NamedQuery, ledger: Ledger) -> None:
    insert_events(ledger.client, [event(7, idempotency_key="k"), event(7, pricing="unpriced")])
    insert_events(ledger.client, [event(7, idempotency_key="k")])
    insert_rejects(ledger.client, [{}])
    insert_decisions(ledger.client, [{}])
    ledger.client.command(PROGRESS)
    bound = query.bind(required(query))
    answer = ledger.client.query(query.sql, parameters=bound)
    assert tuple(answer.column_names) == query.columns
    assert answer.result_rows


@every_query
def test_a_query_of_an_empty_ledger_is_no_error(query: NamedQuery, ledger: Ledger) -> None:
    assert len(run(ledger.client, query, required(query)).rows) <= 1


def test_a_parameter_that_is_missing_or_unknown_is_named() -> None:
    with pytest.raises(UsageError, match="query explain_event needs the parameter 'tenant'"):
        find_query("explain_event").bind({})
    with pytest.raises(UsageError, match="has no parameter 'tenent': it takes tenant, from, to"):
        find_query("spend_by_tenant").bind({"tenent": "acme"})


def test_a_name_is_found_with_hyphens_too_and_a_near_miss_is_helped() -> None:
    assert find_query("spend-by-day") is named_queries()["spend_by_day"]
    with pytest.raises(UsageError, match="did you mean spend_by_tenant"):
        find_query("spend_by_tennant")
    with pytest.raises(UsageError, match="--list"):
        find_query("zzz")


def test_a_value_is_bound_never_formatted_in(ledger: Ledger) -> None:
    awkward = "x' OR '1'='1' -- \\'; {tenant:String} %s"
    insert_events(ledger.client, [event(1), event(5_000_000, tenant=awkward)])
    result = run(ledger.client, find_query("spend_by_tenant"), {"tenant": awkward})
    assert [(row["tenant"], row["cost_micro_usd"]) for row in result.dicts()] == [(awkward, 5)]


def test_what_the_ledger_refuses_is_one_sentence(ledger: Ledger) -> None:
    with pytest.raises(UsageError) as caught:
        run(ledger.client, find_query("spend_by_day"), {"zone": "Mars/Olympus"})
    assert (
        str(caught.value)
        == "the query spend_by_day was refused by the ledger: cannot load time zone Mars/Olympus"
    )
