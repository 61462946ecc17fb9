// Misses the TLB about 200,000 times: 48 MiB touched page by page, by 4 KiB and by 2 MiB pages.
#include "tables.h"

const char guest_name[] = "measure";

enum { PAGES = 48 * 256, PASSES = 4 };
#define FIRST (64 * MIB)
#define SMALL 0x0000010000000000ul
#define LARGE_PAGES 0x0000020000000000ul

static struct space space = { .levels = 4 };

/// The pages in an order that follows no neighbour: the step has no factor in common with 12288.
static uintptr_t page_at(unsigned step, unsigned pass) {
  return (uintptr_t)((step * 4099u + pass * 911u) % PAGES) * PAGE;
}

/// One pass that writes and one that reads; the sum of what was read.
static uint64_t passes(uintptr_t base, unsigned pass, uint64_t seed) {
  uint64_t sum = seed;
  for (unsigned step = 0; step < PAGES; step++) {
    volatile uint64_t *word = (volatile uint64_t *)(base + page_at(step, pass)) + (pass * 64 + 3);
    *word += (seed ^ step) * 0x9E3779B97F4A7C15;
  }
  for (unsigned step = 0; step < PAGES; step++) {
    volatile uint64_t *word = (volatile uint64_t *)(base + page_at(step, pass + 7));
    sum = (sum << 7 | sum >> 57) + word[pass * 64 + 3] + word[3];
  }
  return sum;
}

void guest_main(void) {
  uint64_t sum = 0;
  space.root = read_cr3();
  // Only the words that the passes look at have to be known.
  for (unsigned page = 0; page < PAGES; page++) {
    for (unsigned pass = 0; pass < PASSES; pass++) {
      ((volatile uint64_t *)(FIRST + page * PAGE))[pass * 64 + 3] = page * 31 + pass;
    }
  }
  for (unsigned page = 0; page < PAGES; page++) {
    // The second half first, so that neighbours in the address space are none in memory.
    map(space, SMALL + page * PAGE, FIRST + (page + PAGES / 2) % PAGES * PAGE, P | W, 1);
  }
  for (unsigned page = 0; page < PAGES; page += 512) {
    map(space, LARGE_PAGES + page * PAGE, FIRST + page * PAGE, P | W, 2);
  }
  print("measure: 48 MiB, %u pages\n", PAGES);
  for (unsigned pass = 0; pass < PASSES; pass++) sum = passes(SMALL, pass, sum);
  print("measure: by 4 KiB pages 0x%lx\n", sum);
  for (unsigned pass = 0; pass < PASSES; pass++) sum = passes(LARGE_PAGES, pass, sum);
  print("measure: by 2 MiB pages 0x%lx\n", sum);
  for (unsigned page = 0; page < PAGES; page += 2048) {
    CHECK_EQUAL(used(space, SMALL + page * PAGE, 1), ACCESSED | DIRTY);
    CHECK_EQUAL(used(space, LARGE_PAGES + page * PAGE, 2), ACCESSED | DIRTY);
  }
  print("measure: ok\n");
}
