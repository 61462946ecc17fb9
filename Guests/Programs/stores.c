// Edits tables of every level by stores of every width and kind, aligned and not, and asks after each
// one what translates: the changed entry, its neighbours, and what a store across two pages hit.
#include "tables.h"

const char guest_name[] = "stores";

enum { TARGETS = 8, STEPS = 240 };
#define BASE 0x0000010000000000ul
/// Two tables side by side in the address space, though their frames are none in memory.
#define WINDOW 0x0000020000000000ul

static struct space space = { .levels = 4 };
/// What the entries of the table under test may lead to, and the word behind the address that the
/// entry translates first.
static uint64_t targets[TARGETS];
static uint64_t words[TARGETS];
/// The table under test, its level, the address that its first entry translates.
static volatile uint64_t *table;
static int table_level;
static uintptr_t table_base;

static uint64_t chance = 0x2545F4914F6CDD1D;
static unsigned random_below(unsigned bound) {
  chance ^= chance << 13;
  chance ^= chance >> 7;
  chance ^= chance << 17;
  return (unsigned)(chance >> 33) % bound;
}

static uintptr_t address_of(unsigned index) {
  uintptr_t address = table_base + ((uintptr_t)index << (12 + 9 * (table_level - 1)));
  // The upper half's addresses carry ones on top.
  return (address & 1ul << 47) != 0 ? address | 0xFFFFul << 48 : address;
}

/// What the processor sees through an entry is what the entry says.
static void check_entry(unsigned index) {
  // The top table also holds the guest itself.
  if (table_level == 4 && (index == 0 || index == 2 || index == 4 || index == 511)) return;
  uintptr_t address = address_of(index);
  uint64_t entry = table[index];
  struct outcome seen = attempt_read(address);
  if ((entry & P) == 0) {
    CHECK_FAULT(seen, 0, address);
    return;
  }
  CHECK_FINE(seen);
  for (unsigned target = 0; target < TARGETS; target++) {
    if ((entry & ENTRY_FRAME) == (targets[target] & ENTRY_FRAME)) {
      CHECK_EQUAL(seen.accumulator, words[target]);
      CHECK((table[index] & ACCESSED) != 0);
      return;
    }
  }
  CHECK(false);
}

// The ways of storing --------------------------------------------------------------------------------

enum {
  STORE8, STORE4, STORE2, STORE1, STRADDLE4, STRADDLE, STRING_STORE8, STRING_STORE1, STRING_MOVE8,
  STRING_MOVE1, EXCHANGE, COMPARE, COMPARE16, PUSH, POP, BITS, ADD, AND_OR, CALL, WAYS
};

/// Writes an entry by two stores of 8 bytes, neither of which is aligned to an entry.
static void straddle(volatile uint8_t *entry, uint64_t value, unsigned shift) {
  uint64_t low, high;
  memcpy(&low, (void *)(entry - shift), 8);
  memcpy(&high, (void *)(entry + 8 - shift), 8);
  unsigned bits = 8 * shift;
  low = (low & ((1ul << bits) - 1)) | value << bits;
  high = (high & ~((1ul << bits) - 1)) | value >> (64 - bits);
  *(volatile uint64_t *)(entry - shift) = low;
  *(volatile uint64_t *)(entry + 8 - shift) = high;
}

