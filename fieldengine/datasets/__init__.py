"""Data sets: files become numbered items to learn from, images and surfaces to compare with."""
