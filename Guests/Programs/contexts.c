// What a processor may remember and what it must forget: global pages and CR4.PGE, process-context
// identifiers with every form of INVPCID, loads of CR3 with the value that it has, changes of rights
// and of CR0.WP, SMEP and SMAP between them. Where a feature is missing the rest is checked.
#include "tables.h"

const char guest_name[] = "contexts";

#define AT 0x0000010000000000ul
#define KERNEL 0xFFFF800000000000ul
#define CODE 0x0000008000000000ul
#define STACK 0x00007FFFFFFFE000ul
#define CR4_PCIDE (1ul << 17)
#define KEEP (1ul << 63)

enum { SPACES = 5, PAGES = 6 };

static struct space spaces[SPACES];
static uintptr_t frames[8];
static bool has_pcid, has_invpcid;

static void invalidate_context(uint64_t type, uint64_t pcid, uintptr_t address) {
  struct { uint64_t pcid, address; } descriptor = { pcid, address };
  __asm__ volatile("invpcid %0, %1" : : "m"(descriptor), "r"(type) : "memory");
}

static uint64_t see(uintptr_t address) {
  struct outcome seen = attempt_read(address);
  CHECK_FINE(seen);
  return seen.accumulator;
}

/// A space whose pages lead to frames chosen by its number.
static struct space make(unsigned number) {
  struct space space = { frame_allocate(), 4 };
  ((volatile uint64_t *)space.root)[0] = *(volatile uint64_t *)read_cr3();
  map(space, CODE, (uintptr_t)user_page, P | U, 1);
  map(space, STACK, frame_allocate(), P | W | U | NX, 1);
  for (unsigned page = 0; page < PAGES; page++) {
    map(space, AT + page * PAGE, frames[(number + page) % 8], P | W | U, 1);
  }
  // The kernel's page is the same everywhere, and global.
  map(space, KERNEL, frames[7], P | W | GLOBAL, 1);
  return space;
}

/// A reload of CR3 forgets every page that is not global, also with the same value.
static void same_value(void) {
  write_cr3(spaces[0].root);
  for (unsigned round = 0; round < 32; round++) {
    unsigned page = round % PAGES;
    uintptr_t address = AT + page * PAGE;
    volatile uint64_t *entry = entry_find(spaces[0], address, 1);
    uint64_t old = *entry;
    see(address);
    *entry = frames[round % 7] | P | W;
    write_cr3(read_cr3());
    CHECK_EQUAL(see(address), 0x1000 + round % 7);
    *entry = 0;
    write_cr3(read_cr3());
    CHECK_FAULT(attempt_read(address), 0, address);
    *entry = old;
    CHECK_EQUAL(see(address), *(volatile uint64_t *)(uintptr_t)(old & ENTRY_FRAME));
    // A table above is taken away and comes back.
    volatile uint64_t *upper = entry_find(spaces[0], address, 1 + (int)(1 + round % 3));
    uint64_t above = *upper;
    *upper = 0;
    write_cr3(read_cr3());
    CHECK_FAULT(attempt_write(address, 1), ERROR_WRITE, address);
    *upper = above;
    CHECK_EQUAL(see(address), *(volatile uint64_t *)(uintptr_t)(old & ENTRY_FRAME));
  }
  print("contexts: CR3 with the value that it has\n");
}

/// Global pages outlive loads of CR3 if the processor likes; CR4.PGE and INVLPG end them.
static void global_pages(void) {
  for (unsigned pge = 0; pge < 2; pge++) {
    if (pge != 0) write_cr4(read_cr4() | CR4_PGE);
    for (unsigned round = 0; round < 16; round++) {
      write_cr3(spaces[round % SPACES].root);
      CHECK_EQUAL(see(KERNEL), 0x1007);
      // The last-level table of the kernel's page is each space's own: all change.
      for (unsigned index = 0; index < SPACES; index++) {
        *entry_find(spaces[index], KERNEL, 1) = frames[6] | P | GLOBAL;
      }
      if (round % 2 == 0) {
        invalidate_page(KERNEL);
      } else {
        write_cr4(read_cr4() ^ CR4_PGE);
        write_cr4(read_cr4() ^ CR4_PGE);
      }
      CHECK_EQUAL(see(KERNEL), 0x1006);
      CHECK_FAULT(attempt_write(KERNEL, 1), ERROR_PRESENT | ERROR_WRITE, KERNEL);
      write_cr3(spaces[(round + 1) % SPACES].root);
      CHECK_EQUAL(see(KERNEL), 0x1006);
      for (unsigned index = 0; index < SPACES; index++) {
        *entry_find(spaces[index], KERNEL, 1) = frames[7] | P | W | GLOBAL;
      }
      invalidate_page(KERNEL);
      CHECK_EQUAL(see(KERNEL), 0x1007);
      CHECK_FINE(attempt_write(KERNEL + 8, round));
    }
  }
  write_cr4(read_cr4() & ~CR4_PGE);
  print("contexts: global pages, with CR4.PGE and without\n");
}

