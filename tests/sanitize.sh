#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The C under gcc's analyzer, AddressSanitizer and UndefinedBehaviorSanitizer: a copy of the tree is built with them and
# tested. What they find ends the test process, so that it fails here.
#   tests/sanitize.sh              all that reaches the C; the fuzzers too
#   tests/sanitize.sh short        what the gate runs: about a minute
#   tests/sanitize.sh PATH...      these tests, or any other arguments of pytest
# PYTHON: the interpreter with the tests' packages (.venv/bin/python of this tree).
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$PWD/.venv/bin/python}
cc=${CC:-gcc}
tree=$(mktemp -d "${TMPDIR:-/tmp}/vfio-ims-sanitize.XXXXXX")
trap 'rm -rf "$tree"' EXIT

case "${1:-}" in
"") set -- tests/native tests/fuzz tests/vfio_user tests/behaviour tests/intel_idxd ;;
short) set -- tests/native/window tests/native/test_{rows,memory,fault}.py tests/fuzz/test_{windows,descriptors,server}.py ;;
esac

headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
flags=(-std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -fPIC -isystem "$headers")
echo "analyzer: $("$cc" --version | head -n1)"
for source in vfio_ims/native/*.c; do
    "$cc" "${flags[@]}" -fanalyzer -c "$source" -o "$tree/out.o"
done

echo "build, with the sanitizers"
tar -c --exclude=.git --exclude='.venv*' --exclude=build --exclude='*.so' --exclude=__pycache__ . | tar -x -C "$tree"
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
(cd "$tree" && CC=$cc CFLAGS=$sanitizers LDFLAGS=$sanitizers "$python" -c 'import setuptools; setuptools.setup()' \
    -q build_ext --inplace >/dev/null)

# Python's own memory is not freed at its end: no look for leaks. SIGBUS is ours to handle; a wild access is not.
export ASAN_OPTIONS=detect_leaks=0:handle_sigbus=0:allocator_may_return_null=1:abort_on_error=1
export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
export PYTHONMALLOC=malloc PYTHONPATH=$tree VFIO_IMS_SANITIZED=1
LD_PRELOAD="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)"
export LD_PRELOAD
cd "$tree"
loaded=$("$python" -c 'import vfio_ims.native._native as n; print(n.__file__)')
case "$loaded" in
"$tree"/*) ;;
*) echo "the module under test is not the one that was built: $loaded" >&2; exit 1 ;;
esac
# Left out: measured speed, which means nothing here; what builds the module again, which would be without sanitizers;
# forks (AddressSanitizer before GCC 14 may leave its allocator's lock held in a child, which then waits for ever).
"$python" -m pytest -q -p no:cacheprovider --deselect tests/vfio_user/test_under_qemu.py \
    --deselect tests/native/test_build.py --deselect tests/native/test_speed.py --deselect tests/native/test_fork.py \
    -k "not fork and not child and not little_time" "$@"
