"""`--address` is used or refused, never ignored."""

from __future__ import annotations

import pytest
from tests.jobs import SMALL, Here


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_an_address_without_ray_is_refused(tmp_path, more):
    here = Here(tmp_path)
    here.write(SMALL)

    done = here.command("train", "job.yaml", "--store", "store", "--executor", "local", "--address", "head:6379", *more)

    assert done.returncode == 2
    assert "--address head:6379 requires the executor ray, but the executor is local" in done.stderr + done.stdout
    assert "give --executor ray" in done.stderr + done.stdout and not (tmp_path / "runs").exists()


def test_a_plan_for_a_cluster_uses_the_resources_of_the_cluster(tmp_path):
    here = Here(tmp_path)
    here.write(SMALL)

    done = here.command(
        "train", "job.yaml", "--store", "store", "--executor", "ray", "--address", "127.0.0.1:9", "--dry-run"
    )

    assert done.returncode == 2
    assert "no Ray cluster answers at 127.0.0.1:9" in done.stderr + done.stdout
