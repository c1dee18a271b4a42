"""The clusters that tests run on: librdkafka's mock everywhere, a real broker where there can be one."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from tests.kafka.broker import Broker, Kafka, NoBrokerError, named_broker


@pytest.fixture(scope="session")
def real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker of Apache Kafka; skipped, with what is missing, where there can be none."""
    named = named_broker()
    if named:
        yield Kafka(named, is_real=True)
        return
    broker = Broker(tmp_path_factory.mktemp("kafka") / "broker")
    try:
        broker.create()
        broker.start()
    except NoBrokerError as error:
        pytest.skip(f"no Kafka to test with: {error}; name one with MILLRACE_TEST_KAFKA=host:port")
    yield Kafka(broker.address, is_real=True, broker=broker)
    broker.stop()


@pytest.fixture(scope="session")
def mock_kafka() -> Iterator[Kafka]:
    """The mock cluster of librdkafka: the real protocol, little memory, topics of four partitions."""
    owner = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    address = next(iter(owner.list_topics(timeout=10).brokers.values()))
    yield Kafka(f"{address.host}:{address.port}", is_real=False)
    owner.flush(1)


@pytest.fixture(params=["mock", "real"])
def kafka(request: pytest.FixtureRequest) -> Kafka:
    """Each cluster in turn."""
    found: Kafka = request.getfixturevalue(f"{request.param}_kafka")
    return found
