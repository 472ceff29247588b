"""The files for `ray up` pass Ray's own checks, ask for the token, and keep the dashboard on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "cluster" / "ray-up"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def test_one_cloud_and_hosts_are_covered() -> None:
    assert {read(name)["provider"]["type"] for name in FILES} == {"aws", "local"}


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file_and_refuses_a_misspelt_key(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    misspelt = read(name)
    misspelt["auth"]["ssh_usr"] = "quorate"

    validate_config(prepare_config(read(name)))

    with pytest.raises(jsonschema.ValidationError, match="ssh_usr"):
        validate_config(prepare_config(misspelt))


@pytest.mark.parametrize("name", FILES)
def test_the_cluster_asks_for_the_token_that_is_copied_to_it(name: str) -> None:
    config = read(name)
    text = (FOLDER / name).read_text()

    assert [target for target in config["file_mounts"] if target.endswith("/.ray/auth_token")]
    assert "RAY_AUTH_MODE=token" in text
    head = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head and "0.0.0.0" not in text


def test_ray_makes_no_security_group_of_its_own_which_would_open_ssh_to_everyone() -> None:
    from ray.autoscaler._private.aws.config import _configure_security_group, _create_default_inbound_rules

    assert "0.0.0.0/0" in str(_create_default_inbound_rules(["sg-1"])), "the reason for a group that exists"
    config = read("aws.yaml")

    _configure_security_group(config)  # it calls AWS only for types without a group

    assert config == read("aws.yaml") and "security_group" not in config["provider"]
    groups = [each["node_config"]["SecurityGroupIds"] for each in config["available_node_types"].values()]
    assert groups == [["sg-CHANGE-ME"]] * 3


def test_the_types_of_the_cloud_start_at_zero_and_name_their_accelerator() -> None:
    types = read("aws.yaml")["available_node_types"]

    assert types["head"]["resources"] == {"CPU": 0}
    assert {name: types[name].get("min_workers") for name in ("cpu", "gpu")} == {"cpu": 0, "gpu": 0}
    assert types["gpu"]["labels"]["ray.io/accelerator-type"] == "L4"
    for each in types.values():
        assert each["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in each["node_config"]["BlockDeviceMappings"])
