// Entry of a 32-bit guest: protected mode, paging off, flat segments of the loader's making.
  .text
  .globl enter
enter:
  cli
  cld
  mov $stack_top, %esp
  push $0
  popf
  mov %ebx, boot_information
  cmp $0x2BADB002, %eax
  jne not_multiboot
  call descriptors_load
  call guest_main
  push $0
  call leave
not_multiboot:
  push $4
  call leave

  .globl load_segments
// Reloads every segment register from the new GDT.
load_segments:
  ljmp $0x08, $1f
1:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  xor %eax, %eax
  mov %eax, %fs
  mov %eax, %gs
  ret

  .bss
  .balign 16
  .skip 16384
stack_top:
  .globl boot_information
boot_information:
  .skip 4
  .balign 16
  .skip 16384
  .globl trap_stack_top
trap_stack_top:
