"""The meters file: what it means, and every mistake with its line."""

from pathlib import Path

import pytest

from billing.meters import Meter, Price, hold_meaning, load_meters
from billing.store import open_store
from pipeline.errors import ConfigError
from pipeline.outbox import Measure, Sums

EXAMPLE = Path(__file__).parents[1] / "examples" / "meters.toml"


def load(tmp_path, text):
    path = tmp_path / "meters.toml"
    path.write_text(text)
    return load_meters(path)


def test_without_a_file_one_meter_sums_all_metered_micro_usd():
    declaration = load_meters(None)
    cost = Meter(
        name="cost",
        event_name="millrace_micro_usd",
        display_name="Metered cost in micro-USD",
        measure=Measure(Sums.COST),
        unit=10**6,
        price=Price("0.0001"),
    )
    assert declaration.meters == (cost,)
    assert (declaration.bill_from, declaration.finalizes_after_s) == (0, 3600)


def test_the_example_declares_what_its_comments_say():
    declaration = load_meters(EXAMPLE)
    measures = {meter.name: meter.measure for meter in declaration.meters}
    assert measures == {
        "cost": Measure(Sums.COST),
        "egress": Measure(Sums.BYTES),
        "models": Measure(Sums.COST, "", ("ask", "summarise"), ("openai", "anthropic")),
        "tokens": Measure(Sums.USAGE, "openai"),
    }
    assert [meter.unit for meter in declaration.meters] == [10**6, 10**12, 10**9, 10**9]


def test_bill_from_is_an_hour_in_any_offset(tmp_path):
    text = "bill_from = 2026-11-01T02:00:00+02:00\n[meters.a]\n"
    assert load(tmp_path, text).bill_from == 1793491200


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("", 1, "no meter is declared"),
        ("namespace = 'a b'\n[meters.a]\n", 1, "namespace must be 1 to 64 letters"),
        ("finalizes_after_hours = 73\n[meters.a]\n", 1, "must be an integer from 1 to 72, not 73"),
        ("bill_from = 2026-11-01T00:30:00Z\n[meters.a]\n", 1, "bill_from must be the start of an hour"),
        ("bill_from = 2026-11-01T00:00:00\n[meters.a]\n", 1, "bill_from must be the start of an hour"),
        ("meter = 1\n[meters.a]\n", 1, "unknown key 'meter': did you mean 'meters'?"),
        ("[meters.a]\nsums = 'weight'\n", 2, "meters.a.sums must be one of cost, calls, units"),
        ("[meters.a]\nsums = 'usage'\n", 2, "or usage.SOURCE, not 'usage'"),
        ("[meters.a]\nsums = 'calls.x'\n", 2, "not 'calls.x'"),
        ("[meters.a]\n\nunit = 1\n", 3, "meters.a.unit must be a string"),
        ("[meters.a]\nunit = '0'\n", 2, "meters.a.unit must be a decimal string above 0"),
        ("[meters.a]\nunit = '0.0000001'\n", 2, "meters.a.unit must be a decimal string above 0"),
        ("[meters.a]\nsums = 'bytes'\nsources = ['x']\n", 3, 'goes with sums = "cost" only'),
        ("[meters.a]\noperations = []\n", 2, "is empty, so nothing would be summed"),
        ("[meters.a]\noperations = [1]\n", 2, "must be an array of names, not of 1"),
        ("[meters.a]\nevent_name = 'a b'\n", 2, "must be 1 to 100 letters"),
        ("[meters.a]\nprice = {}\n", 2, "needs unit_amount_decimal"),
        ("[meters.a]\nprice = { unit_amount_decimal = '-1' }\n", 2, "must be a decimal string in cents"),
        ("[meters.a]\nprice = { unit_amount_decimal = '1', currency = 'USD' }\n", 2, "three small letters"),
        (
            "[meters.a]\nprice = { unit_amount_decimal = '1', interval = 'hour' }\n",
            2,
            "one of day, week, month",
        ),
        ("[meters.a]\nevent_name = 'x'\n[meters.b]\nevent_name = 'x'\n", 4, "both report as 'x'"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, text, line, sentence):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert f"meters.toml:{line}: " in str(caught.value)
    assert sentence in str(caught.value)


def test_a_meter_that_has_reported_keeps_its_meaning(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/control.db")
    hold_meaning(store, load(tmp_path, "[meters.a]\noperations = ['x', 'y']\n"))
    hold_meaning(store, load(tmp_path, "[meters.a]\noperations = ['y', 'x']\ndisplay_name = 'Other'\n"))
    with pytest.raises(ConfigError, match="declare the new meaning under a new event name"):
        hold_meaning(store, load(tmp_path, "[meters.a]\nunit = '10'\noperations = ['x', 'y']\n"))
    hold_meaning(store, load(tmp_path, "[meters.a]\nevent_name = 'a2'\nunit = '10'\n"))
    store.close()
