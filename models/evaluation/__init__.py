"""Scores with their baselines."""
