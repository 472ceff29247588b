"""Send journal records to MLflow. Each call can be repeated without creating duplicates."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.utils.validation import (
    MAX_DATASET_DIGEST_SIZE,
    MAX_DATASET_NAME_SIZE,
    MAX_DATASET_SCHEMA_SIZE,
    MAX_METRICS_PER_BATCH,
    MAX_PARAM_VAL_LENGTH,
    MAX_PARAMS_TAGS_PER_BATCH,
    MAX_TAG_VAL_LENGTH,
)

from quorate.tracking.attempts import PatientClient, UnreachableError, first_line
from quorate.tracking.position import Position, Refusal
from quorate.tracking.ranking import view
from quorate.tracking.records import (
    ArtifactRecord,
    DatasetRecord,
    EndRecord,
    HeaderRecord,
    MetricsRecord,
    ModelRecord,
    RankingRecord,
    Record,
    RunRecord,
    TagsRecord,
)

R = TypeVar("R", bound=Record)
"""A kind of record."""

MAX_RUN_NAME = 250
"""Maximum number of characters of a run name in MLflow's database."""
EXPERIMENT = {"mlflow.experimentKind": "custom_model_development"}
"""Tags of a new experiment; they make MLflow show its pages for model training."""

WRITTEN = "quorate.written"
"""A tag of the experiment: the server has accepted it at least once."""


def open_delivery(uri: str, folder: Path, header: HeaderRecord, position: Position) -> Delivery:
    """Open a delivery to `uri`. Raises `UnreachableError` if a database fails; a server is first called later."""
    try:
        client = MlflowClient(uri)
    except Exception as error:  # database drivers raise their own errors
        raise UnreachableError(first_line(error)) from error
    return Delivery(client, folder, header, position)


