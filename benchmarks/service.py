"""A `millrace serve` of its own to measure: started in an empty folder, asked over HTTP, its processor time read."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pipeline.errors import MillraceError

_START_S = 120
_STOP_S = 120
_HZ = os.sysconf("SC_CLK_TCK")
PRICES = """
version = "measure"
[operations.ask]
components = [{ source = "compute", basis = "per-call", micro_usd = "1000" }]
"""
"""What everything is measured with: an event costs a thousandth of a dollar."""


@dataclass(slots=True)
class Service:
    """A service and its folder; `command` starts `millrace serve`, and its flags are added."""

    command: Sequence[str]
    folder: Path
    flags: Sequence[str] = ()
    port: int = 0
    _process: "subprocess.Popen[bytes] | None" = None

    def __enter__(self) -> Self:
        self.port = _free_port()
        prices = self.folder / "prices.toml"
        prices.write_text(PRICES)
        flags = [
            "--state", str(self.folder), "--ledger", f"chdb://{self.folder}/ledger", "--port", str(self.port),
            "--catalog", str(prices), "--no-access-log", "--rate", "ingest=100000000/minute",
            "--rate", "authorize=100000000/minute", *self.flags,
        ]  # fmt: skip
        with (self.folder / "said").open("ab") as said:
            self._process = subprocess.Popen([*self.command, *flags], stdout=said, stderr=said)  # noqa: S603 - our own program
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise MillraceError(
                    f"the service does not start: {(self.folder / 'said').read_text()[-500:]}"
                )
            time.sleep(0.05)
        return self

    def __exit__(self, *_details: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def connect(self) -> http.client.HTTPConnection:
        """A connection that stays open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def processor_s(self) -> float:
        """What the service has used of the processors, in seconds."""
        if self._process is None:
            return 0
        text = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _HZ

    def metric(self, name: str) -> float:
        """One figure of its metrics."""
        connection = self.connect()
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        found = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(found[0]) if found else 0

    def _answers(self) -> bool:
        connection = self.connect()
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Asker:
    """Sends JSON over one connection as one caller."""

    connection: http.client.HTTPConnection
    credential: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def post(self, path: str, body: object) -> int:
        """The status of the answer; what is sent may be bytes already."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "Authorization": f"Bearer {self.credential}",
            "Content-Type": "application/json",
            **self.headers,
        }
        self.connection.request("POST", path, content, headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and the largest, in milliseconds with one digit."""
    ordered = sorted(values)
    if not ordered:
        return {"p50_ms": 0, "p99_ms": 0, "max_ms": 0}
    return {
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000, 1),
        "max_ms": round(ordered[-1] * 1000, 1),
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
