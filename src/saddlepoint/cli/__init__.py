"""The command line: argument parsing only. Nothing here imports torch until a command runs."""

from saddlepoint.cli.app import main as main
