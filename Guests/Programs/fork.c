// A storm of processes: fork with copy-on-write, exit, writes and reads in an order of chance, every
// page's contents known; frames and tables change hands; accessed and dirty bits follow each access.
#include "tables.h"

const char guest_name[] = "fork";

// The heap lies across the border of two last-level tables.
#define HEAP 0x00006000001D8000ul
#define CODE 0x0000008000000000ul
#define STACK 0x00007FFFFFFFE000ul

enum { PROCESSES = 10, PAGES = 96, STEPS = 3000, POOL = 2048 };

struct process {
  struct space space;
  bool alive;
  // What every page of the heap holds; 0 where it has never been touched.
  uint32_t contents[PAGES];
};

static struct space kernel = { .levels = 4 };
static struct process processes[PROCESSES];
static struct process *current;
static unsigned copies, takes, fills, forks, exits;
/// How many processes share a frame, by its number from 8 MiB on.
static uint16_t sharers[POOL];
static uint64_t chance = 0x9E3779B97F4A7C15;

static unsigned random_below(unsigned bound) {
  chance ^= chance << 13;
  chance ^= chance >> 7;
  chance ^= chance << 17;
  return (unsigned)(chance >> 33) % bound;
}

static uint16_t *sharers_of(uintptr_t frame) {
  unsigned number = (unsigned)((frame - 8 * MIB) / PAGE);
  CHECK(number < POOL);
  return &sharers[number];
}

static uintptr_t frame_of(volatile uint64_t *entry) { return (uintptr_t)(*entry & ENTRY_FRAME); }

/// The page-fault handler: zeroes on demand, a copy at a write to a shared page, the right to write
/// for the last sharer.
static bool repair(struct trap *trap, uintptr_t address) {
  unsigned page = (unsigned)((address - HEAP) / PAGE);
  if (address < HEAP || page >= PAGES || current == NULL) return false;
  uintptr_t base = HEAP + page * PAGE;
  volatile uint64_t *entry = entry_make(current->space, base, 1);
  if ((*entry & P) == 0) {
    if ((trap->error & ERROR_PRESENT) != 0) return false;
    uintptr_t frame = frame_allocate();
    *sharers_of(frame) = 1;
    // No invalidation: what is not present is not remembered.
    *entry = frame | P | W | U | NX;
    fills++;
    return true;
  }
  if ((trap->error & (ERROR_PRESENT | ERROR_WRITE)) != (ERROR_PRESENT | ERROR_WRITE)) return false;
  if ((*entry & W) != 0) return false;
  uintptr_t frame = frame_of(entry);
  if (*sharers_of(frame) == 1) {
    // More rights: the fault itself made the processor forget the page.
    *entry |= W;
    takes++;
    return true;
  }
  uintptr_t copy = frame_allocate();
  memcpy((void *)copy, (void *)frame, PAGE);
  (*sharers_of(frame))--;
  *sharers_of(copy) = 1;
  *entry = copy | P | W | U | NX;
  invalidate_page(base);
  copies++;
  return true;
}

static void use(struct process *process) {
  current = process;
  write_cr3(process->space.root);
}

static struct process *new_process(void) {
  for (unsigned index = 0; index < PROCESSES; index++) {
    struct process *process = &processes[index];
    if (process->alive) continue;
    process->alive = true;
    process->space = (struct space){ frame_allocate(), 4 };
    ((volatile uint64_t *)process->space.root)[0] = *(volatile uint64_t *)kernel.root;
    map(process->space, CODE, (uintptr_t)user_page, P | U, 1);
    map(process->space, STACK, frame_allocate(), P | W | U | NX, 1);
    return process;
  }
  return NULL;
}

/// The child gets every page; both lose the right to write.
static struct process *fork(void) {
  struct process *parent = current, *child = new_process();
  if (child == NULL) return NULL;
  for (unsigned page = 0; page < PAGES; page++) {
    uintptr_t base = HEAP + page * PAGE;
    child->contents[page] = parent->contents[page];
    volatile uint64_t *entry = entry_find(parent->space, base, 1);
    if (entry == NULL || (*entry & P) == 0) continue;
    *entry &= ~(uint64_t)W;
    *entry_make(child->space, base, 1) = *entry & ~(uint64_t)(ACCESSED | DIRTY);
    (*sharers_of(frame_of(entry)))++;
  }
  write_cr3(parent->space.root);
  forks++;
  return child;
}

/// Gives back everything of the current process, which another follows.
static void exit_to(struct process *next) {
  struct process *process = current;
  use(next);
  for (unsigned page = 0; page < PAGES; page++) {
    volatile uint64_t *entry = entry_find(process->space, HEAP + page * PAGE, 1);
    if (entry != NULL && (*entry & P) != 0) {
      uintptr_t frame = frame_of(entry);
      if (--*sharers_of(frame) == 0) frame_free(frame);
    }
    process->contents[page] = 0;
  }
  frame_free(frame_of(entry_find(process->space, STACK, 1)));
  tables_free(process->space, 1, 511);
  frame_free(process->space.root);
  process->alive = false;
  exits++;
}

