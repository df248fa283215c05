#!/bin/sh
# in-root.sh ROOT PROCESSOR COMMAND…: runs a command inside the root of another machine, as root, in
# mount and process namespaces of its own: what the command leaves running or mounted goes with it.
# PROCESSOR is aarch64 or arm, run by qemu-user, or native. No service is started (policy-rc.d), and
# the devices are only those that every program expects: a package's script finds no disk of ours.
set -eu

if [ "${NAKODO_UNSHARED:-}" != yes ]; then
  export NAKODO_UNSHARED=yes
  unshare --mount --pid --fork --kill-child=TERM sh "$0" "$@" &
  outer=$!
  # unshare itself hears no signal while its child runs; the child ends as it does here.
  end() {
    signalled=yes
    kill -TERM $(cat "/proc/$outer/task/$outer/children") 2>/dev/null || kill -KILL $outer
  }
  trap end TERM INT
  status=0 signalled=
  wait $outer || status=$?
  # A signal interrupts the first wait, not the second.
  [ -z "$signalled" ] || wait $outer || status=$?
  exit $status
fi
root=$1 processor=$2
shift 2
binfmt=/proc/sys/fs/binfmt_misc
registered=

# The kernel's table of processors is the machine's, not the namespace's.
finish() {
  [ -z "$registered" ] || echo -1 >"$binfmt/$registered"
  rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"
  if [ -L "$root/etc/resolv.conf.of-image" ] || [ -e "$root/etc/resolv.conf.of-image" ]; then
    mv "$root/etc/resolv.conf.of-image" "$root/etc/resolv.conf"
  fi
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

device() { mknod -m 666 "$root/dev/$1" c "$2" "$3"; }

mount --make-rprivate /
mount -t proc proc /proc
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
device null 1 3
device zero 1 5
device full 1 7
device random 1 8
device urandom 1 9
device tty 5 0

# The kernel starts foreign programs with qemu-user; flag F: the kernel opens it here, once, so that
# the root needs no copy. A handler that Debian has set up for good is as good as ours.
if [ "$processor" != native ]; then
  case $processor in
    aarch64) class='\x02' machine='\xb7' ;;
    arm) class='\x01' machine='\x28' ;;
    *) echo "in-root.sh: no emulation of $processor" >&2 && exit 2 ;;
  esac
  [ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
  if [ ! -e "$binfmt/qemu-$processor" ]; then
    name=nakodo-$processor-$(cat /proc/sys/kernel/random/uuid)
    zeros='\x00\x00\x00\x00\x00\x00\x00\x00'
    ones='\xff\xff\xff\xff\xff\xff\xff\xff'
    magic="\\x7fELF$class\\x01\\x01\\x00$zeros\\x02\\x00$machine\\x00"
    mask="\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00$ones\\xfe\\xff\\xff\\xff"
    printf '%s' ":$name:M::$magic:$mask:$(command -v "qemu-$processor-static"):F" \
      >$binfmt/register
    registered=$name
  fi
fi

printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
if [ -L "$root/etc/resolv.conf" ] || [ -e "$root/etc/resolv.conf" ]; then
  mv "$root/etc/resolv.conf" "$root/etc/resolv.conf.of-image"
fi
cp -L /etc/resolv.conf "$root/etc/resolv.conf"

# In the background, as a shell hears no signal while it runs something else.
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
  DEBIAN_FRONTEND=noninteractive chroot "$root" "$@" &
wait $!
