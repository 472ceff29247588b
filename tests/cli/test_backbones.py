"""`quorate backbones`: what it ranks, what later jobs find, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.features import write_weights

from quorate.store import open_store
from quorate.store.collection import by_space, take_inventory

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def backbones(quorate_in: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command in a folder with pictures of two classes, and a folder with two weights files."""
    random = np.random.default_rng(0)
    for k, name in enumerate(("dark", "light")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(12):
            pixels = random.integers(0, 90, (32, 32, 3)) + 160 * k
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "pets" / name / f"{i}.png")
    (tmp_path / "weights").mkdir()
    for seed, tag in enumerate(("first", "second")):
        write_weights(tmp_path / f"weights/test_resnet.{tag}.safetensors", seed=seed)
    monkeypatch.setenv("QUORATE_STORE", str(tmp_path / "store"))
    return partial(quorate_in, tmp_path, "backbones", columns=200)


def test_the_networks_of_a_folder_are_ranked_and_a_job_finds_their_features(
    backbones: Command, quorate_in: Command, tmp_path: Path
) -> None:
    (tmp_path / "weights/notes.pth").write_bytes(b"")

    code, out, err = backbones("pets", "--weights", "weights", "--json")

    assert code == 0, err
    said = json.loads(out)
    assert {one["name"] for one in said["networks"]} == {"test_resnet-1", "test_resnet-2"}
    assert said["rows"] == 24
    losses = [one["probe_nll"] for one in said["networks"]]
    assert losses == sorted(losses) and all(0 <= one["knn_accuracy"] <= 1 for one in said["networks"])
    assert "left out: cannot tell the architecture of notes.pth" in err
    features = {"kind": "best", "of": sorted(str(path) for path in (tmp_path / "weights").glob("*.safetensors"))}
    job = {"data": {"kind": "image_folder", "train": "pets", "size": 32, "channels": 3}}
    job |= {"members": {"knn": {"kind": "knn", "features": features}}, "execution": {"executor": "local"}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    before = by_space(take_inventory(open_store(str(tmp_path / "store"))))["features"].count
    code, out, err = quorate_in(tmp_path, "train", "job.yaml", "--dry-run", "--json")
    assert code == 0, err
    assert before == 2 and all(part["finished_pieces"] == part["pieces"] for part in json.loads(out)["features"])


def test_networks_are_named_by_files_and_pairs_and_those_of_a_job(backbones: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes((tmp_path / "weights/test_resnet.first.safetensors").read_bytes())

    refused, _, why = backbones("pets", "mine.safetensors")
    code, out, err = backbones("pets", "test_resnet=mine.safetensors", "weights/test_resnet.second.safetensors")

    assert refused == 2 and "cannot tell the architecture of mine.safetensors" in why
    assert "or name both: NAME=mine.safetensors" in why
    assert code == 0, err
    assert "timm/test_resnet: mine.safetensors" in out and "2 networks ranked on 24 training rows" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pets",), "no network to rank: name networks of timm or weights files after DATA"),
        (("pets", "--weights", "nowhere"), "--weights nowhere: there is no such folder"),
        (("pets", "--weights", "pets"), "no weights to start from: it has no file that ends with .safetensors"),
        (("pets", "resnet19"), "timm has no model 'resnet19'"),
        (("pets", "missing.safetensors"), "missing.safetensors is not a file"),
        (("pets", "resnet18", "--hub", "sometimes"), "--hub is 'sometimes'; choose never, allow, fit-only"),
        (("pets", "resnet18", "--hub", "never"), "--hub or QUORATE_HUB forbids asking"),
    ],
)
def test_what_cannot_be_ranked_is_refused_with_the_fix(
    backbones: Command, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = backbones(*arguments)

    assert code == 2
    assert said in err
