"""Operators: what a measurement is of a field's values."""
