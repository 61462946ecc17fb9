// Where QEMU's own translation is laxer than processors are, a guest lets it through, unless the word
// `strict` stands on the loader's command line.
#include "guest.h"

/// The text after a prefix, or null.
static const char *after(const char *text, const char *prefix) {
  while (*prefix != 0) {
    if (*text++ != *prefix++) return NULL;
  }
  return text;
}

bool is_strict(void) {
  const struct multiboot_information *information = (const void *)(uintptr_t)boot_information;
  if ((information->flags & 4) == 0) return false;
  bool starts = true;
  for (const char *at = (const char *)(uintptr_t)information->command_line; *at != 0; at++) {
    const char *end = starts ? after(at, "strict") : NULL;
    if (end != NULL && (*end == 0 || *end == ' ')) return true;
    starts = *at == ' ';
  }
  return false;
}
