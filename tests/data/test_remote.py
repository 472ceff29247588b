"""Data files from object stores and web servers: the same rows as from a folder, downloaded once per version."""

from __future__ import annotations

import datetime
import http.server
import os
import shutil
import ssl
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import obstore
import pandas as pd
import pytest
from obstore.store import S3Store
from PIL import Image
from tests.object_stores import BUCKET

from quorate.data.cache import node_cache
from quorate.data.remote import local_file, local_folder
from quorate.data.source import DataError
from quorate.data.sources.csv import Csv, CsvParams
from quorate.data.sources.image_folder import ImageFolder, ImageFolderParams
from quorate.data.sources.npz import Npz, NpzParams
from quorate.data.sources.parquet import Parquet, ParquetParams
from quorate.plan.opening import open_data
from quorate.spec import load_job
from quorate.spec.file import SpecError

CSV = "a,b,y\n" + "".join(f"{i},{i % 7},{'no' if i % 3 else 'yes'}\n" for i in range(60))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bucket(s3) -> Iterator[tuple[S3Store, str]]:
    """A client for an empty prefix of the bucket, and the URL of the prefix."""
    prefix = uuid.uuid4().hex
    client = S3Store(BUCKET, prefix=prefix, client_options={"allow_http": True})
    yield client, f"s3://{BUCKET}/{prefix}"


class Pages(http.server.SimpleHTTPRequestHandler):
    """The files of a folder; `asked` has the paths of all requests, `/secret` is forbidden."""

    folder: Path
    asked: list[str]

    def __init__(self, *given) -> None:
        super().__init__(*given, directory=str(self.folder))

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/secret"):
            self.send_error(403)
        else:
            super().do_GET()

    def log_message(self, *given) -> None:
        pass


@pytest.fixture
def pages(tmp_path) -> Iterator[tuple[Path, str, list[str]]]:
    """A web server on this machine: its folder, its address, and the paths that were asked for."""
    folder = tmp_path / "www"
    folder.mkdir()
    kind = type("These", (Pages,), {"folder": folder, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}", kind.asked
        server.shutdown()


def downloads() -> int:
    return len(list((node_cache().folder / "downloads").glob("[!.]*")))


def test_a_table_in_a_bucket_has_the_rows_of_the_file_and_is_downloaded_once(bucket, tmp_path):
    client, url = bucket
    (tmp_path / "rows.csv").write_text(CSV)
    obstore.put(client, "rows.csv", CSV.encode())
    expected = Csv.open(CsvParams(train=tmp_path / "rows.csv", label="y"))

    for _ in range(2):
        found = Csv.open(CsvParams(train=f"{url}/rows.csv", label="y", test=f"{url}/rows.csv"))
        assert found.train.fingerprint == expected.train.fingerprint
        assert len(found.test) == 60
    assert downloads() == 1

    obstore.put(client, "rows.csv", (CSV + "9,9,yes\n").encode())
    assert len(Csv.open(CsvParams(train=f"{url}/rows.csv", label="y")).train) == 61
    assert downloads() == 2, "a new version"


def test_archives_and_parquet_folders_come_from_a_bucket(bucket, tmp_path):
    client, url = bucket
    images, labels = np.arange(12 * 64, dtype=np.uint8).reshape(12, 8, 8), np.arange(12) % 3
    np.savez(tmp_path / "rows.npz", images=images, labels=labels)
    obstore.put(client, "rows.npz", (tmp_path / "rows.npz").read_bytes())
    frame = pd.DataFrame({"a": range(40), "y": ["x", "z"] * 20})
    for name, rows in (("1", frame[:25]), ("2", frame[25:])):
        obstore.put(client, f"table/{name}.parquet", rows.to_parquet(index=False))

    archive = Npz.open(NpzParams(train=f"{url}/rows.npz")).train
    table = Parquet.open(ParquetParams(train=f"{url}/table/", label="y")).train

    with_more = Npz.open(NpzParams(train=tmp_path / "rows.npz", unlabelled=f"{url}/rows.npz"))

    np.testing.assert_array_equal(archive.x.take(np.arange(12))[..., 0], images)
    assert with_more.unlabelled.digest() == archive.x.digest()
    assert table.x.frame["a"].tolist() == list(range(40))


def test_a_folder_of_pictures_comes_from_a_bucket(bucket, tmp_path):
    client, url = bucket
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(3):
            path = tmp_path / "photos" / label / f"{i}.png"
            Image.fromarray(rng.integers(0, 255, (9, 8, 3)).astype(np.uint8)).save(path)
            obstore.put(client, f"photos/{label}/{i}.png", path.read_bytes())
    expected = ImageFolder.open(ImageFolderParams(train=tmp_path / "photos", size=8)).train

    opened = ImageFolder.open(ImageFolderParams(train=f"{url}/photos", size=8, unlabelled=f"{url}/photos/dog"))

    found = opened.train
    dogs = expected.x.take(np.arange(3, 6))
    np.testing.assert_array_equal(opened.unlabelled.take(np.arange(3)), dogs)
    assert found.class_names == ("cat", "dog")
    assert found.fingerprint == expected.fingerprint


def test_a_file_of_a_web_server_is_downloaded_once_per_version(pages):
    folder, address, asked = pages
    (folder / "a table.csv").write_text(CSV)

    first = local_file(f"{address}/a%20table.csv?download=1", "train")

    assert first.name == "a table.csv"
    assert first.read_text() == CSV
    assert local_file(f"{address}/a%20table.csv?download=1", "train") == first
    (folder / "a table.csv").write_text("a,y\n")
    os.utime(folder / "a table.csv", (10**9, 10**9))
    assert local_file(f"{address}/a%20table.csv?download=1", "train").read_text() == "a,y\n"
    assert asked == ["/a%20table.csv?download=1"] * 3


def test_a_download_that_is_cut_off_leaves_nothing(pages, monkeypatch):
    folder, address, _ = pages
    (folder / "rows.csv").write_text(CSV)

    def cut(self, source, target):
        target.write(source.read(100))
        self.close_connection = True

    monkeypatch.setattr(Pages, "copyfile", cut)

    with pytest.raises(DataError, match=rf"^{address}/rows.csv: "):
        local_file(f"{address}/rows.csv", "train")
    assert downloads() == 0


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none.csv?token=abc", r"/none\.csv: there is no such file$"),
        ("/secret.csv?token=abc", r"/secret\.csv: access is denied; the server requires a login"),
    ],
)
def test_an_answer_of_the_server_is_an_error_without_the_query(pages, path, message):
    with pytest.raises(DataError, match=message) as caught:
        local_file(pages[1] + path, "test")
    assert caught.value.key == "test"
    assert "abc" not in str(caught.value)


