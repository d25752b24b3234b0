"""Renderers: from a field and items to values, and to whole images."""
