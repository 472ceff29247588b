"""A bundle as an MLflow model: logged from code, registered once, challenged against the champion."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType
from numpy.typing import NDArray

from quorate.paired import read_groups, read_losses
from quorate.tracking.champion import Verdict, challenge

ALIAS = "champion"
MANIFEST = "manifest.json"
LOSSES = "losses.npz"
PACKAGE = Path(__file__).resolve().parents[1]
CODE = Path(__file__).with_name("pyfunc_model.py")
REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scikit-learn",
    "skops",
    "timm",
    "torch",
    "torchvision",
)
_EXAMPLES = {"numeric": 0.0, "boolean": False, "categorical": "text"}
"""A value of each kind of column."""


def register(client: MlflowClient, *, run_id: str, experiment_id: str, bundle: Path, name: str) -> None:
    """Log `bundle` in the run, register it under `name`, and move the alias if it beats the champion.

    Safe to repeat from any point: the logged model and its version are found again by their tags, and
    a verdict that has been given is not given again.
    """
    manifest = json.loads((bundle / MANIFEST).read_text())
    tags = {
        "quorate.bundle": hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest(),
        "quorate.fingerprint": str(manifest["data"]["fingerprint"]),
    }
    _ensure_registered_model(client, name)
    version = _find_version(client, name, tags["quorate.bundle"])
    if version is None:
        model_id = _log(client, run_id=run_id, experiment_id=experiment_id, bundle=bundle, manifest=manifest, tags=tags)
        version = client.create_model_version(
            name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id, await_creation_for=30
        )
    elif version.run_id != run_id:
        client.set_tag(run_id, "quorate.model.reused", f"the same bundle is version {version.version} already")
    client.set_tag(run_id, "quorate.model", f"models:/{name}/{version.version}")
    _crown(client, run_id=run_id, version=client.get_model_version(name, version.version), bundle=bundle)


def _ensure_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _find_version(client: MlflowClient, name: str, bundle_hash: str) -> Any | None:
    versions = client.search_model_versions(f"name = '{name}' and tags.`quorate.bundle` = '{bundle_hash}'")
    return min(versions, key=lambda version: int(version.version), default=None)


def _log(
    client: MlflowClient,
    *,
    run_id: str,
    experiment_id: str,
    bundle: Path,
    manifest: dict[str, Any],
    tags: dict[str, str],
) -> str:
    """Upload the bundle as a models-from-code pyfunc of the run; gives the logged model's id."""
    found = client.search_logged_models(
        [experiment_id], filter_string=f"tags.`quorate.bundle` = '{tags['quorate.bundle']}'"
    )
    mine = [model for model in found if model.source_run_id == run_id]
    model = mine[0] if mine else client.create_logged_model(experiment_id, "ensemble", run_id, tags)
    if model.status != "READY":
        with tempfile.TemporaryDirectory() as folder:
            saved, named = Path(folder) / "model", Path(folder) / "bundle"
            if bundle.name == named.name:  # MLflow keeps the folder's own name below "artifacts"
                named = bundle
            else:
                shutil.copytree(bundle, named)
            _save(saved, bundle=named, manifest=manifest, model=model, run_id=run_id)
            client.log_model_artifacts(model.model_id, str(saved))
        client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run_id).outputs
    if outputs is None or all(output.model_id != model.model_id for output in outputs.model_outputs):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def _save(path: Path, *, bundle: Path, manifest: dict[str, Any], model: Any, run_id: str) -> None:
    inputs, example = _inputs(manifest["input"])
    classes = len(manifest["class_names"])
    save_model(
        path=str(path),
        mlflow_model=Model(
            artifact_path=model.artifact_location,
            run_id=run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
        ),
        python_model=str(CODE),
        artifacts={"bundle": str(bundle)},
        code_paths=[str(PACKAGE)],
        signature=ModelSignature(
            inputs=inputs,
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
        ),
        input_example=example,
        metadata={"quorate.input": manifest["input"]},
        pip_requirements=[_pin(package) for package in (*REQUIREMENTS, *_loaders(manifest))],
    )
    for cache in list(path.rglob("__pycache__")):
        shutil.rmtree(cache)


def _inputs(saved: Mapping[str, Any]) -> tuple[Schema, Any]:
    """What the model takes, and an example of it.

    The columns of tables are of MLflow's type Any, the bundle checks their kinds itself: of "double" MLflow
    would refuse a frame's integers, and of "boolean" its server would make false of what is missing.
    """
    if saved["kind"] == "table":
        columns = saved["columns"]
        example = pd.DataFrame({column["name"]: [_EXAMPLES[column["kind"]]] for column in columns})
        return Schema([ColSpec(AnyType(), column["name"], required=False) for column in columns]), example
    shape, dtype = saved["shape"], np.dtype(saved["dtype"])
    return Schema([TensorSpec(dtype, (-1, *shape))]), np.zeros((1, *shape), dtype)


def _loaders(manifest: dict[str, Any]) -> list[str]:
    """What loads networks of users' own architectures, where there are some."""
    return ["onnxruntime"] if any(entry.get("loader") == "onnx" for entry in manifest["members"]) else []


def _pin(package: str) -> str:
    """The installed release; a local part ("+cpu") names a build that no index has to offer."""
    return f"{package}=={importlib.metadata.version(package).partition('+')[0]}"


def _crown(client: MlflowClient, *, run_id: str, version: Any, bundle: Path) -> None:
    """Give the verdict once, write it down, then move the alias: in this order a crash loses nothing."""
    said = {key: value for key, value in version.tags.items() if key.startswith("quorate.champion")}
    champion = _champion(client, version.name)
    if not said:
        verdict = _judge(client, challenger=version, champion=champion, bundle=bundle)
        said = {
            "quorate.champion.reason": verdict.reason,
        }
        if verdict.difference is not None:
            said["quorate.champion.difference"] = str(verdict.difference)
            said["quorate.champion.standard_error"] = str(verdict.standard_error)
        said["quorate.champion"] = "moved" if verdict.move else "kept"  # last: with it the verdict is whole
        for key, value in said.items():
            client.set_model_version_tag(version.name, version.version, key, value)
    if said["quorate.champion"] == "moved" and (champion is None or int(champion.version) < int(version.version)):
        client.set_registered_model_alias(version.name, ALIAS, version.version)
    for key, value in said.items():
        client.set_tag(run_id, key, value)


def _champion(client: MlflowClient, name: str) -> Any | None:
    aliases = client.get_registered_model(name).aliases
    return client.get_model_version(name, aliases[ALIAS]) if ALIAS in aliases else None


def _judge(client: MlflowClient, *, challenger: Any, champion: Any | None, bundle: Path) -> Verdict:
    new, old = challenger.tags["quorate.fingerprint"], None
    losses = None
    if champion is not None:
        old = champion.tags.get("quorate.fingerprint", "")
        if old == new:
            losses = _losses_of(client, champion)
    return challenge(
        new_losses=read_losses(bundle / LOSSES),
        old_losses=losses,
        new_fingerprint=new,
        old_fingerprint=old,
        groups=read_groups(bundle / LOSSES),
    )


def _losses_of(client: MlflowClient, version: Any) -> NDArray[np.float64] | None:
    """The champion's own losses from the registry; None where its model holds none."""
    bundle = f"models:/{version.name}/{version.version}/artifacts/bundle"
    files = list_artifacts(bundle, tracking_uri=client.tracking_uri)
    if all(Path(file.path).name != LOSSES for file in files):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = download_artifacts(f"{bundle}/{LOSSES}", dst_path=folder, tracking_uri=client.tracking_uri)
        return read_losses(Path(path))
