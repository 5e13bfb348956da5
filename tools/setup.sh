#!/bin/sh
# Sets up what a make target needs: tools/setup.sh demo|test|interop|bench|profile|lint|docs
#
# The virtual environment is .venv. Debian packages are installed where this is root, or sudo asks no password;
# else one sentence says what to install. What was set up is remembered in .venv/ready-*, keyed by all that
# it follows from, so that the next run takes no time.
set -eu

kind=$1
cd "$(dirname "$0")/.."

# PYTHON says which one. Else Debian's own, where it is new enough and has what is needed: it is built with
# profile-guided optimization, which most others are not, and which makes it a third faster at much that is done here.
if [ -n "${PYTHON:-}" ]; then
    python=$PYTHON
elif /usr/bin/python3 -c 'if True:
    import ensurepip, os, sys, sysconfig, venv
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    sys.exit(sys.version_info < (3, 11) or not os.path.exists(header))' 2>/dev/null; then
    python=/usr/bin/python3
else
    python=python3
fi

stop() {
    echo "$1" >&2
    exit 1
}

apt() { # PACKAGE WHAT-IT-IS
    if ! command -v apt-get >/dev/null; then
        stop "Please install $1 ($2), then run make $kind again."
    elif [ "$(id -u)" = 0 ]; then
        root=env
    elif sudo -n true 2>/dev/null; then
        root="sudo -n env"
    else
        stop "Please install the Debian package $1 ($2), then run make $kind again: apt-get install $1"
    fi
    echo "installing the Debian package $1 ($2)"
    install="$root DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $1"
    # The package lists may be missing, or so old that what they name has gone.
    $install >/dev/null 2>&1 </dev/null \
        || { $root apt-get update -qq </dev/null && $install >/dev/null </dev/null; } \
        || stop "The Debian package $1 ($2) could not be installed: see what apt-get said above."
}

command -v "$python" >/dev/null || apt python3 "the language sipgrace is written in"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || stop "sipgrace needs Python 3.11 or later, and $python is older: make $kind PYTHON=/path/to/another"

mkdir -p build
exec 9>build/setup.lock
flock 9

# Packages of the system are asked for each time, for that is quick, and they come and go.
case $kind in
demo | test | interop | bench | profile)
    "$python" -c 'import ctypes; ctypes.CDLL("libusrsctp.so.2")' 2>/dev/null \
        || apt libusrsctp2 "SCTP in userspace"
    ;;
esac
case $kind in
test | interop | bench | profile) command -v sipp >/dev/null || apt sip-tester "sipp, the SIP caller and callee of the tests" ;;
esac
case $kind in
test | interop) command -v tc >/dev/null || apt iproute2 "tc, by which packets are lost and late in tests" ;;
esac
case $kind in
bench)
    command -v kamailio >/dev/null || apt kamailio "what sipgrace is measured beside"
    # It is measured compiled. Which headers another Python needs tools/compile.sh says.
    command -v cc >/dev/null || apt gcc "the compiler for what every message passes"
    [ "$(command -v "$python")" != /usr/bin/python3 ] \
        || "$python" -c 'import os, sys, sysconfig
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not os.path.exists(header))' \
        || apt python3-dev "what that compiler needs to know of Python"
    ;;
esac
# What some tests look with; where it cannot be had they are skipped, and CI does not mind (tools/runtests.py).
unpack() { # PACKAGE PROGRAM WHAT-FOR [WHAT-IT-NEEDS]: not installed, for it would start a service
    command -v "$2" >/dev/null || [ -x "build/$1/usr/bin/$2" ] || [ -x "build/$1/usr/sbin/$2" ] && return
    echo "unpacking the Debian package $1 ($3) in build/$1"
    rm -rf "build/$1"
    mkdir -p "build/$1"
    fetch="apt-get download -qq $1 ${4-}"
    (
        cd "build/$1"
        $fetch >/dev/null 2>&1 || { [ "$(id -u)" = 0 ] && apt-get update -qq && $fetch >/dev/null 2>&1; }
        for package in *.deb; do dpkg-deb -x "$package" . && rm "$package" || exit 1; done
    ) </dev/null || { rm -rf "build/$1"; lack "$2" "$1" "$3"; }
}
lack() { # PROGRAM PACKAGE WHAT-FOR
    echo "without $1 (apt-get install $2) some tests are skipped: $3"
    echo "$1" >>build/lacking
}
case $kind in
test)
    : >build/lacking
    if ! command -v chromium >/dev/null; then
        (apt chromium "the browser for tests of the page of controllers") || lack chromium chromium "that page"
    fi
    unpack etcd-server etcd "the store of several controllers"
    unpack prometheus promtool "whether Prometheus takes rules and metrics"
    unpack logrotate logrotate "whether audit logs are rotated" libpopt0
    command -v systemd-analyze >/dev/null || lack systemd systemd "whether it takes the units"
    ;;
esac
# Unpacked, not installed: some of them would start a service.
case $kind in
interop) tools/kernel/setup kamailio kamailio-sctp-modules libsctp1 baresip-core libre0 librem0 || exit 1 ;;
esac

# A moved tree and another Python each need a new .venv; other settings only what is installed in it.
made="$("$python" -c 'import sys; print(sys.version, sys.prefix)') $PWD"
ready=$({ echo "$made"; cat setup.py pyproject.toml tools/building.py tools/setup.sh; } | sha256sum)
if [ "$(cat ".venv/ready-$kind" 2>/dev/null)" != "$ready" ]; then
    if [ "$(cat .venv/made 2>/dev/null)" != "$made" ]; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv "virtual environments for Python"
        echo "making .venv"
        rm -rf .venv
        "$python" -m venv .venv
        echo "$made" >.venv/made
    fi
    case $kind in
    demo | interop) extras= ;;
    profile) extras="[bench]" ;;
    *) extras="[$kind]" ;;
    esac
    echo "installing sipgrace$extras into .venv"
    .venv/bin/python -m pip install -qq --disable-pip-version-check --editable ".$extras" </dev/null
    echo "$ready" >".venv/ready-$kind"
fi

# What sipgrace is measured beside, with dependencies that it shall not share.
if [ "$kind" = bench ] && [ "$(cat build/bench-venv/made 2>/dev/null)" != "$made sippy==2.5.0" ]; then
    echo "installing sippy into build/bench-venv"
    rm -rf build/bench-venv
    "$python" -m venv build/bench-venv
    if build/bench-venv/bin/python -m pip install -qq --disable-pip-version-check sippy==2.5.0 </dev/null; then
        echo "$made sippy==2.5.0" >build/bench-venv/made
    else
        echo "sippy could not be installed: see what pip said above; it is left out"
    fi
fi
