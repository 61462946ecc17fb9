/// The memory accesses of each benchmark in plain C, without a rule, a check or a count.
#pragma once
#include <stdint.h>

/// Lets callgrind count from now on, or no more.
void baseline_toggle_counting(void);

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

/// What the shadow paging of a guest reads and writes: its slot, the host's table, the guest's own
/// tables and ours, and one word or row a frame of what is kept beside them.
struct baseline_shadow {
  uint8_t *memory;
  uint64_t host_root;
  struct baseline_slot slot;
  uint64_t guest_root, shadow_root;
  uint64_t *maps, *translations, *rows;
};

/// Where the level-1 entry of ours for an address lies; 0 for nowhere.
uint64_t baseline_shadow_place(const struct baseline_shadow *world, uint64_t address);

/// Walks the guest's tables and the host's, and ours down to level 1, and installs a leaf.
uint64_t baseline_shadow_fault(struct baseline_shadow *world, uint64_t address);
/// Empties the leaf of an address.
void baseline_shadow_empty(struct baseline_shadow *world, uint64_t address);

/// The same where nothing stands but the root: three `tables` are filled and linked.
uint64_t baseline_shadow_path(
    struct baseline_shadow *world, uint64_t address, const uint64_t *tables);
/// Empties 512 entries.
void baseline_empty_table(struct baseline_shadow *world, uint64_t table);

/// Compares the guest's page table at `guest` with what the 512 entries at `leaves` translate, and
/// writes those that differ; `alias` is the leaf by which the guest writes to the table.
uint64_t baseline_shadow_sync(
    struct baseline_shadow *world, uint64_t guest, uint64_t leaves, uint64_t alias);

/// Stores an entry of a page directory of the guest's at `guest`, and drops the entry of ours that
/// leads on from it at the linear address.
uint64_t baseline_table_write(struct baseline_shadow *world, uint64_t guest, uint64_t address);
/// Drops the whole shadow of the page directory as well.
uint64_t baseline_table_flood(struct baseline_shadow *world, uint64_t guest, uint64_t address);

/// The root in use and three before it; looks for a pointer among them and rotates it to the front.
struct baseline_roots { uint64_t pointer[4]; };
uint64_t baseline_switch(
    struct baseline_shadow *world, struct baseline_roots *roots, uint64_t pointer);
