/// The memory accesses of each benchmark in plain C, without a rule, a check or a count.
#pragma once
#include <stdint.h>

/// Walks 4 levels of tables at `memory`; returns the address reached, 0 for none.
uint64_t baseline_walk(const uint8_t *memory, uint64_t root, uint64_t address);

/// Walks a guest's 4 levels through 4 levels of nested tables: 24 reads.
uint64_t baseline_nested_walk(
    const uint8_t *memory, uint64_t nested_root, uint64_t root, uint64_t address);

/// What installing one 4 KiB entry reads and writes: the slot, the host's table, the four levels of
/// ours, and the exchange of the entry.
struct baseline_slot { uint64_t base, count, host; };
uint64_t baseline_fault(
    uint8_t *memory, const struct baseline_slot *slot, uint64_t host_root, uint64_t nested_root,
    uint64_t address);

/// Empties every entry of `tables` consecutive-by-root leaf tables below one level-3 entry range,
/// marking each page's record; returns how many were present.
uint64_t baseline_zap(
    uint8_t *memory, uint8_t *records, uint64_t nested_root, uint64_t first, uint64_t count);

/// Finds the slot of a frame in a sorted array, trying the last answer first.
uint64_t baseline_slot_of(
    const struct baseline_slot *slots, uint64_t count, uint64_t frame, uint64_t *hint);
