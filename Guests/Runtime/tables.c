// Tables of 64-bit entries, built in the guest's own frames.
#include "tables.h"

static unsigned index_of(uintptr_t address, int level) {
  return (unsigned)((uint64_t)address >> (12 + 9 * (level - 1))) & 511;
}

/// What an entry that leads to a table carries: an entry of PAE's top table has no rights.
static uint64_t table_bits(struct space space, int level) {
  return space.levels == 3 && level == 3 ? P : P | W | U;
}

static volatile uint64_t *walk(struct space space, uintptr_t address, int level, bool make) {
  uintptr_t table = space.root;
  for (int at = space.levels;; at--) {
    volatile uint64_t *entry = (volatile uint64_t *)table + index_of(address, at);
    if (at == level) return entry;
    if ((*entry & P) == 0) {
      if (!make) return NULL;
      *entry = frame_allocate() | table_bits(space, at);
    }
    CHECK(at > 3 || at == space.levels || (*entry & LARGE) == 0);
    table = (uintptr_t)(*entry & ENTRY_FRAME);
  }
}

volatile uint64_t *entry_find(struct space space, uintptr_t address, int level) {
  return walk(space, address, level, false);
}

volatile uint64_t *entry_make(struct space space, uintptr_t address, int level) {
  return walk(space, address, level, true);
}

void map(struct space space, uintptr_t address, uint64_t frame, uint64_t bits, int level) {
  *entry_make(space, address, level) = frame | bits | (level > 1 ? LARGE : 0);
  invalidate_page(address);
}

void unmap(struct space space, uintptr_t address, int level) {
  *entry_make(space, address, level) = 0;
  invalidate_page(address);
}

void change(struct space space, uintptr_t address, int level, uint64_t take, uint64_t add) {
  volatile uint64_t *entry = entry_make(space, address, level);
  *entry = (*entry & ~take) | add;
  invalidate_page(address);
}

uint64_t used(struct space space, uintptr_t address, int level) {
  return *entry_make(space, address, level) & (ACCESSED | DIRTY);
}

static void free_below(uintptr_t table, int level, unsigned first, unsigned last) {
  for (unsigned index = first; index <= last; index++) {
    volatile uint64_t *entry = (volatile uint64_t *)table + index;
    if ((*entry & P) == 0 || (level <= 3 && (*entry & LARGE) != 0)) continue;
    uintptr_t below = (uintptr_t)(*entry & ENTRY_FRAME);
    if (level > 2) free_below(below, level - 1, 0, 511);
    *entry = 0;
    frame_free(below);
  }
}

void tables_free(struct space space, unsigned first, unsigned last) {
  free_below(space.root, space.levels, first, last);
}
