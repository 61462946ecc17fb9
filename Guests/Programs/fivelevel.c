// Five-level paging: switched on and off through protected mode, the whole of its address range,
// and addresses that are not canonical.
#include "tables.h"

const char guest_name[] = "fivelevel";

/// Both below 4 GiB.
void switch_levels(uint32_t root, uint32_t cr4);

static struct space four = { .levels = 4 }, five = { .levels = 5 };

static void check_protection(struct outcome outcome) {
  CHECK(outcome.vector == TRAP_PROTECTION);
  CHECK_EQUAL(outcome.error, 0);
}

/// Just above 2^47 and 2^48, the last user page, and the same at the bottom of the kernel's half.
static const uintptr_t addresses[] = {
  0x0000000080000000, 0x00007FFFFFFFF000, 0x0000800000000000, 0x0000FFFFFFFFF000,
  0x0001000000000000, 0x0001800000002000, 0x0080000000000000, 0x00FFFFFFFFFFF000,
  0xFF00000000000000, 0xFF7FFFFFFFFFF000, 0xFFFE800000000000, 0xFFFF7FFFFFFFF000,
  0xFFFF800000000000, 0xFFFFFFFFFFFFF000,
};
enum { ADDRESSES = sizeof addresses / sizeof addresses[0] };

static void whole_range(void) {
  uintptr_t frames[ADDRESSES];
  for (unsigned index = 0; index < ADDRESSES; index++) {
    uintptr_t at = addresses[index];
    frames[index] = frame_allocate();
    CHECK_FAULT(attempt_read(at), 0, at);
    CHECK_FAULT(attempt_write(at + 8, 1), ERROR_WRITE, at + 8);
    CHECK_FAULT(attempt_call(at), ERROR_FETCH, at);
    map(five, at, frames[index], P | W, 1);
    CHECK_FINE(attempt_write(at, index * 0x1111));
    CHECK_EQUAL(used(five, at, 1), ACCESSED | DIRTY);
    CHECK((*entry_find(five, at, 5) & ACCESSED) != 0);
  }
  for (unsigned index = 0; index < ADDRESSES; index++) {
    CHECK_EQUAL(attempt_read(addresses[index]).accumulator, index * 0x1111);
    CHECK_EQUAL(*(volatile uint64_t *)frames[index], index * 0x1111);
  }
  print("fivelevel: %u pages from 2^31 to 2^56 and in the upper half\n", ADDRESSES);

  for (unsigned index = 0; index < ADDRESSES; index++) {
    uintptr_t at = addresses[index];
    // The first two entries of the top table hold the guest itself as well, which must keep its
    // stack and its code whatever the processor has forgotten.
    if ((at >> 48) >= 2) {
      change(five, at, 5, W, 0);
      CHECK_FAULT(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
      change(five, at, 5, 0, W | NX);
      CHECK_FAULT(attempt_call(at), ERROR_PRESENT | ERROR_FETCH, at);
      change(five, at, 5, NX, 0);
      CHECK_FINE(attempt_read(at));
    }
    unmap(five, at, 1);
    CHECK_FAULT(attempt_read(at), 0, at);
    frame_free(frames[index]);
  }
  print("fivelevel: rights of the fifth level\n");
}

static void large_pages(void) {
  const uintptr_t at = 0x00AB000040000000;
  map(five, at, 96 * MIB, P | W, 2);
  CHECK_FINE(attempt_write(at + MIB, 0xFEED));
  CHECK_EQUAL(*(volatile uint64_t *)(97 * MIB), 0xFEED);
  CHECK_EQUAL(used(five, at, 2), ACCESSED | DIRTY);
  CHECK_FAULT(attempt_read(at + 2 * MIB), 0, at + 2 * MIB);
  unmap(five, at, 2);
  CHECK_FAULT(attempt_read(at), 0, at);
  print("fivelevel: 2 MiB pages\n");
}

static void user_mode(void) {
  const uintptr_t code = 0x0012000000000000, stack = 0x00FFFFFFFFFFE000, data = 0x0003400000000000;
  const uintptr_t top = stack + PAGE;
  uintptr_t frame = frame_allocate();
  map(five, code, (uintptr_t)user_page, P | U, 1);
  map(five, stack, frame_allocate(), P | W | U | NX, 1);
  map(five, data, frame, P | W | U | NX, 1);
  for (unsigned round = 0; round < 10; round++) {
    CHECK_CALLED(attempt_user(code + USER_OFFSET(user_increment), top, data, 3));
  }
  CHECK_EQUAL(*(volatile uint64_t *)frame, 30);
  const uintptr_t read = code + USER_OFFSET(user_read), jump = code + USER_OFFSET(user_jump);
  CHECK_FAULT(attempt_user(read, top, data + PAGE, 0), ERROR_USER, data + PAGE);
  CHECK_FAULT(attempt_user(jump, top, data, 0), ERROR_PRESENT | ERROR_USER | ERROR_FETCH, data);
  struct outcome refused = attempt_user(read, top, 0x0100000000000000, 0);
  check_protection(refused);
  CHECK(refused.from_user);
  print("fivelevel: user mode above 2^52\n");
}

static void not_canonical(void) {
  static const uintptr_t bad[] = {
    0x0100000000000000, 0x7FFFFFFFFFFFFFF8, 0x8000000000000000, 0xFEFFFFFFFFFFFFF0,
    0xFE00000000000000, 0x4000000012345678,
  };
  for (unsigned index = 0; index < sizeof bad / sizeof bad[0]; index++) {
    check_protection(attempt_read(bad[index]));
    check_protection(attempt_write(bad[index], 1));
  }
  print("fivelevel: #GP on addresses that are not canonical\n");
}

void guest_main(void) {
  if (cpuid(0, 0).a < 7 || (cpuid(7, 0).c & 1 << 16) == 0) {
    print("fivelevel: no LA57\n");
    leave(LEAVE_MISSING);
  }
  const uintptr_t at = 0x0000123400000000, above = 0x0000800000000000;
  uintptr_t frame = frame_allocate();
  four.root = read_cr3();
  five.root = frame_allocate();
  *(volatile uint64_t *)five.root = four.root | P | W | U;
  uint32_t cr4 = (uint32_t)read_cr4();

  map(four, at, frame, P | W, 1);
  CHECK_FINE(attempt_write(at, 4));
  check_protection(attempt_read(above));
  switch_levels((uint32_t)five.root, cr4 | CR4_LA57);
  CHECK((read_cr4() & CR4_LA57) != 0);
  CHECK_EQUAL(attempt_read(at).accumulator, 4);
  CHECK_FAULT(attempt_read(above), 0, above);
  print("fivelevel: from 4 levels to 5 through protected mode\n");

  whole_range();
  large_pages();
  user_mode();
  not_canonical();

  CHECK_FINE(attempt_write(at, 5));
  switch_levels((uint32_t)four.root, cr4);
  CHECK_EQUAL(attempt_read(at).accumulator, 5);
  check_protection(attempt_read(above));
  switch_levels((uint32_t)five.root, cr4 | CR4_LA57);
  CHECK_FAULT(attempt_read(above), 0, above);
  CHECK_EQUAL(attempt_read(at).accumulator, 5);
  print("fivelevel: back to 4 levels and to 5 again\n");
  print("fivelevel: ok\n");
}
