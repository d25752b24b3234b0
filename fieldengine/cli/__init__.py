"""The command line, one file per command: parse, call, print. No logic; only commands that need torch import it."""

from fieldengine.cli import train, sweep, suggest, report, analyze, evaluate, render, export, plugins, doctor, schema  # noqa: F401, I001 - in the order of --help
from fieldengine.cli.app import main

__all__ = ["main"]
