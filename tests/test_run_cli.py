"""`millrace run` as a user meets it: files of all sorts, flags and settings, signals, any number of workers."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard

from cli.main import run

ROOT = Path(__file__).parent.parent


def line(number: int, tenant: str = "t") -> bytes:
    event = {
        "specversion": "1.0", "id": f"e{number}", "source": "/s", "type": "compute", "tenant": tenant,
        "time": "2026-03-10T12:00:00Z", "data": {"operation": "ask"},
    }  # fmt: skip
    return json.dumps(event).encode() + b"\n"


def lines(first: int, count: int) -> bytes:
    return b"".join(line(number, f"t{number % 3}") for number in range(first, first + count))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Stand in an empty folder, with no settings from outside."""
    for name in [name for name in os.environ if name.startswith("MILLRACE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def runs(ledger, place, capfd):
    """Run the program over something, into the ledger of the tests; returns the summary."""

    assert not list(place.iterdir())

    def reads(*arguments: str) -> dict[str, int]:
        code = run(["run", *arguments, "--ledger", ledger.url, "--json"])
        out, err = capfd.readouterr()
        assert code == 0, err
        assert out.count("\n") == 1
        return json.loads(out)

    return reads


@pytest.fixture
def refuses(ledger, place, capfd):
    """Run the program, which must refuse; returns the one sentence of it."""

    assert not list(place.iterdir())

    def fails(*arguments: str, code: int = 2) -> str:
        returned = run(["run", *arguments, "--ledger", ledger.url, "--json"])
        out, err = capfd.readouterr()
        assert (returned, out) == (code, ""), err
        assert err.startswith("millrace: ")
        assert err.count("\n") == 1
        assert "this should not happen" not in err
        return err.removeprefix("millrace: ").rstrip("\n")

    return fails


def topics(ledger) -> dict[str, int]:
    return dict(ledger.client.query("SELECT topic, count() FROM ledger GROUP BY topic").result_rows)


# Files and folders.

ODD_NAMES = (
    b"it's", b'quo"te', b"new\nline", b"\xff\xfe", b"tab\t", b" space ", b"--json", b"; DROP TABLE ledger", b"%s{}",
    "日本.ndjson".encode(), b"back\\slash", b"\x1b[31m", b"n" * 255, b"*", b"$(id)",
)  # fmt: skip


def test_a_folder_of_files_with_any_names_is_read_whole_and_the_names_are_kept(ledger, place, runs):
    (place / "logs").mkdir()
    for number, name in enumerate(ODD_NAMES):
        Path(os.fsdecode(os.fsencode(place / "logs") + b"/" + name)).write_bytes(lines(3 * number, 3))
    assert runs("logs")["accepted"] == 3 * len(ODD_NAMES)
    assert topics(ledger) == {name.decode("utf-8", "backslashreplace"): 3 for name in ODD_NAMES}
    assert runs("logs")["duplicates"] == 3 * len(ODD_NAMES)


def test_hidden_files_and_folders_are_left_out_and_links_to_files_that_are_read_anyway(ledger, place, runs):
    for number, name in enumerate(("logs/a.log", "logs/.hidden", "logs/.git/x", "logs/sub/b.log", "c.log")):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(lines(10 * number, 5))
    (place / "logs" / "0-latest.log").symlink_to("a.log")
    (place / "logs" / "c.log").symlink_to(place / "c.log")
    (place / "logs" / "again").symlink_to("sub", target_is_directory=True)
    (place / "logs" / "socket").mkdir()
    os.mkfifo(place / "logs" / "sub" / "fifo")
    runs("logs")
    assert topics(ledger) == {"a.log": 5, "sub/b.log": 5, "c.log": 5}


def test_a_link_that_leads_to_nothing_or_out_of_the_folder_is_refused(place, refuses):
    (place / "logs").mkdir()
    (place / "logs" / "a.log").write_bytes(lines(0, 1))
    (place / "logs" / "b.log").symlink_to("gone.log")
    assert refuses("logs") == "logs/b.log is a link to a file that is not there: mend it, or take it away"
    (place / "logs" / "b.log").unlink()
    (place / "elsewhere").mkdir()
    (place / "logs" / "more").symlink_to(place / "elsewhere", target_is_directory=True)
    assert refuses("logs") == (
        "logs/more is a link to a folder elsewhere: name that folder by itself, or take the link away"
    )


def test_a_file_under_two_names_is_refused(place, refuses):
    (place / "a.log").write_bytes(lines(0, 1))
    (place / "b.log").symlink_to("a.log")
    assert refuses("a.log", "b.log") == (
        "a.log and b.log are the same file, whose lines would be counted twice: name it once"
    )


def test_many_small_files_packed_and_not_are_one_stream_in_the_order_of_their_names(ledger, place, runs):
    (place / "many").mkdir()
    packings = (bytes, gzip.compress, zstandard.ZstdCompressor().compress)
    for number in range(120):
        content = lines(10 * number, 10) if number % 10 else b""
        (place / "many" / f"{number:03}").write_bytes(packings[number % 3](content))
    assert runs("many")["accepted"] == 1080
    rows = ledger.client.query("SELECT event_id, topic, offset FROM ledger").result_rows
    assert sorted(rows) == sorted((f"e{n}", f"{n // 10:03}", n % 10 + 1) for n in range(1200) if n // 10 % 10)
    again = runs("many")
    assert (again["accepted"], again["duplicates"]) == (0, 1080)


def test_the_source_name_is_what_the_user_says_it_is(ledger, place, runs, refuses):
    (place / "a.log").write_bytes(lines(0, 5))
    runs("a.log", "--source", "edge\udcff-1")
    assert topics(ledger) == {"edge\\xff-1": 5}
    assert (
        refuses("a.log", "--source", " ") == "--source is empty: give the log a name, or leave --source out"
    )


@pytest.mark.parametrize("flag", ["--tenant", "--unattributed-tenant"])
@pytest.mark.parametrize("name", ["", "t" * 129, "\udcff"])
def test_an_account_that_no_event_could_name_is_refused(place, refuses, flag, name):
    (place / "a.log").write_bytes(lines(0, 5))
    assert refuses("a.log", flag, name).startswith(f"{flag} takes 1 to 128 characters of UTF-8, got ")


def test_line_breaks_in_a_file_name_do_not_break_the_sentence(refuses):
    assert refuses("no\nsuch\nfile") == "there is no file or folder no\\nsuch\\nfile: check the path"


# Signals.

MILLRACE = [sys.executable, "-c", "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"]
STOPPED = (
    "millrace: stopped, as asked, before the end of the input: what was read is in the ledger, "
    "and the same command goes on from there"
)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MILLRACE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def told(err: str) -> list[str]:
    """What stands on stderr but for the lines of progress."""
    return [text for text in err.splitlines() if "durable after" not in text]


PART = re.compile(r"20[0-9]{4}_")


def when_it_writes(process: subprocess.Popen[str], ledger: Path) -> None:
    """Wait for the first block of the ledger."""
    deadline = time.monotonic() + 120
    while process.poll() is None and not any(PART.match(n) for _, names, _ in os.walk(ledger) for n in names):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "workers", "times"), [(signal.SIGTERM, 1, 1), (signal.SIGINT, 2, 3)])
def test_a_signal_ends_a_run_in_order_and_the_next_goes_on_where_it_was(place, number, workers, times):
    count = 60_000
    (place / "events").write_bytes(lines(0, count))
    command = ["run", "events", "--ledger", f"chdb://{place}/ledger", "--json", "--chunk-bytes", "4096"]
    command += ["--block-rows", "2000"]
    process = start(*command, "--workers", str(workers))
    when_it_writes(process, place / "ledger")
    for _ in range(times):
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, told(err)) == (0, [STOPPED]), err
    first = json.loads(out)
    assert 0 < first["accepted"] == first["events"] < count
    process = start(*command, "--workers", str(3 - workers))
    out, err = process.communicate(timeout=240)
    assert (process.returncode, told(err)) == (0, []), err
    second = json.loads(out)
    assert second["accepted"] == second["events"] == count - first["accepted"]


def test_a_second_run_on_an_embedded_ledger_is_told_so_and_the_first_is_not_disturbed(place):
    os.mkfifo(place / "events")
    ledger = f"chdb://{place}/ledger"
    first = start(
        "run", "events", "--format", "cloudevents", "--ledger", ledger, "--json", "--block-rows", "1"
    )
    with (place / "events").open("wb", buffering=0) as events:
        events.write(lines(0, 10))
        when_it_writes(first, place / "ledger")
        second = start("run", "events", "--ledger", ledger, "--json")
        out, err = second.communicate(timeout=120)
        assert (second.returncode, out) == (1, "")
        assert err == (
            f"millrace: the ledger in {place}/ledger is in use by another process: "
            "wait for it, stop it, or ask it over HTTP (an embedded ledger has one process at a time)\n"
        )
        events.write(lines(10, 10))
    out, err = first.communicate(timeout=120)
    assert (first.returncode, json.loads(out)["accepted"]) == (0, 20), err
