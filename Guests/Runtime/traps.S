// Exception stubs, the escape from an attempt, and the way into user mode.
#ifdef __x86_64__
#define WORD 8
#define A %rax
#define SP %rsp
#else
#define WORD 4
#define A %eax
#define SP %esp
#endif

  .text
  .balign 16
  .globl trap_stubs
trap_stubs:
  .set vector, 0
  .rept 49
  .balign 16
  .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
  .else
    push $0
  .endif
  push $vector
  jmp trap_common
  .set vector, vector + 1
  .endr

  .balign 16
trap_common:
  cld
#ifdef __x86_64__
  push %rax
  push %rbx
  push %rcx
  push %rdx
  push %rsi
  push %rdi
  push %rbp
  push %r8
  push %r9
  push %r10
  push %r11
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, %rdi
  call trap_dispatch
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %r11
  pop %r10
  pop %r9
  pop %r8
  pop %rbp
  pop %rdi
  pop %rsi
  pop %rdx
  pop %rcx
  pop %rbx
  pop %rax
  add $16, %rsp
  iretq
#else
  pusha
  // User code runs with user data segments: the kernel's own come back here.
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  push %esp
  call trap_dispatch
  add $4, %esp
  // A trap that is repaired goes back where it came from, with the segments of that privilege.
  mov $0x10, %eax
  testb $3, 44(%esp)
  jz 1f
  mov $0x23, %eax
1:
  mov %eax, %ds
  mov %eax, %es
  popa
  add $8, %esp
  iret
#endif

#ifdef __x86_64__
  .globl guarded
guarded:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  push $0
  mov %rsp, guard
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %rsi
  mov %rcx, %rdx
  mov %r8, %rcx
  call *%rax
  xor %eax, %eax
1:
  add $8, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
  .globl escape
escape:
  mov guard, %rsp
  mov $1, %eax
  jmp 1b

  .globl enter_user
enter_user:
  push $0x23
  push %rsi
  push $2
  push $0x2B
  push %rdi
  mov %rdx, %rdi
  mov %rcx, %rsi
  iretq
#else
  .globl guarded
guarded:
  push %ebp
  push %ebx
  push %esi
  push %edi
  mov %esp, guard
  push 36(%esp)
  push 36(%esp)
  push 36(%esp)
  push 36(%esp)
  call *36(%esp)
  add $16, %esp
  xor %eax, %eax
1:
  pop %edi
  pop %esi
  pop %ebx
  pop %ebp
  ret
  .globl escape
escape:
  mov guard, %esp
  mov $1, %eax
  jmp 1b

  .globl enter_user
enter_user:
  mov 4(%esp), %eax
  mov 8(%esp), %edx
  mov 12(%esp), %edi
  mov 16(%esp), %esi
  push $0x23
  push %edx
  push $2
  push $0x2B
  push %eax
  mov $0x23, %eax
  mov %eax, %ds
  mov %eax, %es
  iret
#endif

  .bss
  .balign 8
guard:
  .skip 8

#ifdef __x86_64__
#define DI %rdi
#define SI %rsi
#else
#define DI %edi
#define SI %esi
#endif
  .section .user, "aw"
  .balign 4096
  .globl user_page, user_nothing, user_read, user_write, user_jump, user_disable_interrupts
  .globl user_increment, kernel_return
user_page:
user_nothing:
  int $0x30
user_read:
  mov (DI), A
  int $0x30
user_write:
  mov SI, (DI)
  int $0x30
user_jump:
  jmp *DI
user_disable_interrupts:
  cli
  int $0x30
// Adds b to the word at a, through the stack.
user_increment:
  push SI
  mov (DI), A
  add (SP), A
  mov A, (DI)
  pop SI
  int $0x30
kernel_return:
  ret
