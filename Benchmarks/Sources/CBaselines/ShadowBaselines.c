#include "CBaselines.h"

// What shadow paging must read and write, in plain C. Entries of shadow tables are written as they
// were found wherever the machine's own accounts would otherwise be wrong afterwards.

#define FRAME 0x000FFFFFFFFFF000ull
#define LEAF 0x0800000000000067ull

static inline uint64_t load(const uint8_t *memory, uint64_t address) {
  return *(const volatile uint64_t *)(memory + address);
}

static inline void store(uint8_t *memory, uint64_t address, uint64_t word) {
  *(volatile uint64_t *)(memory + address) = word;
}

static inline uint64_t exchange(uint8_t *memory, uint64_t address, uint64_t word) {
  return __atomic_exchange_n((uint64_t *)(memory + address), word, __ATOMIC_ACQ_REL);
}

static inline uint64_t entry_of(uint64_t table, uint64_t address, int shift) {
  return table + ((address >> shift & 511) << 3);
}

// Where a byte of the guest's lies: its slot, and four levels of the host's table.
static inline uint64_t place(const struct baseline_shadow *w, uint64_t address) {
  uint64_t frame = address >> 12;
  if (frame - w->slot.base >= w->slot.count) return 0;
  return baseline_walk(
      w->memory, w->host_root, w->slot.host + ((frame - w->slot.base) << 12) + (address & 0xFFF));
}

uint64_t baseline_shadow_place(const struct baseline_shadow *w, uint64_t address) {
  uint64_t table = w->shadow_root;
  for (int shift = 39; shift > 12; shift -= 9) {
    uint64_t entry = load(w->memory, entry_of(table, address, shift));
    if (!(entry & 1)) return 0;
    table = entry & FRAME;
  }
  return entry_of(table, address, 12);
}

// The guest's walk, its entries' places left in `places`; the frame's address that it maps.
static inline uint64_t guest_walk(
    const struct baseline_shadow *w, uint64_t address, uint64_t *places) {
  uint64_t table = w->guest_root;
  for (int shift = 39; shift >= 12; shift -= 9) {
    uint64_t at = place(w, entry_of(table, address, shift));
    places[(shift - 12) / 9] = at;
    table = load(w->memory, at) & FRAME;
  }
  return table;
}

static inline void install(struct baseline_shadow *w, uint64_t at, uint64_t guest, uint64_t host) {
  uint64_t old = load(w->memory, at);
  store(w->memory, at, host | LEAF | (old & 0));
  w->translations[guest >> 12] = guest;
  w->maps[guest >> 12] ^= at;
}

uint64_t baseline_shadow_fault(struct baseline_shadow *w, uint64_t address) {
  uint64_t places[4];
  uint64_t guest = guest_walk(w, address, places);
  uint64_t host = place(w, guest);
  uint64_t at = baseline_shadow_place(w, address);
  // Under the lock: the guest's entry is still the same, and nobody shadows a table in the page.
  uint64_t again = load(w->memory, places[0]) & FRAME;
  uint64_t shadowed = w->rows[(guest >> 12 & 4095) * 8];
  if (again != guest || shadowed) return 1;
  install(w, at, guest, host);
  return host;
}

void baseline_shadow_empty(struct baseline_shadow *w, uint64_t address) {
  store(w->memory, baseline_shadow_place(w, address), 1ull << 63);
}

uint64_t baseline_shadow_path(
    struct baseline_shadow *w, uint64_t address, const uint64_t *tables) {
  uint64_t places[4];
  uint64_t guest = guest_walk(w, address, places);
  uint64_t host = place(w, guest);
  uint64_t table = w->shadow_root;
  for (int level = 3; level > 0; level--, tables++) {
    uint64_t frame = load(w->memory, places[level]) & FRAME;
    // Nobody has a shadow of the guest's table yet, and nobody may write to it.
    uint64_t bucket = w->rows[(frame >> 12 & 4095) * 8];
    uint64_t leaves = w->maps[frame >> 12];
    if (bucket | leaves) return 1;
    for (uint64_t index = 0; index < 512; index++)
      store(w->memory, *tables + index * 8, 1ull << 63);
    store(w->memory, entry_of(table, address, 12 + 9 * level), *tables | 0x27);
    table = *tables;
  }
  uint64_t again = load(w->memory, places[0]) & FRAME;
  uint64_t shadowed = w->rows[(guest >> 12 & 4095) * 8];
  if (again != guest || shadowed) return 1;
  install(w, entry_of(table, address, 12), guest, host);
  w->maps[guest >> 12] = 0;
  return host;
}

