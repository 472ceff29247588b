"""Share a folder of the driver with those who may use the dashboard of the cluster: below Ray's log folder.

Ray's log service reads files below the log folder of its node, and follows links there, by intention: see
`LogAgentV1Grpc._resolve_filename` of Ray 2.60. Whoever can read them can also run code on the cluster.
"""

from __future__ import annotations

from pathlib import Path


def link_of(job: str) -> str:
    """The path below the log folder of what the driver of a submitted job shares."""
    return f"quorate/{job}"


def share_folder(job: str, folder: Path) -> None:
    """Let the dashboard show the files of a folder of this node; this process is connected to Ray."""
    from ray._private.worker import global_worker

    link = Path(global_worker.node.get_logs_dir_path()) / link_of(job)
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder.absolute(), target_is_directory=True)
