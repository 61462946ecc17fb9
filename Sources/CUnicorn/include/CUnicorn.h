// Unicorn, loaded at run time.
//
// The declarations here were written for this project from the library's published binary
// interface (version 2.1): function signatures, numbers of registers, hooks and controls. Nothing
// of Unicorn is needed to build; `cunicorn_load` finds the functions in a shared library.
// (Decision record 0003.)

#ifndef CUNICORN_H
#define CUNICORN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// An engine, a saved context, a hook: opaque to us.
typedef void *cunicorn_engine;
typedef void *cunicorn_context;
typedef size_t cunicorn_hook;

/// A descriptor-table or task register.
struct cunicorn_table_register {
  uint16_t selector;
  uint64_t base;
  uint32_t limit;
  uint32_t flags;
};

/// A model-specific register, by number.
struct cunicorn_msr {
  uint32_t index;
  uint64_t value;
};

/// What the hook of a TLB miss answers.
struct cunicorn_tlb_entry {
  uint64_t physical;
  uint32_t permissions;
};

enum {
  CUNICORN_OK = 0,
  CUNICORN_ERROR_INVALID_INSTRUCTION = 10,
  CUNICORN_ERROR_EXCEPTION = 21,
};

enum {
  CUNICORN_PERMIT_READ = 1,
  CUNICORN_PERMIT_WRITE = 2,
  CUNICORN_PERMIT_EXECUTE = 4,
};

enum {
  CUNICORN_MEMORY_READ = 16,
  CUNICORN_MEMORY_WRITE = 17,
  CUNICORN_MEMORY_FETCH = 18,
};

enum {
  CUNICORN_HOOK_INTERRUPT = 1 << 0,
  CUNICORN_HOOK_INSTRUCTION = 1 << 1,
  CUNICORN_HOOK_CODE = 1 << 2,
  CUNICORN_HOOK_BLOCK = 1 << 3,
  CUNICORN_HOOK_UNMAPPED = 7 << 4,
  CUNICORN_HOOK_WRITE = 1 << 11,
  CUNICORN_HOOK_TLB_FILL = 1 << 17,
};

/// The instructions that `CUNICORN_HOOK_INSTRUCTION` knows.
enum {
  CUNICORN_INSTRUCTION_CPUID = 113,
  CUNICORN_INSTRUCTION_IN = 218,
  CUNICORN_INSTRUCTION_OUT = 500,
  CUNICORN_INSTRUCTION_SYSCALL = 699,
  CUNICORN_INSTRUCTION_SYSENTER = 700,
};

/// The processor model that has every paging feature: LA57, SMEP, SMAP, PKU, 1 GiB pages.
enum { CUNICORN_MODEL_ICELAKE_SERVER = 26 };

/// The numbers of the registers.
enum {
  CUNICORN_CS = 11, CUNICORN_DS = 17, CUNICORN_EFLAGS = 25, CUNICORN_ES = 28,
  CUNICORN_FS = 32, CUNICORN_GS = 33, CUNICORN_RAX = 35, CUNICORN_RBP = 36,
  CUNICORN_RBX = 37, CUNICORN_RCX = 38, CUNICORN_RDI = 39, CUNICORN_RDX = 40,
  CUNICORN_RIP = 41, CUNICORN_RSI = 43, CUNICORN_RSP = 44, CUNICORN_SS = 49,
  CUNICORN_CR0 = 50, CUNICORN_CR2 = 52, CUNICORN_CR3 = 53, CUNICORN_CR4 = 54,
  CUNICORN_CR8 = 58, CUNICORN_DR6 = 72, CUNICORN_R8 = 106, CUNICORN_R9 = 107, CUNICORN_R10 = 108,
  CUNICORN_R11 = 109, CUNICORN_R12 = 110, CUNICORN_R13 = 111, CUNICORN_R14 = 112,
  CUNICORN_R15 = 113, CUNICORN_IDTR = 242, CUNICORN_GDTR = 243, CUNICORN_LDTR = 244,
  CUNICORN_TR = 245, CUNICORN_MSR = 248, CUNICORN_FS_BASE = 250, CUNICORN_GS_BASE = 251,
};

