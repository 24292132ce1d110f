"""Whose word needs no verdict: what a workspace's policy says of its sources. Pure."""

from __future__ import annotations

from connector_runner.policy.settings import PolicySettings
from connector_runner.world.atoms import SAFETY_FIELDS
from connector_runner.world.confidence import CONVERSATION, ceiling
from connector_runner.world.fold import Claim


def needs_verdict(policy: PolicySettings, entity_type: str, field: str, claim: Claim) -> bool:
    """Whether a claim of a field needs a verdict before it is relied on.

    What was heard in a conversation does, and other word does not, but where the policy names its source
    (``without_review``). What was heard of a field of safety always does.
    """
    heard = ceiling(claim.source) <= CONVERSATION
    for name in (claim.source_system, claim.source):
        stated = policy.reviewed(name, entity_type, field) if name else None
        if stated is not None:
            return stated or (heard and field in SAFETY_FIELDS)
    return heard


def is_waived(policy: PolicySettings, entity_type: str, field: str, claim: Claim) -> bool:
    """Whether the policy itself says that a claim needs none, so that neither judge nor person is asked about it."""
    named = any(name in policy.without_review for name in (claim.source_system, claim.source))
    return named and not needs_verdict(policy, entity_type, field, claim)
