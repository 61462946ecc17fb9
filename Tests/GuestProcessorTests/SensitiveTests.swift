import GuestProcessor
import PagingUnits
import Testing

@Suite("Instructions that change the paging state") struct SensitiveTests {
  @Test(
    "illegal writes to control registers raise #GP and change nothing",
    arguments: [
      // CR4: a reserved bit; LA57 in long mode; PAE cleared in long mode.
      [
        // mov eax, 0x80000620; mov cr4, rax
        0xB8, 0x20, 0x06, 0x00, 0x80, 0x0F, 0x22, 0xE0,
      ],
      [
        // mov eax, 0x1620; mov cr4, rax
        0xB8, 0x20, 0x16, 0x00, 0x00, 0x0F, 0x22, 0xE0,
      ],
      [
        // mov eax, 0x600; mov cr4, rax
        0xB8, 0x00, 0x06, 0x00, 0x00, 0x0F, 0x22, 0xE0,
      ],
      // CR0: paging off in 64-bit code; NW without CD; a reserved bit; paging without protection.
      [
        // mov eax, 0x11; mov cr0, rax
        0xB8, 0x11, 0x00, 0x00, 0x00, 0x0F, 0x22, 0xC0,
      ],
      [
        // mov eax, 0xA0010011; mov cr0, rax
        0xB8, 0x11, 0x00, 0x01, 0xA0, 0x0F, 0x22, 0xC0,
      ],
      [
        // movabs rax, 0x180010011; mov cr0, rax
        0x48, 0xB8, 0x11, 0x00, 0x01, 0x80, 0x01, 0x00, 0x00, 0x00, 0x0F, 0x22, 0xC0,
      ],
      [
        // mov eax, 0x80010010; mov cr0, rax
        0xB8, 0x10, 0x00, 0x01, 0x80, 0x0F, 0x22, 0xC0,
      ],
      // CR3 beyond MAXPHYADDR; with bit 63 without PCIDs.
      [
        // movabs rax, 0x400000000000; mov cr3, rax
        0x48, 0xB8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x0F, 0x22, 0xD8,
      ],
      [
        // movabs r9, 0x8000000000000000; mov cr3, r9
        0x49, 0xB9, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x41, 0x0F, 0x22, 0xD9,
      ],
      // EFER: LME cleared under paging; a reserved bit. PAT with a reserved type.
      [
        // mov ecx, 0xC0000080; xor edx, edx; mov eax, 0xC01; wrmsr
        0xB9, 0x80, 0x00, 0x00, 0xC0, 0x31, 0xD2, 0xB8, 0x01, 0x0C, 0x00, 0x00, 0x0F, 0x30,
      ],
      [
        // mov ecx, 0xC0000080; xor edx, edx; mov eax, 0x8D01; wrmsr
        0xB9, 0x80, 0x00, 0x00, 0xC0, 0x31, 0xD2, 0xB8, 0x01, 0x8D, 0x00, 0x00, 0x0F, 0x30,
      ],
      [
        // mov ecx, 0x277; xor edx, edx; mov eax, 2; wrmsr
        0xB9, 0x77, 0x02, 0x00, 0x00, 0x31, 0xD2, 0xB8, 0x02, 0x00, 0x00, 0x00, 0x0F, 0x30,
      ],
      // A register that does not exist; an address that is not canonical.
      [
        // mov ecx, 0x12345; rdmsr
        0xB9, 0x45, 0x23, 0x01, 0x00, 0x0F, 0x32,
      ],
      [
        // mov ecx, 0xC0000082; mov edx, 0x80000000; wrmsr
        0xB9, 0x82, 0x00, 0x00, 0xC0, 0xBA, 0x00, 0x00, 0x00, 0x80, 0x0F, 0x30,
      ],
    ] as [[UInt8]])
  func illegalWrites(program: [UInt8]) throws {
    let guest = try TestGuest()
    let before = 4
    #expect(guest.run64(program) == .halted)
    #expect(guest.port.delivered.map(\.vector) == [13])
    let state = guest.processor.state
    #expect(guest.word(state.general[4]) == 0)
    #expect(guest.port.controlChanges == before)
    #expect(state.controls.cr0 == 0x8001_0011 && state.controls.cr4 == 0x620)
    #expect(state.controls.efer == 0xD01 && state.controls.cr3 == 0x10_0000)
  }

