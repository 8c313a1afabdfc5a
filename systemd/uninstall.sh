#!/bin/sh
# Takes vectord away: stops it, and removes what install.sh put there. Data (/var/lib/vectord, the database),
# configuration (/etc/vectord), credentials and the user stay.
#
#   [PREFIX=/opt/vectord] [DESTDIR=] systemd/uninstall.sh
set -eu

prefix=${PREFIX:-/opt/vectord}
destdir=${DESTDIR:-}
units="vectord.service vectord@.service vectord-reprocess.service"

if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
    systemctl stop 'vectord.service' 'vectord@*.service' 'vectord-reprocess.service' 2>/dev/null || true
    systemctl disable --quiet vectord.service vectord@.service 2>/dev/null || true
fi
for unit in $units; do
    rm -f "$destdir/usr/lib/systemd/system/$unit"
done
rm -f "$destdir/usr/lib/sysusers.d/vectord.conf" "$destdir/usr/lib/tmpfiles.d/vectord.conf"
if [ "$(readlink "$destdir/usr/local/bin/vectord" || true)" = "$prefix/bin/vectord" ]; then
    rm "$destdir/usr/local/bin/vectord"
fi
# What others put below the prefix stays, and so does the prefix then.
for part in venv lib bin/vectord share/vectord; do
    rm -rf "$destdir${prefix:?}/$part"
done
rmdir "$destdir$prefix/bin" "$destdir$prefix/share" "$destdir$prefix" 2>/dev/null || true
if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
echo "vectord is gone; /etc/vectord, /var/lib/vectord, the credentials and the user vectord are still there"
