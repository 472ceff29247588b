"""The files for KubeRay: what the API server, Ray's autoscaler and kustomize accept, and what they must not allow."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from quorate.serving.configuration import ServeArguments
from quorate.spec import load_job

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "kuberay"
DATA = Path(os.environ.get("QUORATE_DATA", ROOT.parent / "shared" / "data"))
CUSTOM = {"RayCluster": "ray-cluster.yaml", "RayJob": "ray-job.yaml", "RayService": "ray-service.yaml"}
KUBERNETES = "1.32"
Document = dict[str, Any]


def documents(name: str) -> list[Document]:
    return [found for found in yaml.safe_load_all((FOLDER / name).read_text()) if found]


BUILT_IN = [
    found
    for path in sorted(FOLDER.glob("*.yaml"))
    for found in documents(path.name)
    if "kind" in found and found["kind"] not in (*CUSTOM, "Kustomization")
]


def custom(kind: str) -> Document:
    (found,) = documents(CUSTOM[kind])
    assert found["kind"] == kind and found["apiVersion"] == "ray.io/v1"
    return found


def cluster_of(document: Document) -> Document:
    spec = document["spec"]
    at = {"RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}
    found: Document = spec[at[document["kind"]]] if document["kind"] in at else spec
    return found


CLUSTERS = {kind: cluster_of(custom(kind)) for kind in CUSTOM}


def ray_groups(cluster: Document) -> list[Document]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods() -> Iterator[tuple[str, Document]]:
    """All pod templates of the folder, with a name."""
    for kind, cluster in CLUSTERS.items():
        for group in ray_groups(cluster):
            yield f"{kind} {group.get('groupName', 'head')}", group["template"]["spec"]
    yield "submitter", custom("RayJob")["spec"]["submitterPodTemplate"]["spec"]
    for document in BUILT_IN:
        if document["kind"] == "Deployment":
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


PODS = dict(pods())


def strict(node: Any) -> Any:
    """A schema of the API server that refuses fields which it does not know (see SOURCE.md of the schemas)."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {}
    made = {name: strict(each) for name, each in node.items()}
    if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


@pytest.mark.data
@pytest.mark.parametrize("kind", CUSTOM)
def test_the_objects_follow_the_schemas_of_kuberay(kind: str) -> None:
    file = DATA / "kuberay" / f"ray.io_v1_{kind.lower()}s.schema.json"
    if not file.is_file():
        pytest.skip(f"the schemas of KubeRay are not in {file.parent}; set QUORATE_DATA")
    schema = strict(json.loads(file.read_text()))
    document = custom(kind)
    del document["metadata"]
    misspelt = copy.deepcopy(document)
    cluster_of(misspelt)["headGroupSpec"]["rayStartParam"] = {}

    jsonschema.validate(document, schema)

    with pytest.raises(jsonschema.ValidationError, match="rayStartParam"):
        jsonschema.validate(misspelt, schema)


