"""What `quorate submit` refuses before anything is sent; no cluster is needed."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from tests.cli.conftest import InFolder
from tests.jobs import SMALL, Here

from quorate.execution.ray.cluster import ClusterError
from quorate.execution.ray.dashboard import knock

NOWHERE = "http://127.0.0.1:9"
"""Nothing listens at the port `discard`."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    Here(tmp_path).write({**SMALL, "execution": {}})
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detach", "--wait"], "leave one of them out"),
        (["--env", "QUORATE_NOT_SET"], "--env QUORATE_NOT_SET: the variable is not set in this shell"),
        (["--store", "ftp://host/store"], "ftp:// is not one of s3://, gs://, az://"),
        (["--address", "head:6379"], "is not the address of a dashboard, such as http://HEAD:8265"),
        ([], f"no Ray dashboard answers at {NOWHERE}"),
    ],
)
def test_a_mistake_is_an_error_of_the_input(folder: Path, quorate_in: InFolder, words: list[str], message: str) -> None:
    code, out, errors = quorate_in(folder, "submit", "job.yaml", "--address", NOWHERE, *words)

    assert code == 2 and message in errors, errors
    assert "submitted" not in out


class _Dashboard(BaseHTTPRequestHandler):
    """Answers every request, and remembers it."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.end_headers()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *words: object) -> None:
        """The tests read the standard error."""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("members.cnn.epochz=3", "epochz"),
        ("data.train=gone.npz", "data.train"),
        ("execution.executor=local", "give --set execution.executor=ray"),
    ],
)
def test_a_job_is_checked_before_anything_is_sent(
    folder: Path, quorate_in: InFolder, override: str, message: str
) -> None:
    _Dashboard.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Dashboard) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        code, _, errors = quorate_in(folder, "submit", "job.yaml", "--address", address, "--set", override)
        server.shutdown()

    assert code == 2 and message in errors, errors
    assert _Dashboard.asked == ["GET /api/version"]


def test_a_value_that_is_given_with_env_is_not_repeated(folder: Path, quorate_in: InFolder) -> None:
    code, out, errors = quorate_in(folder, "submit", "job.yaml", "--address", NOWHERE, "--env", "KEY=canary-4711")

    assert code == 2 and "--env takes the name of a variable" in errors
    assert "canary-4711" not in out + errors


@pytest.mark.parametrize("command", [["status"], ["logs", "a"], ["stop", "a"], ["fetch", "a"], ["submit", "job.yaml"]])
def test_every_command_says_which_address_it_needs(folder: Path, quorate_in: InFolder, command: list[str]) -> None:
    code, _, errors = quorate_in(folder, *command)

    assert code == 2 and "--address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS" in errors


def test_the_fold_of_a_log_needs_its_member(folder: Path, quorate_in: InFolder) -> None:
    code, _, errors = quorate_in(folder, "logs", "a", "--fold", "1", "--address", NOWHERE)

    assert code == 2 and "--fold needs --member" in errors


def test_looking_after_jobs_imports_neither_torch_nor_scikit_learn() -> None:
    modules = (
        "quorate.job.submission, quorate.job.submitted_run, quorate.job.submitted_following, quorate.cli.submitted"
    )
    script = f"import sys, {modules}; print({{'torch', 'sklearn', 'pandas'}} & sys.modules.keys())"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n", "they take seconds, in which a user waits for `quorate status`"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with the key and the certificate of 127.0.0.1, which it has signed itself."""
    made, key = tmp_path / "server.pem", tmp_path / "server.key"
    words = [
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=proxy",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run(["openssl", "req", "-x509", *words, "-keyout", key, "-out", made], check=True, capture_output=True)
    made.write_text(made.read_text() + key.read_text())
    return made


def test_a_certificate_of_an_own_authority_is_named_in_one_variable(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Dashboard.asked.clear()
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Dashboard) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever).start()
        address = f"https://127.0.0.1:{server.server_port}"
        with pytest.raises(ClusterError, match=r"is not trusted: self-signed certificate; .* set SSL_CERT_FILE"):
            knock(address)
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            with monkeypatch.context() as context_of_name:
                context_of_name.setenv(name, str(certificate))
                knock(address)
        server.shutdown()

    assert _Dashboard.asked == ["GET /api/version"] * 2
