import GuestProcessor
import PagingUnits
import Testing

@Suite("Exceptions in 64-bit mode") struct Delivery64Tests {
  @Test("a guest's own switch to long mode works, and a fault there pushes five words and a code")
  func pageFault() throws {
    let guest = try TestGuest()
    guest.port.refusals[0x40000] = 0
    let exit = guest.run64([
      // nop; mov [0x40123], rax
      0x90, 0x48, 0x89, 0x04, 0x25, 0x23, 0x01, 0x04, 0x00,
    ])
    #expect(exit == .halted)
    let state = guest.processor.state
    #expect(state.controls.efer == 0xD01)
    #expect(state.controls.cr2 == 0x40123)
    let frame = state.general[4]
    #expect(frame == TestGuest.stack - 48)
    #expect(guest.word(frame) == 2)
    #expect(guest.word(frame + 8) == TestGuest.program64 + 1)
    #expect(guest.word(frame + 16) == 0x18)
    #expect(guest.word(frame + 32) == TestGuest.stack)
    #expect(guest.word(frame + 40) == 0x10)
  }

  @Test("an interrupt stack table entry switches stacks without a change of privilege")
  func interruptStack() throws {
    let guest = try TestGuest()
    guest.layTables64()
    guest.setGate64(6, TestGuest.handler + 48, stack: 1)
    guest.store(TestGuest.prologue64, at: TestGuest.code)
    guest.store(
      [
        // mov rsp, 0x10008; ud2
        0x48, 0xC7, 0xC4, 0x08, 0x00, 0x01, 0x00, 0x0F, 0x0B,
      ], at: TestGuest.program64)
    guest.processor.enter(at: UInt32(TestGuest.code), eax: 0, ebx: 0)
    #expect(guest.processor.run() == .halted)
    let frame = guest.processor.state.general[4]
    #expect(frame == TestGuest.alternateStack - 40)
    #expect(guest.word(frame + 24) == 0x10008)
    #expect(guest.processor.state.segments[1] == 0x10)
  }

  static let toUser: [UInt8] = [
    // push 0x2B; push 0x11000; push 0x2; push 0x33; lea rax, [rip + 3]; push rax; iretq
    0x6A, 0x2B, 0x68, 0x00, 0x10, 0x01, 0x00, 0x6A, 0x02, 0x6A, 0x33, 0x48, 0x8D, 0x05, 0x03,
    0x00, 0x00, 0x00, 0x50, 0x48, 0xCF,
  ]

  @Test("user mode faults, syscalls and privileged instructions come to the kernel's stack")
  func userMode() throws {
    for (program, vector, code) in [
      (
        [
          // mov rax, [0x40ff8]
          0x48, 0x8B, 0x04, 0x25, 0xF8, 0x0F, 0x04, 0x00,
        ], 14, 4
      ),
      (
        [
          // hlt
          0xF4
        ], 13, 0
      ),
      (
        [
          // mov cr3, rax
          0x0F, 0x22, 0xD8,
        ], 13, 0
      ),
      (
        [
          // movabs rcx, 0x8000000000000000; mov [rcx], al
          0x48, 0xB9, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x88, 0x01,
        ], 13, 0
      ),
      (
        [
          // movabs rsp, 0x8000000000000000; push rax
          0x48, 0xBC, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x50,
        ], 12, 0
      ),
    ] as [([UInt8], UInt8, UInt64)] {
      let guest = try TestGuest()
      guest.port.refusals[0x40000] = 0
      #expect(guest.run64(Self.toUser + program) == .halted)
      #expect(guest.port.delivered.map(\.vector) == [vector])
      let frame = guest.processor.state.general[4]
      #expect(frame == TestGuest.innerStack - 48)
      #expect(guest.word(frame) == code)
      #expect(guest.word(frame + 16) == 0x33)
      #expect(guest.word(frame + 40) == 0x2B)
      #expect(guest.processor.state.segments[1] == 0)
    }
  }

