"""What goes wrong in a run is one sentence that says what to do, and nothing is half-written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import run
from pipeline.chunk import Origin
from pipeline.errors import RejectBudgetError
from pipeline.flow import RejectBudget, RunState
from pipeline.ports import Tally

MILLRACE = [sys.executable, "-c", "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"]
ROOT = Path(__file__).parent.parent
PRICES = (
    'version = "1"\n[operations.ask]\ncomponents = [{ source = "x", basis = "per-call", micro_usd = "5" }]\n'
)


def line(number: int) -> bytes:
    event = {
        "specversion": "1.0", "id": f"e{number}", "source": "/s", "type": "compute", "tenant": f"t{number % 3}",
        "time": "2026-03-10T12:00:00Z", "data": {"operation": "ask"},
    }  # fmt: skip
    return json.dumps(event).encode()


def lines(count: int) -> bytes:
    return b"".join(line(number) + b"\n" for number in range(count))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Stand in an empty folder with a good file, and with no settings from outside."""
    for name in [name for name in os.environ if name.startswith("MILLRACE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.ndjson").write_bytes(lines(20))
    (tmp_path / "prices.toml").write_text(PRICES)
    return tmp_path


def fails(capfd, code: int, *arguments: str) -> str:
    """Run the program, which must fail with a code and one sentence; returns the sentence."""
    returned = run(list(arguments))
    out, err = capfd.readouterr()
    return one_sentence(code, returned, out, err)


def one_sentence(code: int, returned: int, out: str, err: str) -> str:
    assert (returned, out) == (code, ""), err
    assert err.startswith("millrace: ")
    assert err.count("\n") == 1
    assert "this should not happen" not in err
    return err.removeprefix("millrace: ").rstrip("\n")


WRONG_URLS = {
    "": "no ledger is named: give --ledger chdb:///absolute/folder or http",
    "sqlite:///x": "the ledger URL 'sqlite:///x' is not understood: give chdb:///absolute/folder or http",
    "chdb:///": "the embedded ledger needs an absolute folder, got 'chdb:///': give chdb:///absolute/folder",
    "chdb://some/folder": "the embedded ledger needs an absolute folder, got 'chdb://some/folder': give",
    "chdb:some/folder": "the embedded ledger needs an absolute folder, got",
    "chdb:///tmp/a#b": "the ledger URL 'chdb:///tmp/a#b' has a ? or a #: give chdb:///absolute/folder without them",
    "chdb:///tmp/a?b": "the ledger URL 'chdb:///tmp/a?b' has a ? or a #: give chdb:///absolute/folder without them",
    "http://": "the ledger URL 'http://' is not understood: give chdb:///absolute/folder or http",
    "http://user:secret@host:port/db": "the ledger URL 'http://user:***@host:port/db' is not understood: give",
    "http://[::1/db": "the ledger URL 'http://[::1/db' is not understood: give",
}


@pytest.mark.parametrize("url", WRONG_URLS)
def test_a_ledger_url_of_another_form_is_wrong_use(place, capfd, url):
    assert fails(capfd, 2, "run", "good.ndjson", "--ledger", url).startswith(WRONG_URLS[url])
    assert {path.name for path in place.iterdir()} == {"good.ndjson", "prices.toml"}


@pytest.mark.usefixtures("place")
def test_a_server_that_is_not_there_is_named_without_its_password(capfd):
    sentence = fails(
        capfd, 1, "run", "good.ndjson", "--ledger", "http://user:secret@127.0.0.1:1/db", "--json"
    )
    assert sentence == (
        "the ledger at http://user:***@127.0.0.1:1 does not answer: connection refused: "
        "check the address, and that ClickHouse runs"
    )


def test_a_ledger_folder_that_cannot_be_made_is_named(place, capfd):
    url = f"chdb://{place}/good.ndjson"
    assert fails(capfd, 1, "run", "good.ndjson", "--ledger", url) == (
        f"the ledger folder {place}/good.ndjson cannot be used: file exists: name a folder that this user may write to"
    )


def without_rights() -> None:
    """Take from root, in a child before it starts, the right to open everything."""
    import ctypes

    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability)  # PR_CAPBSET_DROP; no effect where one is not root


def start(*arguments: str, **more) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MILLRACE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=without_rights,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, **more,
    )  # fmt: skip


def millrace(*arguments: str, **more) -> tuple[int, str, str]:
    process = start(*arguments, **more)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def counts(url: str) -> dict[str, int]:
    sql = (
        "SELECT count() AS ledger, uniqExact(key_hash) AS keys, sum(cost_micro_usd) AS micro, "
        "(SELECT count() FROM rejected_events) AS rejects, (SELECT sum(accepted) FROM progress) AS accepted FROM ledger"
    )
    code, out, err = millrace("query", sql, "--format", "json", "--ledger", url)
    assert code == 0, err
    return {name: int(value) for name, value in json.loads(out)[0].items()}