  @Test("legal writes are offered to the port with the old and the new state")
  func legalWrites() throws {
    let guest = try TestGuest()
    let exit = guest.run64([
      // mov eax, 0x3006a0; mov cr4, rax; mov eax, 0x200000; mov cr3, rax; mov eax, 0x80000011;
      // mov cr0, rax; hlt
      0xB8, 0xA0, 0x06, 0x30, 0x00, 0x0F, 0x22, 0xE0, 0xB8, 0x00, 0x00, 0x20, 0x00, 0x0F, 0x22,
      0xD8, 0xB8, 0x11, 0x00, 0x00, 0x80, 0x0F, 0x22, 0xC0, 0xF4,
    ])
    #expect(exit == .halted)
    let controls = guest.processor.state.controls
    #expect(controls.cr4 == 0x3006A0 && controls.cr3 == 0x20_0000 && controls.cr0 == 0x8000_0011)
    #expect(guest.port.controlChanges == 7)
  }

  @Test("INVLPG tells the exact address, with any operand")
  func invalidatePage() throws {
    let guest = try TestGuest()
    let exit = guest.run64([
      // mov rbx, 0x40000; mov r9, 2; invlpg [rbx + 8*r9 + 0x103]; invlpg [0x1234]; invlpg [rip];
      // invlpg [r9 + 0x7000]; movabs rax, 0x8000000000000000; invlpg [rax]; hlt
      0x48, 0xC7, 0xC3, 0x00, 0x00, 0x04, 0x00, 0x49, 0xC7, 0xC1, 0x02, 0x00, 0x00, 0x00, 0x42,
      0x0F, 0x01, 0xBC, 0xCB, 0x03, 0x01, 0x00, 0x00, 0x0F, 0x01, 0x3C, 0x25, 0x34, 0x12, 0x00,
      0x00, 0x0F, 0x01, 0x3D, 0x00, 0x00, 0x00, 0x00, 0x41, 0x0F, 0x01, 0xB9, 0x00, 0x70, 0x00,
      0x00, 0x48, 0xB8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x0F, 0x01, 0x38, 0xF4,
    ])
    #expect(exit == .halted)
    let here = TestGuest.program64 + 7 + 7 + 9 + 8 + 7
    #expect(guest.port.invalidated == [0x40113, 0x1234, here, 0x7002])
  }

  @Test("INVPCID is done for an engine that does not know it")
  func invalidateContext() throws {
    let guest = try TestGuest()
    let exit = guest.run64([
      // mov eax, 0x20620; mov cr4, rax; mov qword ptr [0x40000], 5;
      // mov qword ptr [0x40008], 0x7000; xor eax, eax; invpcid rax, [0x40000]; mov eax, 3;
      // invpcid rax, [0x40000]; hlt
      0xB8, 0x20, 0x06, 0x02, 0x00, 0x0F, 0x22, 0xE0, 0x48, 0xC7, 0x04, 0x25, 0x00, 0x00, 0x04,
      0x00, 0x05, 0x00, 0x00, 0x00, 0x48, 0xC7, 0x04, 0x25, 0x08, 0x00, 0x04, 0x00, 0x00, 0x70,
      0x00, 0x00, 0x31, 0xC0, 0x66, 0x0F, 0x38, 0x82, 0x04, 0x25, 0x00, 0x00, 0x04, 0x00, 0xB8,
      0x03, 0x00, 0x00, 0x00, 0x66, 0x0F, 0x38, 0x82, 0x04, 0x25, 0x00, 0x00, 0x04, 0x00, 0xF4,
    ])
    #expect(exit == .halted)
    #expect(guest.port.contexts.map(\.0) == [.address, .everythingButGlobal])
    #expect(guest.port.contexts[0].1 == 5 && guest.port.contexts[0].2 == 0x7000)
  }

