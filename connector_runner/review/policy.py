"""What is reviewed by whom in a workspace: the judge, or a person."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from connector_runner.kernel.errors import BadRecord
from connector_runner.review.categories import CATEGORIES

By = Literal["judge", "person", "nobody"]


class ReviewPolicy(BaseModel):
    """The settings of a workspace's review. Shares and confidences are 0 to 1, times are hours.

    ``automatic_from``: what is believed less always needs a person (the agent inferred it). ``people`` are the
    categories that need one whatever the judge says. ``sources``: who looks at what a source says (``voice_agent``,
    ``browser``, the name of a data source's system …), where that is not the judge. ``skip_types``: entity types
    that nobody looks at.

    An item that nobody touches for ``expires_after_h`` expires; one that somebody claimed, and did not answer for
    ``claim_lapses_after_h``, is everybody's again.

    ``sample``: of what the judge passes this share is shown to people all the same, to measure it by. A category in
    which less than ``precision_bound`` of what it passed was right, over ``least_labels`` answers or more, goes back
    to people; ``precision_bounds`` are those of single categories.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    automatic_from: float = Field(0.3, ge=0, le=1)
    people: tuple[str, ...] = ("allergy", "medication", "consent")
    sources: dict[str, By] = {}
    skip_types: tuple[str, ...] = ("call", "operator", "outbound_task", "surface")
    sample: float = Field(0.02, ge=0, le=1)
    expires_after_h: float = Field(336.0, gt=0, le=24 * 366)
    claim_lapses_after_h: float = Field(24.0, gt=0, le=24 * 366)
    precision_bound: float = Field(0.95, ge=0, le=1)
    precision_bounds: dict[str, float] = {}
    least_labels: int = Field(20, ge=1)

    @field_validator("people", "precision_bounds")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if set(value) - set(CATEGORIES):
            raise ValueError(f"categories are {', '.join(CATEGORIES)}")
        return value

    def looked_at_by(self, entity_type: str, source: str, source_system: str | None) -> By:
        """Who looks at what a source says of an entity type."""
        if entity_type in self.skip_types:
            return "nobody"
        return self.sources.get(source_system or "", self.sources.get(source, "judge"))

    def bound(self, category: str) -> float:
        """What share of what the judge passes in a category must be right."""
        return self.precision_bounds.get(category, self.precision_bound)


def parsed(document: Any) -> ReviewPolicy:
    """A policy from what somebody wrote. Raises BadRecord naming the first key that is wrong."""
    try:
        return ReviewPolicy.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadRecord(str(first["msg"]), code="invalid_policy", where=place) from None