@pytest.mark.parametrize("closed", ["ledger", "ledger/lock"])
def test_a_ledger_that_this_user_may_not_write_to_is_named(place, closed):
    (place / "ledger").mkdir()
    (place / "ledger" / "lock").touch()
    (place / closed).chmod(0)
    try:
        code, out, err = millrace("run", "good.ndjson", "--ledger", f"chdb://{place}/ledger", cwd=place)
    finally:
        (place / closed).chmod(0o700)
    assert one_sentence(1, code, out, err) == (
        f"the ledger folder {place}/ledger cannot be used: permission denied: "
        "name a folder that this user may write to"
    )


SMALL_DISK = """
mkdir disk && mount -t tmpfs -o size=$1 tmpfs disk || exit 77
shift
"$@"; first=$?
"$@"; second=$?
mount -o remount,size=300m disk || exit 77
"$@" --json && cp -r disk/ledger kept && echo $first $second
"""


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ("1m", "the disk of the ledger folder {}/disk/ledger is full: 8192 KB are needed to begin with, 1"),
        (
            "9m",
            "the ledger's disk is full while writing to ledger: free some space and run again, nothing is lost",
        ),
    ],
)
def test_a_full_disk_stops_the_run_and_with_room_it_goes_on_as_if_nothing_had_been(place, size, sentence):
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here, to mount a small disk with")
    (place / "many.ndjson").write_bytes(lines(100_000))
    command = [
        *MILLRACE,
        "run",
        "many.ndjson",
        "--ledger",
        f"chdb://{place}/disk/ledger",
        "--block-rows",
        "5000",
    ]
    command += ["--catalog", "prices.toml"]
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        ["unshare", *as_root, "--mount", "sh", "-c", SMALL_DISK, "sh", size, *command],
        check=False, capture_output=True, text=True, cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting a small disk is not allowed here")
    told = [text for text in done.stderr.splitlines() if "durable after" not in text]
    assert len(told) == 2, done.stderr
    assert all(text.startswith(f"millrace: {sentence.format(place)}") for text in told), told
    assert done.stdout.splitlines()[1] == "1 1"
    summary = json.loads(done.stdout.splitlines()[0])
    assert (summary["duplicates"], summary["rejected"]) == (0, 0)
    assert counts(f"chdb://{place}/kept") == {
        "ledger": 100_000, "keys": 100_000, "micro": 500_000, "rejects": 0, "accepted": 100_000,
    }  # fmt: skip


def test_a_ledger_with_a_file_that_a_full_disk_has_emptied_is_named_with_the_file(place):
    url = f"chdb://{place}/ledger"
    assert millrace("run", "good.ndjson", "--ledger", url, cwd=place)[0] == 0
    (emptied,) = (place / "ledger" / "store").rglob("ledger.sql")
    emptied.write_bytes(b"")
    sentence = one_sentence(1, *millrace("run", "good.ndjson", "--ledger", url, cwd=place))
    assert sentence.startswith(f"the ledger in {place}/ledger is damaged, its file store/")
    assert "/ledger.sql is empty: put a backup of the folder back, or remove the folder" in sentence


# The reject budget.


def bad(text: bytes, is_bad) -> bytes:
    return b"\n".join(b"{" if is_bad(n) else one for n, one in enumerate(text.splitlines())) + b"\n"


