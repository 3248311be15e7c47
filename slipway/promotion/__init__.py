"""Promotions: judged, committed, waited for, and taken back when an environment does not come to run them."""

from __future__ import annotations

from slipway.promotion.admitting import admit
from slipway.promotion.arriving import arrive
from slipway.promotion.changes import KINDS, Change, Deployed, NotRunning, Overtaken, PromotionFailed, Refused, Unseen
from slipway.promotion.deploying import DELIVERY_TIMEOUT, RETURN_TIMEOUT, deploy, render
from slipway.promotion.judging import authors, facts, held, judge
from slipway.promotion.moved import Moved, moved
from slipway.promotion.moved import show as show_moved
from slipway.promotion.retiring import retirements

__all__ = [
    "DELIVERY_TIMEOUT",
    "KINDS",
    "RETURN_TIMEOUT",
    "Change",
    "Deployed",
    "Moved",
    "NotRunning",
    "Overtaken",
    "PromotionFailed",
    "Refused",
    "Unseen",
    "admit",
    "arrive",
    "authors",
    "deploy",
    "facts",
    "held",
    "judge",
    "moved",
    "render",
    "retirements",
    "show_moved",
]
