"""An S3 server on this machine, and the variables with which processes find it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BUCKET = "quorate-tests"

SECRET = "SECRETTEST"
"""No message and no file may show it."""


class ObjectServer:
    """The address of a running server; each store of a test is a prefix of one bucket."""

    def __init__(self, endpoint: str, process: subprocess.Popen[str]) -> None:
        self.endpoint, self.process = endpoint, process
        self.variables = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "AKIDTEST",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def new_store(self) -> str:
        """The URL of an empty store."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex}/store"

    def age(self, url: str, seconds: float) -> None:
        """Make an object look as if it had been written that number of seconds earlier."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        asked = json.dumps({"bucket": bucket, "key": key, "seconds": seconds}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/-/age", asked, method="POST")).close()


@contextmanager
def object_server(address: str = "127.0.0.1") -> Iterator[ObjectServer]:
    """A server at this address with one empty bucket; the variables of this process lead to it."""
    command = [sys.executable, "-m", "tests.s3_server", address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        server = ObjectServer(f"http://{address}:{int(process.stdout.readline())}", process)
        urllib.request.urlopen(urllib.request.Request(f"{server.endpoint}/{BUCKET}", method="PUT")).close()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.variables.items():
                patch.setenv(name, value)
            yield server
        process.stdin.close()
        process.wait(10)
