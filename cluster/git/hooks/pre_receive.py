#!/usr/bin/python3 -I
"""Decide whether a push may land: who pushes, to which references, and what it changes.

The judging is Slipway's own (SLIPWAY_CODE, else /etc/git-server/slipway.zip: a few of its modules), by rules that are
data (SLIPWAY_RULES, else /etc/git-server/rules.json). A guard that cannot even begin refuses.
"""

import os
import sys
from pathlib import Path

try:
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.environ.get("SLIPWAY_CODE") or "/etc/git-server/slipway.zip")

    from slipway import receive

    rules = Path(os.environ.get("SLIPWAY_RULES") or "/etc/git-server/rules.json")
    code = receive.main(sys.stdin.read().splitlines(), os.environ, rules)
except BaseException as error:
    print(f"REFUSED: the rules could not be applied ({type(error).__name__}: {error}).", file=sys.stderr)
    print("Allowed: nothing, until whoever runs this instance repairs it: ./invoke up.", file=sys.stderr)
    code = 1
sys.exit(code)