/// Adds one to a page's first word and its last, from the kernel or from user code.
static void write_page(unsigned page) {
  uintptr_t base = HEAP + page * PAGE;
  if (random_below(2) == 0) {
    struct outcome sum =
      attempt_user(CODE + USER_OFFSET(user_increment), STACK + PAGE, base, 1);
    CHECK_CALLED(sum);
    CHECK_EQUAL(sum.accumulator, current->contents[page] + 1);
  } else {
    ++*(volatile uint64_t *)base;
  }
  ++*(volatile uint64_t *)(base + PAGE - 8);
  current->contents[page]++;
  volatile uint64_t *entry = entry_find(current->space, base, 1);
  CHECK_EQUAL(*entry & (P | W | U | ACCESSED | DIRTY), P | W | U | ACCESSED | DIRTY);
  CHECK_EQUAL(*sharers_of(frame_of(entry)), 1);
  CHECK_EQUAL(*(volatile uint64_t *)frame_of(entry), current->contents[page]);
}

static void read_page(unsigned page) {
  uintptr_t base = HEAP + page * PAGE;
  if (random_below(2) == 0) {
    struct outcome seen = attempt_user(CODE + USER_OFFSET(user_read), STACK + PAGE, base, 0);
    CHECK_CALLED(seen);
    CHECK_EQUAL(seen.accumulator, current->contents[page]);
  } else {
    CHECK_EQUAL(*(volatile uint64_t *)base, current->contents[page]);
  }
  CHECK_EQUAL(*(volatile uint64_t *)(base + PAGE - 8), current->contents[page]);
  CHECK((*entry_find(current->space, base, 1) & ACCESSED) != 0);
}

/// What a collector of old pages does: clears the bits of one page, and sees what sets them again.
static void age_page(unsigned page) {
  uintptr_t base = HEAP + page * PAGE;
  volatile uint64_t *entry = entry_find(current->space, base, 1);
  if (entry == NULL || (*entry & P) == 0) return;
  *entry &= ~(uint64_t)(ACCESSED | DIRTY);
  invalidate_page(base);
  CHECK_EQUAL(*entry & (ACCESSED | DIRTY), 0);
  read_page(page);
  CHECK_EQUAL(*entry & (ACCESSED | DIRTY), ACCESSED);
  if (random_below(2) == 0) return;
  *entry &= ~(uint64_t)ACCESSED;
  invalidate_page(base);
  write_page(page);
}

static unsigned alive(void) {
  unsigned count = 0;
  for (unsigned index = 0; index < PROCESSES; index++) count += processes[index].alive;
  return count;
}

static struct process *any_alive(void) {
  for (;;) {
    struct process *process = &processes[random_below(PROCESSES)];
    if (process->alive) return process;
  }
}

static struct process *another(void) {
  for (;;) {
    struct process *process = any_alive();
    if (process != current) return process;
  }
}

static void check_everything(void) {
  for (unsigned index = 0; index < PROCESSES; index++) {
    if (!processes[index].alive) continue;
    use(&processes[index]);
    for (unsigned page = 0; page < PAGES; page++) {
      volatile uint64_t *entry = entry_find(current->space, HEAP + page * PAGE, 1);
      if (entry != NULL && (*entry & P) != 0) read_page(page);
    }
  }
}

void guest_main(void) {
  kernel.root = read_cr3();
  unsigned before = frames_in_use;
  page_fault_handler = repair;
  use(new_process());
  for (unsigned step = 0; step < STEPS; step++) {
    unsigned kind = random_below(100), page = random_below(PAGES);
    if (kind < 45) {
      write_page(page);
    } else if (kind < 70) {
      read_page(page);
    } else if (kind < 80) {
      age_page(page);
    } else if (kind < 92) {
      use(any_alive());
    } else if (kind < 97) {
      struct process *child = fork();
      if (child != NULL && random_below(2) == 0) use(child);
    } else if (alive() > 1) {
      exit_to(another());
    }
    if (step % 600 == 599) {
      check_everything();
      print("fork: %u forks, %u exits, %u pages filled, %u copied, %u taken over\n", forks, exits,
            fills, copies, takes);
    }
  }
  // One fork of everything at a time, each child writing every page at once, and all gone again.
  for (unsigned round = 0; round < 12; round++) {
    while (alive() > 4) exit_to(another());
    struct process *child = fork();
    CHECK(child != NULL);
    use(child);
    for (unsigned page = 0; page < PAGES; page++) write_page((page * 37 + round) % PAGES);
  }
  check_everything();
  print("fork: %u forks, %u pages copied, every page of every process as it was written\n", forks,
        copies);
  page_fault_handler = NULL;
  struct process *last = current;
  for (unsigned index = 0; index < PROCESSES; index++) {
    if (!processes[index].alive || &processes[index] == last) continue;
    use(&processes[index]);
    exit_to(last);
  }
  current = last;
  struct process none = { .space = kernel };
  exit_to(&none);
  current = NULL;
  CHECK_EQUAL(frames_in_use, before);
  print("fork: ok\n");
}
