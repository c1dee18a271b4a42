"""The catalog: versions, defaults of kinds, mistakes with their line, and the audit."""

import json
from datetime import UTC, datetime
from pathlib import Path

import ledger_rows
import pytest
from typer.testing import CliRunner

from cli.catalog import SHOWN_MAX, Seen, app, compare
from pipeline.catalog import (
    SINCE_EVER_MS,
    Basis,
    Component,
    Entry,
    Pricing,
    Quantity,
    Settlement,
    default_catalog,
    load_catalog,
)
from pipeline.errors import ConfigError
from pipeline.event import EventType

COMPUTE, TRAFFIC, STORAGE, CORRECTION = (
    EventType.COMPUTE,
    EventType.TRAFFIC,
    EventType.STORAGE,
    EventType.CORRECTION,
)
CONTRACT = """\
version = "2026-11-01"
effective_from = 2026-11-01T00:00:00Z

[kinds.traffic]
components = [{ source = "egress", basis = "per-mb", micro_usd = "90", quantity = "bytes" }]

[operations.ask]
components = [
  { source = "compute", basis = "per-call", micro_usd = "50" },
  { source = "openai", basis = "per-1k-tokens", micro_usd = "2000" },
]
weight = 10
settlement = { method = "credit", credits = 10 }
"""
EGRESS = Component("egress", Basis.PER_MB, 90_000_000, 1_000_000, Quantity.BYTES)


