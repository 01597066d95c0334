"""``python -m amp`` is the command line."""

from amp.cli import main

main()