class Delivery:
    """Sends the records of one journal in order; `position` keeps the ids of the runs, and the refusals."""

    def __init__(self, client: MlflowClient, folder: Path, header: HeaderRecord, position: Position) -> None:
        self._client = client
        self._folder = folder
        self._header = header
        self._attempt = PatientClient(self._write)
        self._unsure = True  # the server may have a run that `position` lacks, so search for it before creating one
        self.position = position

    def connect(self) -> None:
        """Find or create the experiment; raises `UnreachableError`."""
        if self.position.experiment_id:
            return
        name = self._header.experiment
        try:
            found = self._client.get_experiment_by_name(name)
            identifier = found.experiment_id if found else self._client.create_experiment(name, tags=EXPERIMENT)
        except Exception as error:  # another job may have created it just now, and the next attempt finds it
            raise UnreachableError(first_line(error)) from error
        if found and found.lifecycle_stage == "deleted":
            command = f"mlflow experiments restore --experiment-id {identifier}"
            raise UnreachableError(f"the experiment {name!r} was deleted; restore it: {command}")
        self.position.experiment_id = identifier

    def deliver(self, records: Sequence[Record]) -> None:
        """Send `records`; those that the server will never accept go to `position.refused`.

        Raises:
            UnreachableError: the server cannot be reached now; call again with the same records.
        """
        self.connect()
        known = set(self.position.runs)
        for run in _of(RunRecord, records):
            self._begin(run, known)
        self._send_metrics(_of(MetricsRecord, records))
        for tags in _of(TagsRecord, records):
            self._send_tags(tags.uid, tags.tags)
        for dataset in _of(DatasetRecord, records):
            self._with_run(dataset.uid, f"dataset {dataset.name}", self._dataset, dataset)
        for artifact in _of(ArtifactRecord, records):
            self._with_run(artifact.uid, f"artifact {artifact.path}", self._artifact, artifact)
        for ranking in _of(RankingRecord, records):
            self._with_run(ranking.uid, "the list of the members", self._ranking, ranking)
        for model in _of(ModelRecord, records):
            self._with_run(model.uid, f"model {model.name}", self._model, model)
        last = {record.uid: record for record in records if isinstance(record, RunRecord | EndRecord)}
        for uid, record in last.items():
            if isinstance(record, EndRecord):
                self._end(record)
            elif uid in known:  # a restarted job continues a run that may have ended already
                self._with_run(uid, "run", self._reopen, record)

    def kill_open(self) -> None:
        """Mark the runs without an end as killed. Called after the process of the job has ended."""
        for uid in list(self.position.open):
            self._end(EndRecord(uid, "KILLED", time.time_ns() // 1_000_000))

    def _write(self) -> None:
        """Write something that changes nothing: the experiment gets a tag that it has."""
        self._client.set_experiment_tag(self.position.experiment_id, WRITTEN, "true")

    def _begin(self, record: RunRecord, known: set[str]) -> None:
        uid = record.uid
        reason = self._attempt("run", lambda: self._find_or_create(record))
        if reason is not None:
            self._refuse(uid, "run", reason)
            return
        if uid not in self.position.open:
            self.position.open.append(uid)
        if uid in known:
            self._send_tags(uid, record.tags)
        params = [Param(key, value[:MAX_PARAM_VAL_LENGTH]) for key, value in record.params.items()]
        self._send(uid, "param", params, MAX_PARAMS_TAGS_PER_BATCH)

    def _find_or_create(self, record: RunRecord) -> None:
        runs = self.position.runs
        if self._unsure:
            runs.update(self._search_runs())
            self._unsure = False
        if record.uid in runs:
            return
        tags = {
            **record.tags,
            "quorate.uid": record.uid,
            "quorate.run": self._header.run,
            "mlflow.user": self._header.user,
            "mlflow.source.name": self._header.source,
            "mlflow.source.type": "LOCAL",
        }
        if record.parent in runs:
            tags["mlflow.parentRunId"] = runs[record.parent]
        self._unsure = True  # until the server has responded
        run = self._client.create_run(
            self.position.experiment_id,
            start_time=record.start_ms,
            tags={key: value[:MAX_TAG_VAL_LENGTH] for key, value in tags.items()},
            run_name=record.name[:MAX_RUN_NAME],
        )
        self._unsure = False
        runs[record.uid] = run.info.run_id

    def _search_runs(self) -> dict[str, str]:
        found: dict[str, str] = {}
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs(
                [self.position.experiment_id],
                f"tags.`quorate.run` = '{self._header.run}'",
                max_results=1000,
                page_token=token or None,
            )
            found.update({run.data.tags["quorate.uid"]: run.info.run_id for run in page})
            token = page.token or None
        return found

    def _end(self, record: EndRecord) -> None:
        self._with_run(record.uid, "end", self._terminate, record)
        if record.uid in self.position.open:
            self.position.open.remove(record.uid)

    def _terminate(self, run_id: str, record: EndRecord) -> None:
        self._client.set_terminated(run_id, record.status, record.end_ms)

    def _reopen(self, run_id: str, record: RunRecord) -> None:
        self._client.update_run(run_id, "RUNNING")

    def _send_metrics(self, records: Sequence[MetricsRecord]) -> None:
        """Send all values of a run together, because a call costs more than a thousand values in it."""
        values: defaultdict[str, list[Metric]] = defaultdict(list)
        for record in records:
            values[record.uid] += [
                Metric(key, value, record.timestamp_ms, record.step) for key, value in record.values.items()
            ]
        for uid, metrics in values.items():
            self._send(uid, "metric", metrics, MAX_METRICS_PER_BATCH)

    def _send_tags(self, uid: str, tags: Mapping[str, str]) -> None:
        entries = [RunTag(key, value[:MAX_TAG_VAL_LENGTH]) for key, value in tags.items()]
        self._send(uid, "tag", entries, MAX_PARAMS_TAGS_PER_BATCH)

    def _send(self, uid: str, what: str, entries: Sequence[Any], most: int) -> None:
        for start in range(0, len(entries), most):
            self._send_batch(uid, what, entries[start : start + most])

    def _send_batch(self, uid: str, what: str, batch: Sequence[Any]) -> None:
        """Send a batch in one call. If the server refuses it, send its halves, until each refused entry is sent
        alone."""
        run_id = self.position.runs.get(uid)
        if run_id is None:
            self._refuse(uid, f"{len(batch)} {what}s", "their run was refused, or was never started")
            return
        reason = self._attempt(what, lambda: self._client.log_batch(run_id, **{f"{what}s": batch}))
        if reason is None:
            return
        if len(batch) == 1:
            self._refuse(uid, f"{what} {batch[0].key}", reason)
        elif self._attempt(what, lambda: self._require_active(run_id)) is not None:
            self._refuse(uid, f"{len(batch)} {what}s", reason)
        else:
            middle = len(batch) // 2
            self._send_batch(uid, what, batch[:middle])
            self._send_batch(uid, what, batch[middle:])

    def _require_active(self, run_id: str) -> None:
        if self._client.get_run(run_id).info.lifecycle_stage == "deleted":
            raise FileNotFoundError(f"run {run_id} was deleted")

    def _dataset(self, run_id: str, record: DatasetRecord) -> None:
        data = Dataset(
            name=record.name[:MAX_DATASET_NAME_SIZE],
            digest=record.digest[:MAX_DATASET_DIGEST_SIZE],
            source_type="local",
            source=json.dumps({"uri": record.source}),
            profile=json.dumps(record.profile),
            schema=_schema(record.signature),
        )
        tag = InputTag("mlflow.data.context", record.context)
        self._client.log_inputs(run_id, [DatasetInput(data, [tag])])

    def _ranking(self, run_id: str, record: RankingRecord) -> None:
        self._client.set_experiment_tag(self.position.experiment_id, *view(record.run, record.searched, record.metric))

    def _artifact(self, run_id: str, record: ArtifactRecord) -> None:
        self._client.log_artifact(run_id, str(self._existing(record.path)), record.folder or None)

    def _model(self, run_id: str, record: ModelRecord) -> None:
        from quorate.tracking.model import VersionPage, register  # imports pandas and more, so only if there is a model

        bundle = self._existing(record.bundle)
        experiment_id = self.position.experiment_id
        shown = VersionPage(
            run=record.run,
            note=record.note,
            metrics=record.metrics,
            pictures=tuple(Path(path).name for path in record.pictures),
        )
        register(self._client, run_id=run_id, experiment_id=experiment_id, bundle=bundle, name=record.name, shown=shown)

    def _existing(self, path: str) -> Path:
        full = self._folder / path
        if not full.exists():
            raise FileNotFoundError(f"{full} does not exist")
        return full

    def _with_run(self, uid: str, what: str, call: Callable[[str, R], None], record: R) -> None:
        run_id = self.position.runs.get(uid)
        if run_id is None:
            self._refuse(uid, what, "its run was refused, or was never started")
            return
        reason = self._attempt(what.split()[0], lambda: call(run_id, record))
        if reason is not None:
            self._refuse(uid, what, reason)

    def _refuse(self, uid: str, what: str, reason: str) -> None:
        refusal = Refusal(uid, what, reason)
        if refusal not in self.position.refused:  # the same records may be sent again after an outage
            self.position.refused.append(refusal)
            print(f"refused: {what} of {uid}: {reason}", flush=True)


def _of(kind: type[R], records: Sequence[Record]) -> list[R]:
    return [record for record in records if isinstance(record, kind)]


def _schema(signature: Mapping[str, Any] | None) -> str | None:
    """The schema of a dataset; None if the journal has no signature, or if the schema is too long for MLflow."""
    from quorate.tracking.model_signature import (
        dataset_schema,  # imports pandas and more, so only if there is a dataset
    )

    if signature is None:
        return None
    text = json.dumps(dataset_schema(signature))
    return text if len(text) <= MAX_DATASET_SCHEMA_SIZE else None
