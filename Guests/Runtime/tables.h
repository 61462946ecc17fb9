// Tables of 64-bit entries: PAE (3 levels), 4 levels and 5 levels.
#pragma once
#include "guest.h"

enum {
  P = 1,
  W = 2,
  U = 4,
  CACHE_DISABLE = 0x10,
  ACCESSED = 0x20,
  DIRTY = 0x40,
  LARGE = 0x80,
  GLOBAL = 0x100,
};
#define NX (1ull << 63)
#define ENTRY_FRAME 0x000FFFFFFFFFF000ull

/// An address space: its root and how many levels it has.
struct space {
  uintptr_t root;
  int levels;
};

/// The entry of an address at a level (1 is the last), or null where no table leads there.
volatile uint64_t *entry_find(struct space space, uintptr_t address, int level);
/// The same, with tables made on the way.
volatile uint64_t *entry_make(struct space space, uintptr_t address, int level);
/// Maps a page (level 1: 4 KiB, 2: 2 MiB, 3: 1 GiB) and invalidates its address.
void map(struct space space, uintptr_t address, uint64_t frame, uint64_t bits, int level);
/// Empties the entry of a page and invalidates its address.
void unmap(struct space space, uintptr_t address, int level);
/// Takes bits from an entry, adds others, and invalidates the address.
void change(struct space space, uintptr_t address, int level, uint64_t take, uint64_t add);
/// Accessed and dirty bits of a page.
uint64_t used(struct space space, uintptr_t address, int level);
/// Gives back every table below an entry range of the root, not the pages.
void tables_free(struct space space, unsigned first, unsigned last);
