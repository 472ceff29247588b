"""Stores by path and URL: what opens, what is refused and how, and who reaches the store of another process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.object_stores import BUCKET, SECRET, ObjectServer
from tests.store.contents import StorePlace, names, python

from quorate.errors import UserError
from quorate.store import LocalBackend, Store, StoreUnavailable, find_store, open_store, reached


@pytest.fixture
def variables(s3: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of a server that runs, to be changed."""
    return monkeypatch


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s4://bucket/x", r"--store: a store is a path, .*s3://bucket/prefix.*, not s4://"),
        ("gcs://bucket/x", r"did you mean 'gs'\?"),
        ("https://host/x", r"not https://"),
        ("s3:/bucket/x", r"--store s3:…: write s3://"),  # what follows could hold a secret
        ("s3://", r"'' is not the name of a bucket \(three letters or more\)"),
        ("s3://ab/x", r"'ab' is not the name of a bucket \(three letters or more\)"),
        (f"s3://{BUCKET}/../x", r"a prefix must not contain the parts \. and \.\."),
        ("s3://nothing-here/x", r"--store s3://nothing-here/x: the bucket does not exist"),
        ("s3://forbidden/x", r"--store s3://forbidden/x: access is denied; check AWS_ACCESS_KEY_ID"),
        ("/dev/null/x", r"--store /dev/null/x: cannot write there: Not a directory"),
        ("az://container/x", r"--store az://container/x: .*set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_"),
    ],
)
def test_what_is_no_store_is_refused_with_the_reason(uri: str, message: str, s3: ObjectServer) -> None:
    with pytest.raises(UserError, match=message) as raised:
        open_store(uri)

    assert "AKIDTEST" not in str(raised.value) and SECRET not in str(raised.value)


@pytest.mark.parametrize("uri", ["s3://key:hunter2@bucket/x", "az://container/x?sig=hunter2"])
def test_a_url_with_credentials_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(UserError, match="must not contain credentials or parameters") as raised:
        open_store(uri)

    assert "hunter2" not in str(raised.value)


def test_missing_credentials_are_named(variables: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        variables.delenv(name)
    # the service in which machines of Amazon find their credentials: it refuses here
    variables.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1/latest/api/token")

    with pytest.raises(UserError, match="no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store(f"s3://{BUCKET}/x")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://user:hunter2@127.0.0.1:1", "the connection was refused; check the endpoint and that the server runs"),
        ("http://user:hunter2@nowhere.invalid", "its host name is unknown; check the endpoint and the network"),
    ],
)
def test_a_server_that_is_away_is_named_without_credentials(
    url: str, message: str, variables: pytest.MonkeyPatch
) -> None:
    variables.setenv("AWS_ENDPOINT_URL", url)

    with pytest.raises(StoreUnavailable) as raised:
        open_store(f"s3://{BUCKET}/x")

    assert str(raised.value) == f"s3://{BUCKET}/x: the store is unavailable: {message}"
    assert raised.value.__cause__ is None and raised.value.__suppress_context__


def test_an_endpoint_that_is_no_url_is_refused(variables: pytest.MonkeyPatch) -> None:
    variables.setenv("AWS_ENDPOINT_URL", "hunter2.example")

    with pytest.raises(UserError, match="AWS_ENDPOINT_URL must be a URL such as https://host:port") as raised:
        open_store(f"s3://{BUCKET}/x")

    assert "hunter2" not in str(raised.value)


def test_a_server_that_asks_to_slow_down_is_tried_again_for_some_seconds(s3: ObjectServer) -> None:
    with pytest.raises(StoreUnavailable, match=r"it answers 503 Service Unavailable \(SlowDown\)"):
        open_store("s3://overloaded/x")


def test_a_store_that_does_not_exist_is_not_found_and_not_created(place: StorePlace) -> None:
    with pytest.raises(UserError, match=r"there is no store at .*/nothing; run `quorate train"):
        find_store(f"{place.address}/nothing")

    with pytest.raises(UserError, match="there is no store at"):
        find_store(f"{place.address}/nothing")
    place.store.put(b"content")
    assert find_store(place.address).address == place.address


def test_slashes_at_the_end_of_a_url_mean_nothing(s3: ObjectServer) -> None:
    url = s3.new_store()

    name = open_store(f"{url}//").put(b"content")

    assert open_store(url).get(name) == b"content"


def test_another_process_that_has_the_address_reaches_the_store(place: StorePlace) -> None:
    with place.store.challenge() as nonce:
        process = python("print(reached(store.address, sys.argv[2]) is not None)", place.address, nonce)
        assert process.communicate(timeout=60)[0] == "True\n"

    assert not reached(place.address, nonce), "the challenge is over"
    assert names(place.backend) == []


def test_another_folder_at_the_same_path_is_found_out(tmp_path: Path) -> None:
    # given: what a worker on another host sees at the driver's path
    store = open_store(str(tmp_path / "store"))
    with store.challenge() as nonce:
        (tmp_path / "store").rename(tmp_path / "drivers")
        for there in (None, "empty", "stale"):
            if there == "empty":
                (tmp_path / "store").mkdir()
            if there == "stale":
                shutil.copytree(tmp_path / "drivers", tmp_path / "store", dirs_exist_ok=True)
                shutil.rmtree(tmp_path / "store" / "challenges")
                with Store(LocalBackend(tmp_path / "store")).challenge():
                    assert not reached(store.address, nonce)

            # when, then
            assert not reached(store.address, nonce)
            assert (tmp_path / "store").exists() == (there is not None), "nothing is made there"
            if there is not None:
                assert names(LocalBackend(tmp_path / "store")) == []
        shutil.rmtree(tmp_path / "store")
        (tmp_path / "drivers").rename(tmp_path / "store")
        assert reached(store.address, nonce)


def test_a_worker_without_the_credentials_or_with_another_endpoint_does_not_reach_the_store(
    s3: ObjectServer, variables: pytest.MonkeyPatch
) -> None:
    store = open_store(s3.new_store())
    with store.challenge() as nonce:
        variables.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

        assert not reached(store.address, nonce)


def test_the_challenge_of_a_driver_that_died_is_removed_a_day_later(place: StorePlace) -> None:
    place.backend.write("challenges/old", b"old")
    place.backend.write("challenges/other", b"other")
    place.age("challenges/old", 86500)

    with place.store.challenge() as nonce:
        assert names(place.backend) == sorted([f"challenges/{nonce}", "challenges/other"])
