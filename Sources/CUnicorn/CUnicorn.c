#include "CUnicorn.h"

#include <dlfcn.h>
#include <stdio.h>

enum {
  ARCHITECTURE_X86 = 4,
  MODE_64 = 1 << 3,
  TLB_VIRTUAL = 1,
};

// A control is `type | argument count << 26 | direction << 30`; direction 1 writes.
enum {
  CONTROL_USE_EXITS = 4 | 1 << 26 | 1 << 30,
  CONTROL_MODEL = 7 | 1 << 26 | 1 << 30,
  CONTROL_REMOVE_BLOCKS = 9 | 2 << 26 | 1 << 30,
  CONTROL_FLUSH_BLOCKS = 10 | 1 << 30,
  CONTROL_TLB_TYPE = 12 | 1 << 26 | 1 << 30,
};

const char *cunicorn_load(const char *path, struct cunicorn_library *library) {
  static _Thread_local char message[512];
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    const char *reason = dlerror();
    snprintf(message, sizeof message, "%s", reason != NULL ? reason : "cannot be loaded");
    return message;
  }
  struct {
    const char *name;
    void **slot;
  } wanted[] = {
      {"uc_version", (void **)&library->version},
      {"uc_open", (void **)&library->open},
      {"uc_close", (void **)&library->close},
      {"uc_strerror", (void **)&library->describe},
      {"uc_ctl", (void **)&library->control},
      {"uc_reg_read", (void **)&library->read_register},
      {"uc_reg_write", (void **)&library->write_register},
      {"uc_emu_start", (void **)&library->start},
      {"uc_emu_stop", (void **)&library->stop},
      {"uc_hook_add", (void **)&library->add_hook},
      {"uc_hook_del", (void **)&library->remove_hook},
      {"uc_mem_map_ptr", (void **)&library->map},
      {"uc_mem_unmap", (void **)&library->unmap},
      {"uc_mmio_map", (void **)&library->map_device},
      {"uc_context_alloc", (void **)&library->allocate_context},
      {"uc_context_save", (void **)&library->save_context},
      {"uc_context_restore", (void **)&library->restore_context},
      {"uc_context_free", (void **)&library->free_context},
      {"uc_context_size", (void **)&library->context_size},
  };
  for (size_t index = 0; index < sizeof wanted / sizeof wanted[0]; index++) {
    void *symbol = dlsym(handle, wanted[index].name);
    if (symbol == NULL) {
      snprintf(message, sizeof message, "%s has no function %s", path, wanted[index].name);
      dlclose(handle);
      return message;
    }
    *wanted[index].slot = symbol;
  }
  // The handle stays open: an engine may outlive whoever asked for it.
  return NULL;
}

int cunicorn_open(const struct cunicorn_library *library, cunicorn_engine *engine) {
  int error = library->open(ARCHITECTURE_X86, MODE_64, engine);
  if (error != CUNICORN_OK) return error;
  error = library->control(*engine, CONTROL_MODEL, (int)CUNICORN_MODEL_ICELAKE_SERVER);
  if (error == CUNICORN_OK) error = library->control(*engine, CONTROL_TLB_TYPE, (int)TLB_VIRTUAL);
  if (error == CUNICORN_OK) error = library->control(*engine, CONTROL_USE_EXITS, 1);
  if (error != CUNICORN_OK) library->close(*engine);
  return error;
}

int cunicorn_forget_blocks(const struct cunicorn_library *library, cunicorn_engine engine) {
  return library->control(engine, CONTROL_FLUSH_BLOCKS);
}

int cunicorn_forget_blocks_in(
    const struct cunicorn_library *library, cunicorn_engine engine, uint64_t begin, uint64_t end) {
  return library->control(engine, CONTROL_REMOVE_BLOCKS, begin, end);
}

int cunicorn_add_instruction_hook(
    const struct cunicorn_library *library, cunicorn_engine engine, cunicorn_hook *hook,
    int instruction, void *callback, void *context) {
  return library->add_hook(
      engine, hook, CUNICORN_HOOK_INSTRUCTION, callback, context, (uint64_t)1, (uint64_t)0,
      instruction);
}

int cunicorn_add_hook(
    const struct cunicorn_library *library, cunicorn_engine engine, cunicorn_hook *hook, int type,
    void *callback, void *context, uint64_t begin, uint64_t end) {
  return library->add_hook(engine, hook, type, callback, context, begin, end);
}
