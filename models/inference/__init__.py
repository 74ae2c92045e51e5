"""Sampling from our own networks."""
