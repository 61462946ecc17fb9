// What every guest program stands on: types, ports, the serial line, checks, frames and traps.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTION_USER __attribute__((section(".user")))
#define PAGE 4096ul
#define MIB (1024ul * 1024)

// Ports ------------------------------------------------------------------------------------------

static inline void out8(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline void out16(uint16_t port, uint16_t value) {
  __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

// Control registers --------------------------------------------------------------------------------

#define CONTROL_REGISTER(name, register)                                                       \
  static inline uintptr_t read_##name(void) {                                                  \
    uintptr_t value;                                                                           \
    __asm__ volatile("mov %%" register ", %0" : "=r"(value) : : "memory");                     \
    return value;                                                                              \
  }                                                                                            \
  static inline void write_##name(uintptr_t value) {                                           \
    __asm__ volatile("mov %0, %%" register : : "r"(value) : "memory");                         \
  }
CONTROL_REGISTER(cr0, "cr0")
CONTROL_REGISTER(cr2, "cr2")
CONTROL_REGISTER(cr3, "cr3")
CONTROL_REGISTER(cr4, "cr4")

#define CR0_WP (1ul << 16)
#define CR0_PG (1ul << 31)
#define CR4_PSE (1ul << 4)
#define CR4_PAE (1ul << 5)
#define CR4_PGE (1ul << 7)
#define CR4_LA57 (1ul << 12)
#define CR4_SMEP (1ul << 20)
#define CR4_SMAP (1ul << 21)

#define EFER 0xC0000080u
#define EFER_NXE (1u << 11)

static inline uint64_t read_msr(uint32_t index) {
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
  return (uint64_t)high << 32 | low;
}
static inline void write_msr(uint32_t index, uint64_t value) {
  __asm__ volatile("wrmsr" : : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                   : "memory");
}
static inline void invalidate_page(uintptr_t address) {
  __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

struct cpuid { uint32_t a, b, c, d; };
static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
  struct cpuid r;
  __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d)
                   : "a"(leaf), "c"(subleaf));
  return r;
}

// Memory, as the compiler expects to find it -------------------------------------------------------

void *memset(void *to, int byte, size_t count);
void *memcpy(void *restrict to, const void *restrict from, size_t count);

// The serial line, and the end ---------------------------------------------------------------------

/// Prints to COM1: %s %c %u %x with l and ll (decimal takes at most 32 bits in a 32-bit guest).
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

/// Ends the machine through isa-debug-exit: the emulator's status is `(value << 1) | 1`.
__attribute__((noreturn)) void leave(uint8_t value);

enum { LEAVE_OK = 0, LEAVE_FAILED = 1, LEAVE_MISSING = 2, LEAVE_TRAP = 3, LEAVE_LOADER = 4 };

/// The guest's name, which starts its lines.
extern const char guest_name[];

/// Ends the guest with a line when a condition does not hold.
#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) check_failed(__LINE__, #condition);                                      \
  } while (0)
__attribute__((noreturn)) void check_failed(unsigned line, const char *condition);

/// Ends the guest with a line that gives both numbers when they differ.
#define CHECK_EQUAL(value, expected) check_equal(__LINE__, #value, (value), (expected))
void check_equal(unsigned line, const char *what, uint64_t value, uint64_t expected);

/// The program itself; returning means success.
void guest_main(void);

// What the loader left -------------------------------------------------------------------------------

struct multiboot_information {
  uint32_t flags, memory_lower, memory_upper, boot_device, command_line;
};
/// EBX on entry; EAX was checked already.
extern uint32_t boot_information;
/// Whether the command line has the word `strict`: then the guest insists on what processors do and
/// QEMU's own translation does not. The block must be mapped where it lies.
bool is_strict(void);

// Frames -----------------------------------------------------------------------------------------------

/// A frame of zeroes from the pool between 8 and 64 MiB; its physical address.
uintptr_t frame_allocate(void);
/// Gives a frame back.
void frame_free(uintptr_t frame);
/// Frames handed out and not given back.
extern unsigned frames_in_use;

// Traps ------------------------------------------------------------------------------------------------

enum { TRAP_UNDEFINED = 6, TRAP_PROTECTION = 13, TRAP_PAGE_FAULT = 14, TRAP_USER_CALL = 0x30 };
enum {
  ERROR_PRESENT = 1,
  ERROR_WRITE = 2,
  ERROR_USER = 4,
  ERROR_RESERVED = 8,
  ERROR_FETCH = 16,
};

/// What the stubs push, and what goes back into the registers.
struct trap {
#ifdef __x86_64__
  uintptr_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, accumulator;
#else
  uintptr_t edi, esi, ebp, unused_esp, ebx, edx, ecx, accumulator;
#endif
  uintptr_t vector, error, ip, cs, flags, sp, ss;
};

/// Sees a page fault first; true means repaired: the instruction is tried again.
extern bool (*page_fault_handler)(struct trap *trap, uintptr_t address);

/// How an attempt ended. The vector is -1 when nothing happened.
struct outcome {
  int vector;
  unsigned error;
  uintptr_t address;      // CR2 of a page fault
  uintptr_t accumulator;  // what user code left in EAX or RAX
  bool from_user;
};

struct outcome attempt_read(uintptr_t address);
struct outcome attempt_write(uintptr_t address, uintptr_t value);
/// Calls the address, where a `ret` is expected.
struct outcome attempt_call(uintptr_t address);
/// Runs user code at an address until its `int $0x30` or its first fault.
struct outcome attempt_user(uintptr_t ip, uintptr_t sp, uintptr_t a, uintptr_t b);

#define CHECK_FINE(outcome) check_fine(__LINE__, (outcome))
void check_fine(unsigned line, struct outcome outcome);
/// A page fault with just this error code at just this address.
#define CHECK_FAULT(outcome, error, address) check_fault(__LINE__, (outcome), (error), (address))
void check_fault(unsigned line, struct outcome outcome, unsigned error, uintptr_t address);
/// The same with the reserved-bit flag in the error code. Whether the present flag comes along is
/// left open unless the guest is strict: the manuals say it does, QEMU 7.2 leaves it out.
#define CHECK_RESERVED(outcome, error, address) \
  check_reserved(__LINE__, (outcome), (error), (address))
void check_reserved(unsigned line, struct outcome outcome, unsigned error, uintptr_t address);
/// User code came back through `int $0x30`.
#define CHECK_CALLED(outcome) check_called(__LINE__, (outcome))
void check_called(unsigned line, struct outcome outcome);

/// A page of user code, page-aligned, and where in it each routine starts.
/// Routines take `a` in EDI or RDI and `b` in ESI or RSI, and end with `int $0x30`.
extern const uint8_t user_page[], user_nothing[], user_read[], user_write[], user_jump[],
  user_disable_interrupts[], user_increment[], kernel_return[];
/// The offset of a routine in the user page.
#define USER_OFFSET(routine) ((uintptr_t)(routine) - (uintptr_t)user_page)

/// Loads GDT, TSS and IDT; the entry code has called it.
void descriptors_load(void);
