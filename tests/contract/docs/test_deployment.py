"""The deployment examples agree with the product: metrics, ports, users, environments."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import yaml

from router.config import Project, load_project
from router.problems import Severity
from router.telemetry import Metrics
from tests.contract.docs.markdown import ROOT

KUBERNETES = ROOT / "examples" / "kubernetes"
REPLICAS = KUBERNETES / "replicas" / "deployment.yaml"
RULES = ROOT / "examples" / "prometheus" / "rules.yaml"
METRICS_PAGE = ROOT / "docs" / "how-to" / "metrics.md"
NAME = re.compile(r"\brouter_[a-z_]+\b")


def exposed_metrics() -> set[str]:
    metrics = Metrics("0")
    metrics.route("route").sink("sink").planned()
    return set(NAME.findall(metrics.render().decode()))


def exposed_families() -> set[str]:
    """The names of whole families, as their help lines have them."""
    metrics = Metrics("0")
    metrics.route("route").sink("sink").planned()
    return set(re.findall(r"^# HELP (router_\w+)", metrics.render().decode(), re.MULTILINE))


def present_from_the_start() -> set[str]:
    """The counters that are 0 before anything happens, once their topic, route or sink is known."""
    metrics = Metrics("0")
    metrics.topic("source", "topic")
    metrics.route("route")
    metrics.sink("sink")
    return set(re.findall(r"^(router_\w+)", metrics.render().decode(), re.MULTILINE))


def manifests(*files: Path) -> dict[str, dict[str, Any]]:
    """By kind and name; those of one replica, or of the files that are given."""
    found: dict[str, dict[str, Any]] = {}
    for file in files or sorted(KUBERNETES.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text("utf-8")):
            found[f"{document['kind']}/{document['metadata']['name']}"] = document
    return found


def pod() -> dict[str, Any]:
    return manifests()["StatefulSet/router"]["spec"]["template"]["spec"]


def test_every_alert_is_about_metrics_that_are_exposed() -> None:
    rules = [rule for g in yaml.safe_load(RULES.read_text())["groups"] for rule in g["rules"]]
    assert rules
    used = {name for rule in rules for name in NAME.findall(rule["expr"])}
    assert used - exposed_metrics() == set()


def test_every_metric_that_is_explained_is_exposed() -> None:
    assert set(NAME.findall(METRICS_PAGE.read_text("utf-8"))) - exposed_metrics() == set()


def test_every_metric_is_explained() -> None:
    table = METRICS_PAGE.read_text("utf-8").partition("## Every metric")[2]
    assert set(re.findall(r"^\| `(router_\w+)` \|", table, re.MULTILINE)) == exposed_families()


def test_alerts_on_counters_see_their_first_count() -> None:
    rules = [rule for g in yaml.safe_load(RULES.read_text())["groups"] for rule in g["rules"]]
    for rule in rules:
        for name in re.findall(r"increase\((router_\w+)", rule["expr"]):
            is_seen = name in present_from_the_start() or f"unless {name}" in rule["expr"]
            assert is_seen, f"{rule['alert']}: increase() misses the first {name}"


def test_every_alert_is_explained() -> None:
    alerts = re.findall(r"alert: (\w+)", RULES.read_text())
    explained = re.findall(r"\| `(Router\w+)` \|", METRICS_PAGE.read_text("utf-8"))
    assert alerts
    assert sorted(alerts) == sorted(explained)


def test_locks_have_what_the_package_and_its_extras_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    recipe = re.findall(
        r"^\t\$\(LOCK\) (.*) -o (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert len(recipe) == 3
    for options, lock in recipe:
        named = re.findall(r"--extra (\w+)", options) if "--all-extras" not in options else extras
        wanted = [*project["dependencies"], *(need for name in named for need in extras[name])]
        needed = {re.split(r"[\[<>=;]", need)[0] for need in wanted}
        locked = set(
            re.findall(r"^([\w.-]+)(?:\[.*\])?==", (ROOT / lock).read_text(), re.MULTILINE)
        )
        assert needed - locked == set(), lock


def test_one_replica_with_a_disk_of_its_own() -> None:
    spec = manifests()["StatefulSet/router"]["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_the_container_runs_as_the_user_of_the_image_and_writes_nowhere_else() -> None:
    image_user = re.search(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert image_user is not None
    security = pod()["securityContext"]
    assert security["runAsUser"] == int(image_user[1])
    assert security["fsGroup"] == int(image_user[1])
    (container,) = pod()["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/var/lib/router", "/tmp"}


def in_production(folder: Path, overlay: str, **environ: str) -> Project:
    """The shipped product under an overlay, with the variables of the manifests."""
    everything = manifests()
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "templates").symlink_to(ROOT / "templates")
    (folder / "config" / "env" / "prod.yaml").write_text(overlay)
    variables = (
        everything["Secret/router"]["stringData"] | everything["ConfigMap/router-variables"]["data"]
    )
    variables["ACCOUNTING_SECRET"] = "whsec_" + "A" * 32
    loaded = load_project(folder / "config", "prod", environ=variables | environ)
    assert [p.headline() for p in loaded.problems if p.severity is Severity.ERROR] == []
    assert loaded.project is not None
    return loaded.project


def test_replicas_differ_from_one_alone_in_their_disk_only() -> None:
    deployment = manifests(REPLICAS)["Deployment/router"]["spec"]
    spec = deployment["template"]["spec"]
    del spec["topologySpreadConstraints"]
    alone = pod()
    del alone["securityContext"]["fsGroupChangePolicy"]
    (container,) = alone["containers"]
    container["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] != "ledger"]
    assert spec == alone
    assert deployment["replicas"] > 1
    budget = manifests(REPLICAS)["PodDisruptionBudget/router"]["spec"]
    assert budget["selector"] == deployment["selector"]
    assert manifests(REPLICAS)["Service/router"] == manifests()["Service/router"]


def test_the_shared_ledger_of_the_replicas_is_valid(tmp_path: Path) -> None:
    comments = [line[4:] for line in REPLICAS.read_text().splitlines() if line.startswith("#   ")]
    overlay = manifests()["ConfigMap/router-env"]["data"]["prod.yaml"]
    shared = re.sub(r"ledger:\n  path: .*\n", "\n".join([*comments, ""]), overlay)
    project = in_production(tmp_path, shared, LEDGER_PASSWORD="secret")
    assert project.ledger.type == "postgres"


def test_the_overlay_of_the_config_map_is_valid_and_its_secrets_are_there(tmp_path: Path) -> None:
    overlay = manifests()["ConfigMap/router-env"]["data"]["prod.yaml"]
    project = in_production(tmp_path, overlay)
    assert project.production
    grace = pod()["terminationGracePeriodSeconds"]
    assert grace > project.delivery.grace
    (container,) = pod()["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert project.admin.probes.endswith(f":{ports['probes']}")
    assert project.admin.listen.endswith(f":{ports['admin']}")
    ledger = project.ledger.path  # pyright: ignore[reportAttributeAccessIssue]
    assert str(ledger).startswith("/var/lib/router/")
