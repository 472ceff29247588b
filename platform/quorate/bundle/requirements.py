"""List what loading a bundle requires besides Quorate: packages, and the user's own code."""

from __future__ import annotations

from pathlib import Path

from quorate.bundle.manifest import BundleCombination, BundleError, BundleManifest
from quorate.members.base import HEADER, read_header, references_in
from quorate.registry import COMBINERS, own_code


def needs(manifest: BundleManifest) -> list[str]:
    """Return a sentence for each member or combiner that requires a package besides Quorate."""
    allow = "; commands that load the bundle need --allow-code"
    said = [
        f"the member {member.name} needs the package {member.requires} wherever the bundle is loaded: "
        f"{member.reason}{allow}"
        for member in manifest.members
        if member.requires is not None
    ]
    if package := manifest.combination.requires:
        said.append(
            f"the combiner needs the package {package} wherever the bundle is loaded: its class pools the members "
            f"itself{allow}"
        )
    return said


def check_code(folder: Path, manifest: BundleManifest) -> None:
    """Raise `BundleError` if loading the bundle would import code that is forbidden by `own_code.forbid_imports`."""
    kind = manifest.combination.pooling
    wanted = {f"the combiner {kind}": [kind] if ":" in kind else []}
    for member in manifest.members:
        for place in member.folds:
            try:
                references = references_in(read_header(folder / place))
            except (AttributeError, ValueError) as error:
                raise BundleError(f"{folder / place / HEADER} cannot be read: {error}") from None
            wanted.setdefault(f"the member {member.name}", []).extend(references)
    for what, references in wanted.items():
        for reference in references:
            try:
                own_code.check_allowed(reference)
            except own_code.OwnCodeError as error:
                raise BundleError(f"{folder}: {what}: {error}") from None


def check_combiner(folder: Path, combination: BundleCombination) -> None:
    """Raise `BundleError` if the combiner that pools the members is not available."""
    kind, package = combination.pooling, combination.requires
    try:
        COMBINERS.get(kind)
    except ValueError as error:
        if package is None:
            raise BundleError(f"{folder}: {error}") from error
        raise BundleError(
            f"{folder}: the combiner {kind} needs the package {package}; install it, or put its "
            f"folder on PYTHONPATH ({error})"
        ) from error
