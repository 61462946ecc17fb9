// GDT, TSS and IDT of the guest, and what happens on an exception.
#include "guest.h"

void load_segments(void);
extern const uint8_t trap_stubs[], trap_stack_top[];

enum { TRAP_STUBS = TRAP_USER_CALL + 1, TRAP_STUB_SIZE = 16 };

#ifdef __x86_64__
#define USER_CODE 0x00AFFB000000FFFFull
struct __attribute__((packed)) task_state {
  uint32_t reserved0;
  uint64_t stacks[3];
  uint64_t reserved1, interrupt_stacks[7], reserved2;
  uint16_t reserved3, io_map;
};
#else
#define USER_CODE 0x00CFFB000000FFFFull
struct __attribute__((packed)) task_state {
  uint32_t back_link, esp0, ss0, unused[22];
  uint16_t trap, io_map;
};
#endif

// Null, 32-bit code, data, 64-bit code, user data, user code, task (two slots in long mode).
static uint64_t gdt[8] = {
  0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00AF9B000000FFFF, 0x00CFF3000000FFFF, USER_CODE,
};
static struct { uint32_t words[sizeof(uintptr_t) / 2]; } idt[TRAP_STUBS];
static struct task_state task;

struct __attribute__((packed)) table_pointer {
  uint16_t limit;
  uintptr_t base;
};

static void set_gate(unsigned vector, unsigned privilege) {
  uintptr_t stub = (uintptr_t)trap_stubs + vector * TRAP_STUB_SIZE;
  uint32_t code = sizeof(uintptr_t) == 8 ? 0x18 : 0x08;
  idt[vector].words[0] = code << 16 | (uint32_t)(stub & 0xFFFF);
  idt[vector].words[1] = (uint32_t)(stub & 0xFFFF0000) | 0x8E00 | privilege << 13;
#ifdef __x86_64__
  idt[vector].words[2] = (uint32_t)(stub >> 32);
#endif
}

void descriptors_load(void) {
#ifdef __x86_64__
  task.stacks[0] = (uintptr_t)trap_stack_top;
#else
  task.esp0 = (uintptr_t)trap_stack_top;
  task.ss0 = 0x10;
#endif
  task.io_map = sizeof task;
  uint64_t base = (uintptr_t)&task;
  gdt[6] = (sizeof task - 1) | (base & 0xFFFFFF) << 16 | 0x89ull << 40 | (base >> 24 & 0xFF) << 56;
  gdt[7] = base >> 32;
  for (unsigned vector = 0; vector < TRAP_STUBS; vector++) {
    set_gate(vector, vector == TRAP_USER_CALL ? 3 : 0);
  }
  struct table_pointer gdt_pointer = { sizeof gdt - 1, (uintptr_t)gdt };
  struct table_pointer idt_pointer = { sizeof idt - 1, (uintptr_t)idt };
  __asm__ volatile("lgdt %0" : : "m"(gdt_pointer) : "memory");
  load_segments();
  __asm__ volatile("lidt %0" : : "m"(idt_pointer) : "memory");
  __asm__ volatile("ltr %w0" : : "r"(0x30) : "memory");
}

// Attempts -----------------------------------------------------------------------------------------

bool (*page_fault_handler)(struct trap *trap, uintptr_t address);

/// Runs `body(a, b, c, d)`; true when it was left through `escape` instead of by returning.
bool guarded(void (*body)(uintptr_t, uintptr_t, uintptr_t, uintptr_t), uintptr_t a, uintptr_t b,
             uintptr_t c, uintptr_t d);
__attribute__((noreturn)) void escape(void);
__attribute__((noreturn)) void enter_user(uintptr_t ip, uintptr_t sp, uintptr_t a, uintptr_t b);

static struct outcome last;
static bool attempting;

/// The stubs come here.
void trap_dispatch(struct trap *trap) {
  uintptr_t address = 0;
  if (trap->vector == TRAP_PAGE_FAULT) {
    address = read_cr2();
    if (page_fault_handler != NULL && page_fault_handler(trap, address)) return;
  }
  if (!attempting) {
    print("%s: trap %lu, error code 0x%lx, at 0x%lx, address 0x%lx\n", guest_name,
          (unsigned long)trap->vector, (unsigned long)trap->error, (unsigned long)trap->ip,
          (unsigned long)address);
    leave(LEAVE_TRAP);
  }
  last.vector = (int)trap->vector;
  last.error = (unsigned)trap->error;
  last.address = address;
  last.accumulator = trap->accumulator;
  last.from_user = (trap->cs & 3) == 3;
  escape();
}

static struct outcome attempt(void (*body)(uintptr_t, uintptr_t, uintptr_t, uintptr_t), uintptr_t a,
                              uintptr_t b, uintptr_t c, uintptr_t d) {
  last = (struct outcome){ .vector = -1 };
  attempting = true;
  guarded(body, a, b, c, d);
  attempting = false;
  return last;
}

static void read_body(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d) {
  (void)b, (void)c, (void)d;
  last.accumulator = *(volatile uintptr_t *)a;
}
static void write_body(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d) {
  (void)c, (void)d;
  *(volatile uintptr_t *)a = b;
}
static void call_body(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d) {
  (void)b, (void)c, (void)d;
  ((void (*)(void))a)();
}

struct outcome attempt_read(uintptr_t address) { return attempt(read_body, address, 0, 0, 0); }
struct outcome attempt_write(uintptr_t address, uintptr_t value) {
  return attempt(write_body, address, value, 0, 0);
}
struct outcome attempt_call(uintptr_t address) { return attempt(call_body, address, 0, 0, 0); }
struct outcome attempt_user(uintptr_t ip, uintptr_t sp, uintptr_t a, uintptr_t b) {
  return attempt(enter_user, ip, sp, a, b);
}

static __attribute__((noreturn)) void unexpected(unsigned line, struct outcome outcome) {
  print("%s: line %u: came out as vector %u, error code 0x%x, address 0x%lx, from %s\n", guest_name,
        line, (unsigned)outcome.vector, outcome.error, (unsigned long)outcome.address,
        outcome.from_user ? "user" : "kernel");
  leave(LEAVE_FAILED);
}

void check_fine(unsigned line, struct outcome outcome) {
  if (outcome.vector != -1) unexpected(line, outcome);
}
void check_fault(unsigned line, struct outcome outcome, unsigned error, uintptr_t address) {
  bool from_user = (error & ERROR_USER) != 0;
  if (outcome.vector != TRAP_PAGE_FAULT || outcome.error != error || outcome.address != address
      || outcome.from_user != from_user) {
    unexpected(line, outcome);
  }
}
void check_reserved(unsigned line, struct outcome outcome, unsigned error, uintptr_t address) {
  struct outcome whole = outcome;
  if (!is_strict()) whole.error |= ERROR_PRESENT;
  check_fault(line, whole, error | ERROR_RESERVED | ERROR_PRESENT, address);
}
void check_called(unsigned line, struct outcome outcome) {
  if (outcome.vector != TRAP_USER_CALL || !outcome.from_user) unexpected(line, outcome);
}
