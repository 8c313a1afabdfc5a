#!/bin/sh
# Installs vectord, or brings an installation up to date.
#
#   [PREFIX=/opt/vectord] [DESTDIR=] [PYTHON=python3] systemd/install.sh [--no-requirements]
#
#   PREFIX   holds the code, its own venv and the command; others may have files there too, as in /usr/local. DESTDIR is
#            put before every path, for packagers, and then neither users are made nor systemd told.
#   --no-requirements   leaves the venv without what requirements.txt names: whoever packages it supplies that.
#
# A configuration that is there is left as it is; the one of this version lies in PREFIX/share/vectord.
set -eu
umask 022

prefix=${PREFIX:-/opt/vectord}
destdir=${DESTDIR:-}
python=${PYTHON:-python3}
requirements=yes
case ${1-} in
'') ;;
--no-requirements) requirements=no ;;
*) echo "install.sh: unknown option $1" >&2; exit 2 ;;
esac
case $prefix in
/ | //* | /*[!A-Za-z0-9/._-]* | [!/]*)
    echo "install.sh: PREFIX: an absolute path of letters, digits and /._-, and not / itself" >&2
    exit 2
    ;;
esac
prefix=${prefix%/}

# A relative one is meant from where this was typed, and tools write what lies below it as an absolute path.
if [ -n "$destdir" ]; then
    mkdir -p -- "$destdir"
    destdir=$(CDPATH='' cd -- "$destdir" && pwd)
fi
cd "$(dirname "$0")/.."
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || {
    echo "install.sh: $python is not Python 3.11, 3.12 or 3.13; name one: PYTHON=/path/to/python3.13" >&2
    exit 1
}

root=$destdir$prefix
code=$prefix/lib/vectord
venv=$root/venv

# Ours bears a mark, or, by a version that made none, says where the code is.
if [ -e "$venv" ] && [ ! -e "$venv/.vectord" ] && ! grep -qs . "$venv"/lib/python3*/site-packages/vectord.pth; then
    echo "install.sh: $venv is not vectord's: give another PREFIX, or remove it" >&2
    exit 1
fi

put() { # put MODE FILE PLACE: with the prefix written in
    mkdir -p "$(dirname "$destdir$3")"
    sed "s#@PREFIX@#$prefix#g" "systemd/$2" >"$destdir$3.new"
    chmod "$1" "$destdir$3.new"
    mv "$destdir$3.new" "$destdir$3"
}

echo "the venv: $prefix/venv"
mkdir -p "$venv"
: >"$venv/.vectord"
if [ "$requirements" = yes ]; then
    "$python" -m venv --upgrade-deps "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
else
    "$python" -m venv --without-pip "$venv"
fi
if [ -n "$destdir" ]; then
    # Scripts of a staged venv must not name the stage, which may be called anything.
    staged=$(printf '%s\n' "$venv" | sed 's/[][\.*^$#]/\\&/g')
    grep -rlIZF -e "$venv" "$venv/bin" "$venv/pyvenv.cfg" | xargs -0 -r sed -i "s#$staged#$prefix/venv#g"
fi

echo "the code: $code"
rm -rf "$destdir$code.new"
mkdir -p "$destdir$code.new"
cp -R daemon "$destdir$code.new/"
find "$destdir$code.new" -name __pycache__ -prune -exec rm -rf {} +
"$venv/bin/python" -m compileall -q -s "$destdir$code.new" -p "$code" "$destdir$code.new"
rm -rf "$destdir$code.old"
[ ! -d "$destdir$code" ] || mv "$destdir$code" "$destdir$code.old"
mv "$destdir$code.new" "$destdir$code"
rm -rf "$destdir$code.old"
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# The code was right in lib once. A daemon that still runs looks there for its loaders' until it is restarted.
[ "$(readlink "$root/lib/daemon")" != vectord/daemon ] || rm "$root/lib/daemon"
if grep -qsxF "$prefix/lib" "$venv"/lib/python3*/site-packages/vectord.pth; then
    rm -rf "$root/lib/daemon"
    ln -s vectord/daemon "$root/lib/daemon"
fi
rm -f "$venv"/lib/python3*/site-packages/vectord.pth
echo "$code" >"$packages/vectord.pth"

echo "the command: $prefix/bin/vectord"
put 755 vectord.sh "$prefix/bin/vectord"
mkdir -p "$destdir/usr/local/bin"
# With PREFIX=/usr/local it lies there already.
[ "$root/bin/vectord" -ef "$destdir/usr/local/bin/vectord" ] ||
    ln -sfn "$prefix/bin/vectord" "$destdir/usr/local/bin/vectord"

echo "the units: /usr/lib/systemd/system"
for unit in vectord.service vectord@.service vectord-reprocess.service; do
    put 644 "$unit" "/usr/lib/systemd/system/$unit"
done
put 644 sysusers.conf /usr/lib/sysusers.d/vectord.conf
put 644 tmpfiles.conf /usr/lib/tmpfiles.d/vectord.conf
put 644 gpu.conf "$prefix/share/vectord/gpu.conf"
install -m 644 config.toml requirements-optional.txt requirements-ray.txt "$root/share/vectord/"

echo "the pages, alert rules and dashboard: $prefix/share/vectord"
# Pages that are no more must not stay.
rm -rf "$root/share/vectord/docs" "$root/share/vectord/monitoring"
cp -R docs systemd/monitoring "$root/share/vectord/"
install -D -m 644 benchmarks/RESULTS.md "$root/share/vectord/benchmarks/RESULTS.md"
chmod -R u=rwX,go=rX "$root/share/vectord/docs" "$root/share/vectord/monitoring"

if [ -z "$destdir" ]; then
    systemd-sysusers vectord.conf
    systemd-tmpfiles --create vectord.conf
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
fi
if [ -e "$destdir/etc/vectord/config.toml" ]; then
    echo "the configuration: /etc/vectord/config.toml is left as it is"
else
    echo "the configuration: /etc/vectord/config.toml"
    mkdir -p "$destdir/etc/vectord"
    install -m 640 config.toml "$destdir/etc/vectord/config.toml"
    [ -n "$destdir" ] || chgrp vectord /etc/vectord/config.toml
fi
echo "done; to start it: systemctl enable --now vectord. If it was running: systemctl restart vectord"
