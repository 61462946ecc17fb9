import GuestProcessor
import PagingUnits
import Testing

@Suite("Exceptions in 32-bit protected mode") struct Delivery32Tests {
  @Test("a page fault pushes its error code and sets CR2 to the exact address")
  func pageFault() throws {
    let guest = try TestGuest()
    guest.port.refusals[0x40000] = 0
    let exit = guest.run32([
      // nop; mov [0x40123], eax
      0x90, 0xA3, 0x23, 0x01, 0x04, 0x00,
    ])
    #expect(exit == .halted)
    let state = guest.processor.state
    #expect(state.rip == TestGuest.handler + 14 * 8 + 1)
    #expect(state.controls.cr2 == 0x40123)
    let frame = state.general[4]
    #expect(frame == TestGuest.stack - 16)
    #expect(guest.word32(frame) == 2)
    #expect(guest.word32(frame + 4) == UInt32(TestGuest.program32 + 1))
    #expect(guest.word32(frame + 8) == 8)
    #expect(guest.word32(frame + 12) & 0x1_0202 == 0x1_0002)
  }

  @Test("a handler that maps the page and returns lets the instruction run again")
  func resume() throws {
    let guest = try TestGuest()
    guest.port.refusals[0x40000] = 0
    guest.port.onOutput = { [unowned port = guest.port] _, _ in port.refusals = [:] }
    guest.layTables32()
    guest.setGate32(14, 0x6000)
    guest.store(
      [
        // out 0x10, al; add esp, 4; iretd
        0xE6, 0x10, 0x83, 0xC4, 0x04, 0xCF,
      ], at: 0x6000)
    guest.store(
      TestGuest.prologue32 + [
        // mov eax, 77; mov [0x40123], eax; inc eax; cli; hlt
        0xB8, 0x4D, 0x00, 0x00, 0x00, 0xA3, 0x23, 0x01, 0x04, 0x00, 0x40, 0xFA, 0xF4,
      ],
      at: TestGuest.code)
    guest.processor.enter(at: UInt32(TestGuest.code), eax: 0, ebx: 0)
    #expect(guest.processor.run() == .halted)
    #expect(guest.processor.state.general[0] == 78)
    #expect(guest.word32(0x40124 - 4) >> 24 == 77)
    #expect(guest.processor.state.general[4] == TestGuest.stack)
  }

  /// Enters user mode at the byte after this, through IRET.
  static let toUser: [UInt8] = [
    // push 0x2B; push 0x11000; push 0x3002; push 0x23; call 1f; 1: add dword ptr [esp], 5;
    // iretd
    0x6A, 0x2B, 0x68, 0x00, 0x10, 0x01, 0x00, 0x68, 0x02, 0x30, 0x00, 0x00, 0x6A, 0x23, 0xE8,
    0x00, 0x00, 0x00, 0x00, 0x83, 0x04, 0x24, 0x05, 0xCF,
  ]

