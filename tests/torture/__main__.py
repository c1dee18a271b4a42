"""`python -m tests.torture --seeds 10`: campaigns one after the other, each printed with its totals."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from sinks.clickhouse import migrate
from sinks.http_front import serving
from tests.conftest import empty
from tests.kafka.broker import Broker, Kafka, named_broker
from tests.torture.campaign import Campaign


def main() -> int:
    """Run the campaigns; the exit code is 1 when one of them does not come out."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--events", type=int, default=4_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _campaigns(options, Path(folder))


def _campaigns(options: argparse.Namespace, folder: Path) -> int:
    named, broker = named_broker(), Broker(folder / "broker")
    if not named:
        broker.create()
        broker.start()
    kafka = Kafka(named or broker.address, is_real=True, broker=None if named else broker)
    kills = failed = 0
    begun = time.monotonic()
    try:
        with serving(str(folder / "ledger")) as front:
            migrate(front.keeper)
            for seed in range(options.first, options.first + options.seeds):
                front.faults.happened.clear()
                campaign = Campaign(
                    seed,
                    kafka,
                    front,
                    folder / str(seed),
                    options.events,
                    options.kills,
                    with_broker_stops=True,
                )
                empty(front.keeper)
                try:
                    totals = campaign.run()
                except AssertionError as error:
                    failed += 1
                    totals = {"seed": seed, "failed": str(error)[:2000]}
                kills += campaign.killed
                sys.stdout.write(f"{json.dumps(totals)}\n")
                for line in campaign.log:
                    sys.stdout.write(f"  {line}\n")
                sys.stdout.flush()
    finally:
        broker.stop()
    seconds = time.monotonic() - begun
    sys.stdout.write(f"{options.seeds} seeds, {kills} kills, {failed} failed, {seconds:.0f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
