// Entry of a 64-bit guest. The guest makes its own way from 32-bit protected mode to long mode:
// identity tables for the first GiB by 2 MiB pages, CR4.PAE, EFER.LME, CR0.PG, a far jump.
  .code32
  .text
  .weak early
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
  lgdt boot_gdt_pointer
  ljmp $0x08, $1f
1:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss

  // A guest that has something to do in protected mode does it here.
  mov $early, %eax
  test %eax, %eax
  jz 2f
  call *%eax
2:
  movl $boot_level3 + 3, boot_level4
  movl $boot_level2 + 3, boot_level3
  xor %ecx, %ecx
3:
  mov %ecx, %eax
  shl $21, %eax
  or $0x83, %eax
  mov %eax, boot_level2(, %ecx, 8)
  inc %ecx
  cmp $512, %ecx
  jne 3b

  mov %cr4, %eax
  or $0x20, %eax
  mov %eax, %cr4
  mov $boot_level4, %eax
  mov %eax, %cr3
  mov $0xC0000080, %ecx
  rdmsr
  or $0x900, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80010000, %eax
  mov %eax, %cr0
  ljmp $0x18, $4f

not_multiboot:
  mov $4, %al
  out %al, $0xF4
5:
  hlt
  jmp 5b

  .code64
4:
  mov $stack_top, %rsp
  xor %ebp, %ebp
  call descriptors_load
  call guest_main
  xor %edi, %edi
  call leave

// Reloads every segment register from the new GDT.
  .globl load_segments
load_segments:
  pop %rax
  push $0x18
  push %rax
  lretq

  .section .rodata
  .balign 8
boot_gdt:
  .quad 0
  .quad 0x00CF9B000000FFFF
  .quad 0x00CF93000000FFFF
  .quad 0x00AF9B000000FFFF
boot_gdt_pointer:
  .word . - boot_gdt - 1
  .long boot_gdt

  .bss
  .balign 4096
  .globl boot_level4
boot_level4:
  .skip 4096
boot_level3:
  .skip 4096
  .globl boot_level2
boot_level2:
  .skip 4096
  .skip 16384
stack_top:
  .globl boot_information
boot_information:
  .skip 16
  .skip 16384
  .globl trap_stack_top
trap_stack_top:
