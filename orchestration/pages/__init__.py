"""Stemma's own pages: what was kept and dropped and why, labels, policies, takedowns, models. Server-rendered."""
