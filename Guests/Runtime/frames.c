// Frames of the guest's own memory, handed out in ascending order, given back to a list.
#include "guest.h"

static uintptr_t next_frame = 8 * MIB;
static uintptr_t free_list;
unsigned frames_in_use;

uintptr_t frame_allocate(void) {
  uintptr_t frame = free_list;
  if (frame != 0) {
    free_list = *(uintptr_t *)frame;
  } else {
    CHECK(next_frame < 64 * MIB);
    frame = next_frame;
    next_frame += PAGE;
  }
  frames_in_use++;
  memset((void *)frame, 0, PAGE);
  return frame;
}

void frame_free(uintptr_t frame) {
  CHECK(frame % PAGE == 0 && frame >= 8 * MIB && frame < next_frame);
  *(uintptr_t *)frame = free_list;
  free_list = frame;
  frames_in_use--;
}
