#!/bin/sh
# The commands of the installed daemon: `vectord status`, `vectord why 42`; of an instance, vectord@NAME, with its name
# in front: `vectord @NAME status`. Without --config they read the service's configuration. As root they run like the
# service does: as its user, sandboxed, and with the credentials, environment, devices and folders that its unit and
# drop-ins give it.
set -eu
python=@PREFIX@/venv/bin/python
config=/etc/vectord/config.toml

instance=
case ${1-} in
@?*)
    instance=$1
    shift
    ;;
esac
# `vectord`, `vectord --help` and `vectord status -h` read no configuration.
case " $* " in
*" --config"* | *" -c "* | *" --help "* | *" -h "* | "  " | " -"*) exec "$python" -P -m daemon "$@" ;;
esac
command=$1
shift
# A picture is one of this folder; the command runs in another. A number is an image's id, as it is to the command.
case $command in
similar | demo)
    for word; do
        shift
        case $word in
        --*=[!/]*)
            value=${word#*=}
            case $value in
            *[!0-9]*) [ ! -e "$value" ] || word=${word%%=*}=$PWD/$value ;;
            esac
            ;;
        [/-]*) ;;
        *[!0-9]*) [ ! -e "$word" ] || word=$PWD/$word ;;
        esac
        set -- "$@" "$word"
    done
    ;;
esac
# Right behind the command: an id that begins with a dash may follow `--`.
set -- "$command" --config "$config" "$@"
if [ "$(id -u)" -ne 0 ] || [ ! -d /run/systemd/system ]; then
    if [ -n "$instance" ]; then
        echo "vectord: only root, on a machine with systemd, can speak for vectord$instance" >&2
        exit 2
    fi
    exec "$python" -P -m daemon "$@"
fi
unit=vectord$instance.service
own=/etc/vectord/${instance#@}.environment
if [ -n "$instance" ] && [ ! -e "$own" ] && [ ! -d "/etc/systemd/system/$unit.d" ]; then
    echo "vectord: there is no vectord$instance: it has neither $own nor a drop-in (systemctl edit vectord$instance)" >&2
    exit 2
fi
alike=StateDirectory,LimitNOFILE,PrivateDevices,DevicePolicy,DeviceAllow,SupplementaryGroups,ReadWritePaths
alike=$alike,Environment,EnvironmentFiles
# `similar` may be given a picture that lies in somebody's home; `check` is asked what the daemon sees.
[ "$command" != check ] || alike=$alike,ProtectHome
# Credentials are what `systemctl show` cannot print. Of two with one name the later counts, so the order is kept.
properties=$(
    systemctl show --property="$alike" "$unit" |
        sed -e 's/^EnvironmentFiles=\(.*\) (ignore_errors=yes)$/EnvironmentFile=-\1/' \
            -e 's/^EnvironmentFiles=\(.*\) (ignore_errors=no)$/EnvironmentFile=\1/'
    systemctl cat "$unit" | grep '^LoadCredential=' || true
)
set -- "$python" -P -m daemon "$@"
while IFS= read -r property; do
    set -- --property="$property" "$@"
done <<END
$(printf '%s\n' "$properties" | tac)
END
if [ -t 0 ] && [ -t 1 ]; then stdio=--pty; else stdio=--pipe; fi
exec systemd-run --quiet --collect --wait "$stdio" --service-type=exec \
    --property=User=vectord --property=Group=vectord --property=UMask=0077 \
    --property=StateDirectoryMode=0750 --property=WorkingDirectory=-/etc/vectord \
    --property=ProtectSystem=strict --property=ProtectHome=read-only --property=PrivateTmp=yes \
    --property=NoNewPrivileges=yes \
    --setenv=TERM="${TERM:-dumb}" \
    "$@"
