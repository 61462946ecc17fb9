#include "CBaselines.h"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT
#endif

void baseline_toggle_counting(void) { CALLGRIND_TOGGLE_COLLECT; }

#define FRAME 0x000FFFFFFFFFF000ull

static inline uint64_t load(const uint8_t *memory, uint64_t address) {
  return *(const volatile uint64_t *)(memory + address);
}

uint64_t baseline_walk(const uint8_t *memory, uint64_t root, uint64_t address) {
  uint64_t table = root;
  for (int shift = 39; ; shift -= 9) {
    uint64_t entry = load(memory, table + ((address >> shift & 511) << 3));
    if (!(entry & 7)) return 0;
    table = entry & FRAME;
    if (shift == 12) return table | (address & 0xFFF);
    if (entry & 0x80) return table | (address & ((1ull << shift) - 1));
  }
}

uint64_t baseline_nested_walk(
    const uint8_t *memory, uint64_t nested_root, uint64_t root, uint64_t address) {
  uint64_t table = root;
  for (int shift = 39; shift >= 12; shift -= 9) {
    uint64_t place = baseline_walk(
        memory, nested_root, table + ((address >> shift & 511) << 3));
    uint64_t entry = load(memory, place);
    if (!(entry & 1)) return 0;
    table = entry & FRAME;
  }
  return baseline_walk(memory, nested_root, table | (address & 0xFFF));
}

uint64_t baseline_fault(
    uint8_t *memory, const struct baseline_slot *slot, uint64_t host_root, uint64_t nested_root,
    uint64_t address) {
  uint64_t frame = address >> 12;
  if (frame - slot->base >= slot->count) return 0;
  uint64_t host = baseline_walk(memory, host_root, slot->host + ((frame - slot->base) << 12));
  uint64_t table = nested_root;
  for (int shift = 39; shift > 12; shift -= 9) {
    uint64_t entry = load(memory, table + ((address >> shift & 511) << 3));
    if (!(entry & 7)) return 0;
    table = entry & FRAME;
  }
  uint64_t *place = (uint64_t *)(memory + table + ((address >> 12 & 511) << 3));
  uint64_t old = __atomic_load_n(place, __ATOMIC_ACQUIRE);
  uint64_t new = host | 0x600000000000B77ull;
  __atomic_compare_exchange_n(place, &old, new, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  return host;
}

uint64_t baseline_zap(
    uint8_t *memory, uint8_t *records, uint64_t nested_root, uint64_t first, uint64_t count) {
  uint64_t found = 0;
  for (uint64_t frame = first; frame < first + count; frame += 512) {
    uint64_t table = nested_root;
    for (int shift = 39; shift > 12; shift -= 9) {
      uint64_t entry = load(memory, table + ((frame << 12 >> shift & 511) << 3));
      if (!(entry & 7)) return found;
      table = entry & FRAME;
    }
    for (uint64_t index = 0; index < 512; index++) {
      uint64_t *place = (uint64_t *)(memory + table + index * 8);
      uint64_t old = __atomic_exchange_n(place, 1ull << 63, __ATOMIC_ACQ_REL);
      if (!(old & 1 << 11)) continue;
      __atomic_fetch_or(
          (uint32_t *)(records + (old & FRAME) / 4096 * 16), 0x30, __ATOMIC_RELAXED);
      found++;
    }
  }
  return found;
}

uint64_t baseline_slot_of(
    const struct baseline_slot *slots, uint64_t count, uint64_t frame, uint64_t *hint) {
  if (frame - slots[*hint].base < slots[*hint].count) return *hint;
  uint64_t low = 0, high = count;
  while (low < high) {
    uint64_t middle = (low + high) / 2;
    if (slots[middle].base + slots[middle].count <= frame) low = middle + 1;
    else high = middle;
  }
  if (low < count && frame - slots[low].base < slots[low].count) {
    *hint = low;
    return low;
  }
  return ~0ull;
}
