"""`trading-platform secrets`: where stored secrets are, and the key that guards them."""

from pathlib import Path
from typing import Annotated

import typer

from trading_platform.cli.options import AsJson, Data, group
from trading_platform.cli.output import refusals, say

Where = Annotated[
    str, typer.Option(metavar="PLACE", help="local, kms:<key id or ARN>, or secrets-manager")
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        envvar="TRADING_PLATFORM_PASSPHRASE_FILE",
        help="File with the passphrase of the local master key, if it has one",
    ),
]
app = group("Move stored secrets, and change the key that guards them. Nothing is ever printed.")


@app.command()
def migrate(
    source: Annotated[
        str, typer.Option("--from", metavar="PLACE", help="Where the secrets are now")
    ],
    to: Where,
    shred_source: Annotated[
        bool,
        typer.Option("--shred-source", help="Remove them from the source once all is proven"),
    ] = False,
    region: Annotated[
        str | None, typer.Option(envvar="AWS_REGION", help="AWS region (default: us-east-1)")
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(envvar="AWS_ENDPOINT_URL", help="For a VPC endpoint")
    ] = None,
    passphrase_file: PassphraseFile = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Move all secrets to another place and prove that they are the same there.

    No platform may run on the data folder meanwhile. Between local and kms the records stay where
    they are and are sealed anew. Run it again if it was interrupted. Then start the platform with
    TRADING_PLATFORM_SECRETS set to the new place.

    \b
    Example:
      trading-platform secrets migrate --from local --to kms:alias/trading --region eu-central-1
      trading-platform secrets migrate --from local --to secrets-manager
    """
    with refusals():
        from trading_platform.cli.secret_moves import move

        moved = move(data, source, to, region, endpoint_url, passphrase_file, shred_source)
        say(moved, as_json=as_json, columns=("from", "to", "secrets", "versions"))


@app.command("rotate-master-key")
def rotate_master_key(
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(help="File with the new key's passphrase (default: the same as now)"),
    ] = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="The new key has no passphrase")
    ] = False,
    passphrase_file: PassphraseFile = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a new local master key and seal all secrets under it.

    A running platform goes on and follows by itself; only after a change of passphrase it must be
    started again. Keep a backup of the folder `keys` apart from that of the records.

    \b
    Example:
      trading-platform secrets rotate-master-key
    """
    with refusals():
        from trading_platform.cli.secret_moves import rotate

        done = rotate(data, passphrase_file, new_passphrase_file, no_passphrase=no_passphrase)
        say(done, as_json=as_json, columns=("masterKey", "secrets"))
