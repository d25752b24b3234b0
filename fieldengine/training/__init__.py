"""Fitting a field: the step, the loop around it, what it remembers and how it is scored."""
