// Four-level address spaces: built, switched, torn down; demand paging and copy-on-write with the
// contents checked; NX, WP, 1 GiB and 2 MiB pages; SMEP and SMAP where the processor has them.
#include "tables.h"

const char guest_name[] = "spaces";

// User addresses: the second half of the first and further entries of the top table.
#define CODE 0x0000008000000000ul
#define DATA 0x0000018012345000ul
#define HEAP 0x00007F0000000000ul
#define STACK 0x00007FFFFFFFE000ul
#define STACK_TOP (STACK + PAGE)

enum { HEAP_PAGES = 96, COPIED_PAGES = 24 };

static struct space kernel = { .levels = 4 };

// What the page-fault handler works on.
static struct space current;
static bool copied[COPIED_PAGES];
static unsigned demand_faults, copy_faults;

static uint32_t pattern(unsigned page, unsigned word) {
  return (page * 2654435761u) ^ (word * 40503u) ^ 0x5EED;
}

/// A new address space: the kernel's half is shared, user code and a stack are there.
static struct space space_make(void) {
  struct space space = { frame_allocate(), 4 };
  ((volatile uint64_t *)space.root)[0] = ((volatile uint64_t *)kernel.root)[0];
  ((volatile uint64_t *)space.root)[511] = ((volatile uint64_t *)kernel.root)[511];
  map(space, CODE, (uintptr_t)user_page, P | U, 1);
  map(space, STACK, frame_allocate(), P | W | U | NX, 1);
  return space;
}

static void space_use(struct space space) {
  current = space;
  write_cr3(space.root);
}

static uintptr_t frame_at(struct space space, uintptr_t address) {
  volatile uint64_t *entry = entry_find(space, address, 1);
  CHECK(entry != NULL && (*entry & P) != 0);
  return (uintptr_t)(*entry & ENTRY_FRAME);
}

static void space_free(struct space space) {
  frame_free(frame_at(space, STACK));
  tables_free(space, 1, 510);
  frame_free(space.root);
}

static struct outcome user(const uint8_t *routine, uintptr_t a, uintptr_t b) {
  return attempt_user(CODE + USER_OFFSET(routine), STACK_TOP, a, b);
}

static void error_codes(void) {
  unsigned before = frames_in_use;
  struct space space = space_make();
  space_use(space);
  uintptr_t frame = frame_allocate();

  CHECK_FAULT(attempt_read(DATA), 0, DATA);
  CHECK_FAULT(attempt_write(DATA, 1), ERROR_WRITE, DATA);
  CHECK_FAULT(attempt_call(DATA), ERROR_FETCH, DATA);
  CHECK_FAULT(user(user_read, DATA, 0), ERROR_USER, DATA);
  CHECK_FAULT(user(user_write, DATA, 0), ERROR_USER | ERROR_WRITE, DATA);
  CHECK_FAULT(user(user_jump, DATA, 0), ERROR_USER | ERROR_FETCH, DATA);

  // Every combination of rights at the page, against every kind of access.
  for (unsigned rights = 0; rights < 8; rights++) {
    uint64_t bits = P | ((rights & 1) != 0 ? W : 0) | ((rights & 2) != 0 ? U : 0)
                    | ((rights & 4) != 0 ? NX : 0);
    bool write = (rights & 1) != 0, for_user = (rights & 2) != 0, execute = (rights & 4) == 0;
    map(space, DATA, frame, bits, 1);
    CHECK_EQUAL(used(space, DATA, 1), 0);
    CHECK_FINE(attempt_read(DATA));
    CHECK_EQUAL(used(space, DATA, 1), ACCESSED);
    if (write) {
      CHECK_FINE(attempt_write(DATA + 8, rights));
      CHECK_EQUAL(used(space, DATA, 1), ACCESSED | DIRTY);
      CHECK_EQUAL(((volatile uint64_t *)frame)[1], rights);
    } else {
      CHECK_FAULT(attempt_write(DATA + 8, rights), ERROR_PRESENT | ERROR_WRITE, DATA + 8);
      CHECK_EQUAL(used(space, DATA, 1), ACCESSED);
    }
    if (for_user) {
      CHECK_CALLED(user(user_read, DATA, 0));
    } else {
      CHECK_FAULT(user(user_read, DATA, 0), ERROR_PRESENT | ERROR_USER, DATA);
    }
    if (for_user && write) {
      CHECK_CALLED(user(user_write, DATA, rights));
    } else {
      CHECK_FAULT(user(user_write, DATA, 9), ERROR_PRESENT | ERROR_USER | ERROR_WRITE, DATA);
    }
    *(volatile uint16_t *)frame = 0x30CD;  // int $0x30
    if (for_user && execute) {
      CHECK_CALLED(user(user_jump, DATA, 0));
    } else {
      CHECK_FAULT(user(user_jump, DATA, 0), ERROR_PRESENT | ERROR_USER | ERROR_FETCH, DATA);
    }
  }

  // The same rights taken away by the tables above, one level at a time.
  map(space, DATA, frame, P | W | U, 1);
  for (int level = 2; level <= 4; level++) {
    change(space, DATA, level, W, 0);
    CHECK_FAULT(attempt_write(DATA, 1), ERROR_PRESENT | ERROR_WRITE, DATA);
    change(space, DATA, level, U, W);
    CHECK_FAULT(user(user_read, DATA, 0), ERROR_PRESENT | ERROR_USER, DATA);
    change(space, DATA, level, 0, U | NX);
    CHECK_FAULT(user(user_jump, DATA, 0), ERROR_PRESENT | ERROR_USER | ERROR_FETCH, DATA);
    change(space, DATA, level, NX, 0);
    CHECK_CALLED(user(user_read, DATA, 0));
    CHECK((*entry_find(space, DATA, level) & ACCESSED) != 0);
  }

  // CR0.WP.
  change(space, DATA, 1, W, 0);
  write_cr0(read_cr0() & ~CR0_WP);
  CHECK_FINE(attempt_write(DATA, 77));
  CHECK_FAULT(user(user_write, DATA, 1), ERROR_PRESENT | ERROR_USER | ERROR_WRITE, DATA);
  write_cr0(read_cr0() | CR0_WP);
  CHECK_FAULT(attempt_write(DATA, 78), ERROR_PRESENT | ERROR_WRITE, DATA);
  CHECK_EQUAL(*(volatile uint64_t *)frame, 77);

  space_use(kernel);
  space_free(space);
  frame_free(frame);
  CHECK_EQUAL(frames_in_use, before);
  print("spaces: error codes, accessed and dirty bits, CR0.WP at every level\n");
}

