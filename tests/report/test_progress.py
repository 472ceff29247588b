"""The progress of a job: lines in a terminal, lines in a file, and the time left."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from tests.tiny import plan_of

from quorate.execution.budget import Budget
from quorate.execution.estimates import Estimates
from quorate.execution.events import Event, Failed, Fitted, HostSilent, NodeAwaited, OutOfTime, Reported, Started
from quorate.execution.node_waits import NodeWait
from quorate.plan.tasks import ALL_ROWS, FitTask, Plan, Resources, Unit
from quorate.report.progress import Screen, Watch
from quorate.report.search import progress_text


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of("{svm: svm, cnn: {kind: net, arch: small_cnn, epochs: 20, copies: 2}}")


class Shown:
    """A watch on a screen with this number of columns, and the text that it has printed."""

    def __init__(
        self,
        plan: Plan,
        *,
        width: int = 80,
        height: int = 25,
        terminal: bool = True,
        quiet: bool = False,
        budget: Budget | None = None,
        status: str = "",
    ) -> None:
        self.text, self.errors = io.StringIO(), io.StringIO()
        self.console = Console(
            file=self.text, width=width, height=height, force_terminal=terminal, color_system=None, quiet=quiet
        )
        screen = Screen(self.console, Console(file=self.errors, width=200))
        self.estimates = Estimates()
        tasks = [replace(task, cost=60.0) for task in plan.tasks]
        units = [Unit((task,)) for task in tasks]
        self.watch = Watch(
            screen, units, self.estimates, lambda task: 0.5, reused=0, budget=budget, status=lambda: status
        )
        self.tasks = {(task.label, task.fold): task for task in tasks}

    def see(self, *events: Event) -> None:
        for event in events:
            self.estimates.on(event, time.monotonic())
            self.watch.on(event)

    def picture(self) -> list[str]:
        """The lines that a terminal shows now."""
        with self.console.capture() as captured:
            self.console.print(self.watch.picture())
        return captured.get().splitlines()


def fitted(task: FitTask, seconds: float, *, epochs: int = 1, complete: bool = True) -> Fitted:
    history = [{"valid_loss": 0.25, "valid_accuracy": 0.875}] * epochs
    return Fitted(task, np.ones((1, 3), np.float32), history, {}, seconds, complete)


@pytest.mark.parametrize("width", [80, 100, 40])
def test_each_running_task_has_one_line_that_fits_the_terminal(plan, width):
    # given
    shown = Shown(plan, width=width)
    svm, cnn = shown.tasks["svm", 1], shown.tasks["cnn.2", 0]

    # when
    shown.see(Started(svm, 1, "a-node-with-a-long-name.cluster.example:4711"), Started(cnn, 1, "here:4712"))
    shown.see(Reported(cnn, 12, {"valid_loss": 0.12345}))
    lines = shown.picture()

    # then
    assert len(lines) == 3 and max(map(len, lines)) <= width
    if width >= 80:
        assert lines[0].startswith("svm fold 2") and lines[1].startswith("cnn.2 fold 1")
        assert "0 of 6 fit tasks done" in lines[2]
        assert "epoch 12/20" in lines[1] and "loss 0.1235" in lines[1] and "here:4712" in lines[1]
        assert ("validation loss" in lines[1]) == (width >= 100)


def test_more_tasks_than_the_terminal_has_lines_are_counted(plan):
    shown = Shown(plan, height=7)

    shown.see(*(Started(task, 1, "here:1") for task in shown.tasks.values()))
    lines = shown.picture()

    assert len(lines) == 5
    assert lines[3].strip() == "and 3 more"


def test_a_search_has_a_line_with_its_trials_and_the_best_one(plan):
    states = ["complete", "stopped", "complete", "running"]
    shown = Shown(plan, height=7, status=progress_text(states, most=20, metric="accuracy", best=0.25))

    shown.see(*(Started(task, 1, "here:1") for task in shown.tasks.values()))

    lines = shown.picture()
    assert lines[-2].strip() == "4 of 20 trials: 2 complete, 1 stopped, 1 running; best accuracy 0.7500"
    assert len(lines) == 5 and lines[2].strip() == "and 4 more"


def test_the_time_left_is_that_of_the_workers_and_hidden_while_it_is_unknown(plan):
    # given: six tasks of 60 s on two workers
    shown = Shown(plan)
    assert shown.watch.seconds_left() is None
    assert "left" not in shown.picture()[-1]

    # when: one took a third of its estimate
    shown.see(Started(shown.tasks["svm", 0], 1, "here:1"), fitted(shown.tasks["svm", 0], 20.0))

    # then: the other of its member takes as long; those of the networks 60 * (20 + 2) / (60 + 2)
    net = 60 * 22 / 62
    assert shown.watch.seconds_left() == pytest.approx(2 * net + 20, abs=1)
    assert "1 of 6 fit tasks done; about 65 s left" in shown.picture()[-1]


def test_a_budget_bounds_the_time_left_and_is_shown(plan):
    budget = Budget(100.0, time.monotonic() - 60, reserve=10.0)
    shown = Shown(plan, budget=budget)

    shown.see(fitted(shown.tasks["svm", 0], 60.0))

    assert shown.watch.seconds_left() == pytest.approx(30, abs=1)
    assert "about 30 s left; budget: 40 s left" in shown.picture()[-1]


def test_a_lost_host_and_the_restart_of_its_task_are_one_sentence(plan):
    shown = Shown(plan)
    task = shown.tasks["svm", 0]
    lost = Failed(task, 1, "lost", "host 10.77.0.2 was lost", final=False, host="10.77.0.2")

    shown.see(Started(task, 1, "10.77.0.2:7"), lost)
    assert shown.text.getvalue() == "" and shown.errors.getvalue() == ""
    shown.see(Started(task, 2, "10.77.0.1:9", restored=True, epochs=3))

    assert shown.text.getvalue() == "host 10.77.0.2 was lost; svm fold 1 restarts on 10.77.0.1 from epoch 4\n"


def test_a_lost_host_is_told_although_its_task_waits(plan, monkeypatch):
    monkeypatch.setattr("quorate.report.host_losses._SECONDS", -1.0)
    shown = Shown(plan)
    task, other = shown.tasks["svm", 0], shown.tasks["svm", 1]
    lost = Failed(task, 1, "lost", "host 10.77.0.2 was lost", final=False, host="10.77.0.2")

    shown.see(Started(task, 1, "10.77.0.2:7"), lost, Started(other, 1, "10.77.0.1:8"), Started(task, 2, "10.77.0.1:9"))

    assert shown.text.getvalue() == "host 10.77.0.2 was lost; svm fold 1 waits for a worker\n"


def test_a_host_that_does_not_answer_is_told_before_it_counts_as_lost(plan):
    shown = Shown(plan)

    shown.see(HostSilent(shown.tasks["svm", 0], "10.77.0.2", 10.4, 20.0))

    assert shown.text.getvalue() == (
        "host 10.77.0.2 has not answered for 10 s; if it does not answer within 20 s, its tasks start elsewhere\n"
    )


def test_failures_are_counted_and_printed_to_the_error_console(plan):
    shown = Shown(plan)
    task = shown.tasks["svm", 0]
    again = Failed(task, 1, "failed", "it broke [here]", final=False)

    shown.see(Started(task, 1, "here:1"), again)
    assert "failed, will be retried: it broke [here]" in shown.text.getvalue()
    assert "0 of 6 fit tasks done" in shown.picture()[-1]
    shown.see(Started(task, 2, "here:1"), replace(again, attempt=2, final=True, tail="Traceback\nline"))

    assert "member svm, copy 1, fold 1, attempt 2: failed: it broke [here]" in shown.errors.getvalue()
    assert "| line" in shown.errors.getvalue()
    assert "1 of 6 fit tasks done, 1 failed" in shown.picture()[-1]


def test_metrics_of_a_refit_on_all_rows_are_not_called_validation_metrics(plan):
    shown = Shown(plan, terminal=False, width=200)
    task = replace(shown.tasks["svm", 0], fold=ALL_ROWS)

    shown.see(Started(task, 1, "here:1"), fitted(task, 3.25))

    (line,) = shown.text.getvalue().splitlines()
    assert "svm all rows fitted in 3.2 s, training loss 0.2500, accuracy 0.8750" in line


def test_without_a_terminal_there_is_a_line_for_each_task_and_none_for_an_epoch(plan):
    # given
    shown = Shown(plan, terminal=False, width=200)
    svm, cnn = shown.tasks["svm", 0], shown.tasks["cnn.1", 0]

    # when
    shown.see(Started(svm, 1, "here:1"), Started(cnn, 1, "here:2"))
    shown.see(*(Reported(cnn, epoch, {"valid_loss": 1.0}) for epoch in range(1, 8)))
    shown.see(fitted(svm, 3.25), fitted(cnn, 7.5, epochs=7, complete=False))
    shown.see(Started(shown.tasks["svm", 1], 1, "here:1"), OutOfTime(shown.tasks["svm", 1], True, "it was too slow"))
    shown.see(OutOfTime(shown.tasks["cnn.2", 1], False, "no time"))

    # then
    lines = shown.text.getvalue().splitlines()
    assert len(lines) == 3
    assert "[1/6]" in lines[0] and "svm fold 1 fitted in 3.2 s, validation loss 0.2500, accuracy 0.8750" in lines[0]
    assert "cnn.1 fold 1 stopped after 7 of 20 epochs, 7.5 s, validation loss 0.2500" in lines[1]
    assert "svm fold 2 stopped: it was too slow" in lines[2]


def test_a_quiet_screen_shows_failures_only(plan):
    shown = Shown(plan, quiet=True)
    task = shown.tasks["svm", 0]

    with shown.watch.shown():
        shown.see(Started(task, 1, "here:1"), fitted(task, 1.0), Failed(task, 1, "lost", "the worker died"))

    assert shown.text.getvalue() == ""
    assert "the worker died" in shown.errors.getvalue()


def test_a_wait_for_a_node_is_printed_once_a_minute_and_shown_in_the_terminal_all_the_time(plan):
    # given
    file, terminal = Shown(plan, terminal=False, width=200), Shown(plan, width=200)
    task = plan.tasks[0]
    waits = [NodeWait(Resources(gpus=1), seconds, 600) for seconds in (0.0, 1.0, 59.0, 61.0, 62.0)]

    # when
    for shown in (file, terminal):
        for wait in waits:
            shown.watch.on(NodeAwaited(task, wait))

    # then
    said = [line.split(" s  ", 1)[1].split(";")[0] for line in file.text.getvalue().splitlines()]
    assert said == [
        "waiting for a node with 1 cpu, 1 gpu (0 of 10 min)",
        "waiting for a node with 1 cpu, 1 gpu (1 of 10 min)",
    ]
    assert "waiting for a node with 1 cpu, 1 gpu (1 of 10 min)" in terminal.picture()[-1]
