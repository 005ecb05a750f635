"""Looking for secrets in everything that came out, in any form they may have taken on the way."""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote, quote_plus

FRAGMENT = 14
"""Characters of a secret that may not be seen together: half a secret is a leak too."""


def fragments(secret: str | bytes) -> list[bytes]:
    """Pieces that cover the secret, so that one that was cut short is found as well."""
    whole = secret.encode() if isinstance(secret, str) else secret
    last = max(0, len(whole) - FRAGMENT)
    return [whole[at : at + FRAGMENT] for at in [*range(0, last, FRAGMENT), last]]


def _base64(piece: bytes, encode: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """As it looks inside a longer text: it may begin at any of three places."""
    for shift in range(3):
        text = encode(b"\0" * shift + piece).rstrip(b"=")
        # The first and last characters also hold bits of what stands beside the piece.
        yield text[(0, 2, 3)[shift] : -1]


def forms(piece: bytes) -> Mapping[str, list[bytes]]:
    """A piece of a secret as it is and as it may be written."""
    return {
        "raw": [piece],
        "base64": [
            *_base64(piece, base64.b64encode),
            *_base64(piece, base64.urlsafe_b64encode),
        ],
        "hex": [piece.hex().encode(), piece.hex().upper().encode()],
        "url": [quote(piece, safe="").encode(), quote_plus(piece).encode()],
        "escaped": [
            repr(piece)[2:-1].encode(),
            re.sub(rb"\n", rb"\\n", piece),
            re.sub(rb"/", rb"\\/", piece),
        ],
    }


def leaks(hay: Mapping[str, bytes], secrets: Mapping[str, str | bytes]) -> list[str]:
    """Where which secret can be seen, and in what form: one finding for each secret and place."""
    found = []
    for name, secret in secrets.items():
        needles = {
            needle: form
            for piece in fragments(secret)
            for form, texts in reversed(list(forms(piece).items()))
            for needle in texts
        }
        for where, content in hay.items():
            for needle, form in needles.items():
                at = content.find(needle)
                if at >= 0:
                    context = content[max(0, at - 100) : at + len(needle) + 20]
                    found.append(f"{name} as {form} in {where}: ...{context!r}")
                    break
    return found
