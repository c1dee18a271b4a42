"""Alerts over real HTTP, to a receiver that misbehaves: signed, tried again, kept when dead, sent again when asked."""

import hashlib
import hmac
import json
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from caps_stage import NOON_MS, caps_stage, make_stage, migrated_url

from billing.alerts import ATTEMPTS_MAX, Courier, list_deliveries, pause_ms, prune_alerts, replay, standing
from billing.asks import Authorize, Settle
from cli.alerting import AlertOptions, targets_of, webhooks_of
from pipeline.errors import MillraceError, UsageError
from pipeline.letters import Letter
from sinks.alert_targets import AlertTopic, Webhook, checked_url

__all__ = ["caps_stage", "migrated_url"]

pytest_plugins = ["stripe_double.fixtures"]
SECRET = "whsec-0123456789abcdef0123456789abcdef"


@dataclass
class Receiver:
    """Answers as it is told, in order; then 204."""

    answers: list[int | str] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@contextmanager
def receiving():
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append((dict(self.headers), body))
            answer = receiver.answers.pop(0) if receiver.answers else 204
            if answer == "hang up":
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if answer == "rubbish":
                self.wfile.write(b"this is no HTTP\r\n\r\n")
                return
            self.send_response(int(answer))
            if answer == 429:
                self.send_header("Retry-After", "100")
            if answer == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook?x=1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield receiver
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def receiver():
    with receiving() as found:
        yield found


def courier(stage, *targets, addressees=None):
    return Courier(stage.store, targets, stage.clock.now_ms, lambda n: n - 1, addressees)


def cross(stage):
    stage.limit("acme", day="0.001", thresholds_percent=(100,))
    stage.ask(Settle("acme", 1_000, key="1"))