typedef bool (*cunicorn_on_tlb_fill)(
    cunicorn_engine, uint64_t page, int kind, struct cunicorn_tlb_entry *, void *);
typedef void (*cunicorn_on_interrupt)(cunicorn_engine, uint32_t vector, void *);
typedef void (*cunicorn_on_code)(cunicorn_engine, uint64_t address, uint32_t size, void *);
typedef bool (*cunicorn_on_unmapped)(
    cunicorn_engine, int kind, uint64_t address, int size, int64_t value, void *);
typedef void (*cunicorn_on_write)(
    cunicorn_engine, int kind, uint64_t address, int size, int64_t value, void *);
typedef uint32_t (*cunicorn_on_in)(cunicorn_engine, uint32_t port, int size, void *);
typedef void (*cunicorn_on_out)(cunicorn_engine, uint32_t port, int size, uint32_t, void *);
typedef int (*cunicorn_on_cpuid)(cunicorn_engine, void *);
typedef void (*cunicorn_on_system_call)(cunicorn_engine, void *);
typedef uint64_t (*cunicorn_on_device_read)(
    cunicorn_engine, uint64_t offset, unsigned size, void *);
typedef void (*cunicorn_on_device_write)(
    cunicorn_engine, uint64_t offset, unsigned size, uint64_t value, void *);

/// The library's functions, all found.
struct cunicorn_library {
  unsigned (*version)(unsigned *major, unsigned *minor);
  int (*open)(int architecture, int mode, cunicorn_engine *);
  int (*close)(cunicorn_engine);
  const char *(*describe)(int error);
  int (*control)(cunicorn_engine, int control, ...);
  int (*read_register)(cunicorn_engine, int number, void *value);
  int (*write_register)(cunicorn_engine, int number, const void *value);
  int (*start)(cunicorn_engine, uint64_t begin, uint64_t until, uint64_t timeout, size_t count);
  int (*stop)(cunicorn_engine);
  int (*add_hook)(
      cunicorn_engine, cunicorn_hook *, int type, void *callback, void *context, uint64_t begin,
      uint64_t end, ...);
  int (*remove_hook)(cunicorn_engine, cunicorn_hook);
  int (*map)(cunicorn_engine, uint64_t address, uint64_t size, uint32_t permissions, void *);
  int (*unmap)(cunicorn_engine, uint64_t address, uint64_t size);
  int (*map_device)(
      cunicorn_engine, uint64_t address, uint64_t size, cunicorn_on_device_read, void *,
      cunicorn_on_device_write, void *);
  int (*allocate_context)(cunicorn_engine, cunicorn_context *);
  int (*save_context)(cunicorn_engine, cunicorn_context);
  int (*restore_context)(cunicorn_engine, cunicorn_context);
  int (*free_context)(cunicorn_context);
  size_t (*context_size)(cunicorn_engine);
};

/// Finds every function in the shared library at `path` (or, without a slash, on the loader's
/// path). Returns null when done, else one line that says what is missing; the line lives until
/// the next call on this thread.
const char *cunicorn_load(const char *path, struct cunicorn_library *library);

/// Opens a 64-bit x86 engine of the full-featured model in virtual-TLB mode, with the `until`
/// address of a start switched off. Returns an error number.
int cunicorn_open(const struct cunicorn_library *, cunicorn_engine *);

/// Forgets every translated block.
int cunicorn_forget_blocks(const struct cunicorn_library *, cunicorn_engine);

/// Forgets the translated blocks of a range of linear addresses; asks the TLB hook where it lies.
int cunicorn_forget_blocks_in(
    const struct cunicorn_library *, cunicorn_engine, uint64_t begin, uint64_t end);

/// Adds a hook on one kind of instruction.
int cunicorn_add_instruction_hook(
    const struct cunicorn_library *, cunicorn_engine, cunicorn_hook *, int instruction,
    void *callback, void *context);

/// Adds any other hook, for the linear addresses `begin...end`, or for all when begin > end.
int cunicorn_add_hook(
    const struct cunicorn_library *, cunicorn_engine, cunicorn_hook *, int type, void *callback,
    void *context, uint64_t begin, uint64_t end);

// The calls of the hot path, as ordinary functions, so that a caller need not unwrap a pointer.

