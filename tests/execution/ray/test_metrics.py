"""The figures of a job as Prometheus reads them from a node."""

from __future__ import annotations

import re
import time

import httpx
import pytest
import ray

from quorate.execution.ray.metrics import RayMetrics


@pytest.mark.system
def test_figures_are_at_the_metrics_port_of_the_node(ray_session: None) -> None:
    metrics = RayMetrics("demo-1")
    metrics.set("queue_length", 4)
    metrics.add("epochs", 2)
    metrics.add("epochs", 3)
    metrics.add("bytes_written", 0)
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    found = {"quorate_queue_length": 4.0, "quorate_epochs_total": 5.0}
    until = time.monotonic() + 60
    while (seen := figures(address)) != found and time.monotonic() < until:
        time.sleep(0.5)

    assert seen == found


def figures(address: str) -> dict[str, float]:
    text = httpx.get(address, timeout=10).text
    pattern = r'^ray_(quorate_\w+)\{[^}]*run="demo-1"[^}]*\} (\S+)$'
    return {name: float(value) for name, value in re.findall(pattern, text, flags=re.MULTILINE)}
