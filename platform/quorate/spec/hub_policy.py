"""Whether a hub may be asked for pretrained weights that are not in the cache of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from quorate.errors import UserError

HubPolicy = Literal["never", "allow", "fit-only"]
"""Who may ask a hub: nobody, every command, or only the planning and the training of a job."""
VARIABLE = "QUORATE_HUB"


def hub_policy() -> HubPolicy:
    """The policy of this process: the environment variable QUORATE_HUB, by default `allow`; raises `UserError`."""
    return as_policy(os.environ.get(VARIABLE) or "allow", VARIABLE)


def as_policy(text: str, place: str) -> HubPolicy:
    """Read a policy; raises `UserError` that names `place`."""
    for policy in get_args(HubPolicy):
        if text == policy:
            found: HubPolicy = policy
            return found
    raise UserError(f"{place} is {text!r}; choose {', '.join(get_args(HubPolicy))}")


@contextmanager
def hub_asked(policy: HubPolicy | None) -> Iterator[None]:
    """Within this context the policy of this process is `policy`; None leaves it as it is. Raises `UserError`."""
    before = os.environ.get(VARIABLE)
    if policy is not None:
        os.environ[VARIABLE] = policy
    try:
        hub_policy()
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


@contextmanager
def hub_asked_by_command(given: str | None) -> Iterator[HubPolicy]:
    """The same for a command that does not train, whose option `--hub` is `given`: with `fit-only` it asks nobody.

    The value is the policy before that.
    """
    policy = as_policy(given, "--hub") if given is not None else hub_policy()
    with hub_asked("never" if policy == "fit-only" else policy):
        yield policy
