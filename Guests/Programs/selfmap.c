// Tables that map themselves at every level, tables that are shared at several places and by several
// spaces with different rights, tables that are a page and a table at once: every edit goes through a
// mapping that the edited tables make.
#include "tables.h"

const char guest_name[] = "selfmap";

// The entry of the top table that leads back to it.
enum { SELF = 510, SPACES = 3 };
#define AT 0x0000010000000000ul
#define OTHER 0x0000018000000000ul
#define CODE 0x0000008000000000ul
#define STACK 0x00007FFFFFFFE000ul
#define SIGN 0xFFFF000000000000ul

static struct space spaces[SPACES];
static unsigned active;
static uint64_t chance = 0xD1B54A32D192ED03;

static unsigned random_below(unsigned bound) {
  chance ^= chance << 13;
  chance ^= chance >> 7;
  chance ^= chance << 17;
  return (unsigned)(chance >> 33) % bound;
}

/// The entry of an address at a level, where the tables themselves map it.
static volatile uint64_t *seen_at(uintptr_t address, int level) {
  uint64_t place = address & ~SIGN;
  for (int times = 0; times < level; times++) place = place >> 9 | (uint64_t)SELF << 39;
  return (volatile uint64_t *)(SIGN | (place & ~7ul));
}

static void use(unsigned index) {
  active = index;
  write_cr3(spaces[index].root);
}

/// Changes an entry through the self-map, of which the processor remembers pages too.
static void set(uintptr_t address, int level, uint64_t value) {
  *seen_at(address, level) = value;
  invalidate_page(address);
  for (int below = 1; below < level; below++) invalidate_page((uintptr_t)seen_at(address, below));
}

static struct space make(void) {
  struct space space = { frame_allocate(), 4 };
  volatile uint64_t *top = (volatile uint64_t *)space.root;
  top[0] = *(volatile uint64_t *)read_cr3() | U;
  top[SELF] = space.root | P | W;
  map(space, CODE, (uintptr_t)user_page, P | U, 1);
  map(space, STACK, frame_allocate(), P | W | U | NX, 1);
  return space;
}

/// Builds and takes down a page's tables through the self-map alone.
static void from_nothing(void) {
  uintptr_t page = frame_allocate(), tables[3] = { frame_allocate(), frame_allocate(),
                                                   frame_allocate() };
  for (unsigned round = 0; round < 20; round++) {
    uintptr_t address = AT + (uintptr_t)random_below(512) * 0x40000000 + random_below(512) * 2 * MIB
                        + random_below(512) * PAGE;
    for (int level = 4; level > 1; level--) {
      CHECK_FAULT(attempt_read(address), 0, address);
      // The window on a table that is not there is not there either.
      uintptr_t window = (uintptr_t)seen_at(address, level - 1);
      CHECK_FAULT(attempt_read(window), 0, window);
      *seen_at(address, level) = tables[level - 2] | P | W;
      CHECK_EQUAL(attempt_read(window).accumulator, 0);
    }
    *seen_at(address, 1) = page | P | W;
    *(volatile uint64_t *)address = round;
    CHECK_EQUAL(*(volatile uint64_t *)page, round);
    CHECK_EQUAL(*seen_at(address, 1), page | P | W | ACCESSED | DIRTY);
    // A write through the window made the entry above dirty-marked nowhere but in its leaf.
    CHECK_EQUAL(*seen_at(address, 2) & (P | W | ACCESSED), P | W | ACCESSED);
    for (int level = 1; level <= 4; level++) {
      set(address, level, 0);
      CHECK_FAULT(attempt_write(address, 1), ERROR_WRITE, address);
    }
  }
  frame_free(page);
  for (unsigned index = 0; index < 3; index++) frame_free(tables[index]);
  print("selfmap: tables built and taken down through themselves\n");
}

