"""`python -m partita` is the command `partita`."""

from partita.cli.main import main

main()
