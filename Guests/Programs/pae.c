// PAE paging: the four entries above the directories, NX, 2 MiB pages, error codes.
#include "tables.h"

const char guest_name[] = "pae";

static struct space space = { .levels = 3 };

static void reload(void) { write_cr3(read_cr3()); }

/// For a load of CR3 that may be refused.
static uintptr_t write_target;
static void write_cr3_target(void) { write_cr3(write_target); }

static void small_pages(void) {
  // Above 1 GiB: another directory than the code's.
  const uintptr_t at = 0x40200000;
  uintptr_t frame = frame_allocate();
  *(volatile uint32_t *)frame = 0x12345678;
  entry_make(space, at, 2);
  reload();
  CHECK_FAULT(attempt_read(at + 8), 0, at + 8);
  CHECK_FAULT(attempt_write(at + 8, 1), ERROR_WRITE, at + 8);
  map(space, at, frame, P, 1);
  CHECK_EQUAL(used(space, at, 1), 0);
  CHECK_EQUAL(attempt_read(at).accumulator, 0x12345678);
  CHECK_EQUAL(used(space, at, 1), ACCESSED);
  CHECK_FAULT(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
  change(space, at, 1, 0, W);
  CHECK_FINE(attempt_write(at, 0x87654321));
  CHECK_EQUAL(used(space, at, 1), ACCESSED | DIRTY);
  CHECK_EQUAL(*(volatile uint32_t *)frame, 0x87654321);

  // A word across two pages whose frames are not neighbours.
  uintptr_t apart = frame_allocate();
  apart = frame_allocate();
  map(space, at + PAGE, apart, P | W, 1);
  CHECK_FINE(attempt_write(at + PAGE - 2, 0xAABBCCDD));
  CHECK_EQUAL(*(volatile uint16_t *)(frame + PAGE - 2), 0xCCDD);
  CHECK_EQUAL(*(volatile uint16_t *)apart, 0xAABB);
  unmap(space, at + PAGE, 1);
  CHECK_FAULT(attempt_write(at + PAGE - 2, 0x11223344), ERROR_WRITE, at + PAGE);
  CHECK_EQUAL(*(volatile uint16_t *)(frame + PAGE - 2), 0xCCDD);
  print("pae: 4 KiB pages, accessed and dirty bits, a word across two pages\n");
}

static void large_pages(void) {
  const uintptr_t at = 0x40600000, frame = 72 * MIB;
  map(space, at, frame, P | W, 2);
  CHECK_FINE(attempt_read(at + MIB));
  CHECK_EQUAL(used(space, at, 2), ACCESSED);
  CHECK_FINE(attempt_write(at + MIB + 4, 0x600D));
  CHECK_EQUAL(used(space, at, 2), ACCESSED | DIRTY);
  CHECK_EQUAL(*(volatile uint32_t *)(frame + MIB + 4), 0x600D);
  change(space, at, 2, W, 0);
  CHECK_FAULT(attempt_write(at + MIB, 1), ERROR_PRESENT | ERROR_WRITE, at + MIB);

  // A table in its place, and the large page again.
  unmap(space, at, 2);
  map(space, at + MIB, frame + MIB, P, 1);
  CHECK_EQUAL(attempt_read(at + MIB + 4).accumulator, 0x600D);
  CHECK_FAULT(attempt_read(at), 0, at);
  unmap(space, at + MIB, 1);
  map(space, at, frame, P, 2);
  CHECK_FINE(attempt_read(at));
  CHECK_EQUAL(attempt_read(at + MIB + 4).accumulator, 0x600D);
  print("pae: 2 MiB pages, a table in place of one and back\n");
}

/// The processor keeps the four entries that MOV to CR3 loaded, whatever becomes of them in memory.
/// (QEMU reads them at each walk, and marks them accessed.)
static void top_entries_are_kept(volatile uint64_t *top, uintptr_t at, uintptr_t frame) {
  const uint64_t entry = *top;
  CHECK_EQUAL(entry & 0xFFF, P);
  map(space, at + PAGE, frame, P, 1);
  *top = 0;
  invalidate_page(at + PAGE);
  CHECK_EQUAL(attempt_read(at + PAGE).accumulator, *(volatile uint32_t *)frame);
  reload();
  CHECK_FAULT(attempt_read(at + PAGE), 0, at + PAGE);
  *top = entry;
  invalidate_page(at);
  CHECK_FAULT(attempt_read(at), 0, at);
  // Nor do writes of the other registers read them, with the values that are there, or of CR0.WP.
  write_cr0(read_cr0());
  write_cr4(read_cr4());
  write_msr(EFER, read_msr(EFER));
  write_cr0(read_cr0() ^ CR0_WP);
  write_cr0(read_cr0() ^ CR0_WP);
  CHECK_FAULT(attempt_read(at), 0, at);

  // Bits 1 and 2 are reserved here: the load is refused and CR3 stays.
  volatile uint64_t *other = (volatile uint64_t *)frame_allocate();
  memcpy((void *)other, (void *)space.root, 32);
  other[at >> 30] = entry | W;
  write_target = (uintptr_t)other;
  struct outcome refused = attempt_call((uintptr_t)write_cr3_target);
  CHECK_EQUAL(refused.vector, TRAP_PROTECTION);
  CHECK_EQUAL(refused.error, 0);
  CHECK_EQUAL(read_cr3(), space.root);
  CHECK_FAULT(attempt_read(at), 0, at);
  reload();
  CHECK_EQUAL(attempt_read(at).accumulator, *(volatile uint32_t *)frame);
}

static void top_entries(void) {
  const uintptr_t at = 0x80000000;
  uintptr_t first = frame_allocate(), second = frame_allocate();
  *(volatile uint32_t *)first = 1;
  *(volatile uint32_t *)second = 2;
  volatile uint64_t *top = entry_find(space, at, 3);

  // The processor keeps these entries until CR3 is loaded, so every change is followed by that.
  CHECK_FAULT(attempt_read(at), 0, at);
  map(space, at, first, P | W, 1);
  reload();
  CHECK_EQUAL(attempt_read(at).accumulator, 1);
  uint64_t one = *top;
  *top = 0;
  reload();
  CHECK_FAULT(attempt_read(at), 0, at);
  map(space, at, second, P | W, 1);
  reload();
  CHECK_EQUAL(attempt_read(at).accumulator, 2);
  CHECK_FINE(attempt_write(at + 4, 22));
  uint64_t two = *top;
  for (unsigned round = 0; round < 8; round++) {
    *top = round % 2 == 0 ? one : two;
    reload();
    CHECK_EQUAL(attempt_read(at).accumulator, round % 2 == 0 ? 1 : 2);
  }
  CHECK_EQUAL(((volatile uint32_t *)second)[1], 22);
  CHECK_EQUAL(*top, two);

  if (is_strict()) top_entries_are_kept(top, at, second);

  // Another set of four entries, not at the start of a page.
  uintptr_t other = frame_allocate() + 32 * 5;
  memcpy((void *)other, (void *)space.root, 32);
  ((volatile uint64_t *)other)[at >> 30] = one;
  write_cr3(other);
  CHECK_EQUAL(attempt_read(at).accumulator, 1);
  write_cr3(space.root);
  CHECK_EQUAL(attempt_read(at).accumulator, 2);

  print("pae: the four top entries are taken from memory by MOV to CR3\n");
}

static void no_execute(void) {
  const uintptr_t at = 0x40A00000;
  uintptr_t frame = frame_allocate();
  *(volatile uint8_t *)frame = *kernel_return;

  map(space, at, frame, P, 1);
  CHECK_FINE(attempt_call(at));
  // Before NXE is set, a fetch is not told apart, and bit 63 is reserved.
  CHECK_FAULT(attempt_call(at + PAGE), 0, at + PAGE);
  change(space, at, 1, 0, NX);
  CHECK_RESERVED(attempt_read(at), 0, at);
  CHECK_RESERVED(attempt_write(at, 1), ERROR_WRITE, at);

  write_msr(EFER, read_msr(EFER) | EFER_NXE);
  reload();
  CHECK_FINE(attempt_read(at));
  CHECK_FAULT(attempt_call(at), ERROR_PRESENT | ERROR_FETCH, at);
  CHECK_FAULT(attempt_call(at + PAGE), ERROR_FETCH, at + PAGE);
  change(space, at, 1, NX, 0);
  CHECK_FINE(attempt_call(at));
  // The directory's entry forbids as well.
  change(space, at, 2, 0, NX);
  CHECK_FAULT(attempt_call(at), ERROR_PRESENT | ERROR_FETCH, at);
  CHECK_FINE(attempt_read(at));
  change(space, at, 2, NX, 0);
  CHECK_FINE(attempt_call(at));
  // And a 2 MiB page.
  const uintptr_t large = 0x40C00000;
  map(space, large, 72 * MIB, P | W | NX, 2);
  *(volatile uint8_t *)(72 * MIB) = *kernel_return;
  CHECK_FAULT(attempt_call(large), ERROR_PRESENT | ERROR_FETCH, large);
  change(space, large, 2, NX, 0);
  CHECK_FINE(attempt_call(large));
  print("pae: EFER.NXE, NX in pages and tables\n");
}

static void reserved_bits(void) {
  const uintptr_t at = 0x40E00000;
  map(space, at, 1ull << 52, P | W, 1);
  CHECK_RESERVED(attempt_read(at), 0, at);
  CHECK_RESERVED(attempt_write(at, 1), ERROR_WRITE, at);
  map(space, at, 0, P | W, 1);
  CHECK_FINE(attempt_read(at));
  // The address bits below 2 MiB, PAT aside, are reserved in a large page's entry.
  map(space, 0x41000000, 1 << 13, P | W, 2);
  CHECK_RESERVED(attempt_read(0x41000000), 0, 0x41000000);
  print("pae: reserved bits\n");
}

static void user_mode(void) {
  const uintptr_t code = 0xC0000000, stack = 0xC0001000, data = 0xC0002000, kernel = 0xC0003000;
  const uintptr_t top = stack + PAGE;
  uintptr_t frame = frame_allocate();
  map(space, code, (uintptr_t)user_page, P | U, 1);
  map(space, stack, frame_allocate(), P | W | U | NX, 1);
  map(space, data, frame, P | W | U | NX, 1);
  map(space, kernel, frame, P | W, 1);
  reload();
  *(volatile uint32_t *)frame = 1000;
  CHECK_CALLED(attempt_user(code + USER_OFFSET(user_increment), top, data, 1));
  CHECK_EQUAL(*(volatile uint32_t *)frame, 1001);

  const uintptr_t read = code + USER_OFFSET(user_read), write = code + USER_OFFSET(user_write);
  const uintptr_t jump = code + USER_OFFSET(user_jump);
  CHECK_FAULT(attempt_user(read, top, kernel, 0), ERROR_PRESENT | ERROR_USER, kernel);
  CHECK_FAULT(attempt_user(write, top, kernel, 0), ERROR_PRESENT | ERROR_WRITE | ERROR_USER, kernel);
  CHECK_FAULT(attempt_user(write, top, code, 0), ERROR_PRESENT | ERROR_WRITE | ERROR_USER, code);
  CHECK_FAULT(attempt_user(jump, top, data, 0), ERROR_PRESENT | ERROR_USER | ERROR_FETCH, data);
  CHECK_FAULT(attempt_user(jump, top, 0xC0009000, 0), ERROR_USER | ERROR_FETCH, 0xC0009000);
  CHECK_FAULT(attempt_user(write, top, 0xC0009000, 0), ERROR_USER | ERROR_WRITE, 0xC0009000);
  print("pae: user mode, error codes with the fetch bit\n");
}

void guest_main(void) {
  CHECK((cpuid(1, 0).d & 1 << 6) != 0);
  CHECK((cpuid(0x80000001, 0).d & 1 << 20) != 0);
  space.root = frame_allocate();
  for (uintptr_t address = 0; address < 128 * MIB; address += 2 * MIB) {
    map(space, address, address, P | W, 2);
  }
  write_cr4(CR4_PAE);
  write_cr3(space.root);
  write_cr0(read_cr0() | CR0_PG | CR0_WP);
  print("pae: paging is on, 128 MiB by 2 MiB pages\n");
  small_pages();
  large_pages();
  top_entries();
  no_execute();
  reserved_bits();
  user_mode();
  print("pae: ok\n");
}
