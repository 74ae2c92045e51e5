"""Losses, one small pure function each."""
