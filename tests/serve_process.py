"""A real `millrace serve` in a folder of its own: started, asked, killed."""

import http.client
import json
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from billing import api_keys
from billing.audit import By
from billing.store import open_store

CODE = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"
LOOK = r"""
import json, sys
from sinks.clickhouse import connect
client = connect(sys.argv[1])
json.dump([list(map(str, row)) for row in client.query(sys.argv[2]).result_rows], sys.stdout)
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Service:
    """A service and its folder, which outlives it."""

    folder: Path
    flags: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def ledger(self) -> str:
        return f"chdb://{self.folder}/ledger"

    def make_key(self, tenant: str, *, tenant_from_subject: bool = False) -> str:
        """A key of a tenant; to be called while nothing is served."""
        store = open_store(f"sqlite:///{self.folder}/control.db")
        by = By("test", int(time.time() * 1000))
        _, secret = api_keys.create(
            store,
            tenant,
            name="test",
            tenant_from_subject=tenant_from_subject,
            by=by,
            random_hex=secrets.token_hex,
        )
        store.close()
        return secret

    def start(self) -> None:
        """Start it and wait until it answers."""
        flags = [
            "--state",
            str(self.folder),
            "--ledger",
            self.ledger,
            "--port",
            str(self.port),
            "--no-access-log",
        ]
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE, "serve", *flags, *self.flags], stdout=out, stderr=out
            )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(self.said())
            try:
                if self.ask("GET", "/healthz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError(self.said())

    def said(self) -> str:
        return (self.folder / "out").read_text()

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process = None
        return code

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        connection = self.connect()
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def look(self, sql: str) -> list[list[str]]:
        """Ask the ledger while nothing is served, in a process of its own."""
        found = subprocess.run(
            [sys.executable, "-c", LOOK, self.ledger, sql], capture_output=True, check=True
        )
        rows: list[list[str]] = json.loads(found.stdout)
        return rows
