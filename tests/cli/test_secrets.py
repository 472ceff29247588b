"""Secrets in URIs and in the environment appear in no message and in no file; nothing here reaches a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import InFolder
from tests.jobs import SMALL, Here
from tests.secrets_search import leaks_below, leaks_in

SECRET = "canary-0x51f7"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDTEST",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "MLFLOW_TRACKING_URI": f"http://ada:{SECRET}@127.0.0.1:9",
    "MLFLOW_TRACKING_USERNAME": "ada",
    "MLFLOW_TRACKING_PASSWORD": SECRET,
    "RAY_AUTH_TOKEN": SECRET,
}
ADDRESS = f"ada:{SECRET}@127.0.0.1:9"


@pytest.mark.parametrize(
    "words",
    [
        ["train", "job.yaml", "--store", f"s3://ada:{SECRET}@bucket/store"],
        ["train", "job.yaml", "--store", f"s3://bucket/store?secret={SECRET}"],
        ["train", "job.yaml", "--store", f"s3://bucket/store#{SECRET}"],
        ["train", "job.yaml", "--store", f"s3:/ada:{SECRET}@bucket/store"],
        ["train", "job.yaml", "--store", f"s3:ada:{SECRET}@bucket/store"],
        ["train", "job.yaml", "--store", f"http://ada:{SECRET}@bucket/store"],
        ["train", "job.yaml", "--executor", "ray", "--address", ADDRESS],
        ["train", "job.yaml", "--executor", "ray", "--address", f"ray://{ADDRESS}"],
        ["train", "job.yaml", "--executor", "ray", "--address", f"127.0.0.1:9?token={SECRET}"],
        ["train", "job.yaml", "--set", "members.cnn.epochz=3"],
        ["train", "no-such-job.yaml"],
        ["overfit", "job.yaml", "cnn", "--address", ADDRESS],
        ["submit", "job.yaml", "--address", f"http://{ADDRESS}"],
        ["submit", "job.yaml", "--address", f"http://127.0.0.1:9/?token={SECRET}"],
        ["status", "--address", f"http://{ADDRESS}"],
        ["logs", "a", "--address", ADDRESS],
        ["stop", "a", "--address", f"ftp://{ADDRESS}"],
        ["runs", "--runs", f"s3://ada:{SECRET}@bucket/runs"],
        ["runs", "--runs", f"s3:/ada:{SECRET}@bucket/runs"],
        ["top", "--runs", f"s3://bucket/runs?secret={SECRET}"],
        ["sync", "nothing"],
        ["predict", "new.npz", "--run", "models:/digits@champion"],
        ["store", "info", "--store", f"s3://ada:{SECRET}@bucket/store"],
    ],
    ids=lambda words: " ".join(words).replace(SECRET, "SECRET").replace("/", "|"),
)
def test_no_message_repeats_a_secret(
    tmp_path: Path, quorate_in: InFolder, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "QUORATE_RUNS", "QUORATE_STORE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    Here(tmp_path).write(SMALL)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    code, out, errors = quorate_in(tmp_path, *words)

    assert code == 2, (code, out, errors)
    assert errors.startswith(("error: ", "Usage: ")), errors
    assert leaks_in((out + errors).encode(), {"it": SECRET}) == [], out + errors
    assert [*leaks_below(tmp_path, {"it": SECRET})] == []
