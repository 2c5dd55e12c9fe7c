#!/bin/bash
# Process 1 of a virtual machine whose root is another machine's root directory, which can't be written.
#   init.sh REPOSITORY OVERLAY serve             runs the commands that come in, and tells of them, by virtio-serial
#   init.sh REPOSITORY OVERLAY shell ROWS COLUMNS TERM     a shell on the serial console
# OVERLAY is the kernel's module for overlayfs. Whatever fails before the machine is up ends this script, and with it
# the kernel, in a panic that the console shows.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export RESULTS=/run/results
# Seconds that the live tests wait for furtrace, where everything is slower than they take it to be.
export FURTRACE_TEST_PATIENCE=300

# Put memory over the root, so that everything can be written, and go on there.
cover_root() {
    mount -t tmpfs memory /run
    mkdir /run/written /run/work /run/root
    insmod "$2"
    mount -t overlay overlay -o lowerdir=/,upperdir=/run/written,workdir=/run/work /run/root
    cd /run/root
    mount --move . /
    exec chroot . /bin/bash "$0" "$@" covered
}

# Mount what programs expect. A repository in /tmp stays visible: what is written there goes to memory all the same.
mount_all() {
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs shm /dev/shm
    ln -sfT /proc/self/fd /dev/fd
    mount -t tracefs tracing /sys/kernel/tracing
    mount -t tmpfs run /run
    [[ $repository == /tmp/* ]] || mount -t tmpfs tmp /tmp
    mkdir "$RESULTS"
    mount -t virtiofs results "$RESULTS"
    ip link set lo up
}

# Print the device of the port with a name, which the kernel finds after it has started us.
port() {
    local name
    until name=$(grep -lx "$1" /sys/class/virtio-ports/*/name 2> /dev/null); do sleep 0.1; done
    name=$(basename "${name%/name}")
    until [[ -e /dev/$name ]]; do sleep 0.1; done
    echo "/dev/$name"
}

# One line a command, in base64 for it may itself have lines; one line back, with the exit status.
serve() {
    local line status control stdout stderr
    control=$(port control) stdout=$(port stdout) stderr=$(port stderr)
    exec 3<> "$control" 4> "$stdout" 5> "$stderr"
    echo up >&3
    while read -r -u 3 line; do
        status=0
        bash -c "$(base64 -d <<< "$line")" < /dev/null >&4 2>&5 3>&- 4>&- 5>&- || status=$?
        echo "$status" >&3
    done
}

shell() {
    stty -F /dev/ttyS0 rows "$1" columns "$2" || true
    TERM=$3 setsid --ctty --wait bash -i < /dev/ttyS0 > /dev/ttyS0 2>&1 || true
}

[[ ${*: -1} == covered ]] || cover_root "$@"
repository=$1 mode=$3
mount_all
cd "$repository"
case $mode in
    serve) serve ;;
    shell) shell "$4" "$5" "$6" ;;
esac
echo o > /proc/sysrq-trigger
sleep 60
