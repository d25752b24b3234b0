"""Encodings: what coordinates become before the MLP."""
