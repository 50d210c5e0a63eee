"""`python -m compiler.cli` is `modc`."""

from compiler.cli.app import main

main()
