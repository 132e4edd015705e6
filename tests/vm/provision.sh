#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the pieces of the VM lab into ${VFIO_IMS_CACHE:-~/.cache/vfio-ims}: QEMU with vfio-user, a guest kernel, the
# headers of such a kernel, accel-config, whose users our DSA and IAA have to satisfy, and DPDK, whose users our DLB has
# to satisfy.
#
#   provision.sh           builds what is missing; about 7 minutes on 2 cores the first time, no time after
#   provision.sh --paths   prints where each piece is, or would be
#
# Each piece is a folder named after the hash of what it is made from. It is made under another name and renamed when
# complete, so a folder that exists is whole. Nothing on the host changes but the cache and, as root, missing build tools.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${VFIO_IMS_CACHE:-$HOME/.cache/vfio-ims}
suite=trixie # the oldest Debian suite whose backports have what we need

say() { echo "provision: $*"; }
die() {
    echo "provision: $*" >&2
    exit 1
}

key() { sha256sum | cut -c1-12; }

qemu=$cache/qemu-$(echo "1 $suite" | key)
kernel=$cache/kernel-$({ echo "1 $suite" && cat "$here/kernel.config" "$here"/{movdir64b,edma_client}.c; } | key)
accel_config=$cache/accel-config-$(echo "1 $suite" | key)
headers=$cache/headers-$(echo "1 $suite" | key)
dpdk=$cache/dpdk-$({ echo "1 $suite" && cat "$here/movdir64b_user.c"; } | key)

# --- fetching: an apt of our own, which reads no state of the host's and installs nothing on it ---

# Prints the mirror that the host's own apt uses for Debian.
mirror() {
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 ~ /^Debian/ && $2 == "main" && $3 !~ /-security$/ { print $4; exit }'
}

private_apt() {
    local apt=$work/apt base keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [[ -e $apt/apt.conf ]] && return
    base=$(mirror)
    if [[ -z $base && $(id -u) == 0 ]]; then
        say "reading the host's package lists"
        apt-get update -qq
        base=$(mirror)
    fi
    [[ -n $base ]] || die "no Debian mirror among this machine's apt sources (apt-get update, then try again)"
    [[ -e $keyring ]] || die "$keyring is missing: install debian-archive-keyring"
    mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,none}
    : >"$apt/status" # nothing is installed, so every dependency is fetched
    for pocket in "$suite" "$suite-backports"; do
        echo "deb [signed-by=$keyring] $base $pocket main"
    done >"$apt/sources.list"
    cat >"$apt/apt.conf" <<EOF
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/none";
Dir::Etc::preferences "$apt/none/preferences";
Dir::Etc::preferencesparts "$apt/none";
APT::Install-Recommends "false";
APT::Default-Release "$suite-backports";
APT::Sandbox::User "";
EOF
    say "reading the package lists of $suite and its backports"
    APT_CONFIG=$apt/apt.conf apt-get update -qq
}

# Puts the packages $2 and on, with all their libraries, into folder $1.
fetch() {
    local to=$1 package
    shift
    private_apt
    APT_CONFIG=$work/apt/apt.conf apt-get install -qq -y --download-only "$@" >/dev/null
    mkdir -p "$to"
    for package in "$work"/apt/cache/archives/*.deb; do
        dpkg-deb --extract "$package" "$to"
    done
    rm -rf "$to"/usr/share/{doc,man,locale} "$work"/apt/cache/archives/*.deb
}

# Prints a script that starts program $1 from the folder `root` beside it, with $2 before its own arguments. Started
# through its own loader it needs neither a chroot nor this machine's C library.
launcher() {
    cat <<EOF
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/root/usr
exec "\$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --library-path "\$root/lib/x86_64-linux-gnu" \\
    "\$root/bin/$1" ${2-} "\$@"
EOF
}

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

build_tools() {
    local missing=() tool header
    for tool in gcc make flex bison bc xz; do
        command -v "$tool" >/dev/null || missing+=("${tool/%xz/xz-utils}")
    done
    for header in gelf.h:libelf-dev openssl/opensslv.h:libssl-dev; do
        echo "#include <${header%:*}>" | gcc -E - >/dev/null 2>&1 || missing+=("${header#*:}")
    done
    ((${#missing[@]})) || return 0
    [[ $(id -u) == 0 ]] || die "kernel: it cannot be built without ${missing[*]}: install them"
    say "kernel: installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends gcc libc6-dev "${missing[@]}" >/dev/null
}

make_kernel() {
    local to=$1 source line name
    build_tools
    private_apt
    source=$(APT_CONFIG=$work/apt/apt.conf apt-cache depends linux-source | awk '/Depends: linux-source-/ { print $2; exit }')
    [[ -n $source ]] || die "kernel: no linux-source in $suite-backports"
    say "kernel: fetching and unpacking $source"
    mkdir -p "$work/linux"
    (cd "$work/linux" && APT_CONFIG=$work/apt/apt.conf apt-get download -qq "$source")
    dpkg-deb --extract "$work/linux/$source"_*.deb "$work/linux"
    rm "$work/linux/$source"_*.deb
    tar -xf "$work/linux/usr/src/$source.tar.xz" -C "$work/linux"
    rm -r "$work/linux/usr"
    cd "$work/linux/$source"
    cp "$here"/{movdir64b,edma_client}.c arch/x86/lib/
    echo 'obj-y += movdir64b.o edma_client.o' >>arch/x86/lib/Makefile

    make KCONFIG_ALLCONFIG="$here/kernel.config" allnoconfig >"$work/kernel.log" 2>&1
    while read -r line; do
        name=${line%%=*}
        case $line in
        *=n) ! grep -q "^$name=" .config ;;
        *) grep -qxF "$line" .config ;;
        esac || die "kernel: $source did not take over $line of kernel.config"
    done < <(grep '^CONFIG_' "$here/kernel.config")

    say "kernel: building with $(nproc) jobs (some 5 minutes on 2 cores)"
    KBUILD_BUILD_USER=vfio-ims KBUILD_BUILD_HOST=lab \
        setpriv --pdeathsig TERM nice -n 10 make -j"$(nproc)" bzImage >>"$work/kernel.log" 2>&1 || {
        tail -n 30 "$work/kernel.log" >&2
        die "kernel: the build failed"
    }
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
    (cd "$dev" && APT_CONFIG=$work/apt/apt.conf apt-get download -qq dpdk-dev && dpkg-deb --extract dpdk-dev_*.deb .)
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

# --- one after the other, one run at a time ---

provide() { # what, where
    if [[ -d $2 ]]; then
        return
    fi
    local started=$SECONDS
    "make_$1" "$work/$1"
    mv -T "$work/$1" "$2"
    say "$1: ready after $((SECONDS - started)) s"
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
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    if ! flock --nonblock 9; then
        say "waiting for another run"
        flock 9
    fi
    rm -rf "$cache"/work.* # left by a run that was killed; the holder of the lock is alone here
    work=$(mktemp -d "$cache/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    provide qemu "$qemu"
    provide accel_config "$accel_config"
    provide headers "$headers"
    provide kernel "$kernel"
    provide dpdk "$dpdk"
fi
say "ready in $cache"
