"""Many processes at one cap, and processes that die between any two statements: the cap holds, told is what is."""

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from caps_stage import NOON_MS, caps_stage, make_stage, migrated_url
from sqlalchemy import func, select

from billing.asks import Authorize, Reserve, Status
from billing.cap_checks import check_caps
from billing.cap_tables import reservations, settlements
from billing.credits import mint
from billing.upkeep import expire_due

__all__ = ["caps_stage", "migrated_url"]

pytest_plugins = ["stripe_double.fixtures"]

CLIENT = Path(__file__).with_name("caps_client.py")
KILLED = -9


def start(
    url: str, seed: int, log: Path, *, operations: int = 12, die_at: int = 0
) -> "subprocess.Popen[bytes]":
    arguments = [url, str(seed), str(operations), str(die_at), str(log)]
    return subprocess.Popen([sys.executable, str(CLIENT), *arguments], cwd=CLIENT.parent.parent)


def told(log: Path) -> list[dict]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def agree(answers: list[dict]) -> None:
    """What was told of an operation twice was told the same."""
    first = {}
    for answer in answers:
        known = first.setdefault((answer["number"], answer["ask"]), answer)
        assert known == answer


def with_credits(stage) -> None:
    """Three lots that are together less than what is asked of them."""
    for number, micro in enumerate((30, 10, 20)):
        mint(stage.store, "acme", micro, key=str(number), by=stage.by(), random_hex=stage.random_hex)


def settle_up(stage, answers: list[list[dict]], limit: int) -> None:
    """The cap held, every reservation ends, and what clients were told is what the ledger gets."""
    with stage.store.read() as connection:
        total = int(
            connection.execute(select(func.coalesce(func.sum(settlements.c.amount_micro), 0))).scalar_one()
        )
    current = stage.ask(Authorize("acme", 0)).spend.day.current_micro
    assert total <= current <= limit
    distinct = {a["settlement"]: a["micro"] for one in answers for a in one if "settlement" in a}
    assert sum(distinct.values()) == total
    assert check_caps(stage.store, NOON_MS).findings == []
    expire_due(stage.store, NOON_MS + 3_600_000)
    with stage.store.read() as connection:
        states = Counter(connection.execute(select(reservations.c.state)).scalars())
    assert states["open"] == 0
    stage.hand_over()
    stage.ledger.catch_up()
    stage.refresh()
    day = stage.ask(Authorize("acme", 0)).spend.day
    assert (day.ledger_micro, day.pending_micro, day.held_micro) == (total, 0, 0)


def test_of_two_hundred_at_once_the_cap_lets_exactly_its_own_through(caps_stage):
    caps_stage.limit("acme", day="0.001")
    futures = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        futures.extend([caps_stage.caps.ask(Reserve("acme", 10)) for _ in range(25)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = Counter(future.result(30).status for future in futures)
    assert statuses == {Status.RESERVED: 100, Status.CAP_EXCEEDED: 100}


def test_processes_that_race_for_one_cap_never_pass_it(migrated_url, tmp_path):
    stage = make_stage(migrated_url)
    stage.limit("acme", day="0.0005")
    with_credits(stage)
    logs = [tmp_path / f"{seed}.log" for seed in range(4)]
    clients = [start(migrated_url, seed, log, operations=25) for seed, log in enumerate(logs)]
    assert [client.wait(60) for client in clients] == [0] * 4
    answers = [told(log) for log in logs]
    statuses = {a["status"] for one in answers for a in one}
    assert {"cap_exceeded", "credits_exhausted"} <= statuses
    settle_up(stage, answers, 500)
    stage.caps.close()
    stage.store.close()


def test_a_process_that_dies_between_any_two_statements_leaves_nothing_half_done(migrated_url, tmp_path):
    seed = 1
    stage = make_stage(migrated_url)
    stage.limit("acme", day="0.0004")
    with_credits(stage)
    chance = random.Random(seed)
    log = tmp_path / "told.log"
    deaths = 0
    for _ in range(4):
        client = start(migrated_url, seed, log, die_at=chance.randint(20, 400))
        code = client.wait(60)
        assert code in {0, KILLED}
        deaths += code == KILLED
    assert start(migrated_url, seed, log).wait(60) == 0
    assert deaths >= 2
    answers = told(log)
    agree(answers)
    settle_up(stage, [answers], 400)
    stage.caps.close()
    stage.store.close()
