"""kill -9 of a service under load: what was answered 204 is counted, once, whatever died; a stop drains."""

import http.client
import json
import random
import threading
import time

import pytest

from tests.serve_process import Service

PATH = "/api/v1/events"
PER_BATCH = 20
COUNTS = (
    "SELECT count(), uniqExact(event_id), uniqExact(key_hash), uniqExact(topic, partition, offset), "
    "sum(toInt128(weighted_units)) / 1000000 FROM ledger"
)


class Sender(threading.Thread):
    """Sends batches until it is told to stop, each again until it is answered 204."""

    def __init__(self, service, key, name):
        super().__init__(daemon=True)
        self.service, self.key, self.prefix = service, key, name
        self.answered, self.stopped, self.again = [], threading.Event(), 0

    def run(self):
        connection, n = self.service.connect(), 0
        while not self.stopped.is_set():
            ids = [f"{self.prefix}-{n}-{i}" for i in range(PER_BATCH)]
            body = json.dumps([
                {"specversion": "1.0", "id": i, "source": "load", "type": "compute", "data": {"operation": "ask"}}
                for i in ids
            ])  # fmt: skip
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            try:
                connection.request("POST", PATH, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                connection, status = self.service.connect(), 0
                time.sleep(0.02)
            if status == 204:
                self.answered += ids
                n += 1
            else:
                self.again += 1


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path, ("--rate", "ingest=1000000/minute"))
    yield service
    if service.process is not None:
        service.kill()


def test_nothing_that_was_answered_is_lost_and_nothing_counts_twice(service):
    source, key = random.Random(7), service.make_key("acme")
    service.start()
    senders = [Sender(service, key, str(n)) for n in range(4)]
    for sender in senders:
        sender.start()
    for _ in range(3):
        before = sum(len(sender.answered) for sender in senders)
        while sum(len(sender.answered) for sender in senders) < before + 400:
            time.sleep(0.01)
        time.sleep(source.random() * 0.4)
        service.kill()
        service.start()
    for sender in senders:
        sender.stopped.set()
        sender.join()
    assert service.stop() == 0, service.said()
    answered = [one for sender in senders for one in sender.answered]
    assert len(answered) == len(set(answered)) > 1_200
    (rows, ids, keys, origins, _units), *_ = service.look(COUNTS)
    counted = {row[0] for row in service.look("SELECT event_id FROM ledger")}
    assert set(answered) <= counted
    assert len(counted - set(answered)) <= PER_BATCH * sum(sender.again for sender in senders)
    assert rows == ids == keys == origins
    assert service.look("SELECT count() FROM rejected_events") == [["0"]]


def test_a_stop_counts_all_that_was_answered_before_it_ends(service):
    key = service.make_key("acme")
    service.start()
    sender = Sender(service, key, "s")
    sender.start()
    time.sleep(1)
    assert service.stop() == 0, service.said()
    sender.stopped.set()
    sender.join()
    counted = {row[0] for row in service.look("SELECT event_id FROM ledger")}
    assert len(sender.answered) >= PER_BATCH
    assert set(sender.answered) <= counted
