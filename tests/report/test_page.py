"""The page of a run: its figures, what it says about them, and that it is whole and safe."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tests.report.finished import Parsed, addresses, finished, said

from quorate.ensemble.metric_intervals import figures
from quorate.report.page.page import page, sections_of
from quorate.report.page.rendering import _marked
from quorate.report.page.run import RunData
from quorate.report.page.section import listed, signed
from quorate.report.page.values import LEAST_ROWS, values_of

NASTY = "<script>alert(1)</script>"
QUOTES = "\"quotes\" & 'apostrophes' 👕 " + "very " * 40 + "long"


@pytest.fixture(scope="module")
def run() -> RunData:
    return finished()


@pytest.fixture(scope="module")
def parsed(run: RunData) -> Parsed:
    return Parsed(page(run))


def test_the_metrics_are_those_of_the_leaderboard(run: RunData, parsed: Parsed) -> None:
    ensemble = run.board.ensemble
    assert ensemble.oof is not None and ensemble.test is not None
    for split, scores in (("oof", ensemble.oof), ("test", ensemble.test)):
        for metric, value in scores.by_name.items():
            assert parsed.figures[f"{split}-{metric}"] == f"{value:.4f}"
            assert parsed.figures[f"ensemble-{split}-{metric}"] == f"{value:.4f}"
    for row in run.board.members:
        assert row.oof is not None
        for metric, value in row.oof.by_name.items():
            assert f"{value:.4f}" in parsed.text, (row.name, metric)


def test_the_intervals_are_those_of_an_evaluation(run: RunData, parsed: Parsed) -> None:
    assert run.test is not None
    found = figures(run.test.ensemble, run.test.y)["nll"]

    assert f"{found.low:.4f} to {found.high:.4f}" in parsed.text


def test_every_section_exists_with_headings_in_order(run: RunData, parsed: Parsed) -> None:
    ids = [section.id for section in sections_of(run, values_of(run))]

    assert ids == [
        *("summary", "leaderboard", "curves", "calibration", "confusion", "diversity"),
        *("value", "cost", "uncertainty", "mistakes", "repeat"),
    ]
    assert parsed.values("section", "id") == ids
    levels = [int(tag[1]) for tag in parsed.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_page_has_landmarks_a_title_and_words_for_every_chart(parsed: Parsed) -> None:
    assert {"header", "nav", "main", "footer", "title"} <= set(parsed.tags)
    assert parsed.values("html", "lang") == ["en"]
    assert "#main" in parsed.values("a", "href")
    assert parsed.values("svg", "role") == ["img"] * parsed.tags.count("svg")
    assert all(len(label) > 20 for label in parsed.values("svg", "aria-label"))
    assert len(parsed.values("svg", "aria-label")) == parsed.tags.count("svg") > 5
    assert len(parsed.values("img", "alt")) == parsed.tags.count("img")


def test_the_page_loads_nothing_and_its_policy_forbids_it(run: RunData) -> None:
    text = page(run)

    assert not addresses(text)
    assert "http://" not in text and "https://" not in text
    assert "default-src &#39;none&#39;" in text


@pytest.mark.parametrize("name", [NASTY, QUOTES, "{{ 7 * 7 }}\n</title><h1>"])
def test_names_of_users_are_text_whatever_they_are(name: str) -> None:
    hostile = finished(classes=("cat", name, "eel"), members=("svm", name, "cnn"))
    board = hostile.board.model_copy(update={"job": name, "run": name})
    hostile = replace(hostile, board=board, facts=(("Run", name),))

    text = page(hostile)

    assert NASTY not in text
    parsed = Parsed(text)
    assert parsed.tags.count("script") == 1
    assert parsed.tags.count("h1") == 1
    assert " ".join(name.split()) in " ".join(parsed.text.split()), "shown as it is"


def test_the_ensemble_is_not_called_better_if_the_interval_contains_0() -> None:
    alike = finished(members=("svm", "forest"), weights=(0.999, 0.001), rows=120, test=0)

    values = values_of(alike)
    sections = list(sections_of(alike, values))

    assert abs(values.best.lead.nll) < 1.96 * values.best.lead.nll_error
    (sentence, *_) = said(sections, "summary")
    assert "do not show whether" in sentence and "contains 0" in sentence
    assert "the ensemble is better" not in page(alike)


def test_a_significant_gain_is_stated_with_its_interval() -> None:
    run = finished(rows=1500)
    values = values_of(run)
    lead = values.best.lead

    (sentence, *_) = said(sections_of(run, values), "summary")

    assert lead.nll + 1.96 * lead.nll_error < 0
    assert f"{signed(lead.nll)}, 95 % interval {signed(lead.nll - 1.96 * lead.nll_error)}" in sentence


def test_the_value_of_members_is_that_of_the_ablation(run: RunData) -> None:
    from quorate.ensemble.ablation import Ablation

    values = values_of(run, patience=math.inf)
    assert run.combiner is not None
    own = run.oof.proba[list(values.members)]
    expected = Ablation.of(proba=own, y=run.oof.y, combiner=run.combiner, seed=run.seed).without_each()

    assert list(values.without) == expected
    assert [len(step.left) for step in values.path] == [3, 2, 1]
    assert f"{signed(expected[0].nll)} ± {expected[0].nll_error:.4f}" in page(run)


def test_a_slow_combiner_is_evaluated_on_a_sample_and_the_page_says_so() -> None:
    run = finished(rows=1200, test=0)

    values = values_of(run, patience=0.02)

    assert LEAST_ROWS <= values.rows < 1200
    assert any("a sample of" in note for note in values.notes)


def test_with_many_members_those_with_the_largest_weights_are_removed() -> None:
    names = [f"m{number}" for number in range(15)]
    weights = np.linspace(1, 2, 15)
    run = finished(members=names, weights=(weights / weights.sum()).tolist(), rows=90, test=0, combiner="mean")

    values = values_of(run)

    assert len(values.members) == 12
    assert run.label(values.members[0]) == "m14"
    assert any("the 12 members with the largest weights" in note for note in values.notes)


def test_a_combiner_that_refuses_fewer_members_is_reported() -> None:
    class Demanding(type(finished().combiner)):  # type: ignore[misc]
        def fit_dependent(self, *, proba, y, seed, dependence):  # type: ignore[no-untyped-def]
            if len(proba) < 3:
                raise ValueError("three members or more")
            return super().fit_dependent(proba=proba, y=y, seed=seed, dependence=dependence)

    run = finished()
    assert run.combiner is not None

    values = values_of(replace(run, combiner=Demanding(run.combiner.params)))

    assert values.notes == ("The combiner does not work with fewer members: three members or more.",)
    assert "three members or more" in page(replace(run, combiner=Demanding(run.combiner.params)))


@pytest.mark.parametrize(
    "odd",
    [
        finished(members=("svm",), weights=(1.0,), test=0, curves=False),
        finished(classes=("no", "yes")),
        finished(classes=[f"species {k}" for k in range(40)], rows=400, test=80),
        finished(classes=[f"species {k}" for k in range(120)], rows=480, test=0),
        finished(weights=(1.0, 0.0, 0.0), combiner="best_single"),
        finished(sharpness=60.0),
        finished(sharpness=0.0),
        replace(finished(), combiner=None, data={}),
        finished(rows=9, test=3),
    ],
    ids=["one member", "two classes", "40", "120", "guarded", "perfect", "guessing", "nothing to be had", "few rows"],
)
def test_unusual_runs_have_a_page_too(odd: RunData) -> None:
    parsed = Parsed(page(odd))

    assert "nan" not in parsed.text.lower().split()
    assert "None" not in parsed.text.split()


def test_without_epochs_there_are_no_curves_and_with_one_member_no_pairs() -> None:
    alone = finished(members=("svm",), weights=(1.0,), curves=False)

    ids = [section.id for section in sections_of(alone, values_of(alone))]

    assert not {"curves", "diversity", "cost"} & set(ids)


def test_members_that_failed_are_named_with_what_to_do() -> None:
    run = finished(status=("ok", "diverged", "ok"), weights=(0.5, 0.0, 0.5))

    sentences = said(sections_of(run, values_of(run)), "leaderboard")

    assert "forest: diverged; lower the learning rate, or clip gradients." in sentences


def test_an_ensemble_at_chance_level_is_reported_as_such() -> None:
    run = finished(sharpness=0.0)

    assert any("not clearly better" in sentence for sentence in said(sections_of(run, values_of(run)), "summary"))


def test_mistakes_show_pictures_of_out_of_fold_rows_or_say_why_not() -> None:
    seen, unseen = finished(test=0), replace(finished(test=0), data={})

    assert page(seen).count("data:image/png;base64,") == 12
    text = page(unseen)
    assert "data:image/png" not in text
    assert "The data cannot be opened again, so rows are shown by number only." in text


def test_prediction_times_are_drawn_where_there_are_any(run: RunData) -> None:
    assert "Error against prediction time" not in page(run)
    timed = tuple(row.model_copy(update={"predict_ms": 0.5 * (m + 1)}) for m, row in enumerate(run.board.members))

    text = page(replace(run, board=run.board.model_copy(update={"members": timed})))

    assert "Error against prediction time" in text
    assert "predict ms" in text


def test_the_page_of_ten_members_and_ten_thousand_rows_is_small() -> None:
    names = [f"member {number}" for number in range(10)]
    large = finished(members=names, classes=[str(k) for k in range(10)], rows=10_000, test=0, combiner="mean")

    assert len(page(large).encode()) < 1_000_000


def test_words_are_listed_with_commas_and_and() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([*"abcdefgh"], 3) == "a, b, c and 5 more"
    assert signed(-0.00001) == "+0.0000"
    assert signed(-0.5, 1) == "−0.5"


def test_code_in_sentences_is_marked_and_what_users_write_stays_text() -> None:
    assert str(_marked("find a rate with `quorate lr-find`")) == "find a rate with <code>quorate lr-find</code>"
    assert str(_marked("`<b>` & <i>")) == "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"


def test_no_remark_of_the_page_shows_backticks(run: RunData, parsed: Parsed) -> None:
    assert "`" not in page(run).partition('<section id="repeat"')[0].partition("</style>")[2]