static void store(volatile uint64_t *entry, uint64_t value, unsigned way) {
  volatile uint8_t *bytes = (volatile uint8_t *)entry;
  bool inside = ((uintptr_t)entry & 0xFFF) != 0 && ((uintptr_t)entry & 0xFFF) != 0xFF8;
  uint64_t old = *entry, staged = value, count = 1;
  void *to = (void *)entry, *from = &staged;
  switch (way) {
  case STORE4:
    ((volatile uint32_t *)entry)[1] = (uint32_t)(value >> 32);
    ((volatile uint32_t *)entry)[0] = (uint32_t)value;
    break;
  case STORE2:
    for (int part = 3; part >= 0; part--) {
      ((volatile uint16_t *)entry)[part] = (uint16_t)(value >> (16 * part));
    }
    break;
  case STORE1:
    for (int part = 7; part >= 0; part--) bytes[part] = (uint8_t)(value >> (8 * part));
    break;
  case STRADDLE4:
    if (inside) straddle(bytes, value, 4); else *entry = value;
    break;
  case STRADDLE:
    if (inside) straddle(bytes, value, 1 + random_below(7)); else *entry = value;
    break;
  case STRING_STORE8:
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    break;
  case STRING_STORE1:
    // The whole entry to zero byte by byte, then its bytes.
    count = 8;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0) : "memory");
    if (value != 0) *entry = value;
    break;
  case STRING_MOVE8:
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    break;
  case STRING_MOVE1:
    count = 8;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    break;
  case EXCHANGE:
    __asm__ volatile("xchg %0, %1" : "+r"(staged), "+m"(*entry));
    CHECK_EQUAL(staged, old);
    break;
  case COMPARE: {
    // One that fails and writes nothing new, one that succeeds.
    uint64_t expected = old + 1;
    __asm__ volatile("lock cmpxchg %2, %1" : "+a"(expected), "+m"(*entry) : "r"(value) : "cc");
    CHECK_EQUAL(expected, old);
    CHECK_EQUAL(*entry, old);
    __asm__ volatile("lock cmpxchg %2, %1" : "+a"(expected), "+m"(*entry) : "r"(value) : "cc");
    break;
  }
  case COMPARE16: {
    // Both halves of an aligned pair, of which one stays.
    volatile uint64_t *pair = (volatile uint64_t *)((uintptr_t)entry & ~15ul);
    uint64_t low = pair[0], high = pair[1];
    uint64_t new_low = pair == entry ? value : low, new_high = pair == entry ? high : value;
    __asm__ volatile("lock cmpxchg16b %0" : "+m"(*pair), "+a"(low), "+d"(high)
                     : "b"(new_low), "c"(new_high) : "cc", "memory");
    break;
  }
  case PUSH:
    __asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push %1; mov %%rbx, %%rsp"
                     : : "r"(entry + 1), "r"(value) : "rbx", "memory");
    break;
  case POP:
    __asm__ volatile("push %1; pop (%0)" : : "r"(entry), "r"(value) : "memory");
    break;
  case BITS:
    for (uint64_t bit = 0; bit < 64; bit++) {
      if (((old ^ value) >> bit & 1) == 0) continue;
      if ((value >> bit & 1) != 0) __asm__ volatile("lock bts %1, %0" : "+m"(*entry) : "r"(bit) : "cc");
      else __asm__ volatile("btr %1, %0" : "+m"(*entry) : "r"(bit) : "cc");
    }
    break;
  case ADD:
    __asm__ volatile("lock xadd %0, %1" : "+r"(staged), "+m"(*entry) : : "cc");
    __asm__ volatile("sub %1, %0" : "+m"(*entry) : "r"(old) : "cc");
    break;
  case AND_OR:
    __asm__ volatile("andl $0, 4(%0); andq $0, (%0); or %1, (%0)" : : "r"(entry), "r"(value)
                     : "cc", "memory");
    break;
  case CALL:
    // A call pushes its return address: an entry that leads nowhere good, gone before it is used.
    __asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; call 1f; 1: mov %%rbx, %%rsp"
                     : : "r"(entry + 1) : "rbx", "memory");
    *entry = value;
    break;
  default:
    *entry = value;
    break;
  }
  CHECK_EQUAL(*entry, value);
}

// The tables -----------------------------------------------------------------------------------------

/// A subtree of tables down from a level, with one page at its very beginning.
static uint64_t subtree(int level, unsigned number) {
  uintptr_t page = frame_allocate();
  *(volatile uint64_t *)page = words[number] = 0x1000000 * (unsigned)level + number * 0x111;
  uint64_t entry = page | P | W;
  for (int at = 1; at < level; at++) {
    uintptr_t below = frame_allocate();
    *(volatile uint64_t *)below = entry;
    entry = below | P | W;
  }
  return entry;
}

