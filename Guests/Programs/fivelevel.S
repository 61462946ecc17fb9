// switch_levels(root, cr4): leaves long mode through 32-bit protected mode, sets CR4 and CR3 while
// paging is off (CR4.LA57 may not change otherwise) and comes back.
  .text
  .globl switch_levels
switch_levels:
  push %rbp
  push %rbx
  mov %edi, %ebx
  mov %esi, %ebp
  mov %rsp, saved_stack
  push $0x08
  lea 1f, %eax
  push %rax
  lretq
  .code32
1:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %cr0, %eax
  and $0x7FFFFFFF, %eax
  mov %eax, %cr0
  mov %ebp, %cr4
  mov %ebx, %cr3
  or $0x80000000, %eax
  mov %eax, %cr0
  ljmp $0x18, $2f
  .code64
2:
  mov saved_stack, %rsp
  pop %rbx
  pop %rbp
  ret

  .bss
  .balign 8
saved_stack:
  .skip 8
