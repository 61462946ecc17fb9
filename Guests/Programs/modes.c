// Every way of paging in one run: off, 32-bit with and without 4 MiB pages, PAE, 4 levels and 5,
// switched in every order; directories shared by PAE and 4 levels; one page that is a table of 32-bit
// entries and of 64-bit ones; tables that map themselves; CR0.WP, NXE, SMEP and SMAP in each.
#include "tables.h"

const char guest_name[] = "modes";

#define EFER_LME (1u << 8)
#define AT 0x40000000ul
#define CODE 0x48000000ul
#define STACK 0x48001000ul
#define SHARED_SHORT 0x50000000ul
#define SHARED_LONG 0x60000000ul

enum mode { OFF, SHORT, SHORT_LARGE, PAE, FOUR, FIVE, MODES };
static const char *const mode_names[] = { "off", "32-bit", "32-bit and 4 MiB", "PAE", "4 levels",
                                          "5 levels" };

void switch_paging(uint32_t cr0, uint32_t cr3, uint32_t cr4, uint32_t efer);
extern const uint8_t stub_undefined[], stub_double[], stub_protection[], stub_page_fault[], stub_call[];
extern const uint8_t trap_stack_top[];
void load_segments(void);

static enum mode mode = OFF;
static bool has_five, has_nx, has_smep, has_smap;
static uint32_t more_cr4, lost_cr0, nxe = EFER_NXE;
static uintptr_t roots[MODES];
/// The tables of 64-bit entries, whose directories every mode of such entries uses.
static struct space wide = { .levels = 3 };
static volatile uint32_t *shared;

static bool is_wide(void) { return mode >= PAE; }

// Exceptions in long mode ----------------------------------------------------------------------------

static struct { uint32_t words[4]; } long_idt[TRAP_USER_CALL + 1];
static struct { uint16_t limit; uint32_t base; } __attribute__((packed)) short_pointer, long_pointer;
static struct __attribute__((packed)) {
  uint32_t reserved;
  uint64_t stacks[3];
  uint8_t rest[76];
} long_task;
static uint64_t gdt[10];
static struct __attribute__((packed)) { uint32_t link, esp0, ss0, unused[22]; uint32_t map; } short_task;

static uint64_t task_descriptor(uintptr_t base, unsigned limit) {
  return limit | (uint64_t)(base & 0xFFFFFF) << 16 | 0x89ull << 40
         | (uint64_t)(base >> 24) << 56;
}

static void long_gate(unsigned vector, const uint8_t *stub, unsigned privilege) {
  uintptr_t at = (uintptr_t)stub;
  long_idt[vector].words[0] = 0x18 << 16 | (at & 0xFFFF);
  long_idt[vector].words[1] = (at & 0xFFFF0000) | 0x8E00 | privilege << 13;
}

static void prepare_traps(void) {
  // The runtime's own descriptors, then a task for 32-bit mode and one for long mode.
  struct { uint16_t limit; uint32_t base; } __attribute__((packed)) old;
  __asm__ volatile("sgdt %0" : "=m"(old));
  __asm__ volatile("sidt %0" : "=m"(short_pointer));
  memcpy(gdt, (void *)old.base, 6 * 8);
  short_task.esp0 = (uintptr_t)trap_stack_top;
  short_task.ss0 = 0x10;
  short_task.map = sizeof short_task << 16;
  long_task.stacks[0] = (uintptr_t)trap_stack_top;
  long_gate(TRAP_UNDEFINED, stub_undefined, 0);
  long_gate(8, stub_double, 0);
  long_gate(TRAP_PROTECTION, stub_protection, 0);
  long_gate(TRAP_PAGE_FAULT, stub_page_fault, 0);
  long_gate(TRAP_USER_CALL, stub_call, 3);
  long_pointer.limit = sizeof long_idt - 1;
  long_pointer.base = (uintptr_t)long_idt;
  struct { uint16_t limit; uint32_t base; } __attribute__((packed)) pointer = {
    sizeof gdt - 1, (uintptr_t)gdt };
  __asm__ volatile("lgdt %0" : : "m"(pointer) : "memory");
  load_segments();
}

// Switching ------------------------------------------------------------------------------------------

