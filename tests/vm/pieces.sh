# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts that put pieces into the cache: fetching from the distribution, building its kernel, one at a
# time. They set `suite`, and `architecture` where it is not this machine's own.
#
# Each piece is a folder named after the hash of what it is made from. It is made under another name and renamed when
# complete, so a folder that exists is whole.

say() { echo "provision: $*"; }
die() {
    echo "provision: $*" >&2
    exit 1
}

key() { sha256sum | cut -c1-12; }

# --- fetching: an apt of our own, which reads no state of the host's and installs nothing on it ---

# Prints the mirror that the host's own apt uses for Debian.
mirror() {
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 ~ /^Debian/ && $2 == "main" && $3 !~ /-security$/ { print $4; exit }'
}

private_apt() {
    local base keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    apt=$work/apt-${architecture:=$(dpkg --print-architecture)}
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
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Install-Recommends "false";
APT::Default-Release "$suite-backports";
APT::Sandbox::User "";
EOF
    say "reading the package lists of $suite and its backports for $architecture"
    APT_CONFIG=$apt/apt.conf apt-get update -qq
}

# Puts packages $2... with all their libraries into folder $1.
fetch() {
    local to=$1 package
    shift
    private_apt
    APT_CONFIG=$apt/apt.conf apt-get install -qq -y --download-only "$@" >/dev/null
    mkdir -p "$to"
    for package in "$apt"/cache/archives/*.deb; do
        dpkg-deb --extract "$package" "$to"
    done
    rm -rf "$to"/usr/share/{doc,man,locale} "$apt"/cache/archives/*.deb
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

# --- the distribution's kernel source ---

build_tools() { # what `make` needs; further programs may be named, as PROGRAM:PACKAGE,PACKAGE
    local missing=() tool header
    for tool in "$@"; do
        command -v "${tool%%:*}" >/dev/null || IFS=, read -ra missing <<<"${tool#*:}"
    done
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

# Unpacks the newest source of $suite's backports and goes there; sets `source`.
unpack_linux() {
    build_tools "$@"
    private_apt
    source=$(APT_CONFIG=$apt/apt.conf apt-cache depends linux-source | awk '/Depends: linux-source-/ { print $2; exit }')
    [[ -n $source ]] || die "kernel: no linux-source in $suite-backports"
    say "kernel: fetching and unpacking $source"
    mkdir -p "$work/linux"
    (cd "$work/linux" && APT_CONFIG=$apt/apt.conf apt-get download -qq "$source")
    dpkg-deb --extract "$work/linux/$source"_*.deb "$work/linux"
    rm "$work/linux/$source"_*.deb
    tar -xf "$work/linux/usr/src/$source.tar.xz" -C "$work/linux"
    rm -r "$work/linux/usr"
    cd "$work/linux/$source"
}

# Configures it: all that fragment $1 says, and nothing else that can be left out. An option that is not taken over is
# an error, so that a renamed one is noticed.
configure_linux() {
    local line name
    make KCONFIG_ALLCONFIG="$1" allnoconfig >"$work/kernel.log" 2>&1
    while read -r line; do
        name=${line%%=*}
        case $line in
        *=n) ! grep -q "^$name=" .config ;;
        *) grep -qxF "$line" .config ;;
        esac || die "kernel: $source did not take over $line of ${1##*/}"
    done < <(grep '^CONFIG_' "$1")
}

build_linux() { # target
    say "kernel: building with $(nproc) jobs (some 5 minutes on 2 cores)"
    KBUILD_BUILD_USER=vfio-ims KBUILD_BUILD_HOST=lab \
        setpriv --pdeathsig TERM nice -n 10 make -j"$(nproc)" "$1" >>"$work/kernel.log" 2>&1 || {
        tail -n 30 "$work/kernel.log" >&2
        die "kernel: the build failed"
    }
}

# --- one after the other, one run at a time ---

# Waits until no other run works in cache $1; sets `work`, which is gone with this run.
hold() {
    mkdir -p "$1"
    exec 9>"$1/.lock"
    if ! flock --nonblock 9; then
        say "waiting for another run"
        flock 9
    fi
    rm -rf "$1"/work.* # left by a run that was killed; the holder of the lock is alone here
    work=$(mktemp -d "$1/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
}

provide() { # what, where
    if [[ -d $2 ]]; then
        return
    fi
    local started=$SECONDS
    "make_$1" "$work/$1"
    mv -T "$work/$1" "$2"
    say "$1: ready after $((SECONDS - started)) s"
}