static void large_pages(void) {
  const uintptr_t at = 0x0000030000000000ul;
  unsigned before = frames_in_use;
  struct space space = space_make();
  space_use(space);
  // A 2 MiB page over 4 KiB frames written before, its rights, and a table in its place.
  for (unsigned page = 0; page < 512; page++) {
    *(volatile uint32_t *)(96 * MIB + page * PAGE) = pattern(page, 0);
  }
  map(space, at, 96 * MIB, P | W | U, 2);
  for (unsigned page = 0; page < 512; page++) {
    CHECK_EQUAL(*(volatile uint32_t *)(at + page * PAGE), pattern(page, 0));
  }
  CHECK_EQUAL(used(space, at, 2), ACCESSED);
  CHECK_CALLED(user(user_write, at + 2 * MIB - 8, 0x1234));
  CHECK_EQUAL(used(space, at, 2), ACCESSED | DIRTY);
  CHECK_EQUAL(*(volatile uint64_t *)(98 * MIB - 8), 0x1234);
  unmap(space, at, 2);
  CHECK_FAULT(attempt_read(at), 0, at);
  // The same 2 MiB with the frames in reverse.
  for (unsigned page = 0; page < 512; page++) {
    map(space, at + page * PAGE, 96 * MIB + (511 - page) * PAGE, P | U, 1);
  }
  for (unsigned page = 0; page < 512; page++) {
    CHECK_EQUAL(*(volatile uint32_t *)(at + page * PAGE), pattern(511 - page, 0));
  }
  if ((cpuid(0x80000001, 0).d & 1 << 26) != 0) {
    const uintptr_t huge = 0x0000040000000000ul;
    map(space, huge, 0, P | W, 3);
    CHECK_EQUAL(*(volatile uint32_t *)(huge + 96 * MIB + 7 * PAGE), pattern(7, 0));
    CHECK_EQUAL(used(space, huge, 3), ACCESSED);
    CHECK_FINE(attempt_write(huge + 97 * MIB, 5));
    CHECK_EQUAL(used(space, huge, 3), ACCESSED | DIRTY);
    CHECK_EQUAL(*(volatile uint64_t *)(97 * MIB), 5);
    unmap(space, huge, 3);
  }
  space_use(kernel);
  space_free(space);
  CHECK_EQUAL(frames_in_use, before);
  print("spaces: 2 MiB pages, split and joined\n");
}

