"""The manifest holds together: with itself, and with the command line."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cli import main, settings

MANIFEST = Path(__file__).parent.parent / "deploy" / "kubernetes" / "millrace.yaml"


@pytest.fixture(scope="module")
def objects():
    return {o["kind"]: o for o in YAML(typ="safe").load_all(MANIFEST.read_text())}


@pytest.fixture(scope="module")
def container(objects):
    return objects["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]


def value(container, name):
    return next(e["value"] for e in container["env"] if e["name"] == name)


def test_every_variable_is_one_of_the_run(container):
    known = {option.envvar for option in settings.keys_of(main.load("run")).values()}
    assert {e["name"] for e in container["env"]} <= known


def test_the_cluster_has_an_address_for_each_pod_on_the_port_of_the_service(objects, container):
    replicas = objects["StatefulSet"]["spec"]["replicas"]
    ports = {p["name"]: p["port"] for p in objects["Service"]["spec"]["ports"]}
    service = objects["Service"]["metadata"]["name"]
    wanted = [f"millrace-{i}.{service}:{ports['cluster']}" for i in range(replicas)]
    assert value(container, "MILLRACE_CLUSTER").split(",") == wanted
    assert objects["Service"]["spec"]["publishNotReadyAddresses"]
    assert objects["StatefulSet"]["spec"]["podManagementPolicy"] == "Parallel"


def test_a_pod_has_more_time_to_end_than_the_run_takes(objects, container):
    given = objects["StatefulSet"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert given > int(value(container, "MILLRACE_GRACE_S"))


def test_only_pods_of_the_cluster_reach_its_port(objects):
    spec = objects["NetworkPolicy"]["spec"]
    labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"] == labels
    cluster = [rule for rule in spec["ingress"] if {"port": 7000} in rule["ports"]]
    assert [rule["from"] for rule in cluster] == [[{"podSelector": {"matchLabels": labels}}]]
