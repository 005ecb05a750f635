"""Which version of a secret is which: the labels of AWS Secrets Manager, moved in pure code.

stage -> test -> switch -> retire: a new version waits as AWSPENDING, becomes AWSCURRENT, and the
one before it stays AWSPREVIOUS until it is retired. A version without a label is gone.
"""

from collections.abc import Mapping
from enum import StrEnum

Labels = Mapping[str, str]
"""Stage -> version id."""


class Stage(StrEnum):
    """A label; each sits on at most one version."""

    CURRENT = "AWSCURRENT"
    PENDING = "AWSPENDING"
    PREVIOUS = "AWSPREVIOUS"
    STAGED = "STAGED"
    """Ours: a value that waits for a Secrets Manager rotation to take it. (A value waiting under
    AWSPENDING would make Secrets Manager refuse to begin one.)"""


def placed(labels: Labels, version_id: str, stage: Stage) -> dict[str, str]:
    """The labels after a new version came in at `stage`."""
    if stage is Stage.CURRENT:
        return switched(labels, version_id)
    return {**labels, stage: version_id}


def switched(labels: Labels, version_id: str) -> dict[str, str]:
    """The labels after `version_id` became current; twice is as good as once."""
    before = labels.get(Stage.CURRENT)
    rest = {
        stage: version
        for stage, version in labels.items()
        if version != version_id and stage != Stage.CURRENT
    }
    if before is not None and before != version_id:
        rest[Stage.PREVIOUS] = before
    return {**rest, Stage.CURRENT: version_id}


def removed(labels: Labels, version_id: str) -> dict[str, str]:
    """The labels without those of one version."""
    return {stage: version for stage, version in labels.items() if version != version_id}