  @Test("CR3's bit 63 keeps translations when PCIDs are on, and is not stored")
  func keepTranslations() throws {
    let guest = try TestGuest()
    let exit = guest.run64([
      // mov eax, 0x20620; mov cr4, rax; movabs rax, 0x8000000000200001; mov cr3, rax;
      // mov rbx, cr3; hlt
      0xB8, 0x20, 0x06, 0x02, 0x00, 0x0F, 0x22, 0xE0, 0x48, 0xB8, 0x01, 0x00, 0x20, 0x00, 0x00,
      0x00, 0x00, 0x80, 0x0F, 0x22, 0xD8, 0x0F, 0x20, 0xDB, 0xF4,
    ])
    #expect(exit == .halted)
    #expect(guest.processor.state.general[3] == 0x20_0001)
  }

  @Test("WRPKRU is seen, from user mode too")
  func protectionKeys() throws {
    let guest = try TestGuest()
    let exit = guest.run64(
      [
        // mov eax, 0x400620; mov cr4, rax
        0xB8, 0x20, 0x06, 0x40, 0x00, 0x0F, 0x22, 0xE0,
      ] + Delivery64Tests.toUser
        + [
          // xor ecx, ecx; xor edx, edx; mov eax, 0x55555554; wrpkru; ud2
          0x31, 0xC9, 0x31, 0xD2, 0xB8, 0x54, 0x55, 0x55, 0x55, 0x0F, 0x01, 0xEF, 0x0F, 0x0B,
        ])
    #expect(exit == .halted)
    #expect(guest.processor.state.controls.pkru == 0x5555_5554)
  }

  @Test("CPUID tells of the features and of MAXPHYADDR")
  func identification() throws {
    let features = ProcessorFeatures(
      vendor: .amd, physicalAddressBits: 41, paging: [.executeDisable, .gigabytePages])
    let guest = try TestGuest(features: features)
    let exit = guest.run64([
      // mov eax, 0x80000008; cpuid; mov r8, rax; xor eax, eax; cpuid; mov r9, rbx; mov eax, 7;
      // xor ecx, ecx; cpuid; hlt
      0xB8, 0x08, 0x00, 0x00, 0x80, 0x0F, 0xA2, 0x49, 0x89, 0xC0, 0x31, 0xC0, 0x0F, 0xA2, 0x49,
      0x89, 0xD9, 0xB8, 0x07, 0x00, 0x00, 0x00, 0x31, 0xC9, 0x0F, 0xA2, 0xF4,
    ])
    #expect(exit == .halted)
    let state = guest.processor.state
    #expect(state.general[8] == 41 | 48 << 8)
    #expect(state.general[9] == 0x6874_7541)
    #expect(state.general[1] & (1 << 16 | 1 << 3) == 0)
  }

  @Test("code that the host replaces in its frame is executed, not what was there before")
  func replacedCode() throws {
    let guest = try TestGuest()
    guest.store(
      [
        // mov ebx, 1; ret
        0xBB, 0x01, 0x00, 0x00, 0x00, 0xC3,
      ], at: 0x40000)
    guest.port.onOutput = { [unowned guest] _, _ in
      guest.store(
        [
          // mov ebx, 2; ret
          0xBB, 0x02, 0x00, 0x00, 0x00, 0xC3,
        ], at: 0x40000)
      guest.processor.flushTranslations()
    }
    let exit = guest.run64([
      // mov eax, 0x40000; call rax; mov ecx, ebx; out 0x10, al; mov eax, 0x40000; call rax; hlt
      0xB8, 0x00, 0x00, 0x04, 0x00, 0xFF, 0xD0, 0x89, 0xD9, 0xE6, 0x10, 0xB8, 0x00, 0x00, 0x04,
      0x00, 0xFF, 0xD0, 0xF4,
    ])
    #expect(exit == .halted)
    #expect(guest.processor.state.general[1] == 1)
    #expect(guest.processor.state.general[3] == 2)
  }

