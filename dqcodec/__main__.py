"""`python -m dqcodec`."""

from dqcodec.cli import main

main()
