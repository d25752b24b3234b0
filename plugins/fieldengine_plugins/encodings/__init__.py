"""Encodings: from coordinates to the input of the MLP."""
