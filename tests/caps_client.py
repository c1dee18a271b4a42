"""A process that spends under a cap, and may die between any two statements of the store. Run by the tests.

    python caps_client.py URL SEED OPERATIONS DIE_AT LOG

The operations and their idempotency keys follow from the seed, so a process that is started again repeats them. Each
answer is a line of LOG, written before the next operation begins. DIE_AT is the number of the statement (a commit is
one) at which the process kills itself; odd: before it, even: right after it; 0: never.
"""

import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path

from sqlalchemy import event

from billing.asks import Authorize, Finalize, Method, Once, Release, Reserve, Settle
from billing.caps import Caps
from billing.store import open_store

NOON_MS = 1_795_262_400_000


class Clock:
    def now_ms(self):
        return NOON_MS


def main(url, seed, operations, die_at, log):
    chance = random.Random(seed)
    store = open_store(url)
    if die_at:
        die_in(store.engine, die_at)
    caps = Caps(store, Clock(), lambda n: os.urandom(n).hex())
    with Path(log).open("a", encoding="utf-8") as out:

        def ask(number, ask, key):
            outcome = caps.ask(
                ask, None, Once("any", f"{seed}-{key}", hashlib.sha256(str(ask).encode()).hexdigest())
            ).result()
            told = {"number": number, "ask": type(ask).__name__, "status": outcome.status}
            if outcome.settlement:
                told |= {"settlement": outcome.settlement.id, "micro": outcome.settlement.finalized_micro}
            out.write(json.dumps(told) + "\n")
            out.flush()
            return outcome

        for number in range(operations):
            amount, actual, choice = chance.randint(1, 90), chance.randint(0, 90), chance.random()
            method = Method.CREDIT if number % 3 == 0 else Method.METERED
            ask(number, Authorize("acme", amount), f"a{number}")
            if choice < 0.3:
                ask(number, Settle("acme", amount, method, key=f"{seed}-{number}"), f"s{number}")
                continue
            outcome = ask(number, Reserve("acme", amount, method=method), f"r{number}")
            if not outcome.is_ok or choice < 0.4:
                continue
            if choice < 0.6:
                ask(number, Release(outcome.reservation.id), f"e{number}")
            else:
                ask(number, Finalize(outcome.reservation.id, min(actual, amount)), f"f{number}")
    caps.close()


def die_in(engine, die_at):
    count = 0

    def step(*_):
        nonlocal count
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "before_cursor_execute", step)
    event.listen(engine, "after_cursor_execute", step)
    event.listen(engine, "commit", step)
    event.listen(engine, "checkin", step)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
