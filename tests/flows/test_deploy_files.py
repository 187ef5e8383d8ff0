"""The files of deploy/, as far as they can be checked without Docker and Kubernetes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from compose_spec import PyCompose

import diffaug
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
IMAGE = f"diffaug:{diffaug.__version__}"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = (DEPLOY / "compose.yaml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
SERVICE: list[dict[str, Any]] = [
    *yaml.safe_load_all((DEPLOY / "kubernetes/service.yaml").read_text())
]


def loaded(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_pinned_slim_and_not_root() -> None:
    assert re.search(r"^FROM python:3\.11\.\d+-slim-\w+$", DOCKERFILE, flags=re.MULTILINE)
    assert DOCKERFILE.count("FROM ") == 1
    assert "pip install --constraint constraints.txt " in DOCKERFILE
    assert re.findall(r"^USER (.*)$", DOCKERFILE, flags=re.MULTILINE) == ["1001:1001"]
    assert DOCKERFILE.rstrip().endswith("USER 1001:1001")
    assert f"--tag {IMAGE} " in DOCKERFILE


def test_the_build_sees_what_the_dockerfile_copies_and_no_more() -> None:
    copied = {
        source
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ")
        for source in line.split()[1:-1]
    }
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignore
    seen = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert seen == copied - {"diffaug/version.py"}
    assert all((ROOT / path).exists() for path in copied)


def test_compose_is_valid_and_pinned() -> None:
    merged = yaml.safe_dump(yaml.safe_load(COMPOSE))
    assert sorted(PyCompose.from_yaml(merged).service_names()) == sorted(SERVICES)
    for service in SERVICES.values():
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]*", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert "no-new-privileges:true" in service["security_opt"]
    ours, watched = (
        ("server", "setup", "worker", "service"),
        ("database", "server", "worker", "service"),
    )
    assert {SERVICES[name]["image"] for name in ours} == {IMAGE}
    assert all("healthcheck" in SERVICES[name] for name in watched)


def test_every_variable_of_compose_must_be_set_and_is_in_the_example_without_a_value() -> None:
    used = re.findall(r"\$\{(\w+)([^}]*)\}", COMPOSE)
    assert {rest for _, rest in used} == {":?set it in deploy/.env"}
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    example = [line for line in lines if line and not line.startswith("#")]
    assert sorted(example) == sorted({f"{name}=" for name, _ in used})
    assert "PREFECT_SERVER_API_AUTH_STRING" in SERVICES["server"]["environment"]
    assert {"deploy/.env", "deploy/serve-tokens"} <= set((ROOT / ".gitignore").read_text().split())


def test_the_limits_heartbeats_and_patience_fit_together() -> None:
    deployments = loaded("prefect.yaml")["deployments"]
    augmenting = [one for one in deployments if "augment_dataset" in one["entrypoint"]]
    assert sorted(one["name"] for one in augmenting) == ["kubernetes", "local", "ray"]
    assert all(one["concurrency_limit"]["limit"] >= 1 for one in augmenting)
    for deployment in deployments:
        beat = deployment["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]
        assert 5 * int(beat) == loaded("lost-runs.yaml")["trigger"]["within"]


def test_the_service_has_longer_to_end_than_it_takes() -> None:
    (deployment, _, _) = SERVICE
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for arguments, given in (
        (shlex.split(SERVICES["service"]["command"]), SERVICES["service"]["stop_grace_period"]),
        (container["args"], f"{pod['terminationGracePeriodSeconds']}s"),
    ):
        assert arguments[:2] == ["diffaug", "serve"]
        assert int(arguments[arguments.index("--drain") + 1]) < int(given.removesuffix("s"))


def test_the_service_on_kubernetes() -> None:
    for resource in SERVICE:
        kubernetes_validate.validate(resource, "1.37", strict=True)
    deployment, address, scaler = SERVICE
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == address["spec"]["selector"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert pod["securityContext"]["runAsNonRoot"]
    probes = {
        name: probe["httpGet"]["path"] for name, probe in container.items() if "Probe" in name
    }
    assert probes == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in pod["volumes"]}
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    (metric,) = scaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "diffaug_queue_seconds"


def test_helm_values() -> None:
    server, worker = (
        loaded("kubernetes/server-values.yaml"),
        loaded("kubernetes/worker-values.yaml"),
    )
    tags = [server["global"]["prefect"]["image"], worker["worker"]["image"]]
    for tag in tags:
        assert tag["prefectTag"].startswith(f"{version('prefect')}-python3.11")
    parts = [server["server"], worker["worker"]]
    assert all(part["livenessProbe"]["enabled"] for part in parts)
    assert all(part["resources"].keys() == {"requests", "limits"} for part in parts)
    auth = [server["server"], worker["worker"]["selfHostedServerApiConfig"]]
    assert all(
        part["basicAuth"] == {"enabled": True, "existingSecret": "diffaug-prefect-auth"}
        for part in auth
    )
    assert worker["worker"]["config"]["workPool"] == "diffaug-kubernetes"


@pytest.mark.parametrize("gpus", [None, 1])
def test_a_kubernetes_job(gpus: int | None) -> None:
    """The manifest that the worker would make, by Prefect's own templating."""
    from prefect.utilities.templating import apply_values, find_placeholders

    template = json.loads((DEPLOY / "kubernetes/job-template.json").read_text())
    configuration, properties = template["job_configuration"], template["variables"]["properties"]
    names = {placeholder.name for placeholder in find_placeholders(json.dumps(configuration))}
    assert names == set(properties)
    (deployment,) = (
        one for one in loaded("prefect.yaml")["deployments"] if one["name"] == "kubernetes"
    )
    assert deployment["work_pool"]["name"] == "diffaug-kubernetes"
    variables = dict(deployment["work_pool"]["job_variables"])
    assert variables["image"] == IMAGE
    assert set(variables) <= set(properties)
    if gpus is None:
        for name in ("gpus", "node_selector", "tolerations"):
            del variables[name]
    defaults = {name: value["default"] for name, value in properties.items() if "default" in value}
    made = apply_values(configuration["job_manifest"], defaults | variables)
    assert "{{" not in json.dumps(made)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert container["resources"]["requests"] == {"cpu": "2", "memory": "4Gi"}
    assert container["resources"]["limits"].get("nvidia.com/gpu") == gpus
    assert ("nodeSelector" in pod, "tolerations" in pod) == (gpus is not None, gpus is not None)
    assert pod["securityContext"]["runAsNonRoot"]
    assert made["metadata"]["namespace"] == "prefect"
    (pull,) = deployment["pull"]
    workdir = re.findall(r"^WORKDIR (.*)$", DOCKERFILE, flags=re.MULTILINE)
    assert [step["directory"] for step in pull.values()] == workdir
