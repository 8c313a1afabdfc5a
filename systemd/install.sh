#!/bin/sh
# Installs vectord, or brings an installation up to date.
#
#   [PREFIX=/opt/vectord] [DESTDIR=] [PYTHON=python3] systemd/install.sh [--no-requirements]
#
#   PREFIX   holds the code, its own venv and the command. DESTDIR is put before every path, for packagers, and then
#            neither users are made nor systemd told.
#   --no-requirements   leaves the venv without what requirements.txt names: whoever packages it supplies that.
#
# A configuration that is there is left as it is; the one of this version lies in PREFIX/share/vectord.
set -eu
umask 022
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/opt/vectord}
destdir=${DESTDIR:-}
python=${PYTHON:-python3}
root=$destdir$prefix
requirements=yes
case ${1-} in
'') ;;
--no-requirements) requirements=no ;;
*) echo "install.sh: unknown option $1" >&2; exit 2 ;;
esac
case $prefix in
/*[!A-Za-z0-9/._-]* | [!/]*) echo "install.sh: PREFIX: an absolute path of letters, digits and /._-" >&2; exit 2 ;;
esac
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || {
    echo "install.sh: $python is not Python 3.11, 3.12 or 3.13; name one: PYTHON=/path/to/python3.13" >&2
    exit 1
}

put() { # put MODE FILE PLACE: with the prefix written in
    mkdir -p "$(dirname "$destdir$3")"
    sed "s#@PREFIX@#$prefix#g" "systemd/$2" >"$destdir$3.new"
    chmod "$1" "$destdir$3.new"
    mv "$destdir$3.new" "$destdir$3"
}

echo "the venv: $prefix/venv"
if [ "$requirements" = yes ]; then
    "$python" -m venv --upgrade-deps "$root/venv"
    "$root/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
    # Scripts of a staged venv must not name the stage.
    [ -z "$destdir" ] || grep -rlI "$root/venv" "$root/venv/bin" "$root/venv/pyvenv.cfg" | xargs -r sed -i "s#$root/venv#$prefix/venv#g"
else
    "$python" -m venv --without-pip "$root/venv"
fi

echo "the code: $prefix/lib"
rm -rf "$root/lib.new"
mkdir -p "$root/lib.new"
cp -R daemon "$root/lib.new/"
find "$root/lib.new" -name __pycache__ -prune -exec rm -rf {} +
"$root/venv/bin/python" -m compileall -q -s "$root/lib.new" -p "$prefix/lib" "$root/lib.new"
rm -rf "$root/lib.old"
[ ! -d "$root/lib" ] || mv "$root/lib" "$root/lib.old"
mv "$root/lib.new" "$root/lib"
rm -rf "$root/lib.old"
packages=$("$root/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$prefix/lib" >"$packages/vectord.pth"

echo "the command: $prefix/bin/vectord"
put 755 vectord.sh "$prefix/bin/vectord"
mkdir -p "$destdir/usr/local/bin"
ln -sfn "$prefix/bin/vectord" "$destdir/usr/local/bin/vectord"

echo "the units: /usr/lib/systemd/system"
for unit in vectord.service vectord@.service vectord-reprocess.service; do
    put 644 "$unit" "/usr/lib/systemd/system/$unit"
done
put 644 sysusers.conf /usr/lib/sysusers.d/vectord.conf
put 644 tmpfiles.conf /usr/lib/tmpfiles.d/vectord.conf
put 644 gpu.conf "$prefix/share/vectord/gpu.conf"
install -m 644 config.toml "$root/share/vectord/config.toml"

echo "the pages, alert rules and dashboard: $prefix/share/vectord"
# Pages that are no more must not stay.
rm -rf "$root/share/vectord/docs" "$root/share/vectord/monitoring"
cp -R docs systemd/monitoring "$root/share/vectord/"
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
