"""The commands of cluster/README.md for machines, followed on two hosts: from a token to the answer of an ensemble."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
import yaml
from tests.clusters import Host, hosts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "cluster" / "README.md").read_text()
JOB = {
    "name": "guide",
    "data": {"kind": "digits", "limit": 400},
    "validation": {"folds": 2},
    "members": {"svm": {"kind": "svm", "C": 10}, "forest": {"kind": "random_forest", "trees": 30}},
}
"""In the place of pipelines/digits.yaml, which takes minutes."""
PATIENCE = 240


def steps() -> dict[int, list[str]]:
    """The commands of each numbered step, one text per block."""
    section = PAGE[PAGE.index("## Machines, by hand") : PAGE.index("## Kubernetes")]
    found = re.split(r"^(\d)\. ", section, flags=re.MULTILINE)
    return {
        int(number): [
            textwrap.dedent(block) for block in re.findall(r"^ +```sh\n(.*?)^ +```", text, re.DOTALL | re.MULTILINE)
        ]
        for number, text in zip(found[1::2], found[2::2], strict=True)
    }


class Machine:
    """A host with a home of its own, and the folder of the repository, which both hosts have under the same path."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.home = host.folder / "home"
        self.home.mkdir()

    def words(self, block: str) -> list[str]:
        addresses = block.replace("10.77.0.", f"{self.host.address.rpartition('.')[0]}.")
        return ["env", "-u", "RAY_AUTH_MODE", f"HOME={self.home}", "bash", "-ec", addresses]

    def start(self, block: str, log: str) -> subprocess.Popen[bytes]:
        return self.host.start(*self.words(block), cwd=self.folder, log=log)

    def run(self, block: str) -> str:
        ended = subprocess.run(
            self.host.command(*self.words(block)),
            env=self.host.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return ended.stdout + ended.stderr if ended.returncode else ended.stdout

    def run_until(self, block: str, pattern: str) -> str:
        """Repeat commands until their output matches."""
        until = time.monotonic() + PATIENCE
        while not re.search(pattern, said := self.run(block), re.DOTALL):
            logs = "".join(path.read_text()[-2000:] for path in self.host.folder.glob("*.log"))
            assert time.monotonic() < until, f"{said}\n{logs}"
            time.sleep(1)
        return said


def test_the_guide_has_commands_for_each_step() -> None:
    assert {number: len(blocks) for number, blocks in steps().items()} == {1: 2, 2: 1, 3: 1, 4: 2, 5: 1, 6: 2, 7: 0}


@pytest.mark.slow
def test_the_guide_leads_two_hosts_from_a_token_to_an_answer(tmp_path: Path) -> None:
    tokens, head, worker, train, serve = (steps()[number] for number in (2, 3, 4, 5, 6))
    (status,) = re.findall(r"`(RAY_AUTH_MODE=token \.venv/bin/ray status .*?)`", PAGE)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "digits.yaml").write_text(yaml.safe_dump(JOB))
    with hosts(2) as two:
        first, second = (Machine(host, tmp_path) for host in two)
        first.run(tokens[0])
        token = first.home / ".ray" / "auth_token"
        secret = token.read_text()
        assert stat.S_IMODE(token.stat().st_mode) == 0o600

        first.run(tokens[0])

        assert token.read_text() == secret, "a token that is there is kept"
        copy = second.home / ".ray" / "auth_token"
        copy.parent.mkdir()
        copy.write_text(secret)
        copy.chmod(0o600)
        first.start(head[0], "head.log")
        first.run_until(status, "Active:.* 1 node_")
        second.start(worker[0], "worker.log")
        first.run_until(status, "Active:.* 1 node_.* 1 node_")
        assert f"2 alive: {two[0].address} (head), {two[1].address}" in first.run(worker[1])
        assert "Active:" not in first.run(status.replace("=token", "=disabled"))

        said = first.run(train[0])

        assert "guide" in said and list((tmp_path / "runs").glob("guide-*/bundle/manifest.json")), said
        first.start(serve[0], "serve.log")
        answer = second.run_until(serve[1], r'"class_names"')
        assert json.loads(answer)["class_names"] == [str(digit) for digit in range(10)]
        refused = second.run(serve[1].replace("Bearer", "Bearer of"))
        assert "error" in json.loads(refused)
