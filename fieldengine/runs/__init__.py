"""A run: built from a scene, trained into a folder, opened again."""
