"""The manifest holds: to the schemas of Kubernetes, with itself, and with the command line."""

import copy
from pathlib import Path

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from cli import main, settings
from pipeline.accounts import load_accounts
from pipeline.catalog import load_catalog

MANIFEST = Path(__file__).parent.parent / "deploy" / "kubernetes" / "millrace.yaml"


@pytest.fixture(scope="module")
def objects():
    return {o["kind"]: o for o in YAML(typ="safe").load_all(MANIFEST.read_text())}


@pytest.fixture(scope="module")
def container(objects):
    return objects["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]


def value(container, name):
    return next(e["value"] for e in container["env"] if e["name"] == name)


VERSIONS = ("1.28", "1.37")  # the first with the label of a pod's number, and the newest at hand
KINDS = ("ConfigMap", "Service", "StatefulSet", "NetworkPolicy")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_holds_to_the_schema_of_kubernetes(objects, version):
    assert tuple(objects) == KINDS
    for found in objects.values():
        assert kubernetes_validate.validate(found, version, strict=True) == version


def misspelled(spec):
    spec["template"]["spec"]["terminationGracePeriod"] = 40


def a_number_for_a_text(spec):
    spec["template"]["spec"]["containers"][0]["env"][0]["value"] = 7


def a_number_written_as_text(spec):
    spec["replicas"] = "3"


def left_out(spec):
    del spec["selector"]


@pytest.mark.parametrize("spoil", [misspelled, a_number_for_a_text, a_number_written_as_text, left_out])
def test_the_schema_refuses_a_manifest_that_is_wrong(objects, spoil):
    wrong = copy.deepcopy(objects["StatefulSet"])
    spoil(wrong["spec"])
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_prices_and_accounts_are_there_and_can_be_read(objects, container, tmp_path):
    files = objects["ConfigMap"]["data"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert load_catalog(tmp_path / "catalog.toml").versions
    assert load_accounts(tmp_path / "accounts.toml").tenants
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert {value(container, n) for n in ("MILLRACE_CATALOG", "MILLRACE_ACCOUNTS")} == {
        f"{mounts['settings']}/{name}" for name in files
    }


def test_all_that_is_mounted_and_named_is_there(objects, container):
    volumes = {v["name"]: v for v in objects["StatefulSet"]["spec"]["template"]["spec"]["volumes"]}
    assert {m["name"] for m in container["volumeMounts"]} == volumes.keys()
    assert volumes["settings"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports == {p["name"]: p["port"] for p in objects["Service"]["spec"]["ports"]}
    assert {container[p]["httpGet"]["port"] for p in ("startupProbe", "readinessProbe")} <= ports.keys()
    assert objects["StatefulSet"]["spec"]["serviceName"] == objects["Service"]["metadata"]["name"]


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
    assert objects["StatefulSet"]["spec"]["updateStrategy"] == {"type": "OnDelete"}


def test_a_pod_has_more_time_to_end_than_the_run_takes(objects, container):
    given = objects["StatefulSet"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert given > int(value(container, "MILLRACE_GRACE_S"))


def test_only_pods_of_the_cluster_reach_its_port(objects):
    spec = objects["NetworkPolicy"]["spec"]
    labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"] == labels
    cluster = [rule for rule in spec["ingress"] if {"port": 7000} in rule["ports"]]
    assert [rule["from"] for rule in cluster] == [[{"podSelector": {"matchLabels": labels}}]]
