"""`python -m vtmask` is the `vtmask` command."""

from vtmask.cli import main

main()