def reads(capfd, *arguments: str) -> dict[str, int]:
    """Run the program over a file, which must succeed; returns the summary, the only thing on stdout."""
    code = run(["run", *arguments, "--format", "cloudevents", "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert out.count("\n") == 1
    return json.loads(out)


def stored(ledger) -> tuple[int, int]:
    [row] = ledger.client.query(
        "SELECT (SELECT count() FROM ledger), (SELECT count() FROM rejected_events)"
    ).result_rows
    return row[0], row[1]


@pytest.mark.parametrize(
    ("count", "is_bad", "flags"),
    [
        (1_000, lambda _: True, ()),
        (2_000, lambda n: n % 5 == 0, ()),
        (1_500, lambda _: False, ("--reject-budget", "0")),
        (1_500, lambda _: True, ("--reject-budget", "1")),
        (1_100, lambda n: n < 11, ("--reject-budget", "0.01")),
    ],
)
@pytest.mark.parametrize("workers", ["1", "3"])
def test_rejects_within_the_budget_are_no_failure(ledger, place, capfd, count, is_bad, flags, workers):
    (place / "f").write_bytes(bad(lines(count), is_bad))
    rejected = sum(map(is_bad, range(count)))
    summary = reads(capfd, "f", "--ledger", ledger.url, "--workers", workers, *flags)
    assert (summary["events"], summary["rejected"]) == (count, rejected)
    assert stored(ledger) == (count - rejected, rejected)


@pytest.mark.parametrize(
    ("count", "is_bad", "flags", "budget"),
    [
        (1_001, lambda _: True, (), "20%"),
        (2_000, lambda n: n % 5 == 0 or n == 1, (), "20%"),
        (1_001, lambda n: n == 1_000, ("--reject-budget", "0"), "0%"),
        (2_000, lambda n: n < 11, ("--reject-budget", "0.005"), "0.5%"),
    ],
)
def test_rejects_beyond_the_budget_are_a_failure_and_what_was_judged_is_kept(
    ledger, place, capfd, count, is_bad, flags, budget
):
    (place / "f").write_bytes(bad(lines(count), is_bad))
    arguments = ["f", "--format", "cloudevents", "--ledger", ledger.url, "--json"]
    sentence = fails(capfd, 1, "run", *arguments, *flags)
    rejected = sum(map(is_bad, range(count)))
    assert sentence.endswith(f"events were rejected, more than the budget of {budget}: see millrace rejects list, "
                             "mend the input, or raise --reject-budget")  # fmt: skip
    assert stored(ledger) == (count - rejected, rejected)
    again = reads(capfd, "f", "--ledger", ledger.url, "--reject-budget", "1")
    assert (again["accepted"], again["duplicates"]) == (0, 0)
    assert stored(ledger) == (count - rejected, rejected)


def test_a_file_that_is_mended_after_the_budget_has_stopped_the_run_comes_in_whole(ledger, place, capfd):
    good = lines(20_000)
    (place / "f").write_bytes(bad(good, lambda n: n >= 10_000))
    fails(capfd, 1, "run", "f", "--format", "cloudevents", "--ledger", ledger.url)
    (place / "f").write_bytes(good)
    assert reads(capfd, "f", "--ledger", ledger.url)["accepted"] == 10_000
    assert stored(ledger)[0] == 20_000


A, B = Origin("a", 0), Origin("b", 0)


def test_a_lane_with_more_than_its_share_of_rejects_does_not_stop_the_others():
    state = RunState(RejectBudget(0.2))
    state.saw(7_000)
    state.count({A: Tally(accepted=2_500, rejected=1_000)}, 0)
    state.count({A: Tally(accepted=3_500)}, 0)
    state.saw(501)
    with pytest.raises(RejectBudgetError, match="1501 of 7501 events"):
        state.count({A: Tally(rejected=501)}, 0)


def rows(rejected, **more):
    return Tally(rejected=rejected, rejected_last=rejected, **more)


@pytest.mark.parametrize(
    ("tallies", "row"),
    [
        ([{A: rows(60)}, {A: rows(41)}], 101),
        ([{A: rows(60)}, {A: rows(99, accepted=1)}], 0),
        ([{A: Tally(duplicates=1, rejected=99, rejected_last=60)}, {A: rows(41)}], 101),
        ([{A: rows(60)}, {A: Tally(replayed=9)}, {A: rows(41)}], 101),
        ([{A: rows(60)}, {B: rows(60)}], 0),
        ([{A: rows(60)}, {B: Tally(accepted=9)}, {A: rows(41)}], 101),
    ],
)  # fmt: skip
def test_rejects_in_a_row_are_those_of_one_input_with_nothing_good_between(tallies, row):
    state = RunState(RejectBudget(0.99, after=10_000, in_a_row=100))
    if not row:
        for tally in tallies:
            state.count(tally, 0)
        return
    for tally in tallies[:-1]:
        state.count(tally, 0)
    with pytest.raises(RejectBudgetError, match=f"{row} events in a row were rejected, more than the 100"):
        state.count(tallies[-1], 0)


@pytest.mark.parametrize("block_rows", ["40", "250000"])
@pytest.mark.parametrize(
    ("is_bad", "row"),
    [
        (lambda n: n >= 700, 300),
        (lambda n: 500 <= n < 1_000 and n != 749, 250),
        (lambda n: n >= 500 and n % 100, None),
    ],
)
def test_too_many_rejects_one_after_the_other_stop_the_run_at_any_share(
    ledger, place, capfd, is_bad, row, block_rows
):
    (place / "f").write_bytes(bad(lines(1_000), is_bad))
    flags = ["--ledger", ledger.url, "--reject-budget", "0.9", "--rejects-in-a-row", "200", "--workers", "1"]
    flags += ["--block-rows", block_rows, "--chunk-bytes", "8192"]
    if row is None:
        reads(capfd, "f", *flags)
        return
    sentence = fails(capfd, 1, "run", "f", "--format", "cloudevents", "--json", *flags)
    assert "events in a row were rejected, more than the 200 that may be" in sentence
    assert sentence.endswith("mend the input, or raise --rejects-in-a-row")
