#!/bin/sh
# into-image.sh IMAGE OFFSET BYTES PACKAGE: installs PACKAGE (.deb) into the root file system that lies
# BYTES long at OFFSET in IMAGE, and takes out what has to differ from card to card. In a mount
# namespace of its own: when it ends, in whatever way, the image is mounted nowhere.
set -eu

if [ "${NAKODO_MOUNTS:-}" != own ]; then
  NAKODO_MOUNTS=own exec unshare --mount sh "$0" "$@"
fi
image=$1 offset=$2 bytes=$3 package=$4
here=$(dirname "$0")
fail() { echo "$1" >&2 && exit 1; }

root=$(mktemp -d)
trap 'umount "$root" 2>/dev/null || true; rmdir "$root"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
mount --make-rprivate /
disk=$(losetup --find --show --offset "$offset" --sizelimit "$bytes" "$image")
# Unmounted, it is let go: here after the mount, or after what comes before it has failed.
e2fsck -f -p "$disk" || [ $? -le 1 ] || { losetup -d "$disk" && fail 'its root file system is damaged'; }
resize2fs "$disk" || { losetup -d "$disk" && fail 'its root file system cannot be made larger'; }
mount "$disk" "$root" || { losetup -d "$disk" && fail 'its root file system cannot be mounted'; }
losetup -d "$disk"

[ -e "$root/usr/bin/dpkg" ] && [ -e "$root/usr/bin/apt-get" ] || fail 'its root has no dpkg and apt'
# The processor of its programs (ELF, e_machine): 183 AArch64, 40 ARM, 62 x86-64.
case $(od -An -tu1 -j18 -N1 "$root/usr/bin/dpkg" | tr -d ' ')/$(uname -m) in
  183/aarch64 | 40/armv7l | 62/x86_64) processor=native ;;
  183/*) processor=aarch64 ;;
  40/*) processor=arm ;;
  *) fail 'its programs are for a processor that is not in any Pi' ;;
esac

cp "$package" "$root/var/cache/nakodo.deb"
sh "$here/in-root.sh" "$root" "$processor" sh -euc '
  apt-get -q update
  apt-get -q install -y --no-install-recommends -o Dpkg::Options::=--force-confold \
    /var/cache/nakodo.deb
  apt-get clean
'
rm -f "$root/var/cache/nakodo.deb"
rm -rf "$root"/var/lib/apt/lists/*

sh "$here/unmark.sh" "$root"
sync -f "$root"
umount "$root"
