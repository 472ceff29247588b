"""Log a bundle as an MLflow model, register it once, and compare it with the champion."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from quorate.bundle import LOSSES, MANIFEST, BundleManifest, read_manifest
from quorate.ensemble.paired import read_groups, read_losses
from quorate.tracking.champion import Verdict, challenge
from quorate.tracking.model_signature import example_of, schema_of

ALIAS = "champion"
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
DECISION = "quorate.champion"
"""Tag of a version: the decision whether it became champion, and the time."""
REPLACED_BY = "quorate.champion.replaced_by"
"""Tag of a former champion: the version that replaced it."""
_ABOUT = (
    "Ensembles trained by Quorate. The alias `champion` moves to a new version if its out-of-fold log-loss on the "
    "same rows is lower by more than 1.96 standard errors of the paired difference. The tags of a version contain the "
    "decision and its reason."
)
WON, LOST = "became champion", "did not become champion"
"""The two possible beginnings of the tag `DECISION`."""
_BEFORE = {"moved": WON, "kept": LOST}
"""Values of the tag in earlier versions of Quorate."""


@dataclass(frozen=True)
class VersionPage:
    """The information about the run on the page of a registered version."""

    run: str = ""
    """The name of the run folder."""
    note: str = ""
    """The leaderboard, as Markdown."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()
    """Names of files in the folder `plots` of the run."""


def register(
    client: MlflowClient, *, run_id: str, experiment_id: str, bundle: Path, name: str, shown: VersionPage | None = None
) -> None:
    """Log `bundle` in the run, register it under `name`, and move the alias if it beats the champion.

    The call can be repeated after an interruption at any point. It finds the logged model and its version by their
    tags, and does not decide a second time.
    """
    manifest = read_manifest(bundle)
    tags = {
        "quorate.bundle": hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest(),
        "quorate.fingerprint": manifest.data.fingerprint,
    }
    shown = shown or VersionPage()
    figures = {key: f"{value:.5g}" for key, value in shown.metrics.items() if key.endswith(("_nll", "_accuracy"))}
    _ensure_registered_model(client, name)
    version = _find_version(client, name, tags["quorate.bundle"])
    if version is None:
        model_id = _log(client, run_id=run_id, experiment_id=experiment_id, bundle=bundle, manifest=manifest, tags=tags)
        origin = {"quorate.run_folder": shown.run} if shown.run else {}
        version = client.create_model_version(
            name,
            f"models:/{model_id}",
            run_id,
            tags={**tags, **origin, **figures},
            model_id=model_id,
            await_creation_for=30,
        )
    elif version.run_id != run_id:
        client.set_tag(
            run_id, "quorate.model.reused", f"this bundle is already registered as version {version.version}"
        )
    client.set_tag(run_id, "quorate.model", f"models:/{name}/{version.version}")
    said = _crown(client, run_id=run_id, version=client.get_model_version(name, version.version), bundle=bundle)
    if version.run_id == run_id:
        model_id = str(version.source).removeprefix("models:/")
        _show_metrics(client, run_id=run_id, model_id=model_id, metrics=shown.metrics)
        if not client.get_model_version(name, version.version).description:
            text = _description(shown, said, experiment_id=experiment_id, run_id=run_id)
            client.update_model_version(name, version.version, text)


def _show_metrics(client: MlflowClient, *, run_id: str, model_id: str, metrics: Mapping[str, float]) -> None:
    """Link the run's metrics to the logged model. The points are the same, so that there are no duplicates."""
    points = [client.get_metric_history(run_id, key)[-1:] for key in metrics]
    tied = [
        Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id)
        for (point,) in filter(None, points)
    ]
    if tied:
        client.log_batch(run_id, metrics=tied)


