"""The accounts file: exact limits, thresholds, zones, and mistakes with their line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import accounts
from pipeline.accounts import Account, Accounts, load_accounts
from pipeline.errors import ConfigError

WHOLE = """\
[tenants."acct_1"]
display_name = "Example Ltd"
time_zone = "Europe/Berlin"
stripe_customer = "cus_123"
thresholds_percent = [100, 50, 80, 50]
spendLimit.dailySpendUsd = "250.000001"
spendLimit.monthlySpendUsd = 5000

[tenants.bare]

[defaults]
time_zone = "Asia/Kathmandu"
spendLimit = { dailySpendUsd = "0" }
"""


def load(tmp_path: Path, text: str) -> Accounts:
    path = tmp_path / "accounts.toml"
    path.write_text(text, encoding="utf-8")
    return load_accounts(path)


def test_an_account_has_all_that_its_table_says(tmp_path):
    account = load(tmp_path, WHOLE).get("acct_1")

    assert account == Account(
        "acct_1", "Example Ltd", "Europe/Berlin", "cus_123", 250_000_001, 5_000_000_000, (50, 80, 100)
    )
    assert account.zone.key == "Europe/Berlin"


def test_a_named_tenant_takes_nothing_from_the_defaults(tmp_path):
    loaded = load(tmp_path, WHOLE)

    assert loaded.get("bare") == Account("bare", "bare", "UTC", "", None, None, (80, 100))
    assert loaded.declared("bare")


def test_a_tenant_that_is_not_named_has_the_defaults(tmp_path):
    loaded = load(tmp_path, WHOLE)

    assert loaded.get("other") == Account("other", "other", "Asia/Kathmandu", "", 0, None, (80, 100))
    assert not loaded.declared("other")


def test_without_a_file_every_tenant_is_in_utc_without_limits():
    assert Accounts().get("x") == Account("x", "x")
    assert not Accounts().declared("x")


def test_names_that_toml_must_quote_and_limits_as_a_table_of_their_own(tmp_path):
    loaded = load(tmp_path, "[tenants.\"o'neill; DROP 日本\".spendLimit]\nmonthlySpendUsd = '0.1'\n")

    assert loaded.get("o'neill; DROP 日本").monthly_limit_micro_usd == 100_000


def test_the_example_of_the_documentation_loads(tmp_path):
    example = accounts.__doc__.split("\n\n    ", 1)[1].split("\n\nA tenant", 1)[0]
    loaded = load(tmp_path, "    " + example)

    assert loaded.get("acct_1").daily_limit_micro_usd == 250_000_000
    assert loaded.get("other").daily_limit_micro_usd == 10_000_000


@given(st.integers(0, 9_223_372_036_854), st.integers(0, 999_999), st.integers(0, 6))
def test_a_limit_is_taken_to_the_micro_usd(tmp_path_factory, dollars, micro, digits):
    fraction = f"{micro:06}"[:digits]
    text = f"{dollars}.{fraction}" if fraction else str(dollars)
    expected = dollars * 10**6 + int(fraction.ljust(6, "0"))
    folder = tmp_path_factory.getbasetemp()
    written = f"[defaults.spendLimit]\ndailySpendUsd = '{text}'\n"

    if expected <= 2**63 - 1:
        assert load(folder, written).get("x").daily_limit_micro_usd == expected
    else:
        with pytest.raises(ConfigError):
            load(folder, written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tenant.a]", "accounts.toml:1: unknown key 'tenant': did you mean 'tenants'?"),
        (
            "[tenants.a]\n\ntimezone = 'UTC'",
            "accounts.toml:3: unknown key 'timezone' in tenants.a: did you mean 'time_",
        ),
        ("[tenants]\na = 'UTC'", "accounts.toml:2: tenants.a must be a table, not 'UTC'"),
        ("[tenants.'']", "accounts.toml:1: a tenant has 1 to 128 characters, not 0: mend its name"),
        (
            f"[tenants.{'x' * 129}]",
            "accounts.toml:1: a tenant has 1 to 128 characters, not 129: mend its name",
        ),
        (
            "[tenants.a]\ntime_zone = 'Europe/Berln'",
            "accounts.toml:2: unknown time zone 'Europe/Berln': did you",
        ),
        (
            "[tenants.a]\ntime_zone = '+01:00'",
            "accounts.toml:2: unknown time zone '+01:00': give an IANA name such as",
        ),
        (
            "[defaults]\ntime_zone = 1",
            "accounts.toml:2: defaults.time_zone must be a string in quotes, not 1",
        ),
        ("[defaults]\ndisplay_name = ''", "accounts.toml:2: defaults.display_name is empty"),
        ("[defaults]\nspendLimit = 5", "accounts.toml:2: defaults.spendLimit must be a table, not 5"),
        (
            "[tenants.a.spendLimit]\ndailySpendUSD = 5",
            "accounts.toml:2: unknown key 'dailySpendUSD' in tenants.a.spendLimit: did you mean",
        ),
        (
            "[tenants.a]\nspendLimit.dailySpendUsd = 250.1",
            "accounts.toml:2: tenants.a.spendLimit.dailySpendUsd is the number 250.1, but a TOML number with",
        ),
        *(
            (
                f"[tenants.a]\nspendLimit.monthlySpendUsd = {value}",
                "accounts.toml:2: tenants.a.spendLimit.monthlySpendUsd must be US dollars from 0 to",
            )
            for value in (
                "-1",
                "'-1'",
                "true",
                "'0.0000001'",
                "'1e3'",
                "'$5'",
                "9223372036855",
                "[]",
                "2026-01-01",
            )
        ),
        (
            "[defaults]\nthresholds_percent = 80",
            "accounts.toml:2: defaults.thresholds_percent must be an array",
        ),
        *(
            (
                f"[defaults]\nthresholds_percent = [\n80,\n{value}]",
                "accounts.toml:4: defaults.thresholds_percent must each be an integer from 1 to 1000",
            )
            for value in ("0", "1001", "80.0", "true", "'80'")
        ),
        ("[tenants.a]\n[tenants.a]", "accounts.toml:2: the accounts file is not TOML here: cannot declare"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_line(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)

    sentence = str(caught.value).removeprefix(f"{tmp_path}/")
    assert sentence.startswith(message)
    assert "\n" not in sentence


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"^the accounts file .*none\.toml does not exist"):
        load_accounts(tmp_path / "none.toml")
