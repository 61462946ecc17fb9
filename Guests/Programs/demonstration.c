// What a kernel does with paging, in a dozen lines. `demonstration-early.S` has printed the first.
#include "tables.h"

const char guest_name[] = "demonstration";

#define CODE 0x0000008000000000ul
#define STACK 0x0000008000010000ul
#define DATA 0x0000008000020000ul
#define HEAP 0x00007F0000000000ul

enum { REVERSED = 64, TOUCHED = 16, SHARED = 8, WRITTEN = 3 };

static struct space kernel = { .levels = 4 }, current;
static unsigned faults, copies;

static struct space space_make(void) {
  struct space space = { frame_allocate(), 4 };
  ((volatile uint64_t *)space.root)[0] = ((volatile uint64_t *)kernel.root)[0];
  map(space, CODE, (uintptr_t)user_page, P | U, 1);
  map(space, STACK, frame_allocate(), P | W | U | NX, 1);
  map(space, DATA, frame_allocate(), P | W | U | NX, 1);
  return space;
}

static void space_use(struct space space) {
  current = space;
  write_cr3(space.root);
}

static struct outcome user(const uint8_t *routine, uintptr_t a, uintptr_t b) {
  return attempt_user(CODE + USER_OFFSET(routine), STACK + PAGE, a, b);
}

static uintptr_t frame_at(struct space space, uintptr_t address) {
  return (uintptr_t)(*entry_find(space, address, 1) & ENTRY_FRAME);
}

static void pages(void) {
  const uintptr_t at = 0x0000123400000000, large = 0x0000400000000000;
  for (unsigned page = 0; page < REVERSED; page++) {
    map(kernel, at + page * PAGE, 96 * MIB + (REVERSED - 1 - page) * PAGE, P | W, 1);
    *(volatile uint64_t *)(at + page * PAGE) = page;
  }
  for (unsigned page = 0; page < REVERSED; page++) {
    CHECK_EQUAL(*(volatile uint64_t *)(96 * MIB + page * PAGE), REVERSED - 1 - page);
  }
  print("Small pages: %u of them at 0x%lx, in reverse order, each holds what it should.\n", REVERSED,
        at);

  map(kernel, large, 96 * MIB, P | W, 2);
  CHECK_EQUAL(*(volatile uint64_t *)(large + 5 * PAGE), REVERSED - 6);
  *(volatile uint64_t *)(large + 5 * PAGE) = 0xB16;
  CHECK_EQUAL(*(volatile uint64_t *)(at + (REVERSED - 6) * PAGE), 0xB16);
  CHECK_EQUAL(used(kernel, large, 2), ACCESSED | DIRTY);
  print("Large page: 2 MiB over the same memory; accessed and dirty are set in its entry.\n");
}

static void user_mode(void) {
  CHECK_CALLED(user(user_increment, DATA, 2));
  struct outcome sum = user(user_increment, DATA, 40);
  CHECK_CALLED(sum);
  CHECK_EQUAL(sum.accumulator, 42);
  print("User mode: a program added 2 and 40, got %lu and called me back.\n", sum.accumulator);
  struct outcome refused = user(user_write, MIB, 0);
  CHECK_FAULT(refused, ERROR_PRESENT | ERROR_WRITE | ERROR_USER, MIB);
  print("Protection: it wrote to me at 0x%lx: page fault, error code 0x%x. Well guarded.\n",
        refused.address, refused.error);
}

/// Gives a page where there is none; copies a shared one at the first write.
static bool repair(struct trap *trap, uintptr_t address) {
  if (address < HEAP || address >= HEAP + TOUCHED * PAGE) return false;
  uintptr_t base = address & ~(PAGE - 1), frame = frame_allocate();
  if ((trap->error & ERROR_PRESENT) != 0) {
    memcpy((void *)frame, (void *)frame_at(current, base), PAGE);
    copies++;
  } else {
    faults++;
  }
  map(current, base, frame, P | W | U | NX, 1);
  return true;
}

static void demand_and_copy(struct space parent, struct space child) {
  page_fault_handler = repair;
  for (unsigned page = 0; page < TOUCHED; page++) {
    CHECK_CALLED(user(user_increment, HEAP + page * PAGE + 8, page * 10));
    CHECK_CALLED(user(user_increment, HEAP + page * PAGE + 8, 1));
  }
  CHECK_EQUAL(faults, TOUCHED);
  print("Demand paging: %u pages touched twice, %u page faults, %u frames handed out.\n", TOUCHED,
        faults, faults);

  for (unsigned page = 0; page < SHARED; page++) {
    change(parent, HEAP + page * PAGE, 1, W, 0);
    map(child, HEAP + page * PAGE, frame_at(parent, HEAP + page * PAGE), P | U | NX, 1);
  }
  space_use(child);
  for (unsigned page = 0; page < WRITTEN; page++) {
    CHECK_CALLED(user(user_increment, HEAP + page * PAGE + 8, 5));
  }
  for (unsigned side = 0; side < 2; side++) {
    space_use(side == 0 ? child : parent);
    for (unsigned page = 0; page < SHARED; page++) {
      uint64_t extra = side == 0 && page < WRITTEN ? 5 : 0;
      CHECK_EQUAL(*(volatile uint64_t *)(HEAP + page * PAGE + 8), page * 10 + 1 + extra);
    }
  }
  CHECK_EQUAL(copies, WRITTEN);
  print("Copy-on-write: a child shares %u pages and writes %u; %u copies, the parent's are as before.\n",
        SHARED, WRITTEN, copies);
  page_fault_handler = NULL;
}

static void switching(struct space parent, struct space child) {
  *(volatile uint64_t *)frame_at(parent, DATA) = 0;
  *(volatile uint64_t *)frame_at(child, DATA) = 0;
  for (unsigned round = 0; round < 32; round++) {
    space_use(round % 2 == 0 ? parent : child);
    CHECK_CALLED(user(user_increment, DATA, 1 + round % 2));
  }
  uint64_t one = *(volatile uint64_t *)frame_at(parent, DATA);
  uint64_t two = *(volatile uint64_t *)frame_at(child, DATA);
  CHECK(one == 16 && two == 32);
  print("Address spaces: 32 switches; at one address the parent counted to %lu, the child to %lu.\n",
        one, two);
}

/// Ends with status 0, which the exit port cannot give (its statuses are odd): a PC's power goes off
/// under QEMU; elsewhere nothing answers that port, and HLT with interrupts off is the end.
__attribute__((noreturn)) static void switch_off(void) {
  out16(0x604, 0x2000);
  for (;;) __asm__ volatile("cli; hlt");
}

void guest_main(void) {
  kernel.root = read_cr3();
  print("Long mode, 4 levels: my first GiB by 2 MiB pages, my table's root at 0x%lx.\n",
        kernel.root);
  pages();
  struct space parent = space_make(), child = space_make();
  space_use(parent);
  user_mode();
  demand_and_copy(parent, child);
  switching(parent, child);
  write_cr3(kernel.root);
  print("That was all. Thank you for the translations.\n");
  print("demonstration: ok\n");
  switch_off();
}