static unsigned any_index(void) {
  // Often the same few, and often the edges.
  unsigned kind = random_below(8);
  unsigned index = kind == 0 ? 511 : kind == 1 ? 1 : kind < 5 ? 8 + random_below(8) : random_below(512);
  if (table_level == 4 && (index == 0 || index == 2 || index == 4 || index == 511)) index = 100;
  return index;
}

static void edit_level(int level) {
  table_level = level;
  for (unsigned number = 0; number < TARGETS; number++) targets[number] = subtree(level, number);
  if (level == 4) {
    table = (volatile uint64_t *)space.root;
    table_base = 0;
  } else {
    uintptr_t frame = frame_allocate();
    table = (volatile uint64_t *)frame;
    table_base = BASE;
    *entry_make(space, BASE, level + 1) = frame | P | W;
  }
  for (unsigned step = 0; step < STEPS; step++) {
    unsigned way = step < WAYS ? step : random_below(WAYS), index = any_index();
    unsigned edits = 1 + random_below(8) / 5 * 3;
    // More than one edit without an access between: what is behind may give up following.
    for (unsigned edit = 0; edit < edits; edit++) {
      bool empties = random_below(4) == 0;
      uint64_t before = table[index];
      store(&table[index], empties ? 0 : targets[random_below(TARGETS)], way);
      // An entry that was not present is nowhere remembered.
      if ((before & P) != 0) invalidate_page(address_of(index));
      check_entry(index);
      if (edit + 1 < edits) index = any_index();
    }
    check_entry(index);
    check_entry((index + 1) % 512);
    check_entry((index + 511) % 512);
    check_entry(any_index());
  }
  unsigned present = 0;
  for (unsigned index = 0; index < 512; index++) {
    check_entry(index);
    present += (table[index] & P) != 0;
  }
  print("stores: level %u, %u ways of storing, %u entries present\n", (unsigned)level, WAYS, present);
  // All of it goes at once, but for the guest's own entries.
  if (level < 4) {
    memset((void *)table, 0, PAGE);
    write_cr3(space.root);
    for (unsigned index = 0; index < 512; index++) check_entry(index);
    *entry_find(space, BASE, level + 1) = 0;
    write_cr3(space.root);
  } else {
    for (unsigned index = 5; index < 511; index++) table[index] = 0;
    write_cr3(space.root);
    for (unsigned index = 5; index < 511; index++) check_entry(index);
  }
}

