"""Find the pretrained weights that a job for photographs starts from, and say where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quorate.autoconfig.backbone_sample import ROWS, SampledBackbone, described, rank_on_sample
from quorate.autoconfig.backbone_sources import USUAL, FoundBackbones, backbones_in, backbones_on_hub
from quorate.autoconfig.fingerprint import Fingerprint, ImageFacts
from quorate.autoconfig.image_members import are_large
from quorate.autoconfig.job_text import job_of_data
from quorate.errors import UserError
from quorate.plan.opening import open_data
from quorate.spec.hub_policy import HubPolicy
from quorate.training.hub import hub_problem

HUB = "hub"


@dataclass(frozen=True)
class StartingWeights:
    """What the networks of a job start from."""

    networks: tuple[SampledBackbone, ...] = ()
    """Networks whose weights are on this machine, the best first."""
    hub: bool = False
    """Whether the job loads weights from a hub that `networks` lacks."""

    @property
    def any(self) -> bool:
        """Whether networks start from weights."""
        return self.hub or bool(self.networks)

    @property
    def ready(self) -> bool:
        """Whether the weights of all members are on this machine."""
        return not self.hub


def find_start(
    fingerprint: Fingerprint, given: str | None, policy: HubPolicy, *, say: Callable[[str], None]
) -> StartingWeights:
    """The weights for photographs: of the folder or the hub that `given` names, otherwise those that are available.

    A hub is asked only if `policy` is `allow`. Raises `UserError` if `given` names no usable weights.
    """
    facts = fingerprint.facts
    if not isinstance(facts, ImageFacts) or not are_large(facts):
        if given is not None:
            raise UserError("--weights is for images of at least 64 pixels; leave it out")
        return StartingWeights()
    if given is not None and given != HUB:
        return StartingWeights(_ranked(backbones_in(Path(given), size=None), fingerprint, say))
    found = backbones_on_hub(size=None)
    here = FoundBackbones(tuple(one for one in found.networks if one.ready))
    if here.networks:
        return StartingWeights(_ranked(here, fingerprint, say))
    if policy == "fit-only":
        say("the hub was not asked (--hub fit-only); the job loads weights when it trains")
        return StartingWeights(hub=True)
    problem = "may not be asked (--hub never)" if policy == "never" else hub_problem(found.networks[0].where)
    if not problem:
        say("the hub answers; the job loads weights when it trains")
        return StartingWeights(hub=True)
    none = f"none of {len(USUAL)} usual networks is in the cache of this machine, and the hub {problem}"
    fix = "give weights files with --weights FOLDER"
    if given == HUB:
        raise UserError(f"--weights hub: {none}; {fix}")
    say(f"no pretrained weights: {none}; networks start from scratch. Photographs gain much from weights: {fix}")
    return StartingWeights()


def _ranked(found: FoundBackbones, fingerprint: Fingerprint, say: Callable[[str], None]) -> tuple[SampledBackbone, ...]:
    for note in found.notes:
        say(note)
    rows = open_data(job_of_data(fingerprint)).train
    say(f"pretrained networks, ranked on {min(ROWS, len(rows)):,} of {len(rows):,} training images:")
    ranked = rank_on_sample(found.networks, rows)
    for line in described(ranked):
        say(f"  {line}")
    return tuple(ranked)
