// Two-level paging without PAE: both page sizes, error codes, WP, INVLPG, accessed and dirty bits.
#include "guest.h"

const char guest_name[] = "paging32";

enum { P = 1, W = 2, U = 4, ACCESSED = 0x20, DIRTY = 0x40, LARGE = 0x80 };

static uint32_t *directory;

/// The entry for a 4 KiB page, in a table made when there is none yet.
static uint32_t *entry_of(uintptr_t address) {
  uint32_t *upper = &directory[address >> 22];
  if ((*upper & P) == 0) *upper = frame_allocate() | P | W | U;
  return (uint32_t *)(*upper & ~0xFFFu) + (address >> 12 & 1023);
}

static void map(uintptr_t address, uintptr_t frame, uint32_t bits) {
  *entry_of(address) = frame | bits;
  invalidate_page(address);
}

/// The accessed and dirty bits of an entry.
static uint32_t used(const uint32_t *entry) {
  return *(const volatile uint32_t *)entry & (ACCESSED | DIRTY);
}

static void small_pages(void) {
  const uintptr_t at = 0x40000000;
  uintptr_t first = frame_allocate(), second = frame_allocate();
  *(uint32_t *)first = 0x11111111;
  *(uint32_t *)second = 0x22222222;

  CHECK_FAULT(attempt_read(at + 0x123), 0, at + 0x123);
  CHECK_FAULT(attempt_write(at, 1), ERROR_WRITE, at);
  CHECK_FAULT(attempt_call(at), 0, at);

  map(at, first, P);
  CHECK_EQUAL(used(entry_of(at)), 0);
  struct outcome seen = attempt_read(at);
  CHECK_FINE(seen);
  CHECK_EQUAL(seen.accumulator, 0x11111111);
  CHECK_EQUAL(used(entry_of(at)), ACCESSED);
  CHECK((directory[at >> 22] & ACCESSED) != 0);

  map(at, second, P | W);
  CHECK_EQUAL(attempt_read(at).accumulator, 0x22222222);
  CHECK_EQUAL(used(entry_of(at)), ACCESSED);
  CHECK_FINE(attempt_write(at + 4, 0x33333333));
  CHECK_EQUAL(used(entry_of(at)), ACCESSED | DIRTY);
  CHECK_EQUAL(((uint32_t *)second)[1], 0x33333333);

  // Cleared bits are set again once the translation was invalidated.
  *entry_of(at) &= ~(uint32_t)(ACCESSED | DIRTY);
  invalidate_page(at);
  CHECK_FINE(attempt_read(at));
  CHECK_EQUAL(used(entry_of(at)), ACCESSED);
  *entry_of(at) &= ~(uint32_t)ACCESSED;
  invalidate_page(at);
  CHECK_FINE(attempt_write(at, 5));
  CHECK_EQUAL(used(entry_of(at)), ACCESSED | DIRTY);

  // Two pages, one frame.
  map(at + PAGE, second, P | W);
  CHECK_FINE(attempt_write(at + PAGE + 8, 0x44444444));
  CHECK_EQUAL(attempt_read(at + 8).accumulator, 0x44444444);
  CHECK_EQUAL(used(entry_of(at + PAGE)), ACCESSED | DIRTY);

  *entry_of(at) = 0;
  invalidate_page(at);
  CHECK_FAULT(attempt_read(at), 0, at);
  print("paging32: 4 KiB pages, INVLPG, accessed and dirty bits\n");
}

