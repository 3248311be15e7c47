"""What every service of the shop stands on: configuration, health, metrics, logs, draining, faults."""

from __future__ import annotations

from chassis.caching import cacheable
from chassis.config import Config, ConfigError, Fault, load
from chassis.context import request_id
from chassis.identity import Identity
from chassis.problems import Problem
from chassis.server import run
from chassis.service import Service

__all__ = ["Config", "ConfigError", "Fault", "Identity", "Problem", "Service", "cacheable", "load", "request_id", "run"]
