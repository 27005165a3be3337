"""`python -m saddlepoint`."""

from saddlepoint.cli import main

main()
