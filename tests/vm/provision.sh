#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the pieces of the VM lab into ${VFIO_IMS_CACHE:-~/.cache/vfio-ims}: QEMU with vfio-user, a guest kernel, the
# headers of such a kernel, accel-config, whose users our DSA and IAA have to satisfy, and DPDK, whose users our DLB has
# to satisfy.
#
#   provision.sh           builds what is missing; about 7 minutes on 2 cores the first time, no time after
#   provision.sh --paths   prints where each piece is, or would be
#
# Nothing on the host changes but the cache and, as root, missing build tools.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${VFIO_IMS_CACHE:-$HOME/.cache/vfio-ims}
suite=trixie # the oldest Debian suite whose backports have what we need

. "$here/pieces.sh"

qemu=$cache/qemu-$(echo "1 $suite" | key)
kernel=$cache/kernel-$({ echo "1 $suite" && cat "$here/kernel.config" "$here"/{movdir64b,edma_client}.c; } | key)
accel_config=$cache/accel-config-$(echo "1 $suite" | key)
headers=$cache/headers-$(echo "1 $suite" | key)
dpdk=$cache/dpdk-$({ echo "1 $suite" && cat "$here/movdir64b_user.c"; } | key)

# --- QEMU ---

speaks_vfio_user() { "$1" -device help 2>/dev/null | grep '"vfio-user-pci"' >/dev/null; }

make_qemu() {
    local to=$1 own
    mkdir -p "$to"
    own=$(command -v qemu-system-x86_64 || true)
    if [[ -n $own ]] && speaks_vfio_user "$own"; then
        say "qemu: this machine's own will do"
        printf '#!/bin/sh\nexec %q "$@"\n' "$own" >"$to/run"
    else
        say "qemu: fetching it with all its libraries"
        fetch "$to/root" qemu-system-x86
        launcher qemu-system-x86_64 '-L "$root/share/qemu" -L "$root/share/seabios" -L "$root/lib/ipxe/qemu"' >"$to/run"
    fi
    chmod +x "$to/run"
    speaks_vfio_user "$to/run" || die "qemu: it starts, but has no vfio-user-pci (version 10.1 or later is needed)"
}

# --- accel-config ---

make_accel_config() {
    say "accel-config: fetching it with all its libraries"
    fetch "$1/root" accel-config
    launcher accel-config >"$1/run"
    chmod +x "$1/run"
    "$1/run" --version >/dev/null || die "accel-config: it does not start"
}

# --- the headers of the kernel's interface, as the distribution installs them ---

make_headers() {
    say "headers: fetching linux-libc-dev"
    fetch "$1/root" linux-libc-dev
    mv "$1/root/usr/include" "$1/include"
    grep -q VFIO_DEVICE_ATTACH_PASID "$1/include/linux/vfio.h" || die "headers: they are older than Linux 6.15"
}

# --- the kernel ---

make_kernel() {
    local to=$1
    unpack_linux
    cp "$here"/{movdir64b,edma_client}.c arch/x86/lib/
    echo 'obj-y += movdir64b.o edma_client.o' >>arch/x86/lib/Makefile

    configure_linux "$here/kernel.config"
    build_linux bzImage
    mkdir -p "$to"
    cp arch/x86/boot/bzImage .config "$to"
    make -s kernelrelease >"$to/release"
    cd "$here"
    say "kernel: $(cat "$to/release"), $(du -h "$to/bzImage" | cut -f1)"
}

# --- DPDK ---

# The package of DPDK's test programs depends on all its drivers, 70 MB. Here come the libraries that two programs name,
# and the driver of the device. `run PROGRAM` gives the program the instruction that the emulation lacks.
make_dpdk() {
    local to=$1 dev=$work/dpdk-dev programs=(dpdk-test dpdk-test-eventdev) libraries version
    build_tools
    private_apt
    say "dpdk: fetching ${programs[*]} with their libraries"
    mkdir -p "$dev" "$to/root/usr/bin"
    (cd "$dev" && APT_CONFIG=$apt/apt.conf apt-get download -qq dpdk-dev && dpkg-deb --extract dpdk-dev_*.deb .)
    mv "${programs[@]/#/$dev/usr/bin/}" "$to/root/usr/bin"
    libraries=$(readelf -d "${programs[@]/#/$to/root/usr/bin/}" | sed -n 's/.*(NEEDED).*\[\(librte_.*\)\]/\1/p' | sort -u)
    version=$(sed -n 's/^librte_eal\.so\.//p' <<<"$libraries")
    # librte_bus_pci.so.25 is in the package librte-bus-pci25; a name that ends in a digit gets a dash before the 25.
    mapfile -t libraries < <(sed 's/\([0-9]\)\.so\./\1-/; s/\.so\.//; y/_/-/' <<<"$libraries")
    fetch "$to/root" "${libraries[@]}" "librte-event-dlb2-$version" "librte-mempool-ring$version" libpcap0.8t64
    gcc -O2 -shared -fPIC -o "$to/movdir64b_user.so" "$here/movdir64b_user.c"
    cat >"$to/run" <<EOF
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
libraries=\$here/root/usr/lib/x86_64-linux-gnu
program=\$1
shift
exec "\$libraries/ld-linux-x86-64.so.2" --preload "\$here/movdir64b_user.so" --library-path "\$libraries" \\
    "\$here/root/usr/bin/\$program" -d librte_event_dlb2.so.$version -d librte_mempool_ring.so.$version "\$@"
EOF
    chmod +x "$to/run"
    "$to/run" dpdk-test -h >/dev/null 2>&1 || die "dpdk: it does not start"
}

case ${1-} in
--paths)
    printf 'qemu=%s\nkernel=%s\naccel_config=%s\nheaders=%s\ndpdk=%s\n' \
        "$qemu/run" "$kernel/bzImage" "$accel_config/run" "$headers/include" "$dpdk/run"
    exit
    ;;
"") ;;
*) die "usage: provision.sh [--paths]" ;;
esac

if [[ ! -d $qemu || ! -d $kernel || ! -d $accel_config || ! -d $headers || ! -d $dpdk ]]; then
    [[ $(uname -m) == x86_64 ]] || die "the lab needs an x86-64 machine"
    hold "$cache"
    provide qemu "$qemu"
    provide accel_config "$accel_config"
    provide headers "$headers"
    provide kernel "$kernel"
    provide dpdk "$dpdk"
fi
say "ready in $cache"
