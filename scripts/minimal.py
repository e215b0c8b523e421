"""Print settings.ini's requirements at their lower bounds, for `pip install -c`: `make minimal` tests the package
with these.

An extra may be named: `python scripts/minimal.py lab_requirements`.
"""

import sys
from configparser import ConfigParser
from pathlib import Path

config = ConfigParser(delimiters=["="], interpolation=None)
config.read(Path(__file__).resolve().parent.parent / "settings.ini", encoding="utf-8")
for key in ["requirements", *sys.argv[1:]]:
    for line in config["DEFAULT"][key].splitlines():
        if line.strip():
            name, bound = line.strip().split(">=")
            print(f"{name}=={bound}")
