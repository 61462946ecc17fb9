// The demonstration's first lines, in 32-bit protected mode: without paging, then with PAE.
  .code32
  .text
  .globl early
early:
  mov $hello, %esi
  call say
  mov $protected, %esi
  call say

  // Three levels: the first GiB as it is, and one more page at 1 GiB that leads to 4 MiB.
  xor %ecx, %ecx
1:
  mov %ecx, %eax
  shl $21, %eax
  or $0x83, %eax
  mov %eax, boot_level2(, %ecx, 8)
  inc %ecx
  cmp $512, %ecx
  jne 1b
  movl $boot_level2 + 1, early_top
  movl $early_directory + 1, early_top + 8
  movl $early_table + 3, early_directory
  movl $0x400003, early_table
  mov $early_top, %eax
  mov %eax, %cr3
  mov %cr4, %eax
  or $0x20, %eax
  mov %eax, %cr4
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0

  movl $0x50454E55, 0x40000120
  cmpl $0x50454E55, 0x400120
  jne different
  movl $0x4D425241, 0x400124
  cmpl $0x4D425241, 0x40000124
  jne different
  mov $pae, %esi
  call say

  mov %cr0, %eax
  and $0x7FFFFFFF, %eax
  mov %eax, %cr0
  ret

different:
  mov $wrong, %esi
  call say
  mov $1, %al
  out %al, $0xF4
2:
  hlt
  jmp 2b

// Prints the text at ESI to COM1.
say:
  mov $0x3FD, %dx
  in %dx, %al
  test $0x20, %al
  jz say
  mov $0x3F8, %dx
  lodsb
  test %al, %al
  jz 3f
  out %al, %dx
  jmp say
3:
  ret

  .section .rodata
hello:
  .asciz "Hello! I am a very small kernel. Every address I use is translated beneath me.\n"
protected:
  .asciz "Protected mode: paging is off, a linear address is a physical address.\n"
pae:
  .asciz "PAE, 3 levels: what I write at 0x40000120 I read back at 0x400120, one page twice.\n"
wrong:
  .asciz "PAE: the two addresses of one page disagree.\n"

  .bss
  .balign 4096
early_directory:
  .skip 4096
early_table:
  .skip 4096
early_top:
  .skip 32
