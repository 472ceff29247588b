"""The first trials of a search."""

from __future__ import annotations

from tests.tiny import plan_of

from quorate.registry import MEMBERS
from quorate.search.first_trials import first_trials
from quorate.spec.space import parameters_of
from quorate.spec.space_forms import parse_space


def test_an_entry_of_another_kind_trains_in_the_same_place() -> None:
    data = plan_of("{bayes: {kind: naive_bayes}}").context
    place = {"cpus": 2, "memory": 3 << 30}
    base = MEMBERS.get("naive_bayes").Params.model_validate({"kind": "naive_bayes", "smoothing": 0.1, **place})
    parameters = parameters_of(parse_space({"kind": ["naive_bayes", "svm", "random_forest"]}))

    found = first_trials("bayes", base, parameters, data, trials=20, portfolio=True)

    assert {"svm", "random_forest"} <= {one.params.kind for one in found if one.params is not None}
    for one in found:
        assert one.params is not None
        assert (one.params.cpus, one.params.memory) == (2, 3 << 30)