  @Test("a handler in the kernel returns to user mode, again and again")
  func returns() throws {
    let guest = try TestGuest()
    guest.layTables64()
    guest.setGate64(0x80, 0x6000, type: 0xEE)
    guest.store(
      [
        // inc rbx; cmp rbx, 1000; je 1f; iretq; 1: cli; hlt
        0x48, 0xFF, 0xC3, 0x48, 0x81, 0xFB, 0xE8, 0x03, 0x00, 0x00, 0x74, 0x02, 0x48, 0xCF, 0xFA,
        0xF4,
      ], at: 0x6000)
    guest.store(TestGuest.prologue64, at: TestGuest.code)
    guest.store(
      Self.toUser + [
        // xor ebx, ebx; 1: int 0x80; jmp 1b
        0x31, 0xDB, 0xCD, 0x80, 0xEB, 0xFC,
      ], at: TestGuest.program64)
    guest.processor.enter(at: UInt32(TestGuest.code), eax: 0, ebx: 0)
    #expect(guest.processor.run() == .halted)
    #expect(guest.processor.deliveredEvents == 1000)
  }

  @Test("SYSCALL enters at LSTAR with the return address in RCX, and SYSRET returns")
  func systemCall() throws {
    let guest = try TestGuest()
    // STAR: kernel 0x18, user base 0x23; LSTAR 0x6000; SFMASK 0x200.
    guest.store(
      [
        // inc rbx; cmp rbx, 3; je 1f; sysretq; 1: hlt
        0x48, 0xFF, 0xC3, 0x48, 0x83, 0xFB, 0x03, 0x74, 0x03, 0x48, 0x0F, 0x07, 0xF4,
      ], at: 0x6000)
    let exit = guest.run64(
      [
        // mov ecx, 0xC0000081; xor eax, eax; mov edx, 0x00230018; wrmsr; inc ecx;
        // mov eax, 0x6000; xor edx, edx; wrmsr; mov ecx, 0xC0000084; mov eax, 0x200; wrmsr
        0xB9, 0x81, 0x00, 0x00, 0xC0, 0x31, 0xC0, 0xBA, 0x18, 0x00, 0x23, 0x00, 0x0F, 0x30, 0xFF,
        0xC1, 0xB8, 0x00, 0x60, 0x00, 0x00, 0x31, 0xD2, 0x0F, 0x30, 0xB9, 0x84, 0x00, 0x00, 0xC0,
        0xB8, 0x00, 0x02, 0x00, 0x00, 0x0F, 0x30,
      ]
        + Self.toUser + [
          // xor ebx, ebx; 1: syscall; jmp 1b
          0x31, 0xDB, 0x0F, 0x05, 0xEB, 0xFC,
        ])
    #expect(exit == .halted)
    #expect(guest.processor.state.general[3] == 3)
    #expect(guest.processor.state.segments[0] == 0x18)
    #expect(guest.port.delivered.isEmpty)
  }

  @Test("the stack is aligned to 16 bytes before a frame is pushed, without any switch")
  func alignment() throws {
    let guest = try TestGuest()
    #expect(
      guest.run64([
        // mov rsp, 0xFFF9; ud2
        0x48, 0xC7, 0xC4, 0xF9, 0xFF, 0x00, 0x00, 0x0F, 0x0B,
      ]) == .halted)
    let frame = guest.processor.state.general[4]
    #expect(frame == 0xFFF0 - 40)
    #expect(guest.word(frame + 24) == 0xFFF9)
  }

  @Test("a jump to an address that is not canonical is #GP")
  func wildJump() throws {
    let guest = try TestGuest()
    #expect(
      guest.run64([
        // movabs rax, 0x1234000000000000; jmp rax
        0x48, 0xB8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x34, 0x12, 0xFF, 0xE0,
      ]) == .halted)
    #expect(guest.port.delivered.map(\.vector) == [13])
  }

  @Test("user code that loads a segment reads the GDT as the processor does")
  func implicitAccess() throws {
    let guest = try TestGuest()
    guest.port.supervisorOnly = [TestGuest.gdt]
    #expect(
      guest.run64(
        Self.toUser + [
          // mov eax, 0x2B; mov fs, eax; mov eax, [0x1000]
          0xB8, 0x2B, 0x00, 0x00, 0x00, 0x8E, 0xE0, 0x8B, 0x04, 0x25, 0x00, 0x10, 0x00, 0x00,
        ]) == .halted)
    // The load succeeds, the explicit read of the same page does not.
    #expect(guest.port.delivered.map(\.vector) == [14])
    #expect(guest.processor.state.segments[4] == 0x2B)
    #expect(guest.processor.state.controls.cr2 == 0x1000)
  }
}
