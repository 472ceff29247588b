"""The waiting units of a session, in the order in which they start."""

from __future__ import annotations

import heapq
import itertools
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from quorate.execution.budget import Agenda
from quorate.members.backbone import Backbone
from quorate.plan.tasks import FeatureTask, PredictTask, Resources, Task, Unit

_SORTING_SHARE = 0.04
"""Largest part of the time that sorting the queue again may take (an assumption)."""

Key = tuple[float, float]
"""Units start in ascending order of their keys; units with equal keys start in the order in which they were added."""

Lacking = Callable[[Resources], Collection[str]]
"""Returns the names of the resources (of `needs`) that a unit would have to wait for; empty if it can start now."""


def amounts(resources: Resources) -> dict[str, float]:
    """The amounts of one worker's resources by the names that Ray gives them; without those that it does not need."""
    each = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": float(resources.memory)}
    return {name: amount for name, amount in each.items() if amount}


def needs(resources: Resources) -> dict[str, float]:
    """The `amounts` of all workers of a unit, or of the least number that it can have.

    Those of a unit that asks for labels also count under names with these labels. So a unit that waits for nodes with
    labels reserves only what these nodes have.
    """
    plain = {name: resources.workers[0] * amount for name, amount in amounts(resources).items()}
    if not resources.labels:
        return plain
    return plain | {f"{name} {resources.labels}": amount for name, amount in plain.items()}


def member_of(unit: Unit) -> str | Backbone:
    """The member that a unit works for; the frozen network for features, which are for several members."""
    task = unit.tasks[0]
    return task.fit.member if isinstance(task, PredictTask) else task.member


@dataclass
class _Entry:
    """A unit in a heap. A removed unit stays in its heap, without tasks, until it comes to the top."""

    unit: Unit
    number: int
    begun: bool = False
    """Whether it has lost its worker, or had to leave it."""
    alive: bool = True
    work: float = 0.0
    """Estimated seconds of all workers together; only kept under a budget."""

    def __lt__(self, other: _Entry) -> bool:
        """Any order does: the same number twice in a heap is a changed unit and its removed earlier form."""
        return False


_Heap = list[tuple[Key, int, _Entry]]


class UnitQueue(ABC):
    """Waiting units in a fixed order. Adding one and taking one cost O(log n + number of different resources)."""

    def __init__(self) -> None:
        self._heaps: dict[Resources, _Heap] = {}
        self._entries: dict[str, _Entry] = {}
        """By the key of a waiting task."""
        self._counts: Counter[Resources] = Counter()
        self._members: dict[str | Backbone, dict[int, _Entry]] = defaultdict(dict)
        """The waiting units of each member, by their numbers."""
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """The number of waiting units."""
        return self._counts.total()

    @property
    def can_start_any(self) -> bool:
        """Whether a unit could start now if it had the resources."""
        return any(self._first(heap) is not None for heap in self._heaps.values())

    def add(self, unit: Unit, *, begun: bool = False) -> None:
        """Let a unit wait; `begun` if it has lost its worker or had to leave it."""
        self._add(_Entry(unit, next(self._numbers), begun))

    def change(self, changed: Callable[[Unit], Unit], member: str | Backbone | None = None) -> None:
        """Replace the waiting units of a member or of a frozen network, or all, by what `changed` returns for them.

        Their order stays.
        """
        members = list(self._members) if member is None else [member]
        for entry in [entry for name in members for entry in self._members[name].values()]:
            if (unit := changed(entry.unit)) != entry.unit:
                self._forget(entry)
                self._add(_Entry(unit, entry.number, entry.begun))

    def _add(self, entry: _Entry) -> None:
        unit = entry.unit
        self._members[member_of(unit)][entry.number] = entry
        for task in unit.tasks:
            assert task.key not in self._entries, f"{task} is already waiting"
            self._entries[task.key] = entry
        self._counts[unit.resources] += 1
        self._push(entry)

    def take(self, lacking: Lacking) -> Unit | None:
        """Remove the first unit for which there is room; None if there is none.

        What an earlier unit lacks is reserved for it: a later unit that needs any of it is not taken.
        """
        firsts = [(first, heap) for heap in self._heaps.values() if (first := self._first(heap)) is not None]
        reserved: set[str] = set()
        for (_, _, entry), heap in sorted(firsts, key=lambda pair: pair[0][:2]):
            resources = entry.unit.resources
            if not reserved.isdisjoint(needs(resources)):
                continue
            if missing := lacking(resources):
                reserved |= set(missing)
                continue
            heapq.heappop(heap)
            self._forget(entry)
            return entry.unit
        return None

    def remove(self, task: Task) -> bool:
        """Remove a task from its unit; False if it is not waiting."""
        entry = self._entries.pop(task.key, None)
        if entry is None:
            return False
        rest = tuple(other for other in entry.unit.tasks if other.key != task.key)
        if rest:
            entry.unit = replace(entry.unit, tasks=rest)
        else:
            self._forget(entry)
        return True

    def drain(self, resources: Resources | None = None) -> Iterator[Unit]:
        """Remove all units in their order, or those with these resources."""
        chosen = self.resources() if resources is None else [resources]
        entries = heapq.merge(*(sorted(self._heaps[one]) for one in chosen))
        for _, _, entry in entries:
            if entry.alive:
                self._forget(entry)
                yield entry.unit

    def resources(self) -> list[Resources]:
        """The different resources of the waiting units."""
        return [resources for resources, count in self._counts.items() if count]

    def waiting(self) -> dict[Resources, tuple[Unit, int]]:
        """A waiting unit and the number of waiting units, for each of the different resources."""
        found: dict[Resources, tuple[Unit, int]] = {}
        for resources, heap in self._heaps.items():
            if (first := UnitQueue._first(self, heap)) is not None:
                found[resources] = first[2].unit, self._counts[resources]
        return found

    def share_for_tests(self, fits: Sequence[Task], rest: Collection[Task]) -> float:
        """The part of the remaining time that fits may use for test rows; `rest` are the next tasks of their unit."""
        return 1.0

    @abstractmethod
    def _key(self, entry: _Entry) -> Key: ...

    def _push(self, entry: _Entry) -> None:
        heap = self._heaps.setdefault(entry.unit.resources, [])
        heapq.heappush(heap, (self._key(entry), entry.number, entry))

    def _first(self, heap: _Heap) -> tuple[Key, int, _Entry] | None:
        """The first unit of a heap that is still waiting."""
        while heap and not heap[0][2].alive:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _forget(self, entry: _Entry) -> None:
        entry.alive = False
        self._counts[entry.unit.resources] -= 1
        del self._members[member_of(entry.unit)][entry.number]
        for task in entry.unit.tasks:
            self._entries.pop(task.key, None)