  @Test("a fault in user mode switches to the task segment's stack")
  func privilegeChange() throws {
    let guest = try TestGuest()
    guest.port.refusals[0x40000] = 0
    #expect(
      guest.run32(
        Self.toUser + [
          // mov ebx, [0x40ffc]
          0x8B, 0x1D, 0xFC, 0x0F, 0x04, 0x00,
        ]) == .halted)
    let state = guest.processor.state
    #expect(state.controls.cr2 == 0x40FFC)
    #expect(state.segments[0] == 8 && state.segments[1] == 0x10)
    let frame = state.general[4]
    #expect(frame == TestGuest.innerStack - 24)
    #expect(guest.word32(frame) == 4)
    #expect(guest.word32(frame + 8) == 0x23)
    #expect(guest.word32(frame + 16) == 0x11000)
    #expect(guest.word32(frame + 20) == 0x2B)
    // The handler is privileged again: HLT was executed, not refused.
    #expect(guest.port.delivered.map(\.vector) == [14])
  }

  @Test("INT n from user mode needs a gate of its privilege")
  func softwareInterrupts() throws {
    let guest = try TestGuest()
    #expect(
      guest.run32(
        Self.toUser + [
          // int 0x81
          0xCD, 0x81,
        ]) == .halted)
    #expect(guest.port.delivered.map(\.vector) == [0x81, 13])
    #expect(guest.word32(guest.processor.state.general[4]) == 0x81 * 8 + 2)
  }

  @Test("INT n through a gate of its privilege pushes the next instruction's address")
  func permittedSoftwareInterrupt() throws {
    let guest = try TestGuest()
    let program =
      Self.toUser + [
        // int 0x80
        0xCD, 0x80,
      ]
    guest.layTables32()
    guest.setGate32(0x80, TestGuest.handler + 0x80 * 8, type: 0xEE)
    guest.store(TestGuest.prologue32 + program, at: TestGuest.code)
    guest.processor.enter(at: UInt32(TestGuest.code), eax: 0, ebx: 0)
    #expect(guest.processor.run() == .halted)
    #expect(guest.port.delivered.map(\.vector) == [0x80])
    let frame = guest.processor.state.general[4]
    #expect(guest.word32(frame) == UInt32(TestGuest.program32) + UInt32(program.count))
  }

  @Test("one #GP after another is delivered as #GP each time")
  func repeatedFaults() throws {
    let guest = try TestGuest()
    guest.layTables32()
    guest.setGate32(13, 0x6000)
    guest.store(
      [
        // pop edx; add dword ptr [esp], 2; inc ebx; iretd
        0x5A, 0x83, 0x04, 0x24, 0x02, 0x43, 0xCF,
      ], at: 0x6000)
    guest.store(
      TestGuest.prologue32
        + [
          // xor ebx, ebx; mov eax, 0x100; mov ds, eax; nop; mov ds, eax; nop; mov ds, eax; nop;
          // cli; hlt
          0x31, 0xDB, 0xB8, 0x00, 0x01, 0x00, 0x00, 0x8E, 0xD8, 0x90, 0x8E, 0xD8,
          0x90, 0x8E, 0xD8, 0x90, 0xFA, 0xF4,
        ],
      at: TestGuest.code)
    guest.processor.enter(at: UInt32(TestGuest.code), eax: 0, ebx: 0)
    #expect(guest.processor.run() == .halted)
    #expect(guest.processor.state.general[3] == 3)
    #expect(guest.processor.state.general[2] == 0x100)
    #expect(guest.port.delivered.map(\.vector) == [13, 13, 13])
  }

  @Test("divide error, breakpoint and undefined opcode reach their vectors")
  func otherVectors() throws {
    for (program, vector, skipped) in [
      (
        [
          // xor ecx, ecx; div ecx
          0x31, 0xC9, 0xF7, 0xF1,
        ], 0, 2
      ),
      (
        [
          // int3
          0xCC
        ], 3, 1
      ),
      (
        [
          // ud2
          0x0F, 0x0B,
        ], 6, 0
      ),
    ] as [([UInt8], UInt8, UInt64)] {
      let guest = try TestGuest()
      #expect(guest.run32(program) == .halted)
      #expect(guest.port.delivered.map(\.vector) == [vector])
      #expect(
        UInt64(guest.word32(guest.processor.state.general[4])) == TestGuest.program32 + skipped)
    }
  }

  @Test("a fault whose gate is absent becomes #NP, then nothing")
  func absentGate() throws {
    let guest = try TestGuest()
    guest.layTables32()
    guest.setGate32(6, TestGuest.handler, type: 0x0E)
    guest.store(
      TestGuest.prologue32 + [
        // ud2
        0x0F, 0x0B,
      ], at: TestGuest.code)
    guest.processor.enter(at: UInt32(TestGuest.code), eax: 0, ebx: 0)
    #expect(guest.processor.run() == .halted)
    #expect(guest.port.delivered.map(\.vector) == [6, 11])
    // The gate's place in the IDT, marked as external to the program.
    #expect(guest.word32(guest.processor.state.general[4]) == 6 * 8 + 3)
  }

  @Test("a page fault on the way of a page fault is a double fault, and another one the end")
  func doubleAndTripleFault() throws {
    let guest = try TestGuest()
    guest.port.refusals[0x40000] = 0
    // The stack's page is refused too: pushes fault.
    let program: [UInt8] = [
      // mov esp, 0x50800; mov eax, [0x40000]
      0xBC, 0x00, 0x08, 0x05, 0x00, 0xA1, 0x00, 0x00, 0x04, 0x00,
    ]
    guest.port.refusals[0x50000] = 0
    guard case .tripleFault(let last) = guest.run32(program) else {
      Issue.record("a triple fault was expected")
      return
    }
    #expect(guest.port.delivered.map(\.vector) == [14, 8])
    #expect(last.vector == 14)
    #expect(guest.processor.state.controls.cr2 == 0x507FC)
  }

  @Test("a task gate is named as unsupported")
  func taskGate() throws {
    let guest = try TestGuest()
    guest.layTables32()
    guest.setGate32(6, 0, type: 0x85)
    guest.store(
      TestGuest.prologue32 + [
        // ud2
        0x0F, 0x0B,
      ], at: TestGuest.code)
    guest.processor.enter(at: UInt32(TestGuest.code), eax: 0, ebx: 0)
    #expect(guest.processor.run() == .unsupported("a task gate"))
  }

  @Test(
    "CR2 is exact for every way of reaching memory",
    arguments: [
      (
        [
          // push eax
          0x50
        ], 0x40FFC, 2
      ),
      (
        [
          // pop eax
          0x58
        ], 0x41000, 0
      ),
      (
        [
          // call eax
          0xFF, 0xD0,
        ], 0x40FFC, 2
      ),
      (
        [
          // ret
          0xC3
        ], 0x41000, 0
      ),
      (
        [
          // mov eax, [ebx + 4*ecx + 0x21]
          0x8B, 0x44, 0x8B, 0x21,
        ], 0x40045, 0
      ),
      (
        [
          // mov [ebx + ecx], al
          0x88, 0x04, 0x0B,
        ], 0x40009, 2
      ),
      (
        [
          // stosd
          0xAB
        ], 0x40111, 2
      ),
      (
        [
          // lodsb
          0xAC
        ], 0x40222, 0
      ),
      (
        [
          // movsd
          0xA5
        ], 0x40222, 0
      ),
      (
        [
          // xlatb
          0xD7
        ], 0x40000, 0
      ),
      (
        [
          // add [ebx + 0x33], eax
          0x01, 0x43, 0x33,
        ], 0x40033, 2
      ),
      (
        [
          // lock xadd [ebx + 0x34], eax
          0xF0, 0x0F, 0xC1, 0x43, 0x34,
        ], 0x40034, 2
      ),
      (
        [
          // cmp [ebx + 0x35], eax
          0x39, 0x43, 0x35,
        ], 0x40035, 0
      ),
      (
        [
          // movups xmm0, [ebx + 0x36]
          0x0F, 0x10, 0x43, 0x36,
        ], 0x40036, 0
      ),
      (
        [
          // fxsave [ebx + 0x40]
          0x0F, 0xAE, 0x43, 0x40,
        ], 0x40040, 2
      ),
      (
        [
          // mov eax, [0x3fffe]
          0xA1, 0xFE, 0xFF, 0x03, 0x00,
        ], 0x40000, 0
      ),
      (
        [
          // mov [0x3fffe], eax
          0xA3, 0xFE, 0xFF, 0x03, 0x00,
        ], 0x40000, 2
      ),
      (
        [
          // inc dword ptr [ebx + 1]
          0xFF, 0x43, 0x01,
        ], 0x40001, 2
      ),
      (
        [
          // bts [ebx + 4], ecx
          0x0F, 0xAB, 0x4B, 0x04,
        ], 0x40004, 2
      ),
      (
        [
          // push dword ptr [ebx + 0x50]
          0xFF, 0x73, 0x50,
        ], 0x40050, 0
      ),
    ] as [([UInt8], UInt64, UInt32)])
  func exactAddresses(program: [UInt8], address: UInt64, errorCode: UInt32) throws {
    let guest = try TestGuest()
    guest.port.refusals[0x40000] = 0
    guest.port.refusals[0x41000] = 0
    let setUp: [UInt8] = [
      // mov eax, cr4; or eax, 0x600; mov cr4, eax; xor eax, eax; mov ebx, 0x40000; mov ecx, 9;
      // mov edi, 0x40111; mov esi, 0x40222
      0x0F, 0x20, 0xE0, 0x0D, 0x00, 0x06, 0x00, 0x00, 0x0F, 0x22, 0xE0, 0x31, 0xC0, 0xBB, 0x00,
      0x00, 0x04, 0x00, 0xB9, 0x09, 0x00, 0x00, 0x00, 0xBF, 0x11, 0x01, 0x04, 0x00, 0xBE, 0x22,
      0x02, 0x04, 0x00,
    ]
    // The handler runs on a stack of its own: through user mode.
    guest.layTables32()
    let user =
      setUp + Delivery32Tests.toUser + [
        // mov esp, 0x41000
        0xBC, 0x00, 0x10, 0x04, 0x00,
      ] + program
    guest.store(TestGuest.prologue32 + user, at: TestGuest.code)
    guest.processor.enter(at: UInt32(TestGuest.code), eax: 0, ebx: 0)
    #expect(guest.processor.run() == .halted)
    let state = guest.processor.state
    #expect(guest.port.delivered.map(\.vector) == [14])
    #expect(state.controls.cr2 == address)
    #expect(guest.word32(state.general[4]) == errorCode | 4)
    // The instruction had no effect.
    let start = TestGuest.program32 + UInt64(user.count - program.count)
    #expect(UInt64(guest.word32(state.general[4] + 4)) == start)
    #expect(guest.word32(state.general[4] + 16) == 0x41000)
    #expect(state.general[7] == 0x40111 && state.general[6] == 0x40222)
  }
}