def _description(shown: VersionPage, said: Mapping[str, str], *, experiment_id: str, run_id: str) -> str:
    """The description of a version, in Markdown: the decision, the leaderboard, and the run's pictures."""
    parts = [f"An ensemble trained by Quorate. It **{said[DECISION]}**: {said['quorate.champion.reason']}."]
    if shown.run:
        parts[0] += f" It comes from the run [{shown.run}](#/experiments/{experiment_id}/runs/{run_id})."
    if shown.note:
        parts.append(shown.note)
    if shown.pictures:
        source = f"get-artifact?run_uuid={run_id}&path=plots/"
        links = [f"[{Path(picture).stem}]({source}{picture})" for picture in shown.pictures]
        parts.append(f"Pictures: {', '.join(links)}.")
        parts.append(f"![{shown.pictures[0]}]({source}{shown.pictures[0]})")
    return "\n\n".join(filter(None, parts))


def _ensure_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name, description=_ABOUT)
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
    manifest: BundleManifest,
    tags: dict[str, str],
) -> str:
    """Upload the bundle to the run as a models-from-code pyfunc model; returns the id of the logged model."""
    found = client.search_logged_models(
        [experiment_id], filter_string=f"tags.`quorate.bundle` = '{tags['quorate.bundle']}'"
    )
    mine = [model for model in found if model.source_run_id == run_id]
    model = mine[0] if mine else client.create_logged_model(experiment_id, "ensemble", run_id, tags)
    if model.status != "READY":
        with tempfile.TemporaryDirectory() as folder:
            saved, named = Path(folder) / "model", Path(folder) / "bundle"
            if bundle.name == named.name:  # MLflow keeps the folder's own name below `artifacts`
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


def _save(path: Path, *, bundle: Path, manifest: BundleManifest, model: Any, run_id: str) -> None:
    classes, row = len(manifest.class_names), manifest.input.to_json()
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
            inputs=schema_of(row),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
        ),
        input_example=example_of(row),
        metadata={"quorate.input": row},
        pip_requirements=[_pin(package) for package in (*REQUIREMENTS, *_loaders(manifest))],
    )
    for cache in list(path.rglob("__pycache__")):
        shutil.rmtree(cache)


def _loaders(manifest: BundleManifest) -> list[str]:
    """Return the packages that load networks of users' own architectures, if there are any."""
    return ["onnxruntime"] if any(member.loader == "onnx" for member in manifest.members) else []


def _pin(package: str) -> str:
    """The requirement for the installed release, without a local part such as `+cpu`, because package indexes lack such
    builds."""
    return f"{package}=={importlib.metadata.version(package).partition('+')[0]}"


def _crown(client: MlflowClient, *, run_id: str, version: Any, bundle: Path) -> dict[str, str]:
    """Decide once, write the tags, and then move the alias, so that a crash loses nothing; returns the tags."""
    said = {key: value for key, value in version.tags.items() if key.startswith(DECISION)}
    said |= {DECISION: _BEFORE[said[DECISION]]} if said.get(DECISION) in _BEFORE else {}
    champion = _champion(client, version.name)
    if DECISION not in said:
        verdict = _judge(client, challenger=version, champion=champion, bundle=bundle)
        said = {"quorate.champion.reason": verdict.reason}
        if champion is not None:
            said["quorate.champion.compared_with"] = f"version {champion.version}"
        if verdict.difference is not None:
            said["quorate.champion.oof_nll_lower_by"] = f"{verdict.difference:.6g}"
            said["quorate.champion.standard_error"] = f"{verdict.standard_error:.6g}"
        now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        said[DECISION] = f"{WON if verdict.move else LOST} on {now}"  # last: it marks the decision as complete
        for key, value in said.items():
            client.set_model_version_tag(version.name, version.version, key, value)
    if said[DECISION].startswith(WON) and (champion is None or int(champion.version) < int(version.version)):
        client.set_registered_model_alias(version.name, ALIAS, version.version)
        if champion is not None:
            client.set_model_version_tag(version.name, champion.version, REPLACED_BY, f"version {version.version}")
    for key, value in said.items():
        client.set_tag(run_id, key, value)
    return said


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
    """The losses of the champion from the registry; None if its model has none."""
    bundle = f"models:/{version.name}/{version.version}/artifacts/bundle"
    files = list_artifacts(bundle, tracking_uri=client.tracking_uri)
    if all(Path(file.path).name != LOSSES for file in files):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = download_artifacts(f"{bundle}/{LOSSES}", dst_path=folder, tracking_uri=client.tracking_uri)
        return read_losses(Path(path))
