#!/bin/sh
# The commands of the installed daemon: `vectord status`, `vectord why 42`. Without --config they read the service's
# configuration. As root they run like the service does: as its user, with its credentials, sandboxed.
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
if [ -t 0 ] && [ -t 1 ]; then stdio=--pty; else stdio=--pipe; fi
exec systemd-run --quiet --collect --wait "$stdio" --service-type=exec \
    --property=User=vectord --property=Group=vectord --property=StateDirectory=vectord \
    --property=WorkingDirectory=-/etc/vectord \
    --property=EnvironmentFile=-/etc/vectord/environment \
    --property=LoadCredential=database_dsn:vectord.database_dsn \
    --property=ProtectSystem=strict --property=ProtectHome=read-only --property=PrivateTmp=yes \
    --property=NoNewPrivileges=yes \
    --setenv=TERM="${TERM:-dumb}" \
    "$python" -P -m daemon "$@"
