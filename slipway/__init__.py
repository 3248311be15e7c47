"""Slipway: a delivery pipeline on a local cluster, from a clean checkout, by one command."""

__version__ = "0.1.0"
