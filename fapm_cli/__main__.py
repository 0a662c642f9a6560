"""Run the command line as ``python -m fapm_cli``."""

from fapm_cli.cli import main

main()
