#!/bin/sh
# PID 1 of the new namespaces: makes a root of its own over the machine's, in which nothing written lasts, and becomes
# systemd there. To be called by machine.py alone: boot.sh FOLDER [SOURCE PLACE]...
set -eu
folder=$1
shift

mount --make-rprivate /
# An overlay's upper layer may not lie on another overlay, as a container's root is one.
mount -t tmpfs -o mode=755 vectord-test "$folder"
mkdir "$folder/changes" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/changes,workdir=$folder/work" vectord-test "$folder/root"
cd "$folder/root"

mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid vectord-test run
mount -t tmpfs -o mode=1777,nosuid,nodev vectord-test tmp
mount -t tmpfs -o mode=755,nosuid vectord-test dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
# What a unit with PrivateDevices= takes over.
mkdir dev/shm dev/pts dev/mqueue
mount -t tmpfs -o mode=1777,nosuid,nodev vectord-test dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,nosuid,noexec devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t mqueue -o nosuid,nodev,noexec mqueue dev/mqueue

# Of the machine's own services none is wanted, only what a target of ours names.
rm -rf usr/lib/systemd/system/*.wants usr/lib/systemd/system/*.requires usr/lib/systemd/system-generators
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires
: >etc/fstab
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
mkdir -p run/systemd/system etc/systemd/journald.conf.d
cat >run/systemd/system/vectord-test.target <<-'END'
	[Unit]
	Requires=basic.target systemd-journald.socket systemd-journald.service
	Wants=dbus.socket
	After=basic.target systemd-journald.service
	AllowIsolate=yes
END
cat >etc/systemd/journald.conf.d/vectord-test.conf <<-'END'
	[Journal]
	Storage=volatile
	ReadKMsg=no
	Audit=no
	RateLimitIntervalSec=0
END

while [ $# -ge 2 ]; do
    mkdir -p ".$2"
    mount --bind "$1" ".$2"
    shift 2
done

# The old root is stacked below the new one, and taken away. Source: pivot_root(2), "pivot_root(".", ".")".
pivot_root . .
umount -l .
cd /
mount --make-rshared /
exec env -i container=vectord-test "NOTIFY_SOCKET=$NOTIFY_SOCKET" PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --system --unit=vectord-test.target --log-target=journal --show-status=no