  @Test("a sensitive instruction that the guest writes itself is found")
  func writtenCode() throws {
    let guest = try TestGuest()
    guest.store(
      [
        // nop; nop; nop; ret
        0x90, 0x90, 0x90, 0xC3,
      ], at: 0x40000)
    // The page is executed, then gets INVLPG [rax], then is executed again.
    let exit = guest.run64([
      // mov eax, 0x40000; call rax; mov dword ptr [0x40000], 0xC338010F; call rax; hlt
      0xB8, 0x00, 0x00, 0x04, 0x00, 0xFF, 0xD0, 0xC7, 0x04, 0x25, 0x00, 0x00, 0x04, 0x00, 0x0F,
      0x01, 0x38, 0xC3, 0xFF, 0xD0, 0xF4,
    ])
    #expect(exit == .halted)
    #expect(guest.port.invalidated == [0x40000])
  }

  @Test("a write let through once is reported after it happened, and asked again")
  func writeOnce() throws {
    let guest = try TestGuest()
    guest.port.once = [0x40000]
    let exit = guest.run64([
      // mov eax, 7; mov [0x40010], eax; mov ebx, [0x40010]; mov [0x40014], eax;
      // mov edi, 0x40100; mov ecx, 3; rep stosb; hlt
      0xB8, 0x07, 0x00, 0x00, 0x00, 0x89, 0x04, 0x25, 0x10, 0x00, 0x04, 0x00, 0x8B, 0x1C, 0x25,
      0x10, 0x00, 0x04, 0x00, 0x89, 0x04, 0x25, 0x14, 0x00, 0x04, 0x00, 0xBF, 0x00, 0x01, 0x04,
      0x00, 0xB9, 0x03, 0x00, 0x00, 0x00, 0xF3, 0xAA, 0xF4,
    ])
    #expect(exit == .halted)
    #expect(guest.port.completed.count == 5)
    #expect(guest.word(0x40010) == 0x7_0000_0007)
    #expect(guest.processor.state.general[3] == 7)
    #expect(guest.word(0x40100) == 0x070707)
  }

  @Test("the port may flush in the middle of every fill")
  func flushInFill() throws {
    let guest = try TestGuest()
    guest.port.flushesAtEachFill = true
    // Copies across two pages at once, again and again, over many pages.
    let exit = guest.run64([
      // mov esi, 0x100ffc; mov edi, 0x200ffc; xor ebx, ebx; 1: mov rax, [rsi]; add rax, rbx;
      // mov [rdi], rax; add rbx, [rdi]; add esi, 0x1000; add edi, 0x1000; cmp edi, 0x600000;
      // jb 1b; hlt
      0xBE, 0xFC, 0x0F, 0x10, 0x00, 0xBF, 0xFC, 0x0F, 0x20, 0x00, 0x31, 0xDB, 0x48, 0x8B, 0x06,
      0x48, 0x01, 0xD8, 0x48, 0x89, 0x07, 0x48, 0x03, 0x1F, 0x81, 0xC6, 0x00, 0x10, 0x00, 0x00,
      0x81, 0xC7, 0x00, 0x10, 0x00, 0x00, 0x81, 0xFF, 0x00, 0x00, 0x60, 0x00, 0x72, 0xE0, 0xF4,
    ])
    #expect(exit == .halted)
    #expect(guest.port.requests.count > 4000)
    #expect(guest.word(0x5F_F000) == 0 && guest.processor.state.general[7] == 0x60_0FFC)
  }

