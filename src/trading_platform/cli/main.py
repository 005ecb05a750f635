"""The entry point: nothing heavy is imported before Ctrl-C has an answer."""


def main() -> None:
    """Run the command line."""
    try:
        from trading_platform.cli.output import refusals
        from trading_platform.kit.process import harden

        with refusals():
            harden()
        from trading_platform.cli.commands import app

        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