def test_a_crossing_is_posted_once_with_a_signature_that_anyone_with_the_secret_can_check(
    caps_stage, receiver
):
    cross(caps_stage)
    sender = courier(caps_stage, Webhook("ops", receiver.url, SECRET))
    assert sender.turn() == 1
    assert sender.turn() == 0
    ((headers, body),) = receiver.got
    moment, _, given = headers["X-Millrace-Signature"].removeprefix("t=").partition(",v1=")
    assert int(moment) == NOON_MS // 1000
    assert given == hmac.new(SECRET.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Millrace-Alert-Kind"] == "cap_crossed"
    told = json.loads(body)
    assert (told["tenant"], told["window"], told["threshold_percent"]) == ("acme", "day", 100)
    assert (told["limit_micro_usd"], told["current_micro_usd"]) == ("1000", "1000")
    assert standing(caps_stage.store)["delivered"] == 1


@pytest.mark.parametrize("answer", [500, 302, 404, "hang up", "rubbish"])
def test_whatever_goes_wrong_it_is_tried_again_later_with_the_same_body(caps_stage, receiver, answer):
    receiver.answers = [answer]
    cross(caps_stage)
    sender = courier(caps_stage, Webhook("ops", receiver.url, SECRET))
    assert sender.turn() == 1
    assert sender.turn() == 0
    caps_stage.clock.ms += 1_000
    assert sender.turn() == 1
    first, second = receiver.got
    assert first[1] == second[1]
    assert (first[0]["X-Millrace-Attempt"], second[0]["X-Millrace-Attempt"]) == ("1", "2")
    assert first[0]["X-Millrace-Alert-Id"] == second[0]["X-Millrace-Alert-Id"]


def test_a_receiver_that_says_when_to_come_again_is_heard(caps_stage, receiver):
    receiver.answers = [429]
    cross(caps_stage)
    sender = courier(caps_stage, Webhook("ops", receiver.url, SECRET))
    sender.turn()
    caps_stage.clock.ms += 99_999
    assert sender.turn() == 0
    caps_stage.clock.ms += 1
    assert sender.turn() == 1


def test_after_the_last_attempt_it_is_a_dead_letter_which_can_be_sent_again(caps_stage, receiver):
    receiver.answers = [500] * ATTEMPTS_MAX
    cross(caps_stage)
    sender = courier(caps_stage, Webhook("ops", receiver.url, SECRET))
    for _ in range(ATTEMPTS_MAX):
        assert sender.turn() == 1
        caps_stage.clock.ms += 3_600_000
    assert sender.turn() == 0
    (dead,) = list_deliveries(caps_stage.store, state="dead")
    assert (dead["attempts"], dead["detail"]) == (ATTEMPTS_MAX, "answered 500")
    assert replay(caps_stage.store, caps_stage.clock.ms) == 1
    assert sender.turn() == 1
    assert standing(caps_stage.store) == {"pending": 0, "delivered": 1, "dead": 0, "new": 0}


def test_a_courier_that_died_leaves_its_letters_to_the_next_when_the_lease_is_over(caps_stage, receiver):
    class Dies:
        name = "ops"

        def send(self, letter, now_ms):
            raise KeyboardInterrupt

    cross(caps_stage)
    with pytest.raises(KeyboardInterrupt):
        courier(caps_stage, Dies()).turn()
    sender = courier(caps_stage, Webhook("ops", receiver.url, SECRET))
    assert sender.turn() == 0
    caps_stage.clock.ms += 60_000
    assert sender.turn() == 1


def test_each_target_gets_its_own_copy_and_one_that_is_away_holds_up_no_other(caps_stage, receiver):
    names = ["away", "ops"]
    cross(caps_stage)
    away = courier(caps_stage, Webhook("away", "http://127.0.0.1:9/", SECRET), addressees=names)
    ops = courier(caps_stage, Webhook("ops", receiver.url, SECRET), addressees=names)
    assert (away.turn(), ops.turn()) == (1, 1)
    states = {row["target"]: row["state"] for row in list_deliveries(caps_stage.store)}
    assert states == {"away": "pending", "ops": "delivered"}


def test_refusals_of_one_window_are_told_once_in_five_minutes(caps_stage, receiver):
    caps_stage.limit("acme", day="0")
    sender = courier(caps_stage, Webhook("ops", receiver.url, SECRET))
    for _ in range(5):
        caps_stage.ask(Authorize("acme", 1))
    assert sender.turn() == 1
    caps_stage.clock.ms += 300_000
    caps_stage.ask(Authorize("acme", 1))
    assert sender.turn() == 1


def test_what_nobody_was_told_for_a_day_is_no_news_and_what_is_old_is_forgotten(caps_stage, receiver):
    cross(caps_stage)
    caps_stage.clock.ms += 86_400_000
    sender = courier(caps_stage, Webhook("ops", receiver.url, SECRET))
    assert sender.turn() == 0
    assert prune_alerts(caps_stage.store, NOON_MS + 90 * 86_400_000) == 0
    assert prune_alerts(caps_stage.store, NOON_MS + 90 * 86_400_000 + 1) == 1


def test_alerts_go_to_the_decisions_topic_too():
    sent = []

    class Producer:
        stop = threading.Event()

        def send(self, records):
            sent.extend(records)

    target = AlertTopic("usage-decisions", Producer())
    letter = Letter(1, 7, "topic", "cap_refused", "acme", b'{"window":"day"}', 1)
    assert target.send(letter, 0).is_taken
    (record,) = sent
    assert (record.topic, record.key, record.value) == (
        "usage-decisions",
        b'["acme","day","cap_refused"]',
        letter.body,
    )

    class Away:
        stop = threading.Event()

        def send(self, records):
            raise MillraceError("away")

    assert not AlertTopic("usage-decisions", Away()).send(letter, 0).is_taken


def test_a_real_topic_gets_what_was_told_under_tenant_window_and_kind(tmp_path, empty_store, kafka):
    """From a refusal under a cap to the record that a consumer reads."""
    shutil.copy(empty_store, tmp_path / "control.db")
    stage = make_stage(f"sqlite:///{tmp_path}/control.db")
    topic = kafka.create_topic("alerts", **({"cleanup.policy": "compact"} if kafka.is_real else {}))
    (target,) = targets_of(AlertOptions(decisions_topic=topic, brokers=kafka.address))
    stage.limit("acme", day="0.001")
    stage.ask(Settle("acme", 1_000, key="all"))
    stage.ask(Authorize("acme", 1))
    courier = Courier(stage.store, [target], stage.clock.now_ms, lambda _: 0, [target.name])
    while courier.turn():
        pass
    consumer, found = kafka.consumer(topic), []
    until = time.monotonic() + 30
    while len(found) < 3 and time.monotonic() < until:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            found.append((json.loads(message.key()), dict(message.headers()), json.loads(message.value())))
    consumer.close()
    stage.caps.close()
    stage.store.close()
    kinds = sorted(body["kind"] for _, _, body in found)  # keys share no order on several partitions
    assert kinds == ["cap_crossed", "cap_crossed", "cap_refused"]
    for key, headers, body in found:
        assert key == ["acme", body["window"], body["kind"]]
        assert headers["millrace_kind"] == body["kind"].encode()
        assert body["limit_micro_usd"] == "1000"


def test_pauses_double_to_an_hour_and_half_of_each_is_chance():
    assert [pause_ms(n, lambda _: 0) for n in (1, 2, 3, 13, 40)] == [500, 1_000, 2_000, 1_800_000, 1_800_000]
    assert [pause_ms(n, lambda m: m - 1) for n in (1, 2, 13)] == [1_000, 2_000, 3_600_000]


@pytest.mark.parametrize(
    "url", ["ftp://a/", "http://", "http://u:p@a/", "http://a/#x", "http://a:99999/", "x"]
)
def test_what_cannot_be_posted_to_is_refused_at_the_start(url):
    with pytest.raises(UsageError):
        checked_url(url)


def test_webhooks_need_a_secret_and_names_of_their_own(monkeypatch):
    options = AlertOptions(["ops=http://127.0.0.1/"])
    with pytest.raises(UsageError, match="MILLRACE_ALERT_SECRET"):
        webhooks_of(options)
    monkeypatch.setenv("MILLRACE_ALERT_SECRET", "k3y-" + "0123456789abcdef" * 3)
    assert webhooks_of(options)[0].name == "ops"
    with pytest.raises(UsageError, match="each name once"):
        webhooks_of(AlertOptions(["ops=http://a/", "ops=http://b/"]))


def test_the_topic_needs_brokers(monkeypatch):
    with pytest.raises(UsageError, match="--brokers"):
        targets_of(AlertOptions(decisions_topic="usage-decisions"))
    (target,) = targets_of(AlertOptions(decisions_topic="usage-decisions", brokers="127.0.0.1:9"))
    assert target.name == "topic"