def test_servers_that_cannot_be_reached_and_empty_folders_are_errors_with_their_fix(bucket, monkeypatch):
    _, url = bucket
    for given, message in (
        ("http://127.0.0.1:1/rows.csv", "the connection was refused; check the endpoint and that the server runs"),
        (f"{url}/none.csv", "there is no such file"),
        ("s3://quorate-no-such-bucket/rows.csv", "the bucket does not exist"),
    ):
        with pytest.raises(DataError, match=f"^{given}: {message}"):
            local_file(given, "train")
    with pytest.raises(DataError, match=f"{url}/none: there is no file below this folder; check the path"):
        local_folder(f"{url}/none", "train")
    with pytest.raises(DataError, match="a web server does not list its folders; use a file, or a folder in an object"):
        local_folder("https://localhost/photos", "train")


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The certificate of a new authority, and a server's context with a certificate of it for `localhost`."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)

    def certificate(name, key, issuer, signing, *, ca):
        made = x509.CertificateBuilder().public_key(key.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        made = made.subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        made = made.issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return made.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (folder / "root.pem").write_bytes(certificate("authority", root, "authority", root, ca=True))
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "own.pem").write_bytes(private + certificate("localhost", own, "authority", root, ca=False))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem")
    return folder / "root.pem", context


def test_https_needs_a_certificate_of_a_known_authority(pages, tmp_path, monkeypatch):
    # given: a server with a certificate of our own authority, and a job that reads from it
    folder, _, _ = pages
    (folder / "rows.csv").write_text(CSV)
    root, context = authority(tmp_path)
    kind = type("These", (Pages,), {"folder": folder, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://localhost:{server.server_port}/rows.csv"
        (tmp_path / "job.yaml").write_text(
            f"name: web\ndata: {{kind: csv, train: '{url}', label: y}}\nvalidation: {{folds: 2}}\n"
            "members: {a: {kind: logistic}}\nquorum: {members: 1}\n"
        )
        job = load_job(tmp_path / "job.yaml")

        # when, then
        with pytest.raises(
            SpecError, match=r"data\.train: .*its certificate is not valid here; set SSL_CERT_FILE to a"
        ):
            open_data(job)
        monkeypatch.setenv("SSL_CERT_FILE", str(root))
        assert len(open_data(job).train) == 60
        server.shutdown()


def test_the_newest_download_takes_the_place_of_the_oldest(pages, monkeypatch):
    folder, address, _ = pages
    for name in ("a", "b"):
        (folder / name).write_bytes(b"x" * 600)
    monkeypatch.setenv("QUORATE_CACHE_SIZE", "1K")
    first = node_cache()
    first.add_tree("downloads/old", lambda tree: shutil.copy(folder / "a", tree / "a"), 600)

    found = local_file(f"{address}/b", "train")

    assert found.read_bytes() == b"x" * 600
    assert downloads() == 1
    with pytest.raises(ValueError, match="no room for 600 B"):  # this process holds b until it ends
        local_file(f"{address}/a", "train")


def test_the_error_of_a_job_names_the_url_of_a_damaged_file_without_its_query(pages, tmp_path):
    folder, url, _ = pages
    (folder / "cut.npz").write_bytes(b"PK no archive")
    job = tmp_path / "job.yaml"
    job.write_text(f"data: {{kind: npz, train: '{url}/cut.npz?token=hidden'}}\nmembers: {{svm: svm}}\n")

    with pytest.raises(SpecError) as refused:
        open_data(load_job(job))

    assert f"{url}/cut.npz is not a complete .npz archive" in str(refused.value)
    assert "hidden" not in str(refused.value) and str(tmp_path / "cache") not in str(refused.value)
