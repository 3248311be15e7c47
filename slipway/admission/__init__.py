"""What stage and prod admit: images that are on the environment's list, and pods that the cluster's controllers make of them.

The rules are in cluster/admission.yaml; the API server asks them of everybody, the cluster's admin and Argo CD too. A list
is a ConfigMap: for each digest, the references by which its image may be named. What ran once stays listed, so that a
rollback needs nobody; what was listed and never recorded does not.
"""

from __future__ import annotations

from slipway.admission.active import wait_until_active
from slipway.admission.lists import NotAnImage, approve, approved, missing, refusal, revoke, withdraw
from slipway.admission.reasons import recorded, tidy
from slipway.admission.rules import API_VERSION, guarded, manifests

__all__ = [
    "API_VERSION",
    "NotAnImage",
    "approve",
    "approved",
    "guarded",
    "manifests",
    "missing",
    "recorded",
    "refusal",
    "revoke",
    "tidy",
    "wait_until_active",
    "withdraw",
]
