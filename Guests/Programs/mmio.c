// Addresses with no memory behind them: the local APIC, a hole, and the fw_cfg ports.
#include "tables.h"

const char guest_name[] = "mmio";

#define APIC 0xFEE00000ul
#define HOLE 0xD0000000ul

enum { APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_SPURIOUS = 0xF0 };

static struct space space = { .levels = 4 };

static uint32_t apic_read(uintptr_t at, unsigned offset) {
  return *(volatile uint32_t *)(at + offset);
}
static void apic_write(uintptr_t at, unsigned offset, uint32_t value) {
  *(volatile uint32_t *)(at + offset) = value;
}

static void local_apic(void) {
  const uintptr_t other = 0x0000400000000000;
  map(space, APIC, APIC, P | W | CACHE_DISABLE, 1);
  map(space, other, APIC, P | W | CACHE_DISABLE, 1);
  CHECK_EQUAL(apic_read(APIC, APIC_ID) >> 24, 0);
  uint32_t version = apic_read(APIC, APIC_VERSION);
  CHECK((version & 0xF0) == 0x10);
  CHECK((version >> 16 & 0xFF) >= 3);
  CHECK_EQUAL(apic_read(other, APIC_VERSION), version);
  print("mmio: local APIC 0, of the integrated kind\n");

  // Written through one mapping, read through the other.
  apic_write(APIC, APIC_SPURIOUS, 0x1FF);
  CHECK_EQUAL(apic_read(other, APIC_SPURIOUS), 0x1FF);
  apic_write(other, APIC_SPURIOUS, 0x1EF);
  CHECK_EQUAL(apic_read(APIC, APIC_SPURIOUS), 0x1EF);
  apic_write(APIC, APIC_SPURIOUS, 0x0FF);
  CHECK_EQUAL(apic_read(APIC, APIC_SPURIOUS), 0x0FF);
  print("mmio: the spurious vector register keeps what is written\n");

  // The guest's own tables decide before any device is asked.
  map(space, other, APIC, P | CACHE_DISABLE, 1);
  CHECK_FAULT(attempt_write(other + APIC_SPURIOUS, 0), ERROR_PRESENT | ERROR_WRITE,
              other + APIC_SPURIOUS);
  unmap(space, other, 1);
  CHECK_FAULT(attempt_read(other + APIC_SPURIOUS), 0, other + APIC_SPURIOUS);
  CHECK_EQUAL(apic_read(APIC, APIC_SPURIOUS), 0x0FF);

  // The same address space from memory to the device and back.
  uintptr_t frame = frame_allocate();
  *(volatile uint32_t *)(frame + APIC_VERSION) = 0xCAFE;
  for (unsigned round = 0; round < 6; round++) {
    bool memory = round % 2 == 0;
    map(space, other, memory ? frame : APIC, P | W, 1);
    CHECK_EQUAL(apic_read(other, APIC_VERSION), memory ? 0xCAFE : version);
  }
  frame_free(frame);
  print("mmio: the guest's tables decide first\n");
}

/// Reads of a hole give one byte over and over, whatever the width, and writes leave no trace.
static void check_hole(uintptr_t at, uint64_t expected) {
  volatile uint8_t *byte = (volatile uint8_t *)at;
  for (unsigned round = 0; round < 2; round++) {
    CHECK_EQUAL(*byte, expected & 0xFF);
    CHECK_EQUAL(*(volatile uint16_t *)byte, expected & 0xFFFF);
    CHECK_EQUAL(*(volatile uint32_t *)byte, expected & 0xFFFFFFFF);
    CHECK_EQUAL(*(volatile uint64_t *)byte, expected);
    *byte = 0x5A;
    *(volatile uint32_t *)byte = 0x01020304;
    *(volatile uint64_t *)byte = 0x0506070809101112;
  }
}

static void hole(void) {
  const uintptr_t at = 0x0000410000000000;
  map(space, at, HOLE, P | W | CACHE_DISABLE, 2);
  // A PC's bus floats high; QEMU answers zeroes.
  uint64_t nothing = *(volatile uint64_t *)at;
  CHECK(nothing == 0xFFFFFFFFFFFFFFFF || (nothing == 0 && !is_strict()));
  for (unsigned offset = 0; offset < 2 * MIB; offset += 0x1F008) check_hole(at + offset, nothing);
  // The last page of memory, and the hole that begins right above it.
  const uintptr_t edge = 0x0000420000000000;
  map(space, edge, 128 * MIB - PAGE, P | W, 1);
  map(space, edge + PAGE, 128 * MIB, P | W, 1);
  check_hole(edge + PAGE, nothing);
  *(volatile uint64_t *)edge = 0x1234;
  CHECK_EQUAL(*(volatile uint64_t *)edge, 0x1234);
  print("mmio: a hole reads the same always and forgets what is written\n");
}

/// Bytes of one fw_cfg item, the first one lowest.
static uint64_t configuration(uint16_t item, unsigned bytes) {
  uint64_t value = 0;
  out16(0x510, item);
  for (unsigned index = 0; index < bytes; index++) value |= (uint64_t)in8(0x511) << (8 * index);
  return value;
}

static void firmware_configuration(void) {
  CHECK_EQUAL(configuration(0, 4), 0x554D4551);  // "QEMU"
  CHECK_EQUAL(configuration(3, 8), 128 * MIB);
  CHECK_EQUAL(configuration(5, 2), 1);
  // Selecting an item again starts it again.
  CHECK_EQUAL(configuration(0, 2), 0x4551);
  CHECK_EQUAL(configuration(0, 4), 0x554D4551);
  print("mmio: fw_cfg says QEMU, 128 MiB, 1 processor\n");
}

void guest_main(void) {
  space.root = read_cr3();
  local_apic();
  hole();
  firmware_configuration();
  print("mmio: ok\n");
}