@pytest.mark.parametrize("document", BUILT_IN, ids=lambda found: f"{found['kind']}-{found['metadata']['name']}")
def test_the_built_in_objects_follow_the_schemas_of_kubernetes(document: Document) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", PODS)
def test_every_pod_follows_the_schema_of_kubernetes(name: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": PODS[name]}

    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", PODS)
def test_every_pod_follows_the_restricted_standard_and_cannot_write_to_its_image(name: str) -> None:
    pod = PODS[name]
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True and security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    for volume in pod["volumes"]:
        assert "hostPath" not in volume
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"], "a volume without a limit can fill the disk of the node"


@pytest.mark.parametrize("kind", CLUSTERS)
def test_every_cluster_asks_for_a_token_and_survives_the_loss_of_its_head(kind: str) -> None:
    cluster = CLUSTERS[kind]

    assert cluster["authOptions"] == {"mode": "token", "secretName": "quorate-ray-token"}
    assert cluster["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] == "quorate-redis"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("kind", CLUSTERS)
def test_every_ray_pod_can_write_where_ray_and_quorate_must(kind: str) -> None:
    for group in ray_groups(CLUSTERS[kind]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        at = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert at["/dev/shm"]["emptyDir"]["medium"] == "Memory"
        assert "emptyDir" in at["/tmp"] and "emptyDir" in at["/work"]
        home = next(each["value"] for each in container["env"] if each["name"] == "HOME")
        assert home == "/work"
        assert {"secretRef": {"name": "quorate-store"}} in container["envFrom"]


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_rays_autoscaler_reads_the_groups_and_starts_at_zero(kind: str) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = CLUSTERS[kind]
    assert cluster["enableInTreeAutoscaling"] is True and cluster["autoscalerOptions"]["version"] == "v2"
    object_ = {"metadata": {"name": "quorate", "namespace": "quorate"}, "spec": copy.deepcopy(cluster)}

    types = _derive_autoscaling_config_from_ray_cr(object_)["available_node_types"]

    cpu, gpu = types["cpu"], types["gpu"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert (cpu["min_workers"], cpu["max_workers"], cpu["resources"]["CPU"]) == (0, 8, 8)
    assert cpu["resources"]["memory"] == 16 * 2**30
    assert (gpu["min_workers"], gpu["max_workers"], gpu["resources"]["GPU"]) == (0, 4, 1)
    assert gpu["labels"]["ray.io/accelerator-type"] == "H100"


@pytest.mark.parametrize("kind", CLUSTERS)
def test_shared_memory_has_space_for_the_objects_of_ray(kind: str) -> None:
    from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION

    for group in ray_groups(CLUSTERS[kind]):
        pod = group["template"]["spec"]
        memory = pod["containers"][0]["resources"]["limits"]["memory"]
        (shared,) = (volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if volume["name"] == "shared-memory")
        sizes = [int(size.removesuffix("Gi")) for size in (shared, memory)]
        assert sizes[0] >= DEFAULT_OBJECT_STORE_MEMORY_PROPORTION * sizes[1], "Ray would keep objects in /tmp"


def test_only_the_heads_that_scale_reach_the_api_of_kubernetes() -> None:
    autoscaled = {f"{kind} head" for kind, cluster in CLUSTERS.items() if cluster.get("enableInTreeAutoscaling")}

    with_account = {name for name, pod in PODS.items() if pod.get("automountServiceAccountToken") is not False}

    assert with_account == autoscaled == {"RayCluster head", "RayJob head"}
    policies = [found["spec"] for found in BUILT_IN if found["kind"] == "NetworkPolicy"]
    (reaching,) = (spec for spec in policies if {"protocol": "TCP", "port": 6443} in ports_to(spec))
    assert reaching["podSelector"] == {"matchLabels": {"ray.io/node-type": "head"}}


def ports_to(spec: Document) -> list[Document]:
    """The ports to which a policy lets its pods connect."""
    return [port for rule in spec.get("egress", []) for port in rule.get("ports", [])]


def test_a_job_that_failed_is_started_again_on_a_new_cluster() -> None:
    spec = custom("RayJob")["spec"]

    assert spec["backoffLimit"] == 3  # KubeRay's default is 0
    assert spec["shutdownAfterJobFinishes"] is True and "deletionStrategy" not in spec  # KubeRay refuses both


def test_no_two_objects_have_the_same_services() -> None:
    names = [custom(kind)["metadata"]["name"] for kind in ("RayCluster", "RayService")]
    services = [f"{name}-head-svc" for name in names] + [f"{names[1]}-serve-svc"]
    services += [found["metadata"]["name"] for found in BUILT_IN if found["kind"] == "Service"]

    assert len(set(services)) == len(services), services
    readme = (ROOT / "cluster" / "README.md").read_text()
    used = set(re.findall(r"service/(\S+)", readme + (FOLDER / CUSTOM["RayService"]).read_text()))
    assert used == {"quorate-head-svc", "ensemble-serve-svc", "quorate-mlflow"} and used <= set(services)


def test_redis_replaces_its_shell_and_reads_its_settings_from_standard_input(tmp_path: Path) -> None:
    (container,) = PODS["quorate-redis"]["containers"]
    (tmp_path / "redis-server").write_text("#!/bin/sh\necho $$ $#\ncat\n")
    (tmp_path / "redis-server").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "REDIS_PASSWORD": "canary"}

    words = [*container["command"], *container["args"]]
    with subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.read()

    # the process that Kubernetes sends its signal to is Redis
    assert said == f"{process.pid} 1\nrequirepass canary\nappendonly yes\ndir /data\n"


def test_rayjob_and_raycluster_have_the_same_groups() -> None:
    job, cluster = copy.deepcopy(CLUSTERS["RayJob"]), copy.deepcopy(CLUSTERS["RayCluster"])
    head = job["headGroupSpec"]["template"]["spec"]
    head["volumes"] = [volume for volume in head["volumes"] if volume["name"] != "job"]
    (container,) = head["containers"]
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "job"]
    for group in ray_groups(job) + ray_groups(cluster):
        group["template"]["spec"]["containers"][0]["image"] = "the image"

    assert job == cluster


def test_the_service_is_described_as_serve_reads_it() -> None:
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(yaml.safe_load(custom("RayService")["spec"]["serveConfigV2"]))

    (application,) = config.applications
    arguments = ServeArguments.model_validate(application.args)
    (group,) = CLUSTERS["RayService"]["workerGroupSpecs"]
    assert arguments.replicas * arguments.threads + 0.1 * arguments.fronts <= group["minReplicas"] * 4
    mounts = {mount["mountPath"] for mount in group["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert str(arguments.token_file.parent) in mounts


def test_no_file_holds_a_secret() -> None:
    assert not [found for found in BUILT_IN if found["kind"] == "Secret"]
    for name, pod in PODS.items():
        for container in pod["containers"]:
            for variable in container.get("env", []):
                if re.search("PASSWORD|TOKEN|SECRET|KEY", variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], name


def test_every_secret_that_a_pod_reads_is_created_by_a_command_of_the_readme() -> None:
    readme = (ROOT / "cluster" / "README.md").read_text()
    texts = [path.read_text() for path in FOLDER.glob("*.yaml")]
    read = {name for text in texts for name in re.findall(r"secretName: (\S+)|secretKeyRef:\s+name: (\S+)", text)}
    names = {name for pair in read for name in pair if name} | {"quorate-store"}

    assert names == set(re.findall(r"create secret generic (\S+)", readme))


def test_the_network_denies_all_and_allows_pods_that_exist() -> None:
    policies = {found["metadata"]["name"]: found["spec"] for found in BUILT_IN if found["kind"] == "NetworkPolicy"}
    ours = {"quorate-mlflow", "quorate-redis", "quorate-submitter"}
    named = set(re.findall(r"app.kubernetes.io/name: (\S+)", (FOLDER / "network-policies.yaml").read_text()))

    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert named == ours | {"kuberay-operator"}
    open_to_all = [
        name
        for name, spec in policies.items()
        for rule in spec.get("ingress", [])
        if not rule.get("from") or any(each == {"namespaceSelector": {}} for each in rule["from"])
    ]
    assert open_to_all == []


def test_the_job_of_the_configmap_is_a_job_file(tmp_path: Path) -> None:
    job = load_job(FOLDER / "job.yaml")

    assert job.spec.execution.wait_for_nodes == 1200


def test_kustomize_builds_the_folder_with_the_image_of_its_settings() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("`kubectl` is not installed")

    built = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60)

    assert built.returncode == 0, built.stderr
    made = list(yaml.safe_load_all(built.stdout))
    (cluster,) = (each for each in made if each["kind"] == "RayCluster")
    images = {group["template"]["spec"]["containers"][0]["image"] for group in ray_groups(cluster["spec"])}
    assert images == {"registry.example.com/quorate:0.1.0"}
    assert all(each["metadata"].get("namespace", "quorate") == "quorate" for each in made)
    maps = {each["metadata"]["name"] for each in made if each["kind"] == "ConfigMap"}
    assert maps == {"quorate-settings", "quorate-job"}
