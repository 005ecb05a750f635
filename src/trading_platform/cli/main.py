"""The entry point: nothing heavy is imported before Ctrl-C has an answer."""

import gc


def main() -> None:
    """Run the command line."""
    gc.disable()  # imports make no garbage; programs.run turns it on again
    try:
        from trading_platform.cli.output import refusals
        from trading_platform.kit.process import harden

        with refusals():
            harden()
        from trading_platform.cli.commands import app

        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
