"""A job on a folder of pictures decodes each file once, and a later job decodes none."""

from __future__ import annotations

import numpy as np
from PIL import Image
from tests.jobs import NET, Here

from quorate.data import decoding
from quorate.data.images import decode_image

MEMBERS = {"cnn": {**NET, "epochs": 2}, "logistic": {"kind": "logistic"}}


def test_a_file_is_decoded_once_for_all_epochs_folds_members_and_jobs(tmp_path, monkeypatch):
    # given: 24 pictures of two classes in several shards, and a count of what is decoded
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "_SHARD", 8 * 8 * 8 * 3)
    rng = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 128, (10, 10, 3)) + 127 * (label == "light")
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / label / f"{i}.png")
    decoded = []

    def counted(data, **rest):
        decoded.append(hash(data))
        return decode_image(data, **rest)

    monkeypatch.setattr(decoding, "decode_image", counted)
    job = {
        "name": "pictures",
        "data": {"kind": "image_folder", "train": str(tmp_path / "photos"), "size": 8, "test": {"fraction": 0.25}},
        "validation": {"folds": 2},
        "members": MEMBERS,
        "execution": {"executor": "local"},
        "tracking": {"enabled": False},
    }
    here = Here(tmp_path)

    # when
    first = here.run(job)

    # then
    assert first["tasks"]["trained"] == 4
    assert len(decoded) == len(set(decoded)) == 24

    # when: a job with another seed, whose tasks are all new
    second = here.run({**job, "seed": 1})

    # then
    assert second["tasks"]["trained"] == 4
    assert len(decoded) == 24
