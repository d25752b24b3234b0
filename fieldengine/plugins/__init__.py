"""Plugins: what is installed, and the one place where a plugin is called."""
