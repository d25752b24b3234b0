"""Cameras and grids of points: what becomes of pixels, and where cameras stand."""
