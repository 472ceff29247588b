"""The page of a search: its figures, what it says about them, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.report.finished import Parsed, addresses, said
from tests.report.searched import PARAMETERS, data_of, searched

from quorate.report.importance import importance_of
from quorate.report.search_page.page import search_page, sections_of
from quorate.runs.search_record import ChoiceRecord, ParameterRecord


@pytest.fixture(scope="module")
def parsed() -> Parsed:
    return Parsed(search_page(data_of(searched())))


def section(record, id):
    return next(one for one in sections_of(data_of(record)) if one.id == id)


def test_every_section_exists_with_words_for_each_chart(parsed: Parsed) -> None:
    assert parsed.values("section", "id") == [
        *("result", "best", "importance", "parallel", "slices", "training", "trials", "repeat")
    ]
    assert parsed.values("svg", "role") == ["img"] * parsed.tags.count("svg")
    assert all(len(label) > 20 for label in parsed.values("svg", "aria-label"))
    assert parsed.tags.count("svg") == 2 + 1 + 1 + len(PARAMETERS) + 2
    assert not addresses(search_page(data_of(searched())))


def test_the_page_shows_the_best_trial_and_the_honest_estimate() -> None:
    record = searched()
    best = record.best
    assert best is not None and best.loss is not None
    optimism = 0.5 - best.loss

    text = Parsed(search_page(data_of(record))).text

    assert f"{best.loss:.4f}" in text and "0.5000" in text and f"+{optimism:.4f}" in text
    assert any(
        f"the best trial, `{best.name}`, has {best.loss:.4f}" in one
        for one in said([section(record, "result")], "result")
    )
    assert any("more than the noise of these rows" in one for one in said([section(record, "result")], "result"))


def test_stopped_trials_are_marked_and_do_not_count_as_best() -> None:
    record = searched()
    lowest = min(record.trials, key=lambda one: one.loss or 0.0)
    assert lowest.state == "stopped", "otherwise this test shows nothing"
    complete = [one.loss for one in record.trials if one.state == "complete"]

    charts = section(record, "best").values["charts"]

    for chart in charts:
        assert f"from {complete[0]:.4f} to {min(complete):.4f}." in chart.drawing
        assert chart.drawing.count('class="dot plain"') == sum(one.state == "stopped" for one in record.trials)
        for source in ("written", "portfolio", "tpe"):
            assert f">{source}</text>" in chart.drawing
    assert ("dot hollow", "stopped") in section(record, "training").values["charts"][0].legend


def test_the_parameter_that_decides_is_the_most_important() -> None:
    found = importance_of(searched())

    assert next(iter(found.values)) == "lr" and found.values["lr"] > 0.5
    assert set(found.values) == {one.name for one in PARAMETERS}
    assert sum(found.values.values()) == pytest.approx(1)
    assert (found.trials, found.best) == (40, 5)
    assert found.counts["lr"] == 40 and 5 < found.counts["schedule[step].every"] < 40


def test_stopped_trials_are_never_among_the_best() -> None:
    record = searched(trials=283)  # 29 / 283 * 283 is more than 29 in floating point
    ranked = sorted(record.trials, key=lambda one: one.loss or 0.0)
    states = ["complete"] * 29 + ["stopped"] * 254
    trials = tuple(one.model_copy(update={"state": state}) for one, state in zip(ranked, states, strict=True))

    found = importance_of(record.model_copy(update={"trials": trials}))

    assert (found.best, next(iter(found.values))) == (29, "lr")


def test_a_parameter_that_few_of_the_best_trials_have_is_uncertain_and_not_named() -> None:
    record = searched()
    kept = [one for one in record.trials if one.values["schedule"] == "constant" or (one.loss or 0.0) > 1]
    record = record.model_copy(update={"trials": tuple(kept)})

    found = section(record, "importance")

    assert importance_of(record).rare == {"schedule[step].every"}
    assert "few of the best trials have it: schedule[step].every." in " ".join(found.values["notes"])
    assert found.values["chart"].drawing.count('class="bar plain"') == 1
    assert said([found], "importance")[0].startswith("Most important: `lr` (")


def test_what_has_no_importance_is_named() -> None:
    rare = ParameterRecord(name="schedule[cosine].warmup", path="schedule.warmup", low=0, high=1)
    record = searched(parameters=(*PARAMETERS, rare))
    outside = record.trials[0].model_copy(update={"values": {**record.trials[0].values, "lr": 5.0}})
    record = record.model_copy(update={"trials": (outside, *record.trials[1:])})

    notes = " ".join(section(record, "importance").values["notes"])

    assert "Not evaluated: schedule[cosine].warmup (no trial has it)." in notes
    assert "1 trial with values outside of the space is not used." in notes


def test_few_trials_have_no_importance_and_the_page_says_why() -> None:
    record = searched(trials=4)

    (note,) = section(record, "importance").values["notes"]

    assert note == (
        "The importance requires at least 10 trials, and 5 complete ones; the search has 4 with a loss, and 3 complete "
        "ones."
    )
    Parsed(search_page(data_of(record)))


def test_slices_have_the_scale_of_the_space_and_parameters_of_a_kind_only_its_trials() -> None:
    record = searched()

    charts = {chart.title: chart for chart in section(record, "slices").values["charts"]}

    assert ">0.001</text>" in charts["lr"].drawing and ">0.1</text>" in charts["lr"].drawing
    assert ">256</text>" in charts["batch_size"].drawing
    with_step = sum("schedule.every" in one.values for one in record.trials)
    assert charts["schedule.every"].drawing.count("<circle") == with_step
    assert charts["schedule.every"].caption == f"{40 - with_step} trials without this parameter."


def test_parallel_coordinates_have_a_line_per_trial_with_the_best_on_top() -> None:
    record = searched()
    assert record.best is not None

    drawing = section(record, "parallel").values["chart"].drawing

    assert drawing.count("<polyline") == 40
    assert record.best.name in drawing.split("<polyline")[-1]
    assert drawing.split("<polyline")[-1].startswith(' class="line c2"')


def test_best_values_at_the_end_of_an_interval_recommend_a_larger_space() -> None:
    record = searched()
    best = {one.name for one in data_of(record).complete[:3]}
    trials = [
        one.model_copy(update={"values": {**one.values, "dropout": 0.59}}) if one.name in best else one
        for one in record.trials
    ]

    edge = record.model_copy(update={"trials": tuple(trials)})

    assert any(
        "have a `dropout` near the upper end of its interval (0.6)" in one
        for one in said([section(edge, "result")], "result")
    )
    assert not any("end of its interval" in one for one in said([section(record, "result")], "result"))


def test_an_ensemble_is_compared_with_the_top_trials() -> None:
    record = searched()
    names = tuple(one.name for one in record.trials[:2])
    choices = tuple(
        ChoiceRecord(rule=rule, trials=names, weights=(0.7, 0.3), loss=0.3, honest_loss=honest, honest_error=0.01)
        for rule, honest in (("best", 0.4), ("greedy 2", 0.33), ("top 2", 0.35))
    )

    parsed = Parsed(search_page(data_of(record.model_copy(update={"choices": choices}))))

    for cell in ("greedy 2", "top 2", "0.3300", "0.3104 to 0.3496", "net (0.70), net-2 (0.30)"):
        assert cell in parsed.text


def test_a_search_without_a_complete_trial_has_a_page() -> None:
    record = searched(trials=3, ended="")
    trials = tuple(
        one.model_copy(update={"state": "failed", "loss": None, "steps": (), "problem": "diverged"})
        for one in record.trials
    )

    parsed = Parsed(
        search_page(replace(data_of(record.model_copy(update={"trials": trials, "choices": ()})), curves={}))
    )

    assert "No trial is complete." in parsed.text and "The search did not end." in parsed.text
    assert "diverged" in parsed.text
    assert "slices" not in parsed.values("section", "id")


def test_a_metric_that_is_raised_is_shown_as_it_is() -> None:
    record = searched(metric="accuracy")
    trials = tuple(one.model_copy(update={"loss": (one.loss or 0) / 10}) for one in record.trials)
    record = record.model_copy(update={"trials": trials})
    assert record.best is not None and record.best.loss is not None

    assert f"{1 - record.best.loss:.4f}" in section(record, "best").values["charts"][0].drawing
    assert section(record, "trials").values["first"] == "descending"


def test_values_that_an_axis_does_not_contain_are_drawn_below_it() -> None:
    record = searched()
    auto = record.trials[0].model_copy(update={"values": {**record.trials[0].values, "lr": "auto"}})
    record = record.model_copy(update={"trials": (auto, *record.trials[1:])})

    assert ">auto</text>" in section(record, "parallel").values["chart"].drawing
    (lr, *_) = section(record, "slices").values["charts"]
    assert lr.caption == "1 trial without a value on this axis."


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "{{ 7 * 7 }}</title><h1>"])
def test_names_of_users_are_text(name: str) -> None:
    record = searched()
    odd = record.trials[0].model_copy(update={"name": name, "values": {**record.trials[0].values, "schedule": name}})

    text = search_page(data_of(record.model_copy(update={"trials": (odd, *record.trials[1:]), "job": name})))

    assert name not in text
    parsed = Parsed(text)
    assert parsed.tags.count("script") == 1 and parsed.tags.count("h1") == 1