class LongestFirst(UnitQueue):
    """Starts the longest unit first, so that no long unit runs alone at the end.

    Features come before all other tasks, because other tasks wait for them. Then come units that have lost their
    worker: the result of a long job should not depend on when its faults happen.
    """

    def _key(self, entry: _Entry) -> Key:
        rank = 0.0 if isinstance(entry.unit.tasks[0], FeatureTask) else 1.0 if entry.begun else 2.0
        return (rank, -entry.unit.cost)


class InRounds(UnitQueue):
    """The order under a budget.

    Rounds run one after another; in a job, each member has its first fold before any member has its second. A round
    that fits into the remaining time starts with its longest unit, so that no long unit runs alone at the end. A round
    that does not fit starts with its cheapest unit, so that as many units as possible finish. Units that would not end
    in time wait: a new estimate can let them start. A session asks `can_start_any` before it gives them up.

    The estimates change with every event. The units are sorted again when that takes at most `_SORTING_SHARE` of the
    time since it was done last; a unit that is added in between is placed by the newest estimates.
    """

    def __init__(self, agenda: Agenda, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._agenda, self._clock = agenda, clock
        self._late: list[_Entry] = []
        """Units that would not have ended in time when they were looked at."""
        self._longest_first: dict[int, bool] = {}
        """By the round: whether it starts with its longest unit."""
        self._work = 0.0
        self._sort_at = -1.0

    @property
    def can_start_any(self) -> bool:
        if super().can_start_any:
            return True
        self._sort_at = -1.0  # the newest estimates decide
        self._sort()
        return super().can_start_any

    def take(self, lacking: Lacking) -> Unit | None:
        self._sort()
        return super().take(lacking)

    def drain(self, resources: Resources | None = None) -> Iterator[Unit]:
        self._sort()
        for entry in self._late:
            heap = self._heaps[entry.unit.resources]
            heapq.heappush(heap, (self._key(entry), entry.number, entry))
        self._late.clear()
        return super().drain(resources)

    def share_for_tests(self, fits: Sequence[Task], rest: Collection[Task]) -> float:
        firsts: list[Collection[Task]] = [unit.tasks for unit, _ in self.waiting().values()]
        shortest = min(map(self._agenda.seconds, [*firsts, rest] if rest else firsts), default=0.0)
        work = self._work + sum(map(self._agenda.work, rest))
        return self._agenda.for_tests(work, self._agenda.seconds(fits) + shortest)

    def _key(self, entry: _Entry) -> Key:
        unit = entry.unit
        number, seconds = self._agenda.round_of(unit.tasks[0]), self._agenda.seconds(unit.tasks)
        return (float(number), -seconds if self._longest_first.get(number, True) else seconds)

    def _push(self, entry: _Entry) -> None:
        entry.work = sum(map(self._agenda.work, entry.unit.tasks))
        self._work += entry.work
        super()._push(entry)

    def _forget(self, entry: _Entry) -> None:
        self._work -= entry.work
        super()._forget(entry)

    def _first(self, heap: _Heap) -> tuple[Key, int, _Entry] | None:
        while (first := super()._first(heap)) is not None and not self._agenda.may_start(first[2].unit.tasks[0]):
            heapq.heappop(heap)
            self._late.append(first[2])
        return first

    def _sort(self) -> None:
        """Sort the units by the newest estimates, if it is time for that."""
        begun = self._clock()
        if begun < self._sort_at:
            return
        entries = [row[2] for heap in self._heaps.values() for row in heap if row[2].alive]
        entries += [entry for entry in self._late if entry.alive]
        rounds: dict[int, float] = defaultdict(float)
        self._work = 0.0
        for entry in entries:
            entry.work = sum(map(self._agenda.work, entry.unit.tasks))
            rounds[self._agenda.round_of(entry.unit.tasks[0])] += entry.work
            self._work += entry.work
        room = self._agenda.room()
        self._longest_first.clear()
        for number in sorted(rounds):
            self._longest_first[number] = rounds[number] <= room
            room -= rounds[number]
        self._heaps = {}
        self._late = []
        for entry in entries:
            row = (self._key(entry), entry.number, entry)
            self._heaps.setdefault(entry.unit.resources, []).append(row)
        for heap in self._heaps.values():
            heapq.heapify(heap)
        now = self._clock()
        self._sort_at = now + (now - begun) / _SORTING_SHARE


def queue_for(agenda: Agenda | None) -> UnitQueue:
    """The queue of a session: in rounds under a budget, else the longest unit first."""
    return LongestFirst() if agenda is None else InRounds(agenda)
