#!/bin/sh
# unmark.sh ROOT: takes out of a root what has to differ from card to card, and fails if it already
# is a terminal, or would not be one after its first start.
set -eu
root=$1
fail() { echo "$1" >&2 && exit 1; }

# Empty: made at the first start (machine-id(5)). Absent, systemd would not call it a first start.
case $(cat "$root/etc/machine-id" 2>/dev/null || true) in
  '' | uninitialized) [ -e "$root/etc/machine-id" ] || : >"$root/etc/machine-id" ;;
  *) : >"$root/etc/machine-id" ;;
esac
[ -L "$root/var/lib/dbus/machine-id" ] || rm -f "$root/var/lib/dbus/machine-id"
rm -f "$root/var/lib/systemd/random-seed" "$root/var/lib/systemd/credential.secret"

for file in identity.json enrolment.json provisioning.json; do
  [ ! -e "$root/var/lib/nakodo/$file" ] ||
    fail "it holds the identity of a terminal (/var/lib/nakodo/$file): take a fresh image"
done
for unit in nakodo.service nakodo-provision.service; do
  [ -L "$root/etc/systemd/system/multi-user.target.wants/$unit" ] || fail "$unit is not enabled"
done
if ls "$root"/etc/ssh/ssh_host_*_key >/dev/null 2>&1; then
  echo 'warning: it holds SSH host keys, the same on every card' >&2
fi
