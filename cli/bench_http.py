"""`millrace bench --http`: how fast caps answer over HTTP, at a steady rate, with the service on one core.

The service is a process of its own, pinned to the first core; the requests come from another process, on another
core where there is one. Both stores are tried: SQLite, and the PostgreSQL that `--control` names.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from api.tokens import Secret, TokenDoor, make_token
from benchmarks.http_load import Plan
from benchmarks.percentiles import SHARES
from pipeline.errors import MillraceError

TENANTS = 10
CONNECTIONS = 32
WARM_UP_S = 2
_STARTS_WITHIN_S = 60
_NO_LIMIT = "1000000000/minute"


@dataclass(frozen=True, slots=True)
class HttpBench:
    """What is measured."""

    rate: int
    seconds: int
    control: str | None = None

    def run(self) -> dict[str, Any]:
        """Measure each store, one after the other."""
        stores: dict[str, str | None] = {"SQLite": None} | (
            {"PostgreSQL": self.control} if self.control else {}
        )
        rows = {name: self._measure(url) for name, url in stores.items()}
        return {"rate": self.rate, "seconds": self.seconds, "stores": rows, "table": _table(rows)}

    def _measure(self, control: str | None) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder, _service(Path(folder), control) as service:
            plan = Plan(
                "127.0.0.1",
                service.port,
                "/api/billing/authorize",
                self.rate,
                self.seconds,
                WARM_UP_S,
                CONNECTIONS,
                service.keys,
                [json.dumps({"estimatedMicro": str(100 + number)}) for number in range(TENANTS)],
            )
            before = service.cpu_s()
            found = _load(plan)
            requests = self.rate * (self.seconds + WARM_UP_S)
            return found | {"cpu_us": int((service.cpu_s() - before) * 1_000_000 / requests)}


@dataclass(frozen=True, slots=True)
class _Service:
    """A running service with its tenants."""

    pid: int
    port: int
    admin: str
    keys: list[str]

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask as an admin."""
        headers = {"Authorization": f"Bearer {self.admin}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), headers
        )
        try:
            with urllib.request.urlopen(request) as response:  # noqa: S310
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            raise MillraceError(self._refused(error)) from error
        return answer

    def _refused(self, error: urllib.error.HTTPError) -> str:
        """Say what the service said, and what to look at where its store is away."""
        said = f"the service answers {error.code}: {error.read().decode(errors='replace')[:300]}"
        if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
            return said
        return f"{said}; look whether the database that --control names answers"

    def cpu_s(self) -> float:
        """What the process has used of a core so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _service(folder: Path, control: str | None) -> Iterator[_Service]:
    secret = secrets.token_hex(32)
    settings = {
        "BILLING_ADMIN_JWT_SECRET": secret,
        "MILLRACE_SERVE_PORT": "0",
        "MILLRACE_STATE": str(folder / "state"),
        "MILLRACE_CONTROL": control or "",
        "MILLRACE_SERVE_RATE": f"admin={_NO_LIMIT} authorize={_NO_LIMIT}",
    }
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MILLRACE_", "BILLING_"))
    }
    process = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import main; main()", "serve", "--no-access-log"],
        env=kept | {name: value for name, value in settings.items() if value},
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        os.sched_setaffinity(process.pid, {_cores()[0]})
        door = TokenDoor(Secret(secret), "millrace", "millrace-admin")
        admin = make_token(door, "bench", int(time.time()), 3600)
        service = _Service(process.pid, _port(process), admin, [])
        for number in range(TENANTS):
            tenant = f"bench-{secrets.token_hex(4)}-{number}"
            service.call("/api/admin/tenants", {"tenant": tenant, "spendLimit": {"dailySpendUsd": "1000000"}})
            service.keys.append(
                service.call(f"/api/admin/tenants/{tenant}/keys", {"name": "bench"})["secret"]
            )
        yield service
    finally:
        process.terminate()
        process.communicate()


def _port(process: "subprocess.Popen[str]") -> int:
    said: list[str] = []
    assert process.stderr is not None  # noqa: S101 - it was asked for
    for line in process.stderr:
        said.append(line.strip())
        found = re.search(r"serving at http://127\.0\.0\.1:(\d+)", line)
        if found:
            return int(found[1])
    raise MillraceError(f"the service did not start: {' '.join(said[-3:])}")


def _load(plan: Plan) -> dict[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.http_load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(process.pid, {_cores()[-1]})
    out, err = process.communicate(json.dumps(asdict(plan)))
    if process.returncode:
        raise MillraceError(f"the load ended with {process.returncode}: {err.strip()[-300:]}")
    found: dict[str, Any] = json.loads(out)
    return found


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _table(rows: dict[str, dict[str, Any]]) -> str:
    names = [f"p{share:g}" for share in SHARES]
    lines = [
        "| store | answered | " + " | ".join(f"{name} ms" for name in names) + " | core, µs a request |",
        "|---|" + "---: |" * (len(names) + 2),
    ]
    for store, found in rows.items():
        answered = " ".join(f"{status}: {count:,}" for status, count in found["statuses"].items())
        shares = " | ".join(f"{found['latency_us'][name] / 1000:.1f}" for name in names)
        lines.append(f"| {store} | {answered} | {shares} | {found['cpu_us']} |")
    return "\n".join(lines)