  @Test("CR8 holds the task priority")
  func taskPriority() throws {
    let guest = try TestGuest()
    #expect(
      guest.run64([
        // mov eax, 5; mov cr8, rax; mov rbx, cr8; hlt
        0xB8, 0x05, 0x00, 0x00, 0x00, 0x44, 0x0F, 0x22, 0xC0, 0x44, 0x0F, 0x20, 0xC3, 0xF4,
      ]) == .halted)
    #expect(guest.processor.state.general[3] == 5)
    #expect(guest.port.taskPriority == 5)
  }

  @Test("devices are reached with the exact address and size")
  func devices() throws {
    let guest = try TestGuest()
    guest.port.devices = [0xFEE0_0000, 0xFEC0_0000]
    let exit = guest.run64([
      // mov ecx, 0xFEE00000; mov ebx, [rcx + 0x30]; mov dword ptr [rcx + 0x80], 0x55;
      // mov ecx, 0xFEC00000; mov byte ptr [rcx + 1], 9; hlt
      0xB9, 0x00, 0x00, 0xE0, 0xFE, 0x8B, 0x59, 0x30, 0xC7, 0x81, 0x80, 0x00, 0x00, 0x00, 0x55,
      0x00, 0x00, 0x00, 0xB9, 0x00, 0x00, 0xC0, 0xFE, 0xC6, 0x41, 0x01, 0x09, 0xF4,
    ])
    #expect(exit == .halted)
    #expect(guest.processor.state.general[3] == 0x30)
    #expect(guest.port.deviceWrites.map(\.0) == [0xFEE0_0080, 0xFEC0_0001])
    #expect(guest.port.deviceWrites.map(\.1) == [4, 1])
    #expect(guest.port.deviceWrites.map(\.2) == [0x55, 9])
  }

  @Test("a timer ends a HLT with interrupts on, and interrupts a loop")
  func timer() throws {
    for program in [
      [
        // sti; hlt; ud2
        0xFB, 0xF4, 0x0F, 0x0B,
      ],
      [
        // sti; 1: jmp 1b
        0xFB, 0xEB, 0xFE,
      ],
    ] as [[UInt8]] {
      let guest = try TestGuest()
      guest.processor.armTimer(at: 5000)
      #expect(guest.run64(program) == .halted)
      #expect(guest.port.delivered.map(\.vector) == [0x40])
      #expect(guest.port.delivered.map(\.origin) == [.external])
    }
  }

  @Test("HLT with interrupts on and nothing armed is told apart")
  func sleep() throws {
    #expect(
      try TestGuest().run64([
        // sti; hlt
        0xFB, 0xF4,
      ]) == .waitingForever)
    #expect(
      try TestGuest().run64([
        // hlt
        0xF4
      ]) == .halted)
  }

  @Test("instructions that leave the engine's loop for a moment are no HLT")
  func notHalting() throws {
    let guest = try TestGuest()
    let exit = guest.run64([
      // mov ecx, 1000; 1: pause; rep nop; loop 1b; wbinvd; sti; nop; cli; fninit; fnclex;
      // lfence; mov eax, 7; hlt
      0xB9, 0xE8, 0x03, 0x00, 0x00, 0xF3, 0x90, 0xF3, 0x90, 0xE2, 0xFA, 0x0F, 0x09, 0xFB, 0x90,
      0xFA, 0xDB, 0xE3, 0xDB, 0xE2, 0x0F, 0xAE, 0xE8, 0xB8, 0x07, 0x00, 0x00, 0x00, 0xF4,
    ])
    #expect(exit == .halted)
    #expect(guest.processor.state.general[0] == 7)
    #expect(guest.port.delivered.isEmpty)
  }

  @Test("the timestamp counter advances, so that a loop that waits for it ends")
  func timestamp() throws {
    let guest = try TestGuest()
    let exit = guest.run64([
      // rdtsc; mov ebx, eax; add ebx, 100000; 1: rdtsc; cmp eax, ebx; jb 1b; hlt
      0x0F, 0x31, 0x89, 0xC3, 0x81, 0xC3, 0xA0, 0x86, 0x01, 0x00, 0x0F, 0x31, 0x39, 0xD8, 0x72,
      0xFA, 0xF4,
    ])
    #expect(exit == .halted)
  }

  @Test("two processors find the same layout")
  func calibration() throws {
    let first = try TestGuest()
    let second = try TestGuest()
    #expect(
      first.run64([
        // hlt
        0xF4
      ])
        == second.run64([
          // hlt
          0xF4
        ]))
    #expect(first.processor.state == second.processor.state)
  }
}
