"""The files for Docker Compose: their schema, the secrets, the ports, and the dashboard."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml

from quorate.execution.metrics import CounterName, GaugeName

FOLDER = Path(__file__).parents[2] / "cluster" / "compose"
OURS = {"head", "worker", "serve", "mlflow", "bucket"}
"""Services of our image; the others have images of their own."""


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return found


def test_the_file_follows_the_schema_of_compose() -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    misspelt = compose()
    misspelt["services"]["head"]["enviroment"] = {}

    jsonschema.validate(compose(), schema)

    with pytest.raises(jsonschema.ValidationError, match="enviroment"):
        jsonschema.validate(misspelt, schema)


def test_every_port_is_one_of_loopback() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]

    assert len(ports) == 6
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_cannot_write_to_their_image_or_gain_rights(name: str) -> None:
    service = compose()["services"][name]

    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", ["head", "worker"])
def test_ray_asks_for_the_token_of_the_env_file(name: str) -> None:
    variables = compose()["services"][name]["environment"]

    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_AUTH_TOKEN"] == "${RAY_TOKEN:?run make-env.sh}"


def test_no_secret_is_copied_into_a_container_that_is_read_only() -> None:
    """Compose refuses to start such a service: "`file` is the sole supported option"."""
    services = compose()["services"]
    assert all("environment" in secret for secret in compose()["secrets"].values())

    assert [name for name, service in services.items() if service.get("read_only") and "secrets" in service] == []


@pytest.mark.parametrize("run", ["", "s3://quorate/runs/digits-1"])
def test_the_service_gets_its_token_in_a_file_that_others_cannot_read(tmp_path: Path, run: str) -> None:
    (text,) = compose()["services"]["serve"]["command"]
    said = 'echo "$@" && stat -c %a "$HOME/serving-token" && cat "$HOME/serving-token" && echo "${SERVING_TOKEN-unset}"'
    (tmp_path / "quorate").write_text(f"#!/bin/sh\n{said}\n")
    (tmp_path / "quorate").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    variables |= {"SERVING_TOKEN": "4f" * 32, "QUORATE_SERVED_RUN": run}

    ended = subprocess.run(
        ["sh", "-c", text.replace("$$", "$")], env=variables, capture_output=True, text=True, check=True
    )

    options = f"--host 0.0.0.0 --port 8000 --token-file {tmp_path}/serving-token" + (f" --run {run}" if run else "")
    assert ended.stdout == f"serve {options}\n600\n{'4f' * 32}unset\n"


@pytest.mark.parametrize("name", ["head", "worker", "serve"])
def test_shared_memory_has_space_for_the_objects_of_ray(name: str) -> None:
    from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION

    memory, shared = (int(compose()["services"][name][key].removesuffix("g")) for key in ("mem_limit", "shm_size"))

    assert shared >= DEFAULT_OBJECT_STORE_MEMORY_PROPORTION * memory, "Ray would keep objects in /tmp"


def test_each_secret_of_the_file_is_made_new_and_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    for name in ("make-env.sh", ".env.example"):
        shutil.copy(FOLDER / name, tmp_path / name)
    text = (FOLDER / "compose.yaml").read_text()
    wanted = {secret["environment"] for secret in compose()["secrets"].values()}
    wanted |= set(re.findall(r"\$\{(\w+):\?", text))

    made = subprocess.run(["sh", str(tmp_path / "make-env.sh")], capture_output=True, text=True)

    assert made.returncode == 0, made.stderr
    lines = (tmp_path / ".env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    secrets = {name: values[name] for name in wanted}
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in secrets.values()), secrets
    assert len(set(secrets.values())) == len(secrets) == 5
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    optional = set(re.findall(r"\$\{(\w+):-", text))
    assert optional | wanted == values.keys(), "a variable is missing from .env.example, or not used"


def test_secrets_that_exist_are_not_overwritten(tmp_path: Path) -> None:
    for name in ("make-env.sh", ".env.example"):
        shutil.copy(FOLDER / name, tmp_path / name)
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=of the first start\n")

    made = subprocess.run(["sh", str(tmp_path / "make-env.sh")], capture_output=True, text=True)

    assert made.returncode == 1 and ".env exists; remove it, and the volumes" in made.stderr
    assert (tmp_path / ".env").read_text() == "POSTGRES_PASSWORD=of the first start\n"


def test_the_example_holds_no_secret() -> None:
    values = re.findall(r"^(\w*(?:TOKEN|PASSWORD))=(.*)$", (FOLDER / ".env.example").read_text(), re.MULTILINE)

    assert len(values) == 5 and {value for _, value in values} == {"GENERATE"}


def test_grafana_finds_prometheus_and_the_dashboard_shows_our_metrics() -> None:
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    provider = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/quorate.yaml").read_text())["providers"][0]
    dashboard = json.loads((FOLDER / "grafana/dashboards/quorate.json").read_text())
    services = compose()["services"]

    assert source["url"] == "http://prometheus:9090"
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    shown = {
        name for panel in dashboard["panels"] for name in re.findall(r"ray_quorate_\w+", panel["targets"][0]["expr"])
    }
    assert len(dashboard["panels"]) == 6
    assert shown == {f"ray_quorate_{name}" for name in get_args(GaugeName)} | {
        f"ray_quorate_{name}_total" for name in get_args(CounterName)
    }
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}


def test_mlflow_names_the_driver_of_postgresql_that_the_image_has() -> None:
    uri = compose()["services"]["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]

    # without a name, SQLAlchemy 2.1 imports psycopg 3
    assert uri.startswith("postgresql+psycopg2://")
    assert "\npsycopg2-binary==" in (FOLDER.parents[1] / "requirements-runtime.lock").read_text()


def test_prometheus_reads_the_port_that_every_node_of_ray_exports() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]

    services = compose()["services"]
    assert found["names"] == ["head", "worker"]
    for name in found["names"]:
        assert f"--metrics-export-port={found['port']}" in services[name]["entrypoint"]


@pytest.mark.system
def test_the_bucket_is_created_once(s3: Any) -> None:
    command = [sys.executable, str(FOLDER / "create_bucket.py"), "compose-bucket"]

    first, second = (subprocess.run(command, capture_output=True, text=True, timeout=60) for _ in range(2))

    assert first.stdout == "created the bucket compose-bucket\n", first.stderr
    assert second.stdout == "the bucket compose-bucket exists\n", second.stderr
