// The serial line, the end of the machine, and the memory functions that a compiler calls.
#include "guest.h"

void *memset(void *to, int byte, size_t count) {
  void *at = to;
  __asm__ volatile("rep stosb" : "+D"(at), "+c"(count) : "a"(byte) : "memory");
  return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
  void *at = to;
  __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(count) : : "memory");
  return to;
}

static void put(char character) {
  const uint16_t com1 = 0x3F8;
  while ((in8(com1 + 5) & 0x20) == 0) {
  }
  out8(com1, (uint8_t)character);
}

static void put_hexadecimal(uint64_t value) {
  int shift = 60;
  while (shift > 0 && (value >> shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) put("0123456789abcdef"[(value >> shift) & 15]);
}

static void put_decimal(unsigned long value) {
  char digits[24];
  int count = 0;
  do {
    digits[count++] = (char)('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (count > 0) put(digits[--count]);
}

void print(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  for (; *format != 0; format++) {
    if (*format != '%') {
      put(*format);
      continue;
    }
    int longs = 0;
    for (format++; *format == 'l'; format++) longs++;
    if (*format == 's') {
      for (const char *text = va_arg(arguments, const char *); *text != 0; text++) put(*text);
      continue;
    }
    if (*format == 'c') {
      put((char)va_arg(arguments, int));
      continue;
    }
    uint64_t value = longs == 0   ? va_arg(arguments, unsigned)
                     : longs == 1 ? va_arg(arguments, unsigned long)
                                  : va_arg(arguments, unsigned long long);
    if (*format == 'u') put_decimal((unsigned long)value);
    else put_hexadecimal(value);
  }
  va_end(arguments);
}

void leave(uint8_t value) {
  out8(0xF4, value);
  for (;;) __asm__ volatile("cli; hlt");
}

void check_failed(unsigned line, const char *condition) {
  print("%s: line %u: does not hold: %s\n", guest_name, line, condition);
  leave(LEAVE_FAILED);
}

void check_equal(unsigned line, const char *what, uint64_t value, uint64_t expected) {
  if (value == expected) return;
  print("%s: line %u: %s is 0x%llx, expected 0x%llx\n", guest_name, line, what,
        (unsigned long long)value, (unsigned long long)expected);
  leave(LEAVE_FAILED);
}
