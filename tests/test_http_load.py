"""The load of `millrace bench --http`: percentiles true to a percent, and no omission when the service stalls."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.http_load import Plan, run
from benchmarks.percentiles import Percentiles


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.sampled_from([1, 50, 90, 99, 99.9, 100]))
def test_a_percentile_is_never_less_than_the_true_one_and_at_most_a_hundredth_more(values, share):
    counted = Percentiles()
    for value in values:
        counted.add(value)
    true = sorted(values)[max(ceil(len(values) * share / 100), 1) - 1]
    assert true <= counted.at(share) <= true * 1.01 + 1
    assert counted.at(100) == max(values)


class Stalling(BaseHTTPRequestHandler):
    """Answers at once, but for one stall of half a second that everyone has to wait for."""

    protocol_version = "HTTP/1.1"
    gate = threading.Lock()
    asked = 0
    keys: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with Stalling.gate:
            Stalling.asked += 1
            Stalling.keys.add(self.headers["Idempotency-Key"])
            if Stalling.asked == 50:
                time.sleep(0.5)
        self.send_response(200 if Stalling.asked % 10 else 402)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_arguments: object) -> None:
        """Nothing to say."""


def test_a_stall_is_charged_for_everyone_who_would_have_asked_meanwhile():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    plan = Plan("127.0.0.1", server.server_address[1], "/x", 100, 2, 0, 2, ["k"], ["{}"])
    found = run(plan)
    server.shutdown()
    server.server_close()
    assert found["unanswered"] == 0
    assert sum(found["statuses"].values()) == len(Stalling.keys) == 200
    assert set(found["statuses"]) == {"200", "402"}
    assert found["latency_us"]["p100"] >= 450_000
    assert found["latency_us"]["p90"] >= 100_000  # a closed loop of two would have two slow answers among 200
