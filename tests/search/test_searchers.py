"""The methods of a search, driven through Ray Tune."""

from __future__ import annotations

import pytest

from quorate.errors import UserError
from quorate.search import searchers
from quorate.spec.search import SearchSpec
from quorate.spec.space_forms import parse_space

SPACE = parse_space({"schedule": {"constant": None, "step": {"every": "int(2, 5)"}}, "lr": "log_uniform(1e-3, 1)"})


@pytest.mark.parametrize("method", ["random", "tpe", "sobol", "gp"])
def test_a_point_has_the_values_of_its_own_kind_only(method: str) -> None:
    suggester = searchers.open_suggester(SearchSpec(method=method), SPACE, first=[], seed=0)

    points = [suggester.suggest(number) for number in range(8)]

    assert {point["schedule"] for point in points if point} == {"constant", "step"}
    for point in points:
        assert point is not None and 1e-3 <= point["lr"] <= 1
        assert ("schedule[step].every" in point) == (point["schedule"] == "step")


@pytest.mark.parametrize("problem", [ValueError("takes no choices"), TypeError("takes no choices")])
def test_a_searcher_that_does_not_take_the_space_is_refused(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object, **given: object) -> None:
        raise problem

    monkeypatch.setattr(searchers, "create_searcher", refuse)

    with pytest.raises(UserError, match="method: bayesopt cannot be used: takes no choices"):
        searchers.open_suggester(SearchSpec(method="bayesopt"), SPACE, first=[], seed=0)
