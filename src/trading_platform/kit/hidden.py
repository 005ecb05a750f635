"""Text and bytes that work like any other, but show dots where a traceback prints local variables.

For what passes through on its way to being checked, such as a header or a body. What is kept is a
`Secret` (secrets/model.py), which cannot be used without being opened.
"""

DOTS = "••••••••"


class HiddenText(str):
    """Text whose repr is dots. What is derived from it (a slice, a strip) is plain again."""

    __slots__ = ()

    def __repr__(self) -> str:
        return DOTS


class HiddenBytes(bytes):
    """Bytes whose repr is dots."""

    def __repr__(self) -> str:
        return DOTS
