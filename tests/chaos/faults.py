"""The faults: each is a generator that gives it, yields what it hit, and ends it when it is resumed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from tests.chaos.damage import Damage, damage_checkpoint, damage_result, flipped, truncated
from tests.chaos.proxy import Mode

if TYPE_CHECKING:
    from tests.chaos.driver import Driver

DAY = 86_400
Place = Literal["worker", "host", "driver", "store", "tracking", "clock"]
Giving = Iterator[tuple[str, ...]]
"""Yields the titles of the fit tasks that the fault hit."""


@dataclass(frozen=True)
class Fault:
    """How a fault is given, and how it counts."""

    give: Callable[[Driver, int], Giving]
    place: Place
    """What recovers from it; the table groups by it."""
    seconds: tuple[float, float] = (0.0, 0.0)
    """Least and largest number of seconds until it ends."""
    quick_seconds: tuple[float, float] = (0.0, 0.0)
    """The same in a short schedule."""
    quick: bool = False
    """Whether short schedules can have it."""
    restarts: bool = True
    """Whether the tasks that it hits start again, as a new attempt."""
    service: str = ""
    """The service that the job needs for it: `s3` or `mlflow`."""
    weight: float = 1.0


def signalled_worker(number: signal.Signals, driver: Driver, target: int) -> Giving:
    """End the process of a worker that trains."""
    task, _, pid = driver.worker(target)
    os.kill(pid, number)
    yield (task,)


def frozen_worker(driver: Driver, target: int) -> Giving:
    """Stop the process of a worker, and let it continue."""
    task, _, pid = driver.worker(target)
    os.kill(pid, signal.SIGSTOP)
    yield (task,)
    os.kill(pid, signal.SIGCONT)


def killed_host(driver: Driver, target: int) -> Giving:
    """Kill all processes of a host that trains; a new host with its address joins later."""
    host, tasks = driver.host(target)
    host.signal(signal.SIGKILL)
    yield tasks
    driver.world.join(host)


def cut_off_host(driver: Driver, target: int) -> Giving:
    """Disconnect a host from the network."""
    host, tasks = driver.host(target)
    host.cut_off()
    yield tasks
    host.reconnect()


def frozen_host(driver: Driver, target: int) -> Giving:
    """Stop all processes of a host."""
    host, tasks = driver.host(target)
    host.signal(signal.SIGSTOP)
    yield tasks
    host.signal(signal.SIGCONT)


def drained_host(driver: Driver, target: int) -> Giving:
    """Announce that a host is taken away, as a cloud does; a new one joins later."""
    host, tasks = driver.host(target)
    driver.world.nodes[host.address].send_signal(signal.SIGTERM)
    yield tasks
    host.signal(signal.SIGKILL)
    driver.world.join(host)


def killed_driver(driver: Driver, target: int) -> Giving:
    """Kill the driver, and start the same command again."""
    tasks = tuple(driver.running())
    driver.kill()
    yield tasks
    driver.start()


def killed_head(driver: Driver, target: int) -> Giving:
    """Kill the head with the driver; the head starts again with what it has stored, then the driver."""
    tasks = tuple(driver.running())
    driver.kill()
    driver.world.head.signal(signal.SIGKILL)
    yield tasks
    driver.world.restart_head()
    driver.start()


def disturbed_store(mode: Mode, driver: Driver, target: int) -> Giving:
    driver.world.store_proxy.become(mode)
    yield tuple(driver.running())
    driver.world.store_proxy.become("pass")


def disturbed_tracking(mode: Mode, driver: Driver, target: int) -> Giving:
    driver.world.tracking_proxy.become(mode)
    yield tuple(driver.running())
    driver.world.tracking_proxy.become("pass")


def damaged_checkpoint(how: Damage, driver: Driver, target: int) -> Giving:
    """Damage the newest checkpoint of a task in the store, and kill its worker."""
    task, _, pid = driver.worker(target)
    os.kill(pid, signal.SIGSTOP)  # it writes no newer one
    damage_checkpoint(driver.store, driver.keys()[task], how, target)
    os.kill(pid, signal.SIGKILL)
    yield (task,)


def damaged_results(how: Damage, driver: Driver, target: int) -> Giving:
    """Kill the driver, damage a blob of a finished task, and start the same command again."""
    tasks = tuple(driver.running())
    driver.kill()
    damage_result(driver.store, driver.keys().values(), how, target)
    yield tasks
    driver.start()


def moved_clock(where: Literal["driver", "workers"], driver: Driver, target: int) -> Giving:
    """Set the clock a day ahead, or a day back."""
    file = driver.world.clocks[where]
    file.write_text(str(DAY if target % 2 else -DAY))
    yield tuple(driver.running())
    file.unlink()


_BRIEF, _OUTAGE = (1.0, 3.0), (2.0, 6.0)

FAULTS: Mapping[str, Fault] = {
    "worker killed": Fault(partial(signalled_worker, signal.SIGKILL), "worker", quick=True, weight=2),
    "worker segfault": Fault(partial(signalled_worker, signal.SIGSEGV), "worker", quick=True),
    "worker exit": Fault(partial(signalled_worker, signal.SIGUSR2), "worker", quick=True),
    "worker terminated": Fault(partial(signalled_worker, signal.SIGTERM), "worker", quick=True, restarts=False),
    "worker frozen": Fault(frozen_worker, "worker", (2.0, 8.0), _BRIEF, quick=True, restarts=False),
    "host killed": Fault(killed_host, "host", (3.0, 10.0), weight=1.5),
    "host cut off": Fault(cut_off_host, "host", (3.0, 45.0), _BRIEF, quick=True, restarts=False, weight=1.5),
    "host frozen": Fault(frozen_host, "host", (2.0, 15.0), _BRIEF, quick=True, restarts=False),
    "host drained": Fault(drained_host, "host", (12.0, 15.0)),
    "driver killed": Fault(killed_driver, "driver", (0.0, 2.0), (0.0, 0.0), quick=True),
    "head killed": Fault(killed_head, "driver", (1.0, 4.0)),
    "store away": Fault(partial(disturbed_store, "away"), "store", (2.0, 15.0), _OUTAGE, restarts=False, service="s3"),
    "store hanging": Fault(
        partial(disturbed_store, "hanging"), "store", (2.0, 15.0), _OUTAGE, restarts=False, service="s3"
    ),
    "store slow": Fault(partial(disturbed_store, "slow"), "store", (2.0, 15.0), _BRIEF, restarts=False, service="s3"),
    "store errors": Fault(
        partial(disturbed_store, "errors"), "store", (2.0, 15.0), _BRIEF, restarts=False, service="s3"
    ),
    "checkpoint truncated": Fault(partial(damaged_checkpoint, truncated), "store", quick=True, weight=0.5),
    "checkpoint flipped": Fault(partial(damaged_checkpoint, flipped), "store", quick=True, weight=0.5),
    "result truncated": Fault(partial(damaged_results, truncated), "driver", weight=0.5),
    "result flipped": Fault(partial(damaged_results, flipped), "driver", weight=0.5),
    "MLflow away": Fault(
        partial(disturbed_tracking, "away"), "tracking", (5.0, 20.0), restarts=False, service="mlflow", weight=0.7
    ),
    "MLflow slow": Fault(
        partial(disturbed_tracking, "slow"), "tracking", (5.0, 20.0), restarts=False, service="mlflow", weight=0.7
    ),
    "MLflow errors": Fault(
        partial(disturbed_tracking, "errors"), "tracking", (5.0, 20.0), restarts=False, service="mlflow", weight=0.7
    ),
    "clock of the driver": Fault(
        partial(moved_clock, "driver"), "clock", (2.0, 10.0), _BRIEF, quick=True, restarts=False
    ),
    "clock of the workers": Fault(
        partial(moved_clock, "workers"), "clock", (2.0, 10.0), _BRIEF, quick=True, restarts=False
    ),
}
"""By the names in schedules and in the table."""
