"""Metrics: how far a trained field is from its data."""
