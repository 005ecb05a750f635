"""Medians, ratios and how they are shown."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any


def rate(rounds: Sequence[Mapping[str, float]], count: int) -> dict[str, float]:
    """Medians over rounds of `count` messages each.

    `messages_per_core_s` is what one core can do: messages a second of processor time, which other
    work on the machine disturbs least. `messages_per_s` is by the wall clock.
    """
    cpu_s = median(each["cpu_s"] for each in rounds)
    return {
        "messages_per_core_s": round(count / cpu_s),
        "messages_per_s": round(count / median(each["seconds"] for each in rounds)),
        "cpu_s_per_million": round(cpu_s / count * 1e6, 3),
    }


def ratio(
    ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """How many times faster ours are than theirs: the median of the rounds, each with the other run
    of its own round, so that a machine that slows down slows both.
    """
    return {
        name: round(median(t[key] / o[key] for o, t in zip(ours, theirs, strict=True)), 2)
        for name, key in (("by_cpu", "cpu_s"), ("by_wall", "seconds"))
    }


def lines(value: Mapping[str, Any], indent: str = "") -> list[str]:
    """A nested result for a person: one name and value a line."""
    shown = []
    for name, item in value.items():
        if isinstance(item, Mapping):
            shown += [f"{indent}{name}", *lines(item, indent + "  ")]
        else:
            shown.append(f"{indent}{name}: {item}")
    return shown
