"""`python -m benchmarks NAME [--json]` runs one benchmark, `all` every one. The last line is one
JSON object.
"""

import argparse
import importlib
import json
from importlib.util import find_spec

from benchmarks.report import lines

NAMES = {
    name: module
    for name, module in {
        "feed": "benchmarks.feed",
        "order-path": "benchmarks.order_path",
        "secrets": "benchmarks.secrets",
        "startup": "benchmarks.startup",
    }.items()
    if find_spec(module)
}
"""Each module has `run() -> dict`, and may print its progress."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("name", choices=[*NAMES, "all"])
    parser.add_argument("--json", action="store_true", help="only the JSON object after progress")
    asked = parser.parse_args()
    names = list(NAMES) if asked.name == "all" else [asked.name]
    results = {}
    for name in names:
        results[name] = importlib.import_module(NAMES[name]).run()
        if not asked.json:
            print("\n".join(lines(results[name])), flush=True)
    print(json.dumps(results if asked.name == "all" else results[asked.name]))


if __name__ == "__main__":
    main()
