// The smallest guest whose faults, exits, tables and walks can be counted by hand; the page Shadow
// of the documentation counts them. One page of code, four levels of tables, eight pages of data,
// each 32 KiB from the next, so that no neighbour is mapped along with it.
//
//   physical   0x100000 this code      0x200000 PML4   0x210000 PDPT   0x220000 PD
//              0x230000 table of the code              0x240000 table of the data
//              0x400000 + i * 0x8000 the data          0x440000 the page that takes 0's place
//   linear     0x100000 this code      0x400000 + i * 0x8000 the data   0x5FF000 the data's table
//
// It runs 32-bit code all the time: under 4 levels in compatibility mode, so that no descriptor
// has to be read.
  .code32
  .text
  .globl enter
enter:
  // 1. Paging is off: the tables.
  movl $0x210003, 0x200000
  movl $0x220003, 0x210000
  movl $0x230003, 0x220000
  movl $0x240003, 0x220010
  movl $0x100003, 0x230800
  movl $0x240003, 0x240FF8
  movl $0x400003, %eax
  movl $0x240000, %edi
1:
  movl %eax, (%edi)
  add $0x8000, %eax
  add $64, %edi
  cmp $0x240200, %edi
  jne 1b

  // 2. Paging on, with four levels.
  mov %cr4, %eax
  or $0x20, %eax
  mov %eax, %cr4
  movl $0x200000, %ebx
  mov %ebx, %cr3
  mov $0xC0000080, %ecx
  rdmsr
  or $0x100, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0

  // 3. Eight pages are written, 4. and read.
  mov $0x400000, %edi
2:
  mov %edi, (%edi)
  add $0x8000, %edi
  cmp $0x440000, %edi
  jne 2b
  mov $0x400000, %edi
3:
  cmp %edi, (%edi)
  jne failed
  add $0x8000, %edi
  cmp $0x440000, %edi
  jne 3b

  // 5. One entry is edited through its table's own mapping; INVLPG makes it count.
  movl $0x440003, 0x5FF000
  invlpg 0x400000
  cmpl $0, 0x400000
  jne failed

  // 6. CR3 is loaded with the value that it has, and the other seven pages are read.
  mov %ebx, %cr3
  mov $0x408000, %edi
4:
  cmp %edi, (%edi)
  jne failed
  add $0x8000, %edi
  cmp $0x440000, %edi
  jne 4b

  // 7. Ten bytes to COM1, one to isa-debug-exit.
  mov $words, %esi
  mov $0x3F8, %edx
5:
  lodsb
  out %al, %dx
  cmp $'\n', %al
  jne 5b
  xor %eax, %eax
leave:
  out %al, $0xF4
6:
  hlt
  jmp 6b
failed:
  mov $1, %eax
  jmp leave
words:
  .ascii "touch: ok\n"