static void large_pages(void) {
  const uintptr_t at = 0x50000000, frame = 72 * MIB;
  uint32_t *entry = &directory[at >> 22];
  *entry = frame | P | W | LARGE;
  CHECK_FINE(attempt_read(at + 3 * MIB));
  CHECK_EQUAL(used(entry), ACCESSED);
  CHECK_FINE(attempt_write(at + 3 * MIB + 0x10, 0x55555555));
  CHECK_EQUAL(used(entry), ACCESSED | DIRTY);
  CHECK_EQUAL(*(volatile uint32_t *)(frame + 3 * MIB + 0x10), 0x55555555);

  // The same frames by 4 KiB pages, then the large page gives way to a table.
  map(0x40400000, frame + 3 * MIB, P);
  CHECK_EQUAL(attempt_read(0x40400010).accumulator, 0x55555555);
  *entry = 0;
  invalidate_page(at);
  CHECK_FAULT(attempt_write(at + 3 * MIB, 1), ERROR_WRITE, at + 3 * MIB);
  map(at + 3 * MIB, frame + 3 * MIB, P);
  CHECK_EQUAL(attempt_read(at + 3 * MIB + 0x10).accumulator, 0x55555555);
  CHECK_FAULT(attempt_read(at + 2 * MIB), 0, at + 2 * MIB);

  // A table gives way to a large page.
  *entry = frame | P | LARGE;
  invalidate_page(at + 3 * MIB);
  CHECK_FINE(attempt_read(at + 2 * MIB));
  CHECK_FAULT(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
  print("paging32: 4 MiB pages, a table in place of one and back\n");
}

static void write_protection(void) {
  const uintptr_t at = 0x40800000;
  uintptr_t frame = frame_allocate();
  map(at, frame, P);
  CHECK_FAULT(attempt_write(at, 7), ERROR_PRESENT | ERROR_WRITE, at);
  CHECK_EQUAL(*(volatile uint32_t *)frame, 0);
  write_cr0(read_cr0() & ~CR0_WP);
  CHECK_FINE(attempt_write(at, 7));
  CHECK_EQUAL(used(entry_of(at)), ACCESSED | DIRTY);
  write_cr0(read_cr0() | CR0_WP);
  CHECK_FAULT(attempt_write(at, 8), ERROR_PRESENT | ERROR_WRITE, at);
  CHECK_EQUAL(*(volatile uint32_t *)frame, 7);

  // The upper entry takes the right away as well.
  *entry_of(at) |= W;
  directory[at >> 22] &= ~(uint32_t)W;
  invalidate_page(at);
  CHECK_FAULT(attempt_write(at, 8), ERROR_PRESENT | ERROR_WRITE, at);
  directory[at >> 22] |= W;
  invalidate_page(at);
  CHECK_FINE(attempt_write(at, 8));
  print("paging32: CR0.WP decides for the kernel\n");
}

static void user_mode(void) {
  const uintptr_t code = 0x08000000, stack = 0x08001000, data = 0x08002000, kernel = 0x08003000;
  const uintptr_t top = stack + PAGE;
  uintptr_t frame = frame_allocate();
  map(code, (uintptr_t)user_page, P | U);
  map(stack, frame_allocate(), P | W | U);
  map(data, frame, P | W | U);
  map(kernel, frame, P | W);

  CHECK_CALLED(attempt_user(code + USER_OFFSET(user_nothing), top, 0, 0));
  *(volatile uint32_t *)frame = 40;
  struct outcome sum = attempt_user(code + USER_OFFSET(user_increment), top, data, 2);
  CHECK_CALLED(sum);
  CHECK_EQUAL(sum.accumulator, 42);
  CHECK_EQUAL(*(volatile uint32_t *)frame, 42);
  CHECK_EQUAL(used(entry_of(code)), ACCESSED);
  CHECK_EQUAL(used(entry_of(data)), ACCESSED | DIRTY);

  const uintptr_t read = code + USER_OFFSET(user_read), write = code + USER_OFFSET(user_write);
  const uintptr_t jump = code + USER_OFFSET(user_jump);
  CHECK_FAULT(attempt_user(read, top, kernel, 0), ERROR_PRESENT | ERROR_USER, kernel);
  CHECK_FAULT(attempt_user(write, top, kernel, 1), ERROR_PRESENT | ERROR_WRITE | ERROR_USER, kernel);
  CHECK_FAULT(attempt_user(jump, top, kernel, 0), ERROR_PRESENT | ERROR_USER, kernel);
  CHECK_FAULT(attempt_user(write, top, code, 1), ERROR_PRESENT | ERROR_WRITE | ERROR_USER, code);
  CHECK_FAULT(attempt_user(read, top, 0x08004000, 0), ERROR_USER, 0x08004000);
  CHECK_FAULT(attempt_user(write, top, 0x08004000, 0), ERROR_WRITE | ERROR_USER, 0x08004000);
  CHECK_FAULT(attempt_user(jump, top, 0x08004000, 0), ERROR_USER, 0x08004000);
  // An empty stack page: the push is what fails.
  CHECK_FAULT(attempt_user(code + USER_OFFSET(user_increment), 0x08006000, data, 0),
              ERROR_WRITE | ERROR_USER, 0x08005FFC);

  // WP never spares user code.
  *entry_of(data) &= ~(uint32_t)W;
  invalidate_page(data);
  write_cr0(read_cr0() & ~CR0_WP);
  CHECK_FAULT(attempt_user(write, top, data, 1), ERROR_PRESENT | ERROR_WRITE | ERROR_USER, data);
  write_cr0(read_cr0() | CR0_WP);

  struct outcome refused = attempt_user(code + USER_OFFSET(user_disable_interrupts), top, 0, 0);
  CHECK(refused.vector == TRAP_PROTECTION && refused.error == 0 && refused.from_user);
  print("paging32: user mode through TSS.esp0, error codes of user accesses\n");
}

void guest_main(void) {
  CHECK((cpuid(1, 0).d & 1 << 3) != 0);
  directory = (uint32_t *)frame_allocate();
  for (unsigned index = 0; index < 128 / 4; index++) {
    directory[index] = index * 4 * MIB | P | W | LARGE;
  }
  write_cr4(CR4_PSE);
  write_cr3((uintptr_t)directory);
  write_cr0(read_cr0() | CR0_PG | CR0_WP);
  print("paging32: paging is on, 128 MiB by 4 MiB pages\n");
  small_pages();
  large_pages();
  write_protection();
  user_mode();
  print("paging32: ok\n");
}
