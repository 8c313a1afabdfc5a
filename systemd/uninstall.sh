#!/bin/sh
# Takes vectord away: stops it, and removes what install.sh put there. Data (/var/lib/vectord, the database),
# configuration (/etc/vectord), credentials and the user stay.
#
#   [PREFIX=/opt/vectord] [DESTDIR=] systemd/uninstall.sh
set -eu

prefix=${PREFIX:-/opt/vectord}
destdir=${DESTDIR:-}
[ -z "$destdir" ] || destdir=$(CDPATH='' cd -- "$destdir" && pwd)
prefix=${prefix%/}
root=$destdir${prefix:?}
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
#
# The code was right in lib once, and an upgrade from then leaves a link there.
if grep -qsxF "$prefix/lib" "$root"/venv/lib/python3*/site-packages/vectord.pth ||
    [ "$(readlink "$root/lib/daemon")" = vectord/daemon ]; then
    rm -rf "$root/lib/daemon"
fi
# Ours bears a mark, or, by a version that made none, says where the code is.
if [ -e "$root/venv/.vectord" ] || grep -qs . "$root"/venv/lib/python3*/site-packages/vectord.pth; then
    rm -rf "$root/venv"
fi
for part in lib/vectord bin/vectord share/vectord; do
    rm -rf "$root/$part"
done
case $prefix in
/usr | /usr/local) ;;
*) rmdir "$root/lib" "$root/bin" "$root/share" "$root" 2>/dev/null || true ;;
esac
if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
echo "vectord is gone; /etc/vectord, /var/lib/vectord, the credentials and the user vectord are still there"
