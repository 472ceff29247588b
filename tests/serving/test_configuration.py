"""A run that Serve starts from a configuration, in a real Ray Serve."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from tests.serving import quarters
from tests.serving.test_application import LIMITS, probabilities, rows

from quorate.errors import UserError
from quorate.serving import service
from quorate.serving.configuration import RUN, application

TOKEN = "a token of these tests"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return path


@pytest.mark.system
def test_a_run_is_served_as_one_application_to_clients_with_the_token(
    ray_session: None, model_folder: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import serve

    monkeypatch.setenv(RUN, str(model_folder))
    port = service.free_port("127.0.0.1", 0)
    service._start_serve("127.0.0.1", port, LIMITS)
    try:
        serve.run(application({"token_file": token_file, "fronts": 2, "allow_code": True}), route_prefix="/")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=40) as client:
            x = rows(3)
            assert client.post("/v1/predict", json={"inputs": x.tolist()}).status_code == 401
            client.headers["Authorization"] = f"Bearer {TOKEN}"

            answer = client.post("/v1/predict", json={"inputs": x.tolist()})

            expected = sum(quarters.proba(x, sharpness) for sharpness in quarters.SHARPNESS.values())
            assert probabilities(answer) == pytest.approx(expected / len(quarters.SHARPNESS), abs=1e-7)
            assert client.get("/healthz").status_code == 200
    finally:
        service._end_serve()


@pytest.mark.parametrize("run", ["", "models:/digits@champion"])
def test_a_run_that_can_change_is_refused(run: str, token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN, run)

    with pytest.raises(UserError, match=f"{RUN} is '{run}'; set it on all nodes to one run"):
        application({"token_file": token_file})


def test_a_service_without_a_token_or_with_a_misspelt_argument_is_refused(token_file: Path) -> None:
    with pytest.raises(ValidationError, match="token_file"):
        application({})
    with pytest.raises(ValidationError, match="replica\n"):
        application({"token_file": token_file, "replica": 2})
