"""`predict`, `evaluate` and `init` with the URLs of their data."""

from __future__ import annotations

import http.server
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import obstore
import pytest
from obstore.store import S3Store
from PIL import Image
from tests.jobs import Here
from tests.object_stores import BUCKET
from tests.tables import customers as some_customers

from quorate.plan.opening import open_data
from quorate.spec import load_job

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A web server on this machine: its folder and its address."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Pages(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given) -> None:
            super().__init__(*given, directory=str(folder))

        def log_message(self, *given) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def command(customers: Here, quorate_in: Command) -> Command:
    """Runs a command in this process in the folder of the customers; gives its exit code, output and errors."""
    return partial(quorate_in, customers.folder, columns=200)


def test_predict_and_evaluate_give_the_figures_of_the_file_with_the_names_of_its_url(command, pages):
    folder, address = pages
    some_customers(60, seed=1).to_csv(folder / "rows.csv", index=False)
    url, path = f"{address}/rows.csv", str(folder / "rows.csv")

    predicted = [json.loads(command("predict", one, "--json")[1]) for one in (f"{url}?token=abc", path)]
    measured = [json.loads(command("evaluate", one, "--json")[1]) for one in (f"{url}?token=abc", path)]

    assert [row["input"] for row in predicted[0]] == [f"{url}[{i}]" for i in range(60)]
    assert [row | {"input": ""} for row in predicted[0]] == [row | {"input": ""} for row in predicted[1]]
    assert measured[0]["data"] == url
    assert measured[0]["mistakes"][0]["input"].startswith(f"{url}[")
    assert measured[0]["ensemble"] == measured[1]["ensemble"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "{at}/none.csv?token=abc"), "{at}/none.csv: there is no such file"),
        (("evaluate", "{at}/none.csv?token=abc"), "{at}/none.csv: there is no such file"),
        (("init", "{at}/none.csv?token=abc"), "{at}/none.csv: there is no such file"),
        (("init", "new.csv", "--test", "{at}/none.csv"), "{at}/none.csv: there is no such file"),
        (("predict", "{at}/rows.csv"), "{at}/rows.csv has no rows"),
        (("evaluate", "{at}/rows.csv", "--label", "x"), "{at}/rows.csv has no label column 'x'"),
        (("init", "{at}/rows.csv"), "{at}/rows.csv has no rows"),
        (("predict", "{at}/photos/"), "{at}/photos/: a web server does not list its folders"),
        (("predict", "ftp://host/rows.csv"), "INPUT: ftp:// is not one of s3://, gs://, az://, https://, http://"),
        (("evaluate", "https://me:abc@host/rows.csv"), "DATA: a URL must not contain credentials"),
        (("init", "s3://bucket"), "DATA: 's3://bucket' lacks the path of a file or folder"),
        (("init", "new.csv", "--test", "ftp://host/x"), "--test: ftp:// is not one of"),
    ],
)
def test_an_error_names_the_url_without_its_query(command, pages, tmp_path, arguments, message):
    folder, address = pages
    (folder / "rows.csv").write_text(",".join(some_customers(2, seed=0).columns) + "\n")
    given = [one.replace("{at}", address) for one in arguments]
    written = ("-o", str(tmp_path / "job.yaml")) if arguments[0] == "init" else ()

    code, _, errors = command(*given, *written)

    assert code == 2
    assert message.replace("{at}", address) in errors
    assert "abc" not in errors
    assert str(tmp_path / "cache") not in errors


def test_init_writes_the_url_into_a_job_that_can_be_opened(command, pages, tmp_path):
    folder, address = pages
    some_customers(120, seed=0).to_csv(folder / "train.csv", index=False)
    some_customers(60, seed=1).to_csv(folder / "other.csv", index=False)
    job = tmp_path / "job.yaml"

    code, said, errors = command("init", f"{address}/train.csv", "--test", f"{address}/other.csv", "-o", str(job))

    assert code == 0, errors
    assert f"120 in {address}/train.csv" in said
    spec = load_job(job).spec
    assert (spec.data.train, spec.data.test) == (f"{address}/train.csv", f"{address}/other.csv")
    assert str(tmp_path / "cache") not in job.read_text()


@pytest.mark.system
def test_a_folder_of_pictures_in_a_bucket_becomes_a_job_with_its_test_folder(s3, quorate_in, tmp_path):
    # given
    prefix = uuid.uuid4().hex
    client = S3Store(BUCKET, prefix=prefix, client_options={"allow_http": True})
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for label in ("cat", "dog"):
            for i in range(count):
                Image.fromarray(rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)).save(tmp_path / "one.png")
                obstore.put(client, f"flowers/{part}/{label}/{i}.png", (tmp_path / "one.png").read_bytes())
    url = f"s3://{BUCKET}/{prefix}/flowers"

    # when
    code, _, errors = quorate_in(tmp_path, "init", url)

    # then
    assert code == 0, errors
    job = load_job(tmp_path / "job.yaml")
    assert job.spec.name == "flowers"
    assert (job.spec.data.train, job.spec.data.test) == (f"{url}/train", f"{url}/test")
    opened = open_data(job)
    assert (len(opened.train), len(opened.test)) == (12, 4)
