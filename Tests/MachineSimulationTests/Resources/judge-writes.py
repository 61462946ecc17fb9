#!/usr/bin/env python3
"""Judges writes by tables that `penumbra tables --export FOLDER` wrote, knowing only the manual.

usage: judge-writes.py FOLDER PROCESSOR < WRITES

Each line of WRITES is a guest-physical address and a number of bytes. Prints for each `allowed`,
or what the first byte's page, or else the next, comes to: `malformed` EPT, `violation`, and of
sub-pages `miss` and `misconfiguration`.
EPT: SDM volume 3C, "EPT Translation Mechanism"; then "Sub-Page Write Permissions".
"""
import json
import pathlib
import struct
import sys

folder, processor = pathlib.Path(sys.argv[1]), int(sys.argv[2])
load = lambda name: json.loads((folder / name).read_text())
root = next(one for one in load("roots.json") if one["processor"] == processor)
places = {int(one["host_frame"], 16): one["index"] << 12 for one in load("frames.json")}
frames = (folder / "frames.bin").read_bytes()
pointer, subpages = int(root["value"], 16), root["sppt"]
bits = root["physical_bits"]
frame_mask = (1 << bits) - 0x1000


def entry(table, address, level):
    index = address >> 3 + 9 * level & 511
    if table >> 12 not in places:  # No memory that we know: what a bus without a device reads.
        return (1 << 64) - 1
    return struct.unpack_from("<Q", frames, places[table >> 12] + index * 8)[0]


def extended(address):
    """The leaf for an address, its level, and the rights of all entries; or what is wrong."""
    table, rights = pointer & frame_mask, 7
    top = (pointer >> 3 & 7) + 1
    if address >> 12 + 9 * top:
        return "violation"
    for level in range(top, 0, -1):
        word = entry(table, address, level)
        if not word & 7:
            return "violation"
        is_leaf = level == 1 or level < 4 and word >> 7 & 1
        kept = (1 << 3 + 9 * level) - 0x1000 if is_leaf and level > 1 else 0
        kept |= 0 if is_leaf else 0x78 | (0x80 if level > 3 else 0)
        odd = word & 7 in ((2, 6) if root["execute_only"] else (2, 4, 6))
        if word & (kept | (1 << 52) - (1 << bits)) or odd or is_leaf and word >> 3 & 7 in (2, 3, 7):
            return "malformed"
        rights &= word
        if is_leaf:
            return word, level, rights
        table = word & frame_mask


def judge(address, size):
    """What becomes of a write inside one page."""
    found = extended(address)
    if isinstance(found, str):
        return found
    leaf, level, rights = found
    if rights & 2:
        return "allowed"
    if subpages is None or level > 1 or not leaf >> 61 & 1 or not rights & 1:
        return "violation"
    table = int(subpages, 16)
    for level in (4, 3, 2):
        word = entry(table, address, level)
        if not word & 1:
            return "miss"
        if word & ~(frame_mask | 1):
            return "misconfiguration"
        table = word & frame_mask
    vector = entry(table, address, 1)
    if vector & 0xAAAAAAAAAAAAAAAA:
        return "misconfiguration"
    first, last = address % 4096 // 128, (address % 4096 + size - 1) // 128
    allowed = all(vector >> 2 * part & 1 for part in range(first, last + 1))
    return "allowed" if allowed else "violation"


for line in sys.stdin:
    address, size = (int(word, 0) for word in line.split())
    here = min(size, 4096 - address % 4096)
    verdict = judge(address, here)
    if verdict == "allowed" and size > here:
        verdict = judge(address + here, size - here)
    print(verdict)