static void switching(void) {
  enum { SPACES = 8 };
  struct space spaces[SPACES];
  unsigned before = frames_in_use;
  for (unsigned index = 0; index < SPACES; index++) {
    spaces[index] = space_make();
    uintptr_t frame = frame_allocate();
    *(volatile uint64_t *)frame = 100 * index;
    map(spaces[index], DATA, frame, P | W | U | NX, 1);
  }
  // The same address in eight spaces, in an order that comes back often.
  for (unsigned round = 0; round < 64; round++) {
    unsigned index = round * 5 % SPACES;
    space_use(spaces[index]);
    struct outcome sum = user(user_increment, DATA, 1);
    CHECK_CALLED(sum);
    CHECK_EQUAL(sum.accumulator, 100 * index + round / SPACES + 1);
  }
  // Two spaces change frames; a third gives its page up.
  uint64_t first = *entry_find(spaces[0], DATA, 1), second = *entry_find(spaces[1], DATA, 1);
  *entry_find(spaces[0], DATA, 1) = second;
  *entry_find(spaces[1], DATA, 1) = first;
  space_use(spaces[0]);
  CHECK_EQUAL(attempt_read(DATA).accumulator, 108);
  space_use(spaces[1]);
  CHECK_EQUAL(attempt_read(DATA).accumulator, 8);
  uintptr_t third = frame_at(spaces[2], DATA);
  *entry_find(spaces[2], DATA, 1) = 0;
  space_use(spaces[2]);
  CHECK_FAULT(attempt_read(DATA), 0, DATA);
  frame_free(third);

  space_use(kernel);
  for (unsigned index = 0; index < SPACES; index++) {
    if (index != 2) frame_free(frame_at(spaces[index], DATA));
    space_free(spaces[index]);
  }
  CHECK_EQUAL(frames_in_use, before);
  print("spaces: eight spaces, one address, 64 switches\n");
}

/// Fills the heap on demand; copies shared pages at the first write.
static bool repair(struct trap *trap, uintptr_t address) {
  unsigned page = (unsigned)((address - HEAP) / PAGE);
  if (address < HEAP || page >= HEAP_PAGES) return false;
  uintptr_t base = HEAP + page * PAGE;
  if ((trap->error & ERROR_PRESENT) == 0) {
    uintptr_t frame = frame_allocate();
    for (unsigned word = 0; word < PAGE / 4; word++) {
      ((uint32_t *)frame)[word] = pattern(page, word);
    }
    map(current, base, frame, P | W | U | NX, 1);
    demand_faults++;
    return true;
  }
  if ((trap->error & ERROR_WRITE) == 0 || page >= COPIED_PAGES || copied[page]) return false;
  uintptr_t frame = frame_allocate();
  memcpy((void *)frame, (void *)frame_at(current, base), PAGE);
  map(current, base, frame, P | W | U | NX, 1);
  copied[page] = true;
  copy_faults++;
  return true;
}

static void demand_and_copy(void) {
  unsigned before = frames_in_use;
  struct space parent = space_make();
  space_use(parent);
  page_fault_handler = repair;
  // Reads and writes by user code and by the kernel, in a scattered order.
  for (unsigned step = 0; step < HEAP_PAGES; step++) {
    unsigned page = step * 37 % HEAP_PAGES, word = step * 11 % 1022 + 1;
    uintptr_t at = HEAP + page * PAGE + word * 4;
    if (step % 3 == 0) {
      CHECK_CALLED(user(user_increment, HEAP + page * PAGE, 1));
    } else if (step % 3 == 1) {
      struct outcome seen = user(user_read, at, 0);
      CHECK_CALLED(seen);
      CHECK_EQUAL((uint32_t)seen.accumulator, pattern(page, word));
    } else {
      CHECK_EQUAL(*(volatile uint32_t *)at, pattern(page, word));
    }
  }
  CHECK_EQUAL(demand_faults, HEAP_PAGES);
  print("spaces: demand paging, %u faults\n", demand_faults);

  // The child shares the first pages, read-only in both.
  struct space child = space_make();
  for (unsigned page = 0; page < COPIED_PAGES; page++) {
    uintptr_t base = HEAP + page * PAGE;
    change(parent, base, 1, W, 0);
    map(child, base, frame_at(parent, base), P | U | NX, 1);
  }
  space_use(child);
  uint64_t old[COPIED_PAGES];
  for (unsigned page = 0; page < COPIED_PAGES; page++) {
    old[page] = *(volatile uint64_t *)(HEAP + page * PAGE);
    if (page % 2 == 0) {
      CHECK_CALLED(user(user_increment, HEAP + page * PAGE, 5));
    } else {
      *(volatile uint64_t *)(HEAP + page * PAGE) += 5;
    }
  }
  CHECK_EQUAL(copy_faults, COPIED_PAGES);
  for (unsigned page = 0; page < COPIED_PAGES; page++) {
    volatile uint64_t *mine = (volatile uint64_t *)(HEAP + page * PAGE);
    CHECK_EQUAL(mine[0], old[page] + 5);
    for (unsigned word = 1; word < PAGE / 8; word++) {
      CHECK_EQUAL(mine[word], pattern(page, word * 2) | (uint64_t)pattern(page, word * 2 + 1) << 32);
    }
  }
  space_use(parent);
  for (unsigned page = 0; page < COPIED_PAGES; page++) {
    CHECK_EQUAL(*(volatile uint64_t *)(HEAP + page * PAGE), old[page]);
    CHECK(frame_at(parent, HEAP + page * PAGE) != frame_at(child, HEAP + page * PAGE));
  }
  page_fault_handler = NULL;
  print("spaces: copy-on-write, %u copies\n", copy_faults);

  space_use(kernel);
  for (unsigned page = 0; page < HEAP_PAGES; page++) frame_free(frame_at(parent, HEAP + page * PAGE));
  for (unsigned page = 0; page < COPIED_PAGES; page++) frame_free(frame_at(child, HEAP + page * PAGE));
  space_free(child);
  space_free(parent);
  CHECK_EQUAL(frames_in_use, before);
}

