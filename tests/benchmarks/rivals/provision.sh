#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts what rivals are made of into ${VFIO_IMS_CACHE:-~/.cache/vfio-ims}: libvfio-user, built from its source, and DPDK's
# dma-perf with its driver for DSA, from the distribution. None of it becomes a part of this repository.
#
#   provision.sh           makes what is missing; about a minute the first time, no time after
#   provision.sh --paths   prints where each piece is, or would be
#
# VFIO_IMS_LIBVFIO_USER: a git repository to take libvfio-user from, instead of its own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vm=$here/../../vm
cache=${VFIO_IMS_CACHE:-$HOME/.cache/vfio-ims}
suite=trixie
commit=efd091bce1c1c2da64a1a935911a7c2300c848b2 # of libvfio-user, which has no releases
repository=${VFIO_IMS_LIBVFIO_USER:-https://github.com/nutanix/libvfio-user}

. "$vm/pieces.sh"

libvfio_user=$cache/libvfio-user-$(echo "1 $commit" | key)
dma_perf=$cache/dma-perf-$({ echo "1 $suite" && cat "$vm/movdir64b_user.c"; } | key)

# --- libvfio-user: the library, and the headers that its own clients are built with ---

make_libvfio_user() {
    local to=$1 source=$repository
    build_tools git:git pkg-config:pkg-config
    if ! pkg-config --exists json-c; then
        [[ $(id -u) == 0 ]] || die "libvfio-user: it cannot be built without json-c: install libjson-c-dev"
        say "libvfio-user: installing libjson-c-dev"
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends libjson-c-dev >/dev/null
    fi
    if [[ ! -d $source ]]; then
        say "libvfio-user: fetching it"
        git clone -q --bare "$source" "$work/libvfio-user.git" ||
            die "libvfio-user: no repository at $source: name another in VFIO_IMS_LIBVFIO_USER"
        source=$work/libvfio-user.git
    fi
    mkdir -p "$to"
    git -C "$source" archive "$commit" include lib LICENSE | tar -x -C "$to" ||
        die "libvfio-user: $source has no commit $commit"
    # Optimised, and without the meson option that hides what its clients call.
    (cd "$to" && gcc -O2 -std=gnu99 -D_GNU_SOURCE -DHAVE_LINUX_KCMP_H -fPIC -shared -Iinclude -Ilib \
        lib/{btree,dma,fd_cache,irq,libvfio-user,migration,pci,pci_caps,tran,tran_sock}.c \
        $(pkg-config --cflags --libs json-c) -o libvfio-user.so)
}

# --- DPDK's dma-perf: `run` gives it the instruction that the emulation lacks, as tests/vm's `dpdk` does ---

make_dma_perf() {
    local to=$1 dev=$work/dpdk-dev libraries version
    private_apt
    say "dma-perf: fetching it with its libraries"
    mkdir -p "$dev" "$to/root/usr/bin"
    (cd "$dev" && APT_CONFIG=$apt/apt.conf apt-get download -qq dpdk-dev && dpkg-deb --extract dpdk-dev_*.deb .)
    mv "$dev/usr/bin/dpdk-test-dma-perf" "$to/root/usr/bin"
    libraries=$(readelf -d "$to/root/usr/bin/dpdk-test-dma-perf" |
        sed -n 's/.*(NEEDED).*\[\(librte_.*\)\]/\1/p' | sort -u)
    version=$(sed -n 's/^librte_eal\.so\.//p' <<<"$libraries")
    mapfile -t libraries < <(sed 's/\.so\.//; y/_/-/' <<<"$libraries")
    fetch "$to/root" "${libraries[@]}" "librte-dma-idxd$version" "librte-mempool-ring$version"
    gcc -O2 -shared -fPIC -o "$to/movdir64b_user.so" "$vm/movdir64b_user.c"
    cat >"$to/run" <<END
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
libraries=\$here/root/usr/lib/x86_64-linux-gnu
exec "\$libraries/ld-linux-x86-64.so.2" --preload "\$here/movdir64b_user.so" --library-path "\$libraries" \\
    "\$here/root/usr/bin/dpdk-test-dma-perf" "\$@"
END
    chmod +x "$to/run"
}

case ${1-} in
--paths)
    printf 'libvfio_user=%s\ndma_perf=%s\n' "$libvfio_user" "$dma_perf"
    exit
    ;;
"") ;;
*) die "usage: provision.sh [--paths]" ;;
esac

if [[ ! -d $libvfio_user || ! -d $dma_perf ]]; then
    [[ $(uname -m) == x86_64 ]] || die "these rivals need an x86-64 machine"
    hold "$cache"
    provide libvfio_user "$libvfio_user"
    provide dma_perf "$dma_perf"
fi
say "ready in $cache"
