#!/usr/bin/env bash
# The lowest versions that setup.cfg allows, in an environment of their own: one tiny fit, sample, evaluate and export.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# = 0 ]; then
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
else
  place=$1
fi
# NumPy 1.26 has no wheels for Python 3.13.
for python in python3 python3.12 python3.11; do
  "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && found=$python && break
done
[ -n "${found:-}" ] || { echo "no Python 3.11 or 3.12 here: the lowest versions are not tried"; exit 0; }
"$found" -m venv "$place/venv"
"$found" - > "$place/lowest.txt" <<'PYTHON'
import configparser, re
setup = configparser.ConfigParser()
setup.read("setup.cfg", encoding="utf-8")
for line in setup["options"]["install_requires"].split():
    print(re.sub(r"^([\w-]+)>=([\d.]+).*", r"\1==\2", line))
PYTHON
cat "$place/lowest.txt"
"$place/venv/bin/pip" install -q . -c "$place/lowest.txt"
"$place/venv/bin/python" tools/smoke.py
echo "the lowest versions work"
