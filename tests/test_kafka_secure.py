"""A broker with passwords and certificates: any setting of librdkafka goes through, and a wrong one is told."""

import shutil
import time

import pytest

from cli.run_kafka import KafkaOptions, run_kafka
from cli.running import RunOptions
from pipeline.errors import MillraceError
from tests.event_lines import event, line
from tests.kafka.broker import DOORS, PASSWORD, USER, Broker, Kafka, NoBrokerError, free_port

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    if shutil.which("keytool") is None:
        pytest.skip("no keytool on the path to make a certificate with: it comes with Java")
    broker = Broker(tmp_path_factory.mktemp("secure") / "broker", doors={name: free_port() for name in DOORS})
    try:
        broker.create()
        broker.start()
    except NoBrokerError as error:
        pytest.skip(f"no Kafka with passwords and certificates to test with: {error}")
    yield broker
    broker.stop()


@pytest.fixture
def topic(secure):
    kafka = Kafka(secure.address, is_real=True, broker=secure)
    topic = kafka.create_topic(f"secure-{time.time_ns()}", 2)
    kafka.send(topic, {p: [line(event(id=f"{p}", time="2026-01-01T00:00:00Z")), b"bad"] for p in range(2)})
    return topic


def login(mechanism, password=PASSWORD):
    return [f"sasl.mechanism={mechanism}", f"sasl.username={USER}", f"sasl.password={password}"]


def trust(broker):
    return [f"ssl.ca.location={broker.certificate}"]


def run(broker, door, topic, ledger, settings, **more):
    address = f"127.0.0.1:{broker.doors[door]}"
    settings = [f"security.protocol={DOORS[door]}", *settings]
    return run_kafka(
        RunOptions([], ledger.url, reject_budget=1.0, workers=2),
        KafkaOptions(address, topic, "lag", settings, until_end=True, **more),
    )


@pytest.mark.parametrize(
    ("door", "mechanism"),
    [*(("SASL", mechanism) for mechanism in MECHANISMS), ("TLS", None), ("SASLTLS", "SCRAM-SHA-512")],
)
def test_a_run_comes_in_by_every_door_reads_and_writes_its_dead_letters(
    secure, topic, ledger, door, mechanism
):
    letters = Kafka(secure.address, is_real=True).create_topic(f"letters-{time.time_ns()}")
    settings = (login(mechanism) if mechanism else []) + (trust(secure) if "TLS" in door else [])
    summary = run(secure, door, topic, ledger, settings, dead_letters=letters)
    assert (summary["accepted"], summary["rejected"]) == (2, 2)
    reader = Kafka(secure.address, is_real=True).consumer(letters)
    assert [m.value() for m in reader.consume(2, 15)] == [b"bad", b"bad"]
    reader.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_ends_the_run_with_a_sentence_and_without_the_password(
    secure, topic, ledger, mechanism
):
    begun = time.monotonic()
    with pytest.raises(
        MillraceError, match=r"do not trust each other: .*[Aa]uthentication.*check the sasl"
    ) as told:
        run(secure, "SASL", topic, ledger, login(mechanism, "not it"))
    assert "not it" not in str(told.value)
    assert time.monotonic() - begun < 15
    assert ledger.client.query("SELECT count() FROM runs").first_row[0] == 0


def test_a_broker_whose_certificate_is_not_known_is_not_trusted(secure, topic, ledger):
    with pytest.raises(MillraceError, match=r"do not trust each other: .*certificate.*ssl\. settings"):
        run(secure, "TLS", topic, ledger, [])
