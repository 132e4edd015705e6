#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts what arm64 needs into ${VFIO_IMS_CACHE:-~/.cache/vfio-ims}/arm64: the emulators (of a process and of a machine), a
# Debian root for both, with Python and what the package and its tests need, the wheel, and a kernel for the machine.
#
#   provision.sh [PIECE...]  builds what is missing of the pieces named: emulators root wheel kernel kernel64k (without an
#                            argument these), kernel16k; pages: kernel16k and kernel64k
#   provision.sh --paths     prints where each piece is, or would be
#
# No chroot and no root: packages are unpacked, Python's are fetched for the other machine, and nothing is run in the root
# but ldconfig, emulated. Nothing on the host changes but the cache and, as root, missing build tools.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
cache=${VFIO_IMS_CACHE:-$HOME/.cache/vfio-ims}/arm64
suite=trixie
python=3.13 # the suite's own
cross=aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu,libc6-dev-arm64-cross

. "$here/../vm/pieces.sh"

requirements() { # of the package and its tests, as pip takes them
    python3 - "$repo/pyproject.toml" <<'END'
import sys, tomllib

project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extras = project["optional-dependencies"]
lines = [*project["dependencies"], *extras["cli"], *extras["test"], "wheel"]
print(*(line for line in lines if "vfio-ims" not in line), sep="\n")
END
}

# The configuration of a kernel with larger pages. What its tests do not need is left out: each takes a whole build.
fragment() { # 16K, 64K
    local without='INET|NETDEVICES|MAGIC_SYSRQ|AIO|SYSVIPC|PCIEAER|HOTPLUG_PCI|HOTPLUG_PCI_PCIE|PCI_IOV'
    without+='|COMPACTION|TRANSPARENT_HUGEPAGE|NAMESPACES|FHANDLE'
    echo "# 1 $suite"
    grep -vE "^CONFIG_($without)=" "$here/kernel.config"
    echo "CONFIG_ARM64_$1_PAGES=y"
}

emulators=$cache/emulators-$(echo "1 $suite" | key)
root=$cache/root-$({ echo "2 $suite $python" && requirements && cat "$here/init.py"; } | key)
wheel=$cache/wheel-$({ echo "$root" && cat "$repo/pyproject.toml" "$repo"/vfio_ims/native/{*.c,*.h,build*.py} \
    "$here"/{dontfork,st64b}.c "$repo/tests/native/trap.c" && echo disassembled; } | key)
kernel=$cache/kernel-$({ echo "1 $suite" && cat "$here/kernel.config"; } | key)
kernel16k=$cache/kernel16k-$(fragment 16K | key)
kernel64k=$cache/kernel64k-$(fragment 64K | key)

make_emulators() {
    local to=$1 name
    say "emulators: fetching QEMU for arm64 with all its libraries"
    fetch "$to/root" qemu-user qemu-system-arm
    rm -rf "$to"/root/usr/share/qemu/{edk2-*,openbios-*,opensbi-*} # firmware of other machines
    for name in qemu-aarch64 qemu-system-aarch64; do
        launcher "$name" "$([[ $name == qemu-aarch64 ]] || echo '-L "$root/share/qemu" -L "$root/lib/ipxe/qemu"')" >"$to/$name"
        chmod +x "$to/$name"
        "$to/$name" --version >/dev/null || die "emulators: $name does not start"
    done
}

make_root() {
    local to=$1 site=$1/usr/local/lib/python$python/dist-packages
    say "root: fetching Debian $suite for arm64, with Python $python"
    (architecture=arm64 && fetch "$to" base-files dash coreutils libc-bin libudev1 libpython3-dev python3)
    [[ -e $to/usr/bin/python$python ]] || die "root: $suite's Python is not $python"
    say "root: fetching what the package and its tests need, for arm64"
    requirements >"$work/requirements.txt"
    "$repo/.venv/bin/python" -m pip install -q --disable-pip-version-check --no-compile --target "$site" \
        --implementation cp --python-version "$python" --abi "cp${python/./}" --abi abi3 --abi none \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
        --only-binary=:all: -r "$work/requirements.txt"
    mkdir -p "$to"/{proc,sys,dev,run,tmp,root,lab}
    echo "root:x:0:0:root:/root:/bin/sh" >"$to/etc/passwd"
    echo "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin" >>"$to/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$to/etc/group"
    cp "$here/init.py" "$to/lab/"
    # The machine's own loader finds its libraries without a cache; Python's find_library() asks for one.
    "$emulators/qemu-aarch64" -L "$to" "$to/usr/sbin/ldconfig" -X -f /dev/null -C "$to/etc/ld.so.cache" \
        "$to/usr/lib/aarch64-linux-gnu"
    # The name under which Python starts itself again: this machine cannot execute the one it is.
    cat >"$to/usr/bin/python-emulated" <<'END'
#!/bin/sh
root=$(dirname "$(dirname "$(dirname "$0")")")
exec "$ARM64_EMULATOR" $ARM64_OPTIONS -L "$root" -0 "$0" "$root/usr/bin/python3" "$@"
END
    chmod +x "$to/usr/bin/python-emulated"
    say "root: compiling what the tests import, emulated (some 30 s)"
    mkdir -p "$work/collected"
    echo "def test(): assert True" >"$work/collected/test_one.py"
    (cd "$work/collected" && emulated "$to" -m pytest -q test_one.py >/dev/null)
    emulated "$to" -c 'import asyncio, cffi.api, click.shell_completion, concurrent.futures, ctypes.util, faulthandler
import http.server, hypothesis.stateful, hypothesis.strategies, importlib.metadata, logging.handlers, mmap, multiprocessing.spawn
import pdb, pyudev, queue, resource, rich.console, rich.live, rich.progress, rich.syntax, rich.table
import rich.traceback, rich.tree, runpy, setuptools, shlex, socketserver, ssl, textwrap, tomllib, uuid, xml.dom.minidom, zipfile'
}

