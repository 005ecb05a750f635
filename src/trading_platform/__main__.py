"""`python -m trading_platform` is the command line."""

from trading_platform.cli.main import main

main()