void baseline_empty_table(struct baseline_shadow *w, uint64_t table) {
  for (uint64_t index = 0; index < 512; index++) store(w->memory, table + index * 8, 1ull << 63);
}

uint64_t baseline_shadow_sync(
    struct baseline_shadow *w, uint64_t guest, uint64_t leaves, uint64_t alias) {
  // The way down to the table, and the guest's right to write to it.
  uint64_t changed = baseline_shadow_place(w, 0) != leaves;
  exchange(w->memory, alias, load(w->memory, alias));
  uint64_t at = place(w, guest);
  for (uint64_t index = 0; index < 512; index++) {
    uint64_t old = load(w->memory, leaves + index * 8);
    if (!(old & 1)) continue;
    uint64_t now = load(w->memory, at + index * 8);
    if (*(volatile uint64_t *)(w->translations + index) == now) continue;
    exchange(w->memory, leaves + index * 8, old);
    w->translations[index] = now;
    changed++;
  }
  return changed;
}

uint64_t baseline_table_write(struct baseline_shadow *w, uint64_t guest, uint64_t address) {
  uint64_t at = place(w, guest);
  store(w->memory, at, load(w->memory, at));
  // The shadows of the frame: the bucket, the page's identity, and how often it was written.
  uint64_t *row = w->rows + (guest >> 12 & 4095) * 8;
  uint64_t id = *(volatile uint64_t *)row;
  uint64_t *count = row + 1 + id;
  *(volatile uint64_t *)count += 1;
  uint64_t entry = entry_of(
      load(w->memory, entry_of(load(w->memory, entry_of(w->shadow_root, address, 39)) & FRAME,
                               address, 30)) & FRAME, address, 21);
  uint64_t old = load(w->memory, entry);
  store(w->memory, entry, old);
  // The child is no longer led to.
  uint64_t parents = w->maps[(old & FRAME) >> 12 & 0xFFFF];
  w->maps[(old & FRAME) >> 12 & 0xFFFF] = parents;
  return id + parents;
}

uint64_t baseline_table_flood(struct baseline_shadow *w, uint64_t guest, uint64_t address) {
  uint64_t sum = baseline_table_write(w, guest, address);
  uint64_t upper = load(w->memory, entry_of(w->shadow_root, address, 39)) & FRAME;
  uint64_t parent = entry_of(upper, address, 30);
  uint64_t table = load(w->memory, parent) & FRAME;
  for (uint64_t index = 0; index < 512; index++)
    sum += load(w->memory, table + index * 8) & 1 & sum;
  store(w->memory, parent, load(w->memory, parent));
  return sum & 0x800;
}

uint64_t baseline_switch(
    struct baseline_shadow *w, struct baseline_roots *roots, uint64_t pointer) {
  uint64_t current = roots->pointer[0];
  for (int index = 1; index < 4; index++) {
    uint64_t candidate = *(volatile uint64_t *)(roots->pointer + index);
    *(volatile uint64_t *)(roots->pointer + index) = current;
    current = candidate;
    if (candidate == pointer) break;
  }
  *(volatile uint64_t *)roots->pointer = pointer;
  // The page of the root: its identity, its users, and whether anything below is out of sync.
  volatile uint64_t *row = w->rows + (pointer >> 12 & 4095) * 8;
  uint64_t id = row[0];
  if (current != pointer) row[1 + id] += 1;
  return id + row[2 + id];
}
