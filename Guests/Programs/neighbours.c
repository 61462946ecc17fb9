// Structures that share a page: two that change all the time, and one between them that hardly does.
#include "tables.h"

const char guest_name[] = "neighbours";

enum { ROUNDS = 1000 };

/// 128 bytes, as much as sub-page write permissions tell apart.
struct account { uint64_t balance, entries, last, reserved[13]; };

// In this order in one page: what is refused in the middle one must not disturb the others.
struct account income __attribute__((aligned(4096))) = { 0 };
struct account vault __attribute__((aligned(128))) = { 0 };
struct account expenses __attribute__((aligned(128))) = { 0 };

static void book(struct account *account, uint64_t amount) {
  volatile struct account *booked = account;
  booked->balance += amount;
  booked->entries++;
  booked->last = amount;
}

/// The only lawful way to the guarded account.
__attribute__((noinline)) void settle(uint64_t amount) {
  volatile struct account *booked = &vault;
  booked->balance += amount;
}

/// What somebody does who found its address: one byte, and a word over its end.
__attribute__((noinline)) void forge(void) {
  *((volatile uint8_t *)&vault + 127) = 0x5A;
  *(volatile uint64_t *)((uintptr_t)&vault + 124) = 0x1122334455667788;
}

void guest_main(void) {
  CHECK_EQUAL((uintptr_t)&vault - (uintptr_t)&income, 128);
  CHECK_EQUAL((uintptr_t)&expenses - (uintptr_t)&income, 256);
  for (unsigned round = 1; round <= ROUNDS; round++) {
    book(&income, round);
    book(&expenses, round * 2);
    if (round % 200 == 0) settle(round);
  }
  print("neighbours: income %lu, expenses %lu in %lu entries each\n", income.balance,
        expenses.balance, income.entries);
  CHECK_EQUAL(income.entries, expenses.entries);
  print("neighbours: the guarded account holds %lu\n", vault.balance);
  CHECK_EQUAL(vault.balance, 3000);

  // Many at once, judged one by one: the last of them reaches the guarded account.
  uint8_t *end = (uint8_t *)&vault;
  void *to = end - 16;
  uintptr_t count = 17;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0x77) : "memory");
  CHECK_EQUAL((uintptr_t)to, (uintptr_t)end + 1);
  CHECK_EQUAL(*(volatile uint8_t *)end, 0x77);
  print("neighbours: a string that runs over the edge is stored\n");

  forge();
  CHECK_EQUAL(*(volatile uint64_t *)((uintptr_t)&vault + 124), 0x1122334455667788);
  CHECK_EQUAL(*(volatile uint32_t *)&expenses, 0x11223344);
  print("neighbours: what was forged is there\n");
  print("neighbours: ok\n");
}
