# SPDX-License-Identifier: Apache-2.0
"""What drivers of others do with our DSA and IAA: Linux' idxd, dmatest, iaa_crypto and zswap, and accel-config.

One step a call, by its name; prints what it found out as JSON. Standard library only.
"""

import json
import mmap
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DSA = Path("/sys/bus/dsa")
PAGE = mmap.PAGESIZE
TIMEOUT = 60.0
WORDS = b"the quick brown fox jumps over the lazy dog while nobody counts its hairs ".split(b" ")


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def read(*parts: str) -> str:
    return Path(*parts).read_text().strip()


def numbers(folder: str, files: str) -> dict[str, int]:
    """What debugfs counts: one number a file, or ``name: number`` a line."""
    found: dict[str, int] = {}
    for file in Path("/sys/kernel/debug", folder).glob(files):
        text = file.read_text().strip()
        found |= {name: int(value) for name, value in re.findall(r"(\w+): (\d+)", text) or [(file.name, text)]}
    return found


def show(*devices: str) -> dict[str, Any]:
    """Every attribute of these."""
    return {
        name: {
            file.name: read(str(file))
            for file in (DSA / "devices" / name).iterdir()
            if file.is_file() and file.stat().st_mode & 0o400 and "token" not in file.name
        }
        for name in devices
    }


def configure(accel_config: str, *files: str) -> dict[str, Any]:
    """Load configurations and enable all that is in them; what is there then."""
    for file in files:
        run(accel_config, "load-config", "-e", "-c", file)
    run(accel_config, "save-config", "-s", "/tmp/saved")
    return {"list": json.loads(run(accel_config, "list")), "saved": read("/tmp/saved"), "log": run("dmesg")}


def disable(accel_config: str, *devices: str) -> dict[str, str]:
    for name in devices:
        if read(str(DSA / "devices" / name / "state")) != "disabled":
            run(accel_config, "disable-device", name)
    return {name: read(str(DSA / "devices" / name / "state")) for name in devices}


def copy(times: str) -> dict[str, Any]:
    """dmatest on every channel there is: copies of random length and place, each verified byte by byte.

    By function: copies, failures, interrupts for them; and the copies a second of all.
    """
    knobs = Path("/sys/module/dmatest/parameters")
    owner = {link.name: (link / "device").resolve().name for link in Path("/sys/class/dma").iterdir()}
    (knobs / "iterations").write_text(times)
    (knobs / "timeout").write_text("10000")
    before = interrupts()
    run("dmesg", "--clear")
    started = time.monotonic()
    (knobs / "run").write_text("1")
    while True:  # reading the knob `wait` does not do: it does not wait for threads that have yet to begin
        log = run("dmesg")
        if log.count("Started 1 threads") == log.count("summary") or time.monotonic() > started + TIMEOUT:
            break
        time.sleep(0.05)
    seconds = time.monotonic() - started
    after = interrupts()
    (knobs / "run").write_text("0")  # gives the channels back
    found: dict[str, Any] = {}
    for channel, tests, failures in re.findall(r"dmatest: (dma\w+)-copy\d+: summary (\d+) tests, (\d+) failures", log):
        entry = found.setdefault(owner[channel], {"channels": 0, "copies": 0, "failures": 0})
        entry["channels"] += 1
        entry["copies"] += int(tests)
        entry["failures"] += int(failures)
    for address, entry in found.items():
        entry["interrupts"] = after.get(address, 0) - before.get(address, 0)
    return {"by": found, "a_second": sum(entry["copies"] for entry in found.values()) / seconds, "log": log}


def interrupts() -> dict[str, int]:
    """Completion interrupts by function."""
    found: dict[str, int] = {}
    for line in read("/proc/interrupts").splitlines():
        if line.endswith("idxd-portal"):
            address = re.search(r"-(\w+:\w+:\w+\.\w) ", line)
            assert address, line
            counts = (int(word) for word in line.split()[1:] if word.isdigit())
            found[address[1]] = found.get(address[1], 0) + sum(counts)
    return found


def swap(pages: str) -> dict[str, Any]:
    """The kernel's own tests of deflate, then pages that go through the device to swap space and back.

    Every sixth page is noise, which compressed is larger than a page.
    """
    crypto = [dict(re.findall(r"^(\S+) *: (.*)$", part, re.M)) for part in read("/proc/crypto").split("\n\n")]
    facts: dict[str, Any] = {"algorithm": next(one for one in crypto if one.get("driver") == "deflate-iaa")}
    facts["tested"] = numbers("iaa_crypto", "global_stats")
    run("mkswap", "/dev/ram0")
    run("swapon", "/dev/ram0")
    for knob, value in ("compressor", "deflate-iaa"), ("enabled", "Y"):
        Path("/sys/module/zswap/parameters", knob).write_text(value)
    noise = random.Random(6)
    count = int(pages)
    wanted = [
        noise.randbytes(PAGE) if page % 6 == 5 else b" ".join(noise.choices(WORDS, k=PAGE // 2))[:PAGE]
        for page in range(count)
    ]
    with mmap.mmap(-1, PAGE * count) as memory:
        memory[:] = b"".join(wanted)
        started = time.monotonic()
        memory.madvise(21)  # MADV_PAGEOUT; Python names it from 3.14 on
        facts["pages_a_second"] = count / (time.monotonic() - started)
        facts["out"] = numbers("zswap", "*")
        facts["right"] = all(memory[PAGE * n : PAGE * (n + 1)] == page for n, page in enumerate(wanted))
        facts["in"] = numbers("zswap", "*")
    facts["done"] = numbers("iaa_crypto", "global_stats")
    Path("/sys/module/zswap/parameters/enabled").write_text("N")
    run("swapoff", "/dev/ram0")
    return facts


def refuse(accel_config: str, name: str) -> dict[str, Any]:
    """A mistake that idxd leaves to the device to find: a queue in a group without an engine."""
    device, number = DSA / "devices" / name, re.sub(r"\D", "", name)
    queue, engine = device / f"wq{number}.0", device / f"engine{number}.0"
    for part in device.glob(f"*{number}.*/group_id"):
        part.write_text("-1")
    for knob, value in ("group_id", "0"), ("mode", "dedicated"), ("size", "16"), ("type", "kernel"), ("name", "a"):
        (queue / knob).write_text(value)
    (engine / "group_id").write_text("1")
    done = subprocess.run([accel_config, "enable-device", name], capture_output=True, text=True, check=False)
    return {"status": done.returncode, "said": done.stdout + done.stderr, **show(name)[name]}


print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
