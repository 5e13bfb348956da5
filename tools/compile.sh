#!/bin/sh
# Builds the package with its hot modules compiled: tools/compile.sh PYTHON, then PYTHONPATH=build/compiled, which has
# what is in the wheel, build/compile/*.whl.
# The tree itself stays as it is. What was built is remembered by its sources, so that the next run takes no time.
set -eu
cd "$(dirname "$0")/.."
python=$1
mkdir -p build
exec 9>build/compile.lock
flock 9
made=$({ "$python" -c 'import sys; print(sys.version)'; find sipgrace twisted setup.py pyproject.toml tools/building.py \
    -name '*.py' -o -name '*.toml' -o -path '*/page/*' | sort | xargs cat; } | sha256sum)
if [ "$(cat build/compiled/made 2>/dev/null)" != "$made" ]; then
    rm -rf build/compiled build/compile
    # As pip does it, but with what is installed already.
    SIPGRACE_COMPILE=1 PYTHONPATH=tools "$python" -c 'if True:
        import building
        settings = ["--quiet", "build", "--build-base", "build/compile"]
        building.build_wheel("build/compile", {"--global-option": settings})'
    "$python" -m zipfile -e build/compile/sipgrace-*.whl build/compiled
    echo "$made" >build/compiled/made
fi
