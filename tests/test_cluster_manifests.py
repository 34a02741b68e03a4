"""Tests of the compose file and the Kubernetes manifests of a cluster.

They agree with the program, and their commands run.
"""

from __future__ import annotations

import os
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from pipeline.cli.commands.nodes import worker
from pipeline.cli.commands.serve import serve
from pipeline.settings import Settings, load
from tests.servers.commands import ForkedProcess, command_server
from tests.servers.pages import PageSite
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.program import Program, eventually
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server

DEPLOY = Path(__file__).parent.parent / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
SECRETS = {"database": "postgresql://u@127.0.0.1/x", "s3-access-key": ACCESS_KEY, "s3-secret-key": SECRET_KEY, "mail-password": "not used here"}


def documents(kind: str) -> list[dict[str, Any]]:
    """The documents of this kind in all manifests."""
    found = [each for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for each in yaml.safe_load_all(path.read_text("utf-8"))]
    return [each for each in found if each and each["kind"] == kind]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.cluster.yaml").read_text("utf-8"))
    return found


def settings_text() -> str:
    (config,) = documents("ConfigMap")
    return str(config["data"]["settings.toml"])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of the manifests, with their secrets in tmp_path."""
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value)
    (tmp_path / "settings.toml").write_text(settings_text().replace("/secrets/", f"{tmp_path}/"))
    return load(str(tmp_path / "settings.toml"))


def pods() -> dict[str, dict[str, Any]]:
    """The pod of each Deployment, by the name of the Deployment."""
    return {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in documents("Deployment")}


def commands() -> dict[str, list[str]]:
    return {name: pod["containers"][0]["args"] for name, pod in pods().items()}


def test_both_files_start_the_same_commands() -> None:
    services = compose()["services"]
    assert commands() == {"pipeline-scheduler": services["scheduler"]["command"], "pipeline-worker": services["worker"]["command"]}
    for name, arguments in commands().items():
        {"serve": serve, "worker": worker}[arguments[0]].make_context(name, arguments[1:])  # raises if an option is unknown


def test_every_pod_is_as_confined_as_the_image_allows() -> None:
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    for pod in pods().values():
        assert pod["securityContext"]["runAsUser"] == int(user)
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        for container in (*pod["containers"], *pod["initContainers"]):
            assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def test_probes_ports_and_secrets_are_those_of_the_settings(settings: Settings) -> None:
    (service,) = documents("Service")
    (secret,) = documents("Secret")
    assert service["spec"]["ports"][0]["port"] == settings.heartbeat.port
    for name, pod in pods().items():
        (container,) = pod["containers"]
        (port,) = container["ports"]
        assert port["containerPort"] == settings.heartbeat.port
        assert (container["livenessProbe"]["httpGet"], container["readinessProbe"]["httpGet"]) == (
            {"path": "/livez", "port": port["name"]}, {"path": "/readyz", "port": port["name"]})
        assert pod["terminationGracePeriodSeconds"] > 2 * settings.pipeline.shutdown_grace + 10
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted["config"] == re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)[-1], name
        assert settings.pipeline.data_dir.startswith(mounted["data"] + "/")
        assert {volume["name"] for volume in pod["volumes"]} == set(mounted)
    named = set(re.findall(r'"/secrets/([\w-]+)"', settings_text()))
    assert named == set(SECRETS) == secret["stringData"].keys() - {"heartbeat-token"}
    assert {each["target"] for each in compose()["services"]["worker"]["secrets"]} == {f"/secrets/{name}" for name in named}
    assert len(secret["stringData"]["heartbeat-token"]) >= 32


def test_a_disruption_leaves_pods_and_selectors_name_them() -> None:
    labels = {each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in documents("Deployment")}
    budgets = {each["metadata"]["name"]: each["spec"]["selector"]["matchLabels"] for each in documents("PodDisruptionBudget")}
    assert budgets == labels
    assert documents("Service")[0]["spec"]["selector"] == labels["pipeline-scheduler"]
    assert all(each["spec"]["replicas"] == 2 for each in documents("Deployment"))
    (scaled,) = documents("ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] in labels
    arguments = commands()["pipeline-worker"]
    assert scaled["spec"]["triggers"][0]["metadata"]["threshold"] == arguments[arguments.index("--concurrency") + 1]


def get(port: int, path: str) -> str:
    """The answer, or "" while there is none or it is an error."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read(), "utf-8")
    except (OSError, urllib.error.HTTPError):
        return ""


@pytest.mark.needs("postgres")
def test_the_commands_run_with_the_settings_of_the_manifests(
        postgres: Postgres, s3: S3Server, site: PageSite, program: Program) -> None:
    site.pages = {"/": "<article><h2>one</h2></article>"}
    url = postgres.new_database()
    started: list[tuple[int, ForkedProcess]] = []
    for name, value in (SECRETS | {"database": url}).items():
        (program.folder / name).write_text(value)
    for name, arguments in commands().items():
        port = free_port()
        text = settings_text()
        for old, new in (("/secrets/", f"{program.folder}/"), ("/data/pipeline", f"{program.folder}/{name}"), ("port = 8000", f"port = {port}"),
                         ("https://s3.example.com", s3.url), ("s3://crawls/pipeline", s3.storage("p")), ("https://shop.example.com/", f"{site.url}/"),
                         ('"0.0.0.0"', '"127.0.0.1"'), ('host = "smtp.example.com"\n', ""), ('user = "pipeline@example.com"\n', ""),
                         (f'password = {{ file = "{program.folder}/mail-password" }}\n', "")):
            assert old in text
            text = text.replace(old, new)
        (program.folder / name).mkdir()
        (program.folder / name / "settings.toml").write_text(text)
        with (program.folder / f"{name}.log").open("wb") as log, Path(os.devnull).open("rb") as nothing:
            started.append((port, ForkedProcess(command_server(), arguments, program.folder / name, program.variables(), (nothing, log, log))))
    try:
        for port, process in started:
            eventually(lambda port=port: get(port, "/readyz") == "ok\n", within_s=60)  # type: ignore[misc]
            assert process.poll() is None
        (scaled,) = documents("ScaledObject")
        metrics = re.findall(r"pipeline_\w+", scaled["spec"]["triggers"][0]["metadata"]["query"])
        eventually(lambda: all(name in get(started[0][0], "/metrics") for name in metrics))
        eventually(lambda: "/" in site.paths(), within_s=60)
    finally:
        for _, process in started:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(60) for _, process in started]
    assert codes == [0, 0], [path.read_text() for path in program.folder.glob("*.log")]