emulated() { # root, arguments: Python, as an emulated process
    local in=$1
    shift
    env -u PYTHONDONTWRITEBYTECODE -u PYTHONPATH ARM64_EMULATOR="$emulators/qemu-aarch64" ARM64_OPTIONS= \
        "$in/usr/bin/python-emulated" "$@"
}

# Python for arm64 is emulated; the compiler that it starts is this machine's own, for arm64. Debian's own libraries of
# that compiler's release are linked, so that the wheel does not ask for the root's newer ones.
make_wheel() {
    local to=$1 name
    build_tools "$cross"
    say "wheel: building it for arm64"
    mkdir -p "$to" "$work/source"
    tar --create -C "$repo" --exclude=__pycache__ --exclude='*.so' pyproject.toml LICENSE README.md docs/man vfio_ims drivers |
        tar --extract -C "$work/source"
    (cd "$work/source" && CFLAGS="-I$root/usr/include/python$python -idirafter $root/usr/include" \
        emulated "$root" -c 'import setuptools; setuptools.setup()' -q bdist_wheel --dist-dir "$to" >"$work/wheel.log" 2>&1) || {
        tail -n 20 "$work/wheel.log" >&2
        die "wheel: it could not be built"
    }
    python3 -m zipfile -e "$to"/*.whl "$work/unpacked"
    aarch64-linux-gnu-objdump --disassemble --no-show-raw-insn "$work"/unpacked/vfio_ims/native/*.so >"$to/disassembly"
    for name in tests/native/trap.c tests/arm64/{dontfork,st64b}.c; do
        aarch64-linux-gnu-gcc -O2 -Wall -Wextra -Werror -shared -fPIC "$repo/$name" -o "$to/$(basename "$name" .c).so"
    done
}

make_kernel() { image "$1" "$here/kernel.config"; }

make_kernel16k() { fragment 16K >"$work/16k.config" && image "$1" "$work/16k.config"; }
make_kernel64k() { fragment 64K >"$work/64k.config" && image "$1" "$work/64k.config"; }

image() { # where, configuration
    local to=$1
    export ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-
    rm -rf "$work/linux" # another kernel's
    unpack_linux "$cross"
    configure_linux "$2"
    build_linux Image
    mkdir -p "$to"
    cp arch/arm64/boot/Image .config "$to"
    make -s kernelrelease >"$to/release"
    cd "$here"
    say "kernel: $(cat "$to/release"), $(du -h "$to/Image" | cut -f1)"
}

if [[ ${1-} == --paths ]]; then
    printf 'emulator=%s\nmachine=%s\nroot=%s\nwheel=%s\nkernel=%s\nkernel16k=%s\nkernel64k=%s\n' \
        "$emulators/qemu-aarch64" "$emulators/qemu-system-aarch64" "$root" "$wheel" "$kernel/Image" \
        "$kernel16k/Image" "$kernel64k/Image"
    exit
fi
(($#)) || set -- emulators root wheel kernel kernel64k
pieces="emulators root wheel kernel kernel16k kernel64k"
for piece in ${@/#pages/kernel16k kernel64k}; do
    [[ " $pieces " == *" $piece "* ]] || die "usage: provision.sh --paths | [${pieces// /|}|pages]..."
    if [[ ! -d ${!piece} && ! ${work-} ]]; then
        [[ $(uname -m) == x86_64 ]] || die "arm64 is emulated on an x86-64 machine only"
        hold "$cache"
    fi
    provide "$piece" "${!piece}"
done
say "ready in $cache"