/// The top table is reached as a table of each level and as a page; its entries are all of that.
static void one_table_all_levels(void) {
  volatile uint64_t *top = (volatile uint64_t *)spaces[0].root;
  uintptr_t self = SIGN;
  for (int level = 0; level < 4; level++) self |= (uintptr_t)SELF << (12 + 9 * level);
  for (unsigned index = 300; index < 320; index++) {
    uintptr_t frame = frame_allocate();
    *(volatile uint64_t *)frame = index;
    // As a leaf: the entry of the top table is a page in the self-map's smallest window.
    ((volatile uint64_t *)self)[index] = frame | P | W;
    uintptr_t page = (self & ~0x1FFFFFul) | (uintptr_t)index << 12;
    CHECK_EQUAL(*(volatile uint64_t *)page, index);
    CHECK((top[index] & ACCESSED) != 0);
    *(volatile uint64_t *)page = index + 1;
    CHECK_EQUAL(*(volatile uint64_t *)frame, index + 1);
    CHECK_EQUAL(top[index] & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    // As a top entry, its frame is a table of level 3, whose first word is no entry.
    *(volatile uint64_t *)page = 0;
    uintptr_t below = SIGN | (uintptr_t)index << 39;
    if (index < 256) below &= ~SIGN;
    CHECK_FAULT(attempt_read(below), 0, below);
    ((volatile uint64_t *)self)[index] = 0;
    invalidate_page(page);
    CHECK_FAULT(attempt_read(page), 0, page);
    frame_free(frame);
  }
  print("selfmap: the top table at every level and as a page\n");
}

/// A last-level table that holds its own page: it edits itself and the page stays what it is.
static void page_of_itself(void) {
  uintptr_t frame = frame_allocate(), other = frame_allocate();
  *(volatile uint64_t *)other = 0x0123;
  volatile uint64_t *own = entry_make(spaces[0], AT, 1);
  uintptr_t table = (uintptr_t)own & ~0xFFFul;
  own[5] = table | P | W;
  volatile uint64_t *window = (volatile uint64_t *)(AT + 5 * PAGE);
  for (unsigned round = 0; round < 30; round++) {
    window[round % 4 + 1] = (round % 2 == 0 ? frame : other) | P | W;
    *(volatile uint64_t *)frame = round;
    CHECK_EQUAL(*(volatile uint64_t *)(AT + (round % 4 + 1) * PAGE), round % 2 == 0 ? round : 0x0123);
    window[round % 4 + 1] = 0;
    invalidate_page(AT + (round % 4 + 1) * PAGE);
    CHECK_FAULT(attempt_read(AT + (round % 4 + 1) * PAGE), 0, AT + (round % 4 + 1) * PAGE);
    CHECK_EQUAL(window[5] & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    // It takes its own right to write away, and gets it back where it lies.
    window[5] = table | P;
    invalidate_page((uintptr_t)window);
    CHECK_FAULT(attempt_write((uintptr_t)&window[6], 1), ERROR_PRESENT | ERROR_WRITE,
                (uintptr_t)&window[6]);
    own[5] = table | P | W;
    invalidate_page((uintptr_t)window);
  }
  own[5] = 0;
  invalidate_page((uintptr_t)window);
  frame_free(frame);
  frame_free(other);
  print("selfmap: a table that holds its own page\n");
}

/// One directory and one last-level table at several addresses, each way with rights of its own.
static void shared_with_rights(void) {
  uintptr_t frame = frame_allocate();
  map(spaces[0], AT, frame, P | W | U, 1);
  uintptr_t table = (uintptr_t)(*entry_find(spaces[0], AT, 2) & ENTRY_FRAME);
  uintptr_t directory = (uintptr_t)(*entry_find(spaces[0], AT, 3) & ENTRY_FRAME);
  for (unsigned rights = 0; rights < 16; rights++) {
    // Two levels take rights away in their own ways; the shared leaf gives all.
    uint64_t upper = P | ((rights & 1) != 0 ? W : 0) | ((rights & 2) != 0 ? U : 0);
    uint64_t middle = P | ((rights & 4) != 0 ? W : 0) | ((rights & 8) != 0 ? U : 0);
    uintptr_t by_directory = OTHER + (uintptr_t)rights * 0x40000000, by_table = by_directory + 2 * MIB;
    *entry_make(spaces[0], by_directory, 3) = directory | upper;
    // The second way goes through the same directory, so a directory entry of its own is needed.
    *entry_make(spaces[0], AT + 2 * MIB, 2) = table | middle;
    invalidate_page(by_table);
    invalidate_page(AT + 2 * MIB);
    bool writes = (upper & W) != 0, users = (upper & U) != 0;
    bool both_write = writes && (middle & W) != 0, both_user = users && (middle & U) != 0;
    struct outcome outcome = attempt_write(by_directory, rights);
    if (writes) CHECK_FINE(outcome);
    else CHECK_FAULT(outcome, ERROR_PRESENT | ERROR_WRITE, by_directory);
    outcome = attempt_write(by_table + 8, rights);
    if (both_write) CHECK_FINE(outcome);
    else CHECK_FAULT(outcome, ERROR_PRESENT | ERROR_WRITE, by_table + 8);
    outcome = attempt_user(CODE + USER_OFFSET(user_read), STACK + PAGE, by_directory, 0);
    if (users) CHECK_CALLED(outcome);
    else CHECK_FAULT(outcome, ERROR_PRESENT | ERROR_USER, by_directory);
    outcome = attempt_user(CODE + USER_OFFSET(user_write), STACK + PAGE, by_table, 7);
    if (both_write && both_user) CHECK_CALLED(outcome);
    else CHECK_FAULT(outcome, ERROR_PRESENT | ERROR_USER | ERROR_WRITE, by_table);
    // The way with all rights is what it was.
    CHECK_FINE(attempt_write(AT, rights * 3));
    CHECK_CALLED(attempt_user(CODE + USER_OFFSET(user_write), STACK + PAGE, AT, 0x77));
    CHECK_EQUAL(*(volatile uint64_t *)by_directory, 0x77);
    // The shared leaf loses its right everywhere at once, and gets it back.
    *seen_at(AT, 1) = frame | P | U;
    invalidate_page(AT);
    invalidate_page(by_directory);
    invalidate_page(by_table);
    CHECK_FAULT(attempt_write(AT, 1), ERROR_PRESENT | ERROR_WRITE, AT);
    CHECK_FAULT(attempt_write(by_directory, 1), ERROR_PRESENT | ERROR_WRITE, by_directory);
    CHECK_FAULT(attempt_write(by_table, 1), ERROR_PRESENT | ERROR_WRITE, by_table);
    *seen_at(AT, 1) = frame | P | W | U;
    *entry_find(spaces[0], by_directory, 3) = 0;
    invalidate_page(by_directory);
    invalidate_page(by_table);
  }
  unmap(spaces[0], AT + 2 * MIB, 2);
  print("selfmap: one table by several ways, 16 combinations of rights\n");
}

/// Three spaces share a last-level table, a directory and a table of level 3; what one edits through
/// its own map, the others see when they come next.
static void shared_by_spaces(void) {
  enum { PAGES = 16, STEPS = 400 };
  uintptr_t frames[PAGES];
  uint64_t expected[PAGES] = { 0 };
  for (unsigned page = 0; page < PAGES; page++) {
    frames[page] = frame_allocate();
    *(volatile uint64_t *)frames[page] = 0x5000 + page;
  }
  entry_make(spaces[0], AT, 1);
  // The second space shares the last-level table, the third everything below the top; the second
  // may not write there.
  *entry_make(spaces[1], AT, 2) = (*entry_find(spaces[0], AT, 2) & ENTRY_FRAME) | P;
  *entry_make(spaces[2], AT, 4) = (*entry_find(spaces[0], AT, 4) & ENTRY_FRAME) | P | W;
  for (unsigned step = 0; step < STEPS; step++) {
    use(random_below(SPACES));
    for (unsigned edits = random_below(4); edits > 0; edits--) {
      unsigned page = random_below(PAGES);
      uintptr_t address = AT + page * PAGE;
      // The second space's map of the table is read-only: it edits where the table lies.
      volatile uint64_t *entry = active == 1 ? entry_find(spaces[1], address, 1) : seen_at(address, 1);
      expected[page] = random_below(4) == 0 ? 0 : frames[random_below(PAGES)] | P | W;
      *entry = expected[page];
      if (random_below(2) == 0) invalidate_page(address);
      else write_cr3(spaces[active].root);
    }
    for (unsigned looks = 0; looks < 4; looks++) {
      unsigned page = random_below(PAGES);
      uintptr_t address = AT + page * PAGE;
      struct outcome seen = attempt_read(address);
      if (expected[page] == 0) {
        CHECK_FAULT(seen, 0, address);
        continue;
      }
      CHECK_FINE(seen);
      uintptr_t frame = (uintptr_t)(expected[page] & ENTRY_FRAME);
      CHECK_EQUAL(seen.accumulator, *(volatile uint64_t *)frame);
      seen = attempt_write(address, *(volatile uint64_t *)frame + 1);
      if (active == 1) CHECK_FAULT(seen, ERROR_PRESENT | ERROR_WRITE, address);
      else CHECK_FINE(seen);
      uint64_t marks = *entry_find(spaces[0], address, 1) & (ACCESSED | DIRTY);
      CHECK((marks & ACCESSED) != 0 && (active == 1 || (marks & DIRTY) != 0));
    }
  }
  use(0);
  *entry_find(spaces[1], AT, 2) = 0;
  *entry_find(spaces[2], AT, 4) = 0;
  print("selfmap: tables of three levels shared by three spaces, 400 steps\n");
}

/// A root goes and its frame becomes a page, a table, and a root again.
static void roots_reused(void) {
  for (unsigned round = 0; round < 24; round++) {
    struct space space = make();
    uintptr_t frame = frame_allocate();
    *(volatile uint64_t *)frame = round;
    map(space, AT + round * PAGE, frame, P | W, 1);
    write_cr3(space.root);
    CHECK_EQUAL(*(volatile uint64_t *)(AT + round * PAGE), round);
    if (round > 0) CHECK_FAULT(attempt_read(AT + (round - 1) * PAGE), 0, AT + (round - 1) * PAGE);
    use(0);
    frame_free(frame);
    frame_free((uintptr_t)(*entry_find(space, STACK, 1) & ENTRY_FRAME));
    ((volatile uint64_t *)space.root)[SELF] = 0;
    tables_free(space, 1, 511);
    memset((void *)space.root, 0xEE, PAGE);
    frame_free(space.root);
  }
  print("selfmap: 24 roots out of the same frames\n");
}

void guest_main(void) {
  for (unsigned index = 0; index < SPACES; index++) spaces[index] = make();
  use(0);
  from_nothing();
  one_table_all_levels();
  page_of_itself();
  shared_with_rights();
  shared_by_spaces();
  roots_reused();
  print("selfmap: ok\n");
}
