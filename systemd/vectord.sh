#!/bin/sh
# The commands of the installed daemon: `vectord status`, `vectord why 42`. Without --config they read the service's
# configuration. As root they run like the service does: as its user, with its credentials, sandboxed, and with what
# drop-ins of vectord.service let it open and write to.
set -eu
python=@PREFIX@/venv/bin/python
config=/etc/vectord/config.toml

# `vectord`, `vectord --help` and `vectord status --help` read no configuration.
case " $* " in
*" --config"* | *" -c "* | *" --help "* | "  " | " -"*) exec "$python" -P -m daemon "$@" ;;
esac
command=$1
shift
# Right behind the command: an id that begins with a dash may follow `--`.
set -- "$command" --config "$config" "$@"
if [ "$(id -u)" -ne 0 ] || [ ! -d /run/systemd/system ]; then
    exec "$python" -P -m daemon "$@"
fi
alike=LimitNOFILE,PrivateDevices,DevicePolicy,DeviceAllow,SupplementaryGroups,ReadWritePaths
# `similar` may be given a picture that lies in somebody's home; `check` is asked what the daemon sees.
[ "$command" != check ] || alike=$alike,ProtectHome
unit=$(systemctl show --property="$alike" vectord.service)
set -- "$python" -P -m daemon "$@"
while IFS= read -r property; do
    set -- --property="$property" "$@"
done <<END
$unit
END
if [ -t 0 ] && [ -t 1 ]; then stdio=--pty; else stdio=--pipe; fi
exec systemd-run --quiet --collect --wait "$stdio" --service-type=exec \
    --property=User=vectord --property=Group=vectord --property=UMask=0077 \
    --property=StateDirectory=vectord --property=StateDirectoryMode=0750 \
    --property=WorkingDirectory=-/etc/vectord \
    --property=EnvironmentFile=-/etc/vectord/environment \
    --property=LoadCredential=database_dsn:vectord.database_dsn \
    --property=LoadCredential=http_token:vectord.http_token \
    --property=ProtectSystem=strict --property=ProtectHome=read-only --property=PrivateTmp=yes \
    --property=NoNewPrivileges=yes \
    --setenv=TERM="${TERM:-dumb}" \
    "$@"
