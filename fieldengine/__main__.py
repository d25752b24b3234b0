"""`python -m fieldengine` is the same as the command `fieldengine`."""

from fieldengine.cli import main

main()
