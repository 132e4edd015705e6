# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.vm --platform intel --device SOCKET -- COMMAND...`: one command in a guest, by hand."""

from __future__ import annotations

import argparse
import json
import sys

from .lab import Guest, GuestTimeout, LabError
from .platforms import ARM64_PLATFORMS, PLATFORMS, Function

EVERY = {**PLATFORMS, **ARM64_PLATFORMS}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm", description="Runs one command in a guest of the VM lab."
    )
    parser.add_argument("--platform", choices=EVERY, default="intel")
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="WHAT",
        help='a vfio-user socket, or QEMU\'s -device as JSON, such as \'{"driver":"edu"}\'; may be repeated',
    )
    parser.add_argument(
        "--driver", default="vfio-pci", help="who gets the functions; empty for the kernel's own choice"
    )
    parser.add_argument("--rwdir", help="a folder that the guest may write to, under the same name")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--udev", action="store_true", help="start the host's udevd in the guest first")
    parser.add_argument("--kernel", action="append", default=[], metavar="OPTION", help="for the kernel's command line")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    asked = parser.parse_args()
    functions: list[Function] = [json.loads(word) if word.startswith("{") else word for word in asked.device]
    try:
        with Guest(
            EVERY[asked.platform],
            functions,
            driver=asked.driver or None,
            rwdir=asked.rwdir,
            timeout=asked.timeout + 120,
            udev=asked.udev,
            kernel_options=asked.kernel,
            echo=(sys.stdout, sys.stderr),
        ) as guest:
            result = guest.run(asked.command, timeout=asked.timeout)
            print(f"vm: booted in {guest.boot_seconds:.1f} s, ran for {result.seconds:.1f} s", file=sys.stderr)
            if result.console.strip():
                print(f"vm: QEMU and the guest's kernel said:\n{result.console.rstrip()}", file=sys.stderr)
            return result.returncode
    except LabError as error:
        print(f"vm: {error}", file=sys.stderr)
        return 124 if isinstance(error, GuestTimeout) else 125


if __name__ == "__main__":
    sys.exit(main())
