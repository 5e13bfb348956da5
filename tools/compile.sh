#!/bin/sh
# Builds the package with its hot modules compiled: tools/compile.sh PYTHON, then PYTHONPATH=build/compiled.
# The tree itself stays as it is. What was built is remembered by its sources, so that the next run takes no time.
set -eu
cd "$(dirname "$0")/.."
python=$1
made=$({ "$python" -c 'import sys; print(sys.version)'; find sipgrace twisted setup.py -name '*.py' | sort | xargs cat; } | sha256sum)
if [ "$(cat build/compiled/made 2>/dev/null)" != "$made" ]; then
    rm -rf build/compiled build/compile
    SIPGRACE_COMPILE=1 "$python" setup.py -q build --build-base build/compile --build-lib build/compiled
    echo "$made" >build/compiled/made
fi