def load(tmp_path: Path, text: str, name: str = "catalog.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load_catalog(path)


def entry_of(tmp_path: Path, text: str, kind: EventType = COMPUTE, operation: str = "ask") -> Entry:
    return load(tmp_path, text).entry(0, kind, operation)


def mistake(tmp_path: Path, text: str) -> str:
    """The message for a mistake, after the folder."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value).removeprefix(f"{tmp_path}/")
    assert "\n" not in message
    return message


def test_an_entry_has_its_components_in_order_with_weight_and_settlement(tmp_path):
    entry = entry_of(tmp_path, CONTRACT)

    assert entry == Entry(
        components=(
            Component("compute", Basis.PER_CALL, 50_000_000, 1, Quantity.ONE),
            Component("openai", Basis.PER_1K_TOKENS, 2_000_000_000, 1_000, Quantity.USAGE, "openai"),
        ),
        pricing=Pricing.PRICED,
        settlement=Settlement.CREDIT,
        credits=10,
        weight=10,
    )


def test_an_operation_without_entry_has_its_kinds(tmp_path):
    assert entry_of(tmp_path, CONTRACT, TRAFFIC, "GET /") == Entry((EGRESS,), Pricing.PRICED)


def test_what_is_not_declared_at_all_is_unpriced_and_metered(tmp_path):
    entry = entry_of(tmp_path, CONTRACT, COMPUTE, "other")

    assert (entry.pricing, entry.settlement, entry.components) == ("unpriced", "metered", ())


def test_an_entry_without_components_takes_its_kinds_for_the_events_type(tmp_path):
    catalog = load(tmp_path, CONTRACT + "\n[operations.heavy]\nweight = 7\n")

    assert catalog.entry(0, TRAFFIC, "heavy") == Entry((EGRESS,), Pricing.PRICED, weight=7)
    assert catalog.entry(0, COMPUTE, "heavy") == Entry(weight=7)


def test_only_empty_components_are_free(tmp_path):
    text = "[kinds.storage]\ncomponents = []\n[operations.x]\nweight = 2\n[operations.y]\ncomponents = []\n"

    assert entry_of(tmp_path, text, STORAGE, "any").pricing == "free"
    assert entry_of(tmp_path, text, STORAGE, "x").pricing == "free"
    assert entry_of(tmp_path, text, COMPUTE, "x").pricing == "unpriced"
    assert entry_of(tmp_path, text, COMPUTE, "y").pricing == "free"


def test_an_entry_takes_nothing_but_components_from_its_kind(tmp_path):
    kind = (
        '[kinds.compute]\ncomponents = []\nweight = 3\nsettlement = { method = "free" }\nreconciled = true\n'
    )
    catalog = load(tmp_path, kind + '[operations.ask]\nidempotency_key = "{$event.id}"\n')

    default, own = catalog.entry(0, COMPUTE, "other"), catalog.entry(0, COMPUTE, "ask")
    assert (default.weight, default.settlement, default.reconciled) == (3, "free", True)
    assert (own.weight, own.settlement, own.reconciled, own.pricing) == (1, "metered", False, "free")
    assert own.idempotency_key is not None


def test_a_correction_is_never_priced_by_the_catalog(tmp_path):
    assert entry_of(tmp_path, CONTRACT, CORRECTION, "ask") == Entry()


@pytest.mark.parametrize(
    ("basis", "quantity", "divisor", "usage_source"),
    [
        ("per-call", Quantity.ONE, 1, ""),
        ("per-request", Quantity.USAGE_OR_ONE, 1, "s"),
        ("per-unit", Quantity.USAGE_OR_UNITS, 1, "s"),
        ("per-token", Quantity.USAGE, 1, "s"),
        ("per-second", Quantity.USAGE, 1, "s"),
        ("per-1k-tokens", Quantity.USAGE, 1_000, "s"),
        ("per-mb", Quantity.USAGE, 1_000_000, "s"),
    ],
)
def test_each_basis_has_its_divisor_and_quantity(tmp_path, basis, quantity, divisor, usage_source):
    text = f'[operations.ask]\ncomponents = [{{ source = "s", basis = "{basis}", micro_usd = "0.000001" }}]'

    (component,) = entry_of(tmp_path, text).components

    assert component == Component("s", Basis(basis), 1, divisor, quantity, usage_source)


@pytest.mark.parametrize(
    ("name", "quantity", "usage_source"),
    [
        ("calls", Quantity.ONE, ""),
        ("request_bytes", Quantity.REQUEST_BYTES, ""),
        ("response_bytes", Quantity.RESPONSE_BYTES, ""),
        ("bytes", Quantity.BYTES, ""),
        ("units", Quantity.UNITS, ""),
        ("base_units", Quantity.BASE_UNITS, ""),
        ("stored_bytes", Quantity.STORED_BYTES, ""),
        ("usage.a.b c", Quantity.USAGE, "a.b c"),
    ],
)
def test_a_named_quantity_replaces_that_of_the_basis(tmp_path, name, quantity, usage_source):
    component = f'{{ source = "s", basis = "per-request", micro_usd = "1", quantity = "{name}" }}'

    (read,) = entry_of(tmp_path, f"[operations.ask]\ncomponents = [{component}]").components

    assert (read.quantity, read.usage_source, read.divisor) == (quantity, usage_source, 1)


def versions(tmp_path: Path, *texts: str):
    folder = tmp_path / "versions"
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number}.toml").write_text(text)
    return load_catalog(folder)


def ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000


def test_the_newest_version_that_does_not_begin_after_the_event_applies(tmp_path):
    catalog = versions(
        tmp_path,
        'version = "b"\neffective_from = 2026-02-01T01:00:00+01:00',
        'version = "c"\neffective_from = 2026-03-01T00:00:00.0005Z',
        'version = "a"',
    )

    names = [
        catalog.name(catalog.version_at(at))
        for at in (0, ms(2026, 2, 1) - 1, ms(2026, 2, 1), ms(2026, 3, 1), ms(2026, 3, 1) + 1)
    ]
    assert names == ["a", "a", "b", "b", "c"]
    assert catalog.starts_ms == (SINCE_EVER_MS, ms(2026, 2, 1), ms(2026, 3, 1) + 1)


def test_before_the_first_version_all_is_unpriced(tmp_path):
    catalog = load(tmp_path, CONTRACT)
    index = catalog.version_at(ms(2026, 11, 1) - 1)

    assert (index, catalog.name(index), catalog.entry(index, COMPUTE, "ask")) == (-1, "", Entry())


def test_a_version_without_a_name_is_named_by_its_file(tmp_path):
    assert load(tmp_path, "", "2026-05.toml").name(0) == "2026-05"


def test_two_versions_must_differ_in_name(tmp_path):
    with pytest.raises(ConfigError, match=r"1\.toml:2: version 'a' is also in .*0\.toml: give each its own"):
        versions(tmp_path, 'version = "a"', '\nversion = "a"\neffective_from = 2026-01-01T00:00:00Z')


def test_two_versions_must_differ_in_when_they_take_effect(tmp_path):
    with pytest.raises(ConfigError, match=r"1\.toml:3: version 'b' takes effect .* as does 'a' in .*0\.toml"):
        versions(
            tmp_path,
            'version = "a"\neffective_from = 2026-01-01T00:00:00Z',
            'version = "b"\n\neffective_from = 2026-01-01T01:00:00+01:00',
        )


def test_two_versions_since_ever_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"1\.toml:1: version 'b' takes effect since ever, as does 'a'"):
        versions(tmp_path, 'version = "a"', 'version = "b"')


def test_a_folder_without_versions_says_what_it_wants(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.toml").write_text("x")

    with pytest.raises(ConfigError, match=r"holds no \.toml file: put one for each version there$"):
        load_catalog(tmp_path)


def component_with(text: str) -> str:
    """An operation whose second component, on line 4, is this text."""
    sound = "{ source = 'a', basis = 'per-call', micro_usd = '1' }"
    return f"[operations.ask]\ncomponents = [\n  {sound},\n  {text}\n]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb =", "catalog.toml:2: the catalog is not TOML here: invalid value"),
        ("\nverison = 'a'", "catalog.toml:2: unknown key 'verison': did you mean 'version'?"),
        ("version = 2026-11-01", "catalog.toml:1: version must be a string in quotes, not 2026-11-01"),
        ("version = ''", "catalog.toml:1: version is empty: give it a text or leave it out"),
        (
            "effective_from = 2026-11-01T00:00:00",
            "catalog.toml:1: effective_from must be a date and time with offset",
        ),
        ("effective_from = 2026-11-01", "catalog.toml:1: effective_from must be a date and time with offset"),
        (
            "effective_from = '2026-11-01T00:00:00Z'",
            "catalog.toml:1: effective_from must be a date and time with",
        ),
        ("[kinds.trafic]", "catalog.toml:1: unknown kind 'trafic': did you mean 'traffic'?"),
        ("\n[kinds.correction]", "catalog.toml:2: a correction has no price"),
        ("kinds = 3", "catalog.toml:1: kinds must be a table, not 3"),
        ("\n[operations]\nask = 'x'", "catalog.toml:3: operations.ask must be a table, not 'x'"),
        (
            "[operations.'GET /a.b']\nwieght = 1",
            "catalog.toml:2: unknown key 'wieght' in operations.\"GET /a.b\": did you mean 'weight'?",
        ),
        (
            "[operations.a]\nweight = 0",
            "catalog.toml:2: operations.a.weight must be an integer from 1 to 1000000",
        ),
        (
            "[operations.a]\nweight = 1000001",
            "catalog.toml:2: operations.a.weight must be an integer from 1 to",
        ),
        (
            "[operations.a]\nweight = 1.0",
            "catalog.toml:2: operations.a.weight must be an integer from 1 to 1000000",
        ),
        (
            "[operations.a]\nweight = true",
            "catalog.toml:2: operations.a.weight must be an integer from 1 to 1000000",
        ),
        (
            "[operations.a]\nreconciled = 1",
            "catalog.toml:2: operations.a.reconciled must be true or false, not 1",
        ),
        (
            "[operations.a]\nsettlement = 'free'",
            "catalog.toml:2: operations.a.settlement must be a table, not 'free'",
        ),
        (
            "[operations.a]\nsettlement.method = 'fre'",
            "catalog.toml:2: unknown settlement method 'fre': did you mean 'free'?",
        ),
        (
            "[operations.a.settlement]\nmethod = 'free'\ncredits = 1",
            "catalog.toml:3: operations.a.settlement.credits goes with method 'credit' only, not with 'free'",
        ),
        (
            "[operations.a]\nsettlement = { method = 'credit', credits = '1' }",
            "catalog.toml:2: operations.a.settlement.credits must be an integer from 0",
        ),
        (
            "[operations.a]\nidempotency_key = '{$event.ident}'",
            "catalog.toml:2: operations.a.idempotency_key is wrong: {$event.ident} is not known",
        ),
        (
            "[operations.a]\ncomponents = {}",
            "catalog.toml:2: operations.a.components must be an array",
        ),
        (
            "[operations.a]\ncomponents = [\n\n'x']",
            "catalog.toml:4: operations.a.components 1 must be a table such as { ... }, not 'x'",
        ),
        (component_with("{ }"), "catalog.toml:4: operations.ask.components 2 has no source: name who"),
        (
            component_with("{ source = 's' }"),
            "catalog.toml:4: operations.ask.components 2 has no basis: give one of",
        ),
        (
            component_with("{ source = 's', basis = 'per-1k-token' }"),
            "catalog.toml:4: unknown basis 'per-1k-token': did you mean 'per-1k-tokens'?",
        ),
        (
            component_with("{ source = 's', basis = 'per-mb', micro_usd = '1', quantity = 'byte' }"),
            "catalog.toml:4: unknown quantity 'byte': did you mean 'bytes'?",
        ),
        (
            component_with("{ source = 's', basis = 'per-mb', micro_usd = '1', quantity = 'usage.' }"),
            "catalog.toml:4: unknown quantity 'usage.': did you mean 'usage.<source>'?",
        ),
        (
            component_with("{ source = 's', basis = 'per-mb', micro_usd = '1', xyz = 1 }"),
            "catalog.toml:4: unknown key 'xyz' in operations.ask.components 2: expected source, basis",
        ),
        (
            component_with("{ source = 's', basis = 'per-call' }"),
            "catalog.toml:4: operations.ask.components 2 has no micro_usd: give its price",
        ),
        (
            component_with("{ source = 's', basis = 'per-call', micro_usd = 0.1 }"),
            "catalog.toml:4: operations.ask.components 2.micro_usd is the number 0.1, but a TOML number may",
        ),
        (
            "[[operations.ask.components]]\nsource = 's'\nbasis = 'per-call'\nmicro_usd = 50",
            "catalog.toml:4: operations.ask.components 1.micro_usd is the number 50, but",
        ),
        *(
            (
                component_with(f"{{ source = 's', basis = 'per-call', micro_usd = '{price}' }}"),
                "catalog.toml:4: operations.ask.components 2.micro_usd must be a decimal string, not",
            )
            for price in ("-1", "0.0000001", "1e3", "1,5", " 1", "NaN", ".5", "9" * 39)
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_line(tmp_path, text, message):
    assert mistake(tmp_path, text).startswith(message)


def test_the_shipped_catalog_prices_settlements_by_what_was_settled_and_nothing_else():
    catalog = default_catalog()

    assert catalog.name(catalog.version_at(0)) == "default"
    assert catalog.entry(0, COMPUTE, "other") == Entry()
    settled = Component("settlement", Basis.PER_UNIT, 1_000_000, 1, Quantity.USAGE, "settled_micro_usd")
    assert catalog.entry(0, COMPUTE, "settlement") == Entry((settled,), Pricing.PRICED)


def seen(operation: str, kind: EventType = COMPUTE, events: int = 1, unpriced: int = 0, at: int = 0) -> Seen:
    return Seen(kind, operation, events, unpriced, at)


def test_the_audit_tells_the_undeclared_from_the_unseen_and_the_unpriced(tmp_path):
    catalog = versions(
        tmp_path,
        CONTRACT + "[operations.never]\n",
        'version = "old"\n[operations.gone]\ncomponents = []\n',
    )

    report = compare(
        catalog,
        [
            seen("GET /", TRAFFIC, 9, unpriced=4, at=ms(2026, 12, 1)),
            seen("GET /old", TRAFFIC, 8),
            seen("nobody", COMPUTE, 7, unpriced=7),
            seen("ask"),
        ],
    )

    assert [(row["operation"], row["events"], row["priced_by"]) for row in report["undeclared"]] == [
        ("GET /", 9, "kinds.traffic"),
        ("GET /old", 8, None),
        ("nobody", 7, None),
    ]
    assert report["never_seen"] == ["gone", "never"]
    assert [(row["operation"], row["events"], row["priced_now"]) for row in report["unpriced"]] == [
        ("GET /", 4, True),
        ("nobody", 7, False),
    ]


def test_the_audit_of_a_sound_catalog_needs_no_ledger(tmp_path):
    load(tmp_path, CONTRACT)

    result = CliRunner().invoke(app, ["audit", str(tmp_path / "catalog.toml")], env={"MILLRACE_LEDGER": None})

    assert result.exit_code == 0
    assert "2026-11-01 (2026-11-01T00:00:00.000Z): operations 1, defaults for traffic" in result.stdout


def test_the_audit_reads_the_ledger_and_leaves_corrections_out(tmp_path, ledger):
    ledger_rows.insert_events(
        ledger.client,
        [
            ledger_rows.event(5, operation="ask"),
            ledger_rows.event(5, operation="rm -rf \x1b[1m", pricing="unpriced"),
            ledger_rows.event(5, operation="rm -rf \x1b[1m"),
            ledger_rows.event(-5, operation="voided", type="correction", voids="k"),
        ],
    )
    load(tmp_path, CONTRACT + "[operations.never]\n")
    arguments = ["audit", str(tmp_path / "catalog.toml"), "--ledger", ledger.url]

    result = CliRunner().invoke(app, [*arguments, "--format", "json"])

    assert result.exit_code == 0
    report = json.loads(result.stdout)
    noon = {"operation": "rm -rf \x1b[1m", "type": "compute", "last_seen": "2026-03-10T12:00:00.000Z"}
    assert report["undeclared"] == [noon | {"events": 2, "priced_by": None}]
    assert report["unpriced"] == [noon | {"events": 1, "priced_now": False}]
    assert report["never_seen"] == ["never"]
    assert "\x1b" not in CliRunner().invoke(app, arguments).stdout


def test_a_long_table_is_cut_and_says_where_the_rest_is(tmp_path, ledger):
    rows = [ledger_rows.event(0, operation=f"op-{n}") for n in range(SHOWN_MAX + 3)]
    ledger_rows.insert_events(ledger.client, rows)
    load(tmp_path, CONTRACT)

    result = CliRunner().invoke(app, ["audit", str(tmp_path / "catalog.toml"), "--ledger", ledger.url])

    assert "... and 3 more: --format json lists them all" in result.stdout


def test_a_wrong_catalog_stops_the_audit(tmp_path):
    result = CliRunner().invoke(app, ["audit", str(tmp_path / "none.toml")])

    assert isinstance(result.exception, ConfigError)


def test_settlements_keep_their_shipped_price_under_a_catalog_that_does_not_name_them(tmp_path):
    price = '{ source = "x", basis = "per-call", micro_usd = "50" }'
    kinds = f"effective_from = 2026-01-01T00:00:00Z\n[kinds.compute]\ncomponents = [{price}]\n"
    shipped = default_catalog()
    for catalog in (load(tmp_path, kinds), load(tmp_path, "effective_from = 2099-01-01T00:00:00Z\n")):
        for version in (0, -1):
            for operation in ("settlement", "settlement_credit"):
                assert catalog.entry(version, COMPUTE, operation) == shipped.entry(0, COMPUTE, operation)
    named = load(tmp_path, "[operations.settlement]\ncomponents = []\n")
    assert named.entry(0, COMPUTE, "settlement").pricing is Pricing.FREE
    assert shipped.entry(0, COMPUTE, "settlement_credit").settlement is Settlement.CREDIT
