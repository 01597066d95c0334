"""Adaptive Meta-Planning."""