/// Spaces one after another in an order that comes back, one page of each moved on every visit.
static void many_spaces(uint64_t identified, uint64_t keep) {
  for (unsigned round = 0; round < 60; round++) {
    unsigned index = round * 3 % SPACES, page = round % PAGES;
    uint64_t identifier = identified != 0 ? index + 1 : 0;
    write_cr3(spaces[index].root | identifier | keep);
    CHECK_EQUAL(read_cr3(), spaces[index].root | identifier);
    uintptr_t address = AT + page * PAGE;
    volatile uint64_t *entry = entry_find(spaces[index], address, 1);
    uintptr_t frame = (uintptr_t)(*entry & ENTRY_FRAME);
    CHECK_EQUAL(see(address), *(volatile uint64_t *)frame);
    struct outcome seen = attempt_user(CODE + USER_OFFSET(user_read), STACK + PAGE, address, 0);
    CHECK_CALLED(seen);
    CHECK_EQUAL(seen.accumulator, *(volatile uint64_t *)frame);
    *entry = frames[(round * 5) % 7] | P | W | U;
    invalidate_page(address);
    CHECK_EQUAL(see(address), 0x1000 + round * 5 % 7);
  }
}

static void identifiers(void) {
  if (has_pcid) {
    write_cr3(spaces[0].root);
    write_cr4(read_cr4() | CR4_PCIDE);
    many_spaces(1, 0);
    many_spaces(1, KEEP);
    // An edit of a space that is not the current one, made known in each way that there is.
    for (unsigned round = 0; round < 24; round++) {
      unsigned other = 1 + round % (SPACES - 1);
      uintptr_t address = AT + round % PAGES * PAGE;
      // Something to remember.
      write_cr3(spaces[other].root | (other + 1) | KEEP);
      see(address);
      write_cr3(spaces[0].root | 1 | KEEP);
      volatile uint64_t *entry = entry_find(spaces[other], address, 1);
      *entry = round % 5 == 4 ? 0 : frames[round % 7] | P | W | U;
      uint64_t keep = KEEP;
      switch (has_invpcid ? round % 5 : 0) {
      case 1: invalidate_context(0, other + 1, address); break;
      case 2: invalidate_context(1, other + 1, 0); break;
      case 3: invalidate_context(2, 0, 0); break;
      case 4: invalidate_context(3, 0, 0); break;
      default: keep = 0; break;
      }
      write_cr3(spaces[other].root | (other + 1) | keep);
      if (round % 5 == 4) CHECK_FAULT(attempt_read(address), 0, address);
      else CHECK_EQUAL(see(address), 0x1000 + round % 7);
      *entry = frames[round % 7] | P | W | U;
      if (round % 5 == 4) CHECK_EQUAL(see(address), 0x1000 + round % 7);
    }
    // A root under two identifiers, and one identifier for two roots.
    for (unsigned round = 0; round < 12; round++) {
      write_cr3(spaces[1].root | (10 + round % 2));
      uintptr_t address = AT + PAGE;
      volatile uint64_t *entry = entry_find(spaces[1], address, 1);
      *entry = frames[round % 7] | P | W | U;
      invalidate_page(address);
      CHECK_EQUAL(see(address), 0x1000 + round % 7);
      write_cr3(spaces[round % 2].root | 20);
      CHECK_EQUAL(see(AT), *(volatile uint64_t *)(uintptr_t)(*entry_find(spaces[round % 2], AT, 1)
                                                             & ENTRY_FRAME));
    }
    // The identifier must be zero to begin with, and ends with the bit.
    write_cr3(spaces[0].root);
    write_cr4(read_cr4() & ~CR4_PCIDE);
  }
  if (has_invpcid) {
    // Without identifiers only the one that is zero exists.
    uintptr_t address = AT;
    volatile uint64_t *entry = entry_find(spaces[0], address, 1);
    for (unsigned type = 0; type < 4; type++) {
      see(address);
      *entry = frames[type] | P | W | U;
      invalidate_context(type, 0, address);
      CHECK_EQUAL(see(address), 0x1000 + type);
    }
  }
  many_spaces(0, 0);
  print("contexts: process-context identifiers and INVPCID, where present\n");
}

