// The switch between paging modes, all from 32-bit code. Under 4 and 5 levels that code runs in
// compatibility mode; exceptions come there through 64-bit gates, whose stubs hand them to the
// 32-bit runtime.
  .text
  .globl switch_paging
// switch_paging(cr0, cr3, cr4, efer): through paging off, where CR4 and EFER may change.
switch_paging:
  push %ebx
  push %esi
  push %edi
  mov 16(%esp), %ebx
  mov 20(%esp), %esi
  mov 24(%esp), %edi
  mov %cr0, %eax
  and $0x7FFFFFFF, %eax
  mov %eax, %cr0
  mov %edi, %cr4
  mov %esi, %cr3
  mov $0xC0000080, %ecx
  rdmsr
  mov 28(%esp), %eax
  wrmsr
  mov %ebx, %cr0
  pop %edi
  pop %esi
  pop %ebx
  ret

// A gate's stub: notes vector and error code, and leaves for 32-bit code of the kernel's.
  .code64
  .macro STUB name, vector, has_code
  .globl \name
\name:
  .if \has_code
  pop %rax
  .else
  mov %rax, accumulator
  xor %eax, %eax
  .endif
  mov %eax, error_code
  movl $\vector, vector
  // RIP and CS of the place where it happened.
  mov (%rsp), %rax
  mov %eax, place
  mov 8(%rsp), %rax
  mov %eax, place + 4
  push $0x08
  push $arrived
  lretq
  .endm
  STUB stub_undefined, 6, 0
  STUB stub_double, 8, 1
  STUB stub_protection, 13, 1
  STUB stub_page_fault, 14, 1
  STUB stub_call, 0x30, 0

  .code32
arrived:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  // What the runtime's own stubs push: SS, SP, flags, CS, IP, error code, vector, registers.
  push $0x10
  push $0
  push $2
  push place + 4
  push place
  push error_code
  push vector
  mov accumulator, %eax
  pusha
  push %esp
  call trap_dispatch
// Nothing is repaired in these modes.
1:
  hlt
  jmp 1b

  .bss
  .balign 4
accumulator:
  .skip 4
error_code:
  .skip 4
vector:
  .skip 4
place:
  .skip 8