static void enter(enum mode next) {
  bool is_long = next >= FOUR;
  uint32_t cr4 = more_cr4 | (next == SHORT_LARGE ? CR4_PSE : 0) | (next >= PAE ? CR4_PAE : 0)
                 | (next == FIVE ? CR4_LA57 : 0);
  uint32_t efer = (next >= PAE ? nxe : 0) | (is_long ? EFER_LME : 0);
  uint32_t cr0 = 0x11 | (next == OFF ? 0 : CR0_PG) | (CR0_WP & ~lost_cr0);
  switch_paging(cr0, roots[next], cr4, efer);
  // The tasks' descriptors are marked busy once loaded.
  gdt[6] = task_descriptor((uintptr_t)&short_task, sizeof short_task - 1);
  gdt[8] = task_descriptor((uintptr_t)&long_task, sizeof long_task - 1);
  gdt[9] = 0;
  if (is_long) __asm__ volatile("lidt %0; ltr %w1" : : "m"(long_pointer), "r"(0x40) : "memory");
  else __asm__ volatile("lidt %0; ltr %w1" : : "m"(short_pointer), "r"(0x30) : "memory");
  mode = next;
}

static void reload(void) { write_cr3(roots[mode]); }

// The tables -----------------------------------------------------------------------------------------

/// The entry of a page in the mode's tables; the level is 1 for 4 KiB, 2 for the larger ones.
static volatile uint32_t *entry(uintptr_t address, int level) {
  if (is_wide()) return (volatile uint32_t *)entry_make(wide, address, level);
  volatile uint32_t *upper = (volatile uint32_t *)roots[mode] + (address >> 22);
  if (level == 2) return upper;
  if ((*upper & P) == 0) *upper = frame_allocate() | P | W | U;
  return (volatile uint32_t *)(*upper & ~0xFFFu) + (address >> 12 & 1023);
}

static void set(uintptr_t address, uintptr_t frame, uint32_t bits, int level) {
  *entry(address, level) = frame | bits | (level == 2 ? LARGE : 0);
  invalidate_page(address);
}

static uint32_t bits_of(uintptr_t address, int level) {
  return *entry(address, level) & (ACCESSED | DIRTY);
}

static void build(void) {
  // 128 MiB as they are: by small pages, by 4 MiB pages, by 2 MiB pages.
  roots[SHORT] = frame_allocate();
  roots[SHORT_LARGE] = frame_allocate();
  for (unsigned index = 0; index < 32; index++) {
    uint32_t *table = (uint32_t *)frame_allocate();
    for (unsigned page = 0; page < 1024; page++) table[page] = index << 22 | page << 12 | P | W;
    // Without CR4.PSE bit 7 means nothing.
    ((uint32_t *)roots[SHORT])[index] = (uintptr_t)table | P | W | U | (index % 2 != 0 ? LARGE : 0);
    ((uint32_t *)roots[SHORT_LARGE])[index] = index << 22 | P | W | LARGE;
  }
  roots[PAE] = wide.root = frame_allocate();
  uint64_t *top = (uint64_t *)frame_allocate();
  for (unsigned index = 0; index < 4; index++) {
    uintptr_t directory = frame_allocate();
    ((uint64_t *)roots[PAE])[index] = directory | P;
    top[index] = directory | P | W | U;
  }
  for (unsigned index = 0; index < 64; index++) {
    *entry_make(wide, index * 2 * MIB, 2) = index * 2 * MIB | P | W | LARGE;
  }
  roots[FOUR] = frame_allocate();
  *(uint64_t *)roots[FOUR] = (uintptr_t)top | P | W | U;
  roots[FIVE] = frame_allocate();
  *(uint64_t *)roots[FIVE] = roots[FOUR] | P | W | U;
  // Each kind of tables maps itself at the end of the address space.
  for (enum mode kind = SHORT; kind <= SHORT_LARGE; kind++) {
    ((uint32_t *)roots[kind])[1023] = roots[kind] | P | W;
  }
  uint64_t *last = (uint64_t *)(uintptr_t)(((uint64_t *)roots[PAE])[3] & ENTRY_FRAME);
  for (unsigned index = 0; index < 4; index++) {
    last[508 + index] = (((uint64_t *)roots[PAE])[index] & ENTRY_FRAME) | P | W;
  }
  // One page is a table in two languages: entries of 64 bits, of which every other half is empty.
  uintptr_t both = frame_allocate();
  shared = (volatile uint32_t *)both;
  for (enum mode kind = SHORT; kind <= SHORT_LARGE; kind++) {
    ((uint32_t *)roots[kind])[SHARED_SHORT >> 22] = both | P | W | U;
  }
  *entry_make(wide, SHARED_LONG, 2) = both | P | W | U;
}

