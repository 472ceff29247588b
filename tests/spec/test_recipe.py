"""The description of a member: the parameters that matter, under comparable names."""

from __future__ import annotations

from tests.tiny import spec_of

from quorate.spec.recipe import comparable, member_recipe


def test_a_recipe_has_kind_arch_epochs_and_rate_and_the_other_changed_parameters() -> None:
    members = spec_of(
        """
data: digits
members:
  plain: {kind: net, arch: mlp}
  own: {kind: net, arch: {kind: small_cnn, width: 8}, epochs: 9, dropout: 0.1, copies: 2, early_stopping: {}}
  svm: {kind: svm, C: 10}
"""
    ).members

    plain = member_recipe(members["plain"])
    assert list(plain) == ["kind", "arch", "epochs", "lr"]
    own = member_recipe(members["own"])
    assert own == {
        "kind": "net",
        "arch": "small_cnn",
        "arch.width": 8,
        "epochs": 9,
        "lr": plain["lr"],
        "dropout": 0.1,
        "early_stopping": True,
    }
    assert member_recipe(members["svm"]) == {"kind": "svm", "C": 10.0}


def test_members_are_compared_by_parameters_that_two_of_them_set_or_copies_vary() -> None:
    recipes = {
        "a": [{"kind": "net", "lr": 0.1, "dropout": 0.1, "clip_norm": 1}, {"kind": "net", "lr": 0.1, "dropout": 0.2}],
        "b": [{"kind": "net", "lr": 0.2, "schedule": "cosine"}],
        "c": [{"kind": "svm", "C": 3}],
        "d": [{"kind": "net", "schedule": "cosine"}],
    }

    found = comparable(recipes)

    assert found == {"kind", "arch", "epochs", "lr", "dropout", "clip_norm", "schedule"}
    assert "C" not in found, "one member alone says it"