/// CR0.WP, SMEP and SMAP change between accesses to the same pages, in all combinations.
static void modes_of_rights(void) {
  uint32_t features = cpuid(0, 0).a >= 7 ? cpuid(7, 0).b : 0;
  bool has_smep = (features & 1 << 7) != 0, has_smap = (features & 1 << 20) != 0;
  write_cr3(spaces[0].root);
  uintptr_t frame = frames[0];
  uint64_t first = *(volatile uint64_t *)frame;
  *(volatile uint8_t *)frame = *kernel_return;
  uintptr_t user_page_at = AT, kernel_page_at = AT + PAGE;
  map(spaces[0], user_page_at, frame, P | U, 1);
  map(spaces[0], kernel_page_at, frame, P, 1);
  unsigned order[] = { 0, 1, 3, 2, 6, 7, 5, 4, 0, 5, 2, 7, 0, 3, 6, 1, 4, 7, 3, 5, 0 };
  for (unsigned step = 0; step < sizeof order / sizeof order[0]; step++) {
    bool wp = (order[step] & 1) != 0, smep = (order[step] & 2) != 0 && has_smep;
    bool smap = (order[step] & 4) != 0 && has_smap;
    write_cr0(wp ? read_cr0() | CR0_WP : read_cr0() & ~CR0_WP);
    uintptr_t cr4 = read_cr4() & ~(CR4_SMEP | CR4_SMAP);
    write_cr4(cr4 | (smep ? CR4_SMEP : 0) | (smap ? CR4_SMAP : 0));
    for (unsigned twice = 0; twice < 2; twice++) {
      struct outcome outcome = attempt_read(user_page_at);
      if (smap) CHECK_FAULT(outcome, ERROR_PRESENT, user_page_at);
      else CHECK_FINE(outcome);
      outcome = attempt_write(user_page_at + 64, step);
      if (smap || wp) CHECK_FAULT(outcome, ERROR_PRESENT | ERROR_WRITE, user_page_at + 64);
      else CHECK_FINE(outcome);
      outcome = attempt_write(kernel_page_at + 72, step);
      if (wp) CHECK_FAULT(outcome, ERROR_PRESENT | ERROR_WRITE, kernel_page_at + 72);
      else CHECK_FINE(outcome);
      outcome = attempt_call(user_page_at);
      if (smep) CHECK_FAULT(outcome, ERROR_PRESENT | ERROR_FETCH, user_page_at);
      else CHECK_FINE(outcome);
      CHECK_FINE(attempt_call(kernel_page_at));
      if (smap) {
        __asm__ volatile("stac" : : : "memory", "cc");
        if (!wp) *(volatile uint64_t *)(user_page_at + 80) = step + 1;
        uint8_t seen = *(volatile uint8_t *)user_page_at;
        __asm__ volatile("clac" : : : "memory", "cc");
        CHECK_EQUAL(seen, *kernel_return);
        if (!wp) CHECK_EQUAL(((volatile uint64_t *)frame)[10], step + 1);
      }
      CHECK_CALLED(attempt_user(CODE + USER_OFFSET(user_read), STACK + PAGE, user_page_at, 0));
      CHECK_FAULT(attempt_user(CODE + USER_OFFSET(user_write), STACK + PAGE, user_page_at, 0),
                  ERROR_PRESENT | ERROR_WRITE | ERROR_USER, user_page_at);
      CHECK_FAULT(attempt_user(CODE + USER_OFFSET(user_read), STACK + PAGE, kernel_page_at, 0),
                  ERROR_PRESENT | ERROR_USER, kernel_page_at);
    }
  }
  write_cr0(read_cr0() | CR0_WP);
  write_cr4(read_cr4() & ~(CR4_SMEP | CR4_SMAP));
  *(volatile uint64_t *)frame = first;
  print("contexts: CR0.WP, SMEP and SMAP in every combination\n");
}

void guest_main(void) {
  has_pcid = (cpuid(1, 0).c & 1 << 17) != 0;
  has_invpcid = cpuid(0, 0).a >= 7 && (cpuid(7, 0).b & 1 << 10) != 0;
  for (unsigned index = 0; index < 8; index++) {
    frames[index] = frame_allocate();
    *(volatile uint64_t *)frames[index] = 0x1000 + index;
  }
  for (unsigned index = 0; index < SPACES; index++) spaces[index] = make(index);
  same_value();
  global_pages();
  identifiers();
  modes_of_rights();
  print("contexts: ok\n");
}