static inline int cunicorn_read(
    const struct cunicorn_library *library, cunicorn_engine engine, int number, void *value) {
  return library->read_register(engine, number, value);
}

static inline uint64_t cunicorn_word(
    const struct cunicorn_library *library, cunicorn_engine engine, int number) {
  uint64_t value = 0;
  library->read_register(engine, number, &value);
  return value;
}

static inline void cunicorn_set_word(
    const struct cunicorn_library *library, cunicorn_engine engine, int number, uint64_t value) {
  library->write_register(engine, number, &value);
}

static inline struct cunicorn_table_register cunicorn_table(
    const struct cunicorn_library *library, cunicorn_engine engine, int number) {
  struct cunicorn_table_register value = {0, 0, 0, 0};
  library->read_register(engine, number, &value);
  return value;
}

static inline void cunicorn_set_table(
    const struct cunicorn_library *library, cunicorn_engine engine, int number,
    struct cunicorn_table_register value) {
  library->write_register(engine, number, &value);
}

static inline uint64_t cunicorn_msr_word(
    const struct cunicorn_library *library, cunicorn_engine engine, uint32_t index) {
  struct cunicorn_msr value = {index, 0};
  library->read_register(engine, CUNICORN_MSR, &value);
  return value.value;
}

static inline void cunicorn_set_msr_word(
    const struct cunicorn_library *library, cunicorn_engine engine, uint32_t index,
    uint64_t value) {
  struct cunicorn_msr pair = {index, value};
  library->write_register(engine, CUNICORN_MSR, &pair);
}

static inline int cunicorn_start(
    const struct cunicorn_library *library, cunicorn_engine engine, uint64_t begin,
    size_t count) {
  return library->start(engine, begin, 0, 0, count);
}

static inline int cunicorn_stop(
    const struct cunicorn_library *library, cunicorn_engine engine) {
  return library->stop(engine);
}

static inline int cunicorn_close(
    const struct cunicorn_library *library, cunicorn_engine engine) {
  return library->close(engine);
}

static inline int cunicorn_map(
    const struct cunicorn_library *library, cunicorn_engine engine, uint64_t address,
    uint64_t size, void *memory) {
  return library->map(
      engine, address, size,
      CUNICORN_PERMIT_READ | CUNICORN_PERMIT_WRITE | CUNICORN_PERMIT_EXECUTE, memory);
}

static inline int cunicorn_unmap(
    const struct cunicorn_library *library, cunicorn_engine engine, uint64_t address,
    uint64_t size) {
  return library->unmap(engine, address, size);
}

static inline int cunicorn_map_device(
    const struct cunicorn_library *library, cunicorn_engine engine, uint64_t address,
    uint64_t size, cunicorn_on_device_read on_read, cunicorn_on_device_write on_write,
    void *context) {
  return library->map_device(engine, address, size, on_read, context, on_write, context);
}

static inline int cunicorn_remove_hook(
    const struct cunicorn_library *library, cunicorn_engine engine, cunicorn_hook hook) {
  return library->remove_hook(engine, hook);
}

static inline int cunicorn_allocate_context(
    const struct cunicorn_library *library, cunicorn_engine engine, cunicorn_context *context) {
  return library->allocate_context(engine, context);
}

static inline int cunicorn_save_context(
    const struct cunicorn_library *library, cunicorn_engine engine, cunicorn_context context) {
  return library->save_context(engine, context);
}

static inline int cunicorn_restore_context(
    const struct cunicorn_library *library, cunicorn_engine engine, cunicorn_context context) {
  return library->restore_context(engine, context);
}

static inline int cunicorn_free_context(
    const struct cunicorn_library *library, cunicorn_context context) {
  return library->free_context(context);
}

static inline size_t cunicorn_context_size(
    const struct cunicorn_library *library, cunicorn_engine engine) {
  return library->context_size(engine);
}

static inline const char *cunicorn_describe(const struct cunicorn_library *library, int error) {
  return library->describe(error);
}

static inline unsigned cunicorn_version(const struct cunicorn_library *library) {
  return library->version(NULL, NULL);
}

#ifdef __cplusplus
}
#endif

#endif
