"""Data sets: files become numbered items to learn from, pictures and solids to compare with."""