/// Two tables through neighbouring pages: one store reaches the last entry of one and the first of
/// the other.
static void across_two_tables(void) {
  table_level = 1;
  uintptr_t upper = frame_allocate(), lower = frame_allocate();
  for (unsigned number = 0; number < TARGETS; number++) targets[number] = subtree(1, number);
  *entry_make(space, BASE, 2) = lower | P | W;
  *entry_make(space, BASE + 2 * MIB, 2) = upper | P | W;
  write_cr3(space.root);
  map(space, WINDOW, lower, P | W, 1);
  map(space, WINDOW + PAGE, upper, P | W, 1);
  volatile uint64_t *last = (volatile uint64_t *)(WINDOW + PAGE - 8);
  for (unsigned step = 0; step < 64; step++) {
    uint64_t low = step % 3 == 0 ? 0 : targets[random_below(TARGETS)];
    uint64_t high = step % 5 == 0 ? 0 : targets[random_below(TARGETS)];
    unsigned shift = 1 + step % 7;
    // The two entries as sixteen bytes, moved by three stores of which the middle one straddles.
    uint64_t bytes[2] = { low, high };
    volatile uint8_t *at = (volatile uint8_t *)last;
    uint64_t middle;
    memcpy(&middle, (uint8_t *)bytes + shift, 8);
    for (unsigned byte = 0; byte < shift; byte++) at[byte] = ((uint8_t *)bytes)[byte];
    *(volatile uint64_t *)(at + shift) = middle;
    for (unsigned byte = 8 + shift; byte < 16; byte++) at[byte] = ((uint8_t *)bytes)[byte];
    invalidate_page(BASE + 511 * PAGE);
    invalidate_page(BASE + 2 * MIB);
    table = (volatile uint64_t *)lower;
    table_base = BASE;
    CHECK_EQUAL(table[511] & ~(uint64_t)(ACCESSED | DIRTY), low);
    check_entry(511);
    check_entry(510);
    table = (volatile uint64_t *)upper;
    table_base = BASE + 2 * MIB;
    CHECK_EQUAL(table[0] & ~(uint64_t)(ACCESSED | DIRTY), high);
    check_entry(0);
    check_entry(1);
  }
  // A string across both, forwards and backwards.
  void *to = (void *)(WINDOW + PAGE - 16 * 8);
  uint64_t count = 32;
  __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(targets[3]) : "memory");
  write_cr3(space.root);
  for (unsigned index = 0; index < 16; index++) {
    CHECK_EQUAL(*(volatile uint64_t *)(BASE + (511 - index) * PAGE), words[3]);
    CHECK_EQUAL(*(volatile uint64_t *)(BASE + 2 * MIB + index * PAGE), words[3]);
  }
  to = (void *)(WINDOW + PAGE + 15 * 8);
  count = 32;
  __asm__ volatile("std; rep stosq; cld" : "+D"(to), "+c"(count) : "a"(0) : "memory");
  write_cr3(space.root);
  for (unsigned index = 0; index < 16; index++) {
    CHECK_FAULT(attempt_read(BASE + (511 - index) * PAGE), 0, BASE + (511 - index) * PAGE);
    CHECK_FAULT(attempt_read(BASE + 2 * MIB + index * PAGE), 0, BASE + 2 * MIB + index * PAGE);
  }
  unmap(space, WINDOW, 1);
  unmap(space, WINDOW + PAGE, 1);
  print("stores: across two tables, by stores and by strings both ways\n");
}

/// Rights given and taken by stores of one byte each, with and without accesses between.
static void rights(void) {
  uintptr_t frame = frame_allocate();
  map(space, BASE, frame, P, 1);
  volatile uint64_t *entry = entry_find(space, BASE, 1);
  volatile uint8_t *bytes = (volatile uint8_t *)entry;
  for (unsigned round = 0; round < 40; round++) {
    bytes[0] = P | W;
    // More rights need no invalidation: at worst the access faults once on what was remembered.
    struct outcome first = attempt_write(BASE, round);
    if (first.vector != -1) CHECK_FAULT(first, ERROR_PRESENT | ERROR_WRITE, BASE);
    CHECK_FINE(attempt_write(BASE, round));
    CHECK_EQUAL(*(volatile uint64_t *)frame, round);
    CHECK_EQUAL(bytes[0], P | W | ACCESSED | DIRTY);
    if (round % 2 == 0) bytes[0] &= ~(ACCESSED | DIRTY | W);
    else *entry = frame | P;
    invalidate_page(BASE);
    CHECK_FAULT(attempt_write(BASE, 99), ERROR_PRESENT | ERROR_WRITE, BASE);
    CHECK_EQUAL(attempt_read(BASE).accumulator, round);
    CHECK_EQUAL(used(space, BASE, 1), ACCESSED);
    bytes[7] = 0x80;
    invalidate_page(BASE);
    CHECK_FAULT(attempt_call(BASE), ERROR_PRESENT | ERROR_FETCH, BASE);
    bytes[7] = 0;
    bytes[0] = 0;
    invalidate_page(BASE);
    CHECK_FAULT(attempt_read(BASE + 8), 0, BASE + 8);
    bytes[0] = P;
    CHECK_EQUAL(attempt_read(BASE).accumulator, round);
    CHECK_EQUAL(used(space, BASE, 1), ACCESSED);
  }
  print("stores: rights by single bytes, accessed and dirty bits\n");
}

void guest_main(void) {
  space.root = read_cr3();
  for (int level = 1; level <= 4; level++) edit_level(level);
  *(volatile uint64_t *)(space.root + 8 * 2) = 0;
  across_two_tables();
  rights();
  print("stores: ok\n");
}