/// The entry of a page, seen through the tables' own window.
static volatile uint32_t *window(uintptr_t address) {
  return is_wide() ? (volatile uint32_t *)(0xFF800000 + (address >> 12) * 8)
                   : (volatile uint32_t *)(0xFFC00000 + (address >> 12) * 4);
}

// The tests of one mode ------------------------------------------------------------------------------

static unsigned stamp = 0x1000;

static void small_pages(uintptr_t first, uintptr_t second) {
  uintptr_t at = AT + mode * 0x400000;
  *(volatile uint32_t *)first = ++stamp;
  *(volatile uint32_t *)second = ++stamp;
  unsigned seen = stamp;
  set(at, 0, 0, 1);
  CHECK_FAULT(attempt_read(at + 4), 0, at + 4);
  set(at, first, P, 1);
  CHECK_EQUAL(bits_of(at, 1), 0);
  CHECK_EQUAL(attempt_read(at).accumulator, seen - 1);
  CHECK_EQUAL(bits_of(at, 1), ACCESSED);
  CHECK_FAULT(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
  write_cr0(read_cr0() & ~CR0_WP);
  CHECK_FINE(attempt_write(at + 8, seen));
  CHECK_EQUAL(bits_of(at, 1), ACCESSED | DIRTY);
  write_cr0(read_cr0() | CR0_WP);
  CHECK_FAULT(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
  CHECK_EQUAL(((volatile uint32_t *)first)[2], seen);
  // Through the window.
  volatile uint32_t *mine = window(at);
  CHECK_EQUAL(*mine & ~0xFFFu, first);
  *mine = second | P | W;
  invalidate_page(at);
  CHECK_EQUAL(attempt_read(at).accumulator, seen);
  CHECK_EQUAL(*mine & (ACCESSED | DIRTY), ACCESSED);
  CHECK_FINE(attempt_write(at + 4, seen + 7));
  CHECK_EQUAL(*mine & (ACCESSED | DIRTY), ACCESSED | DIRTY);
  CHECK_EQUAL(((volatile uint32_t *)second)[1], seen + 7);
  *mine = 0;
  invalidate_page(at);
  CHECK_FAULT(attempt_write(at, 1), ERROR_WRITE, at);
}

static void large_pages(void) {
  uintptr_t at = AT + 0x8000000, size = is_wide() ? 2 * MIB : 4 * MIB, frame = 96 * MIB;
  volatile uint32_t *upper = entry(at, 2);
  uint32_t old = *upper;
  *(volatile uint32_t *)(frame + size - 4) = ++stamp;
  if (mode == SHORT) {
    // The same bits are a table here: the first word of the frame is its entry.
    *(volatile uint32_t *)frame = (frame + 0x5000) | P;
    *(volatile uint32_t *)(frame + 0x5010) = stamp;
    *upper = frame | P | W | LARGE;
    invalidate_page(at);
    CHECK_EQUAL(attempt_read(at + 0x10).accumulator, stamp);
    CHECK_FAULT(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
  } else {
    set(at, frame, P | W, 2);
    CHECK_EQUAL(attempt_read(at + size - 4).accumulator, stamp);
    CHECK_EQUAL(*upper & (ACCESSED | DIRTY), ACCESSED);
    CHECK_FINE(attempt_write(at + size - 8, stamp));
    CHECK_EQUAL(*upper & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    CHECK_EQUAL(*(volatile uint32_t *)(frame + size - 8), stamp);
  }
  *upper = old;
  invalidate_page(at);
  reload();
}

static void user_mode(uintptr_t frame) {
  uintptr_t at = AT + mode * 0x400000;
  set(CODE, (uintptr_t)user_page, P | U, 1);
  set(STACK, 70 * MIB, P | W | U, 1);
  set(at, frame, P | W | U, 1);
  *(volatile uint32_t *)frame = 40;
  struct outcome sum =
    attempt_user(CODE + USER_OFFSET(user_increment), STACK + PAGE, at, 2);
  CHECK_CALLED(sum);
  CHECK_EQUAL(sum.accumulator, 42);
  CHECK_EQUAL(bits_of(at, 1), ACCESSED | DIRTY);
  set(at, frame, P | W, 1);
  CHECK_FAULT(attempt_user(CODE + USER_OFFSET(user_read), STACK + PAGE, at, 0),
              ERROR_PRESENT | ERROR_USER, at);
  set(at, frame, P | U, 1);
  CHECK_FAULT(attempt_user(CODE + USER_OFFSET(user_write), STACK + PAGE, at, 0),
              ERROR_PRESENT | ERROR_USER | ERROR_WRITE, at);
  // A supervisor's write while CR0.WP is clear gives user code nothing.
  write_cr0(read_cr0() & ~CR0_WP);
  CHECK_FINE(attempt_write(at, 43));
  CHECK_FAULT(attempt_user(CODE + USER_OFFSET(user_write), STACK + PAGE, at, 0),
              ERROR_PRESENT | ERROR_USER | ERROR_WRITE, at);
  struct outcome seen = attempt_user(CODE + USER_OFFSET(user_read), STACK + PAGE, at, 0);
  CHECK_CALLED(seen);
  CHECK_EQUAL(seen.accumulator, 43);
  CHECK_FINE(attempt_write(at, 44));
  write_cr0(read_cr0() | CR0_WP);
  CHECK_FAULT(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
}

/// SMEP and SMAP, with CR0.WP set and clear.
static void supervisor_modes(uintptr_t frame) {
  uintptr_t at = AT + mode * 0x400000;
  set(at, frame, P | U, 1);
  *(volatile uint8_t *)frame = *kernel_return;
  for (unsigned wp = 0; wp < 2; wp++) {
    if (wp == 0) write_cr0(read_cr0() & ~CR0_WP);
    if (has_smep) {
      CHECK_FINE(attempt_call(at));
      write_cr4(read_cr4() | CR4_SMEP);
      CHECK_FAULT(attempt_call(at), ERROR_PRESENT | ERROR_FETCH, at);
      if (wp == 0) CHECK_FINE(attempt_write(at + 16, 1));
      CHECK_FAULT(attempt_call(at), ERROR_PRESENT | ERROR_FETCH, at);
      write_cr4(read_cr4() & ~CR4_SMEP);
      CHECK_FINE(attempt_call(at));
    }
    if (has_smap) {
      write_cr4(read_cr4() | CR4_SMAP);
      CHECK_FAULT(attempt_read(at), ERROR_PRESENT, at);
      CHECK_FAULT(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
      __asm__ volatile("stac" : : : "memory", "cc");
      CHECK_EQUAL(*(volatile uint8_t *)at, *kernel_return);
      if (wp == 0) *(volatile uint32_t *)(at + 16) = 2;
      __asm__ volatile("clac" : : : "memory", "cc");
      if (wp == 0) CHECK_EQUAL(*(volatile uint32_t *)(frame + 16), 2);
      CHECK_FAULT(attempt_read(at), ERROR_PRESENT, at);
      write_cr4(read_cr4() & ~CR4_SMAP);
      CHECK_FINE(attempt_read(at));
    }
    write_cr0(read_cr0() | CR0_WP);
  }
}

/// Execute-disable, and what its bit is while EFER.NXE is clear.
static void execute_disable(uintptr_t frame) {
  if (!is_wide() || !has_nx) return;
  uintptr_t at = AT + mode * 0x400000;
  *(volatile uint8_t *)frame = *kernel_return;
  set(at, frame, P | W, 1);
  CHECK_FINE(attempt_call(at));
  window(at)[1] = 0x80000000;
  invalidate_page(at);
  CHECK_FAULT(attempt_call(at), ERROR_PRESENT | ERROR_FETCH, at);
  CHECK_FINE(attempt_read(at));
  nxe = 0;
  enter(mode);
  CHECK_RESERVED(attempt_read(at), ERROR_PRESENT, at);
  CHECK_RESERVED(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
  nxe = EFER_NXE;
  enter(mode);
  CHECK_FINE(attempt_read(at));
  CHECK_FAULT(attempt_call(at), ERROR_PRESENT | ERROR_FETCH, at);
  window(at)[1] = 0;
  invalidate_page(at);
  CHECK_FINE(attempt_call(at));
}

/// The page that is a table for both lengths of entries: what one mode writes, the others follow.
static void two_languages(unsigned round) {
  static uint32_t expected[8];
  if (mode == OFF) {
    // Without paging, the table is written where it lies.
    unsigned index = round % 8;
    expected[index] = 80 * MIB + (round % 64) * PAGE;
    *(volatile uint32_t *)expected[index] = 0xABC000 + round;
    shared[2 * index] = expected[index] | P | W;
    shared[2 * index + 1] = 0;
    return;
  }
  for (unsigned index = 0; index < 8; index++) {
    uintptr_t at = is_wide() ? SHARED_LONG + index * PAGE : SHARED_SHORT + 2 * index * PAGE;
    if (expected[index] == 0) {
      CHECK_FAULT(attempt_read(at), 0, at);
      continue;
    }
    CHECK_EQUAL(attempt_read(at).accumulator, *(volatile uint32_t *)expected[index]);
    if (!is_wide()) CHECK_FAULT(attempt_read(at + PAGE), 0, at + PAGE);
  }
  // This mode moves one page, through whichever view it has.
  unsigned index = (round + 3) % 8;
  uintptr_t at = is_wide() ? SHARED_LONG + index * PAGE : SHARED_SHORT + 2 * index * PAGE;
  expected[index] = round % 5 == 0 ? 0 : 81 * MIB + (round % 64) * PAGE;
  if (expected[index] != 0) *(volatile uint32_t *)expected[index] = 0xDEF000 + round;
  volatile uint32_t *word = round % 2 == 0 ? window(at) : &shared[2 * index];
  *word = expected[index] == 0 ? 0 : expected[index] | P | W;
  invalidate_page(at);
  if (expected[index] == 0) CHECK_FAULT(attempt_read(at), 0, at);
  else CHECK_EQUAL(attempt_read(at).accumulator, 0xDEF000 + round);
}

static void no_paging(uintptr_t frame) {
  *(volatile uint32_t *)frame = ++stamp;
  CHECK_EQUAL(attempt_read(frame).accumulator, stamp);
  // Tables are memory like any other.
  volatile uint64_t *own = entry_make(wide, AT, 1);
  uint64_t old = *own;
  *own = 0x123456789ABCDEF0;
  CHECK_EQUAL(((volatile uint32_t *)own)[1], 0x12345678);
  *own = old;
  CHECK_FINE(attempt_call((uintptr_t)kernel_return));
  CHECK_CALLED(attempt_user((uintptr_t)user_page + USER_OFFSET(user_nothing), 71 * MIB, 0, 0));
}

void guest_main(void) {
  has_five = cpuid(0, 0).a >= 7 && (cpuid(7, 0).c & 1 << 16) != 0;
  has_smep = cpuid(0, 0).a >= 7 && (cpuid(7, 0).b & 1 << 7) != 0;
  has_smap = cpuid(0, 0).a >= 7 && (cpuid(7, 0).b & 1 << 20) != 0;
  has_nx = (cpuid(0x80000001, 0).d & 1 << 20) != 0;
  if (!has_nx) nxe = 0;
  prepare_traps();
  build();
  uintptr_t first = frame_allocate(), second = frame_allocate();
  unsigned switches = 0;
  for (enum mode from = OFF; from < MODES; from++) {
    for (enum mode to = OFF; to < MODES; to++) {
      if (!has_five && (from == FIVE || to == FIVE)) continue;
      enum mode both[] = { from, to };
      for (unsigned side = 0; side < 2; side++) {
        enter(both[side]);
        switches++;
        two_languages(switches);
        if (mode == OFF) {
          no_paging(first);
          continue;
        }
        small_pages(first, second);
        large_pages();
        user_mode(second);
        supervisor_modes(first);
        execute_disable(second);
      }
    }
    print("modes: from %s to every other\n", mode_names[from]);
  }
  // CR0.WP clear across switches.
  lost_cr0 = CR0_WP;
  for (enum mode to = SHORT; to < MODES; to++) {
    if (!has_five && to == FIVE) continue;
    enter(to);
    uintptr_t at = AT + mode * 0x400000;
    set(at, first, P, 1);
    CHECK_FINE(attempt_write(at, 1));
    write_cr0(read_cr0() | CR0_WP);
    CHECK_FAULT(attempt_write(at, 1), ERROR_PRESENT | ERROR_WRITE, at);
    lost_cr0 = CR0_WP;
  }
  lost_cr0 = 0;
  enter(OFF);
  print("modes: CR0.WP across switches\n");
  print("modes: ok\n");
}