static void build_and_tear_down(void) {
  unsigned before = frames_in_use;
  for (unsigned round = 0; round < 40; round++) {
    struct space space = space_make();
    space_use(space);
    uintptr_t frame = frame_allocate(), at = DATA + (uintptr_t)round * 0x40000000;
    map(space, at, frame, P | W | U | NX, 1);
    // Frames of the last space's tables come back as pages: nothing of them may be left.
    CHECK_EQUAL(attempt_read(at).accumulator, 0);
    CHECK_CALLED(user(user_increment, at, round + 1));
    CHECK_EQUAL(*(volatile uint64_t *)frame, round + 1);
    if (round > 0) CHECK_FAULT(attempt_read(at - 0x40000000), 0, at - 0x40000000);
    space_use(kernel);
    frame_free(frame);
    space_free(space);
  }
  CHECK_EQUAL(frames_in_use, before);
  print("spaces: 40 spaces built and torn down\n");
}

/// What only some processors have, and a plain answer where it is missing.
static void supervisor_modes(void) {
  unsigned before = frames_in_use;
  uint32_t features = cpuid(0, 0).a >= 7 ? cpuid(7, 0).b : 0;
  struct space space = space_make();
  space_use(space);
  uintptr_t frame = frame_allocate();
  map(space, DATA, frame, P | W | U, 1);
  *(volatile uint8_t *)frame = *kernel_return;
  if ((features & 1 << 7) != 0) {
    CHECK_FINE(attempt_call(DATA));
    write_cr4(read_cr4() | CR4_SMEP);
    CHECK_FAULT(attempt_call(DATA), ERROR_PRESENT | ERROR_FETCH, DATA);
    CHECK_FINE(attempt_read(DATA));
    CHECK_CALLED(user(user_nothing, 0, 0));
    write_cr4(read_cr4() & ~CR4_SMEP);
    CHECK_FINE(attempt_call(DATA));
  }
  if ((features & 1 << 20) != 0) {
    write_cr4(read_cr4() | CR4_SMAP);
    CHECK_FAULT(attempt_read(DATA), ERROR_PRESENT, DATA);
    CHECK_FAULT(attempt_write(DATA, 1), ERROR_PRESENT | ERROR_WRITE, DATA);
    __asm__ volatile("stac" : : : "memory", "cc");
    uint64_t seen = *(volatile uint64_t *)DATA;
    *(volatile uint64_t *)(DATA + 8) = seen + 1;
    __asm__ volatile("clac" : : : "memory", "cc");
    CHECK_EQUAL(((volatile uint64_t *)frame)[1], seen + 1);
    CHECK_FAULT(attempt_read(DATA), ERROR_PRESENT, DATA);
    CHECK_CALLED(user(user_read, DATA, 0));
    write_cr4(read_cr4() & ~CR4_SMAP);
    CHECK_FINE(attempt_read(DATA));
  }
  space_use(kernel);
  frame_free(frame);
  space_free(space);
  CHECK_EQUAL(frames_in_use, before);
  print("spaces: supervisor-mode execution and access prevention, where present\n");
}

void guest_main(void) {
  kernel.root = read_cr3();
  ((volatile uint64_t *)kernel.root)[511] = 0;
  error_codes();
  large_pages();
  switching();
  demand_and_copy();
  build_and_tear_down();
  supervisor_modes();
  print("spaces: ok\n");
}
