#!/usr/bin/env python3
"""Walks tables that `penumbra tables --export FOLDER` wrote, knowing only the manuals' formats.

usage: walk-tables.py FOLDER PROCESSOR < ADDRESSES

Prints for each guest-physical address (each linear one, of CR3) the host-physical one, rights and
page size, or why not. EPT: SDM volume 3C, "EPT Translation Mechanism". NPT: APM volume 2, "Nested
Paging". CR3: SDM volume 3A, "4-Level Paging", where r is the user's right; of three levels "PAE
Paging", whose top entries have no rights. On a host that encrypts its memory one bit says so (APM
volume 2, "Secure Memory Encryption") and is no part of an address.
"""
import json
import pathlib
import struct
import sys

ADDRESS = 0x000FFFFFFFFFF000
folder, processor = pathlib.Path(sys.argv[1]), int(sys.argv[2])
load = lambda name: json.loads((folder / name).read_text())
root = next(one for one in load("roots.json") if one["processor"] == processor)
places = {int(one["host_frame"], 16): one["index"] << 12 for one in load("frames.json")}
frames = (folder / "frames.bin").read_bytes()
pointer = int(root["value"], 16)
is_ept = root["register"] == "eptp"
levels = (pointer >> 3 & 7) + 1 if is_ept else root["levels"]
encryption = 0 if root["encryption_bit"] is None else 1 << root["encryption_bit"]
ADDRESS &= ~encryption
beyond = ADDRESS & -(1 << root["physical_bits"])


def is_malformed(entry, level, is_leaf):
    large = (1 << 3 + 9 * level) - 0x1000 if is_leaf and level > 1 else 0
    if not is_ept:  # Bit 12 of a large page chooses a memory type.
        return entry & (beyond | large & ~0x1000 | (0x80 if level > 3 else 0))
    kept = large if is_leaf else 0x78 | (0x80 if level > 3 else 0)
    bad_type = is_leaf and entry >> 3 & 7 in (2, 3, 7)
    senseless = entry & 7 in ((2, 6) if root["execute_only"] else (2, 4, 6))
    return entry & (beyond | kept) or senseless or bad_type


def walk(address):
    if address >> 12 + 9 * levels:
        return f"absent {levels}"
    table, readable, writable, executable = pointer & ADDRESS, True, True, True
    for level in range(levels, 0, -1):
        if table >> 12 not in places:
            return f"unexported {level}"
        slot = address >> 3 + 9 * level & 511
        entry = struct.unpack_from("<Q", frames, places[table >> 12] + slot * 8)[0]
        if not entry & (7 if is_ept else 1):
            return f"absent {level}"
        is_leaf = level == 1 or level < 4 and entry >> 7 & 1
        if is_malformed(entry, level, is_leaf):
            return f"malformed {level}"
        if levels == 3 and level == 3:
            table = entry & ADDRESS
            continue
        readable &= bool(entry & (1 if is_ept else 4))
        writable &= bool(entry & 2)
        executable &= bool(entry & 4) if is_ept else not entry >> 63
        table = entry & ADDRESS
        if is_leaf:
            size, rights = 1 << 3 + 9 * level, "-r"[readable] + "-w"[writable] + "-x"[executable]
            return f"{table & -size | address & size - 1:#x} {rights} {size}"


for line in sys.stdin:
    print(line.strip(), walk(int(line, 0)))
