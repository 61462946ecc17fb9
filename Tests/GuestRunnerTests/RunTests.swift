import GuestProcessor
import GuestRunner
import MachineEvents
import PagingUnits
import Testing

@Suite("Guests on the whole machine") struct RunTests {
  private func run(
    _ code: [UInt8], _ change: (inout RunConfiguration) -> Void = { _ in }
  ) throws -> (RunReport, String) {
    var configuration = RunConfiguration(image: TestImages.elf32(code))
    configuration.memoryBytes = 16 << 20
    configuration.hostBytes = 8 << 30
    configuration.scatterBytes = 1 << 30
    configuration.timeout = 20
    change(&configuration)
    let console = GuestConsole()
    let report = try GuestRun(configuration, console: console).run()
    return (report, String(decoding: console.captured, as: UTF8.self))
  }

  /// Prints through the serial port, checks fw_cfg's signature, and exits with status 3.
  static let greeting: [UInt8] = [
    // mov dx, 0x3F8; mov al, 'H'; out dx, al; mov al, 'i'; out dx, al; mov dx, 0x510;
    // xor eax, eax; out dx, ax; mov dx, 0x511; in al, dx; out 0xE9, al; in al, dx; out 0xE9, al;
    // mov al, 1; out 0xF4, al; 1: jmp 1b
    0x66, 0xBA, 0xF8, 0x03, 0xB0, 0x48, 0xEE, 0xB0, 0x69, 0xEE, 0x66, 0xBA, 0x10, 0x05, 0x31,
    0xC0, 0x66, 0xEF, 0x66, 0xBA, 0x11, 0x05, 0xEC, 0xE6, 0xE9, 0xEC, 0xE6, 0xE9, 0xB0, 0x01,
    0xE6, 0xF4, 0xEB, 0xFE,
  ]

  @Test("a guest prints and exits under EPT and NPT, 4 and 5 levels, every page size")
  func greetings() throws {
    for vendor in [ProcessorFeatures.Vendor.intel, .amd] {
      for (level, backing) in [
        (Level.level4, Level.page4K), (.level5, .page2M), (.level4, .page1G),
      ] {
        let (report, output) = try run(Self.greeting) {
          $0.features.vendor = vendor
          $0.rootLevel = level
          $0.backing = backing
        }
        #expect(output == "HiQE")
        #expect(report.status == 3)
        #expect(report.ending == .guestExit(value: 1))
        #expect(report.processorCounters.first { $0.0 == .exits }?.1 ?? 0 > 0)
      }
    }
  }

  @Test("the kernel finds the magic number, the block, its command line and a module")
  func bootInformation() throws {
    // Prints the command line and the module's bytes.
    let code: [UInt8] = [
      // mov edi, eax; mov esi, [ebx + 16]; 1: lodsb; test al, al; jz 2f; out 0xE9, al; jmp 1b;
      // 2: mov ecx, [ebx + 24]; mov esi, [ecx]; mov ecx, [ecx + 4]; 3: cmp esi, ecx; je 4f;
      // lodsb; out 0xE9, al; jmp 3b; 4: mov al, 0; cmp edi, 0x2BADB002; je 5f; mov al, 1;
      // 5: out 0xF4, al; 6: jmp 6b
      0x89, 0xC7, 0x8B, 0x73, 0x10, 0xAC, 0x84, 0xC0, 0x74, 0x04, 0xE6, 0xE9, 0xEB, 0xF7, 0x8B,
      0x4B, 0x18, 0x8B, 0x31, 0x8B, 0x49, 0x04, 0x39, 0xCE, 0x74, 0x05, 0xAC, 0xE6, 0xE9, 0xEB,
      0xF7, 0xB0, 0x00, 0x81, 0xFF, 0x02, 0xB0, 0xAD, 0x2B, 0x74, 0x02, 0xB0, 0x01, 0xE6, 0xF4,
      0xEB, 0xFE,
    ]
    let (report, output) = try run(code) {
      $0.commandLine = "a=1 b"
      $0.modules = [.init(name: "m", bytes: Array("module".utf8))]
    }
    #expect(output == "kernel a=1 bmodule")
    #expect(report.ending == .guestExit(value: 0) && report.status == 1)
  }

  @Test("HLT with interrupts off ends with 0")
  func halt() throws {
    let (report, _) = try run([
      // cli; hlt
      0xFA, 0xF4,
    ])
    #expect(report.ending == .halted && report.status == 0)
  }

  @Test("a triple fault ends with 120 and a dump that names the place")
  func tripleFault() throws {
    let (report, _) = try run([
      // xor eax, eax; ud2
      0x31, 0xC0, 0x0F, 0x0B,
    ])
    #expect(report.status == 120)
    let dump = report.dump.joined(separator: "\n")
    #expect(dump.contains("#UD") && dump.contains("RIP=000000000010000e"))
    #expect(report.explanations.map(\.register) == ["RIP", "RSP", "CR2"])
    #expect(report.explanations[0].outcome.hasPrefix("guest-physical 0x10000e"))
  }

  @Test("a loop without exits ends with 122 when its time is up")
  func timeout() throws {
    let (report, _) = try run([
      // 1: jmp 1b
      0xEB, 0xFE,
    ]) { $0.timeout = 0.2 }
    #expect(report.ending == .timeout && report.status == 122)
    #expect(report.seconds >= 0.2 && report.seconds < 5)
  }

  @Test("a limit of exits ends with 122")
  func exitLimit() throws {
    // Touches one new page after the other.
    let code: [UInt8] = [
      // mov edi, 0x200000; 1: mov [edi], eax; add edi, 0x1000; jmp 1b
      0xBF, 0x00, 0x00, 0x20, 0x00, 0x89, 0x07, 0x81, 0xC7, 0x00, 0x10, 0x00, 0x00, 0xEB, 0xF6,
    ]
    let (report, _) = try run(code) {
      $0.maximumExits = 20
      $0.backing = .page4K
    }
    #expect(report.ending == .exitLimit && report.status == 122)
  }

  @Test("the local APIC's timer interrupts, is acknowledged and interrupts again")
  func timer() throws {
    // An IDT with one gate, for vector 0x40, at 0x201000; GDT at 0x200000. The handler counts to
    // three, then exits with the count.
    let code: [UInt8] = [
      // jmp 3f; inc esi; mov dword ptr [ecx + 0xB0], 0; cmp esi, 3; jne 2f; mov eax, esi;
      // out 0xF4, al; 2: iretd; 3: mov edi, 0x200000; mov dword ptr [edi + 8], 0xFFFF;
      // mov dword ptr [edi + 12], 0xCF9B00; mov word ptr [edi + 0x100], 0xF;
      // mov [edi + 0x102], edi; lgdt [edi + 0x100]; mov eax, 0x10000E; mov ebx, eax;
      // and eax, 0xFFFF; or eax, 0x80000; mov [edi + 0x1200], eax; mov bx, 0x8E00;
      // mov [edi + 0x1204], ebx; mov word ptr [edi + 0x108], 0x7FF; lea eax, [edi + 0x1000];
      // mov [edi + 0x10A], eax; lidt [edi + 0x108]; mov esp, 0x300000; mov ecx, 0xFEE00000;
      // mov dword ptr [ecx + 0xF0], 0x1FF; mov dword ptr [ecx + 0x320], 0x20040;
      // mov dword ptr [ecx + 0x3E0], 3; mov dword ptr [ecx + 0x380], 10000; xor esi, esi; sti;
      // 1: hlt; jmp 1b
      0xEB, 0x15, 0x46, 0xC7, 0x81, 0xB0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x83, 0xFE,
      0x03, 0x75, 0x04, 0x89, 0xF0, 0xE6, 0xF4, 0xCF, 0xBF, 0x00, 0x00, 0x20, 0x00, 0xC7, 0x47,
      0x08, 0xFF, 0xFF, 0x00, 0x00, 0xC7, 0x47, 0x0C, 0x00, 0x9B, 0xCF, 0x00, 0x66, 0xC7, 0x87,
      0x00, 0x01, 0x00, 0x00, 0x0F, 0x00, 0x89, 0xBF, 0x02, 0x01, 0x00, 0x00, 0x0F, 0x01, 0x97,
      0x00, 0x01, 0x00, 0x00, 0xB8, 0x0E, 0x00, 0x10, 0x00, 0x89, 0xC3, 0x25, 0xFF, 0xFF, 0x00,
      0x00, 0x0D, 0x00, 0x00, 0x08, 0x00, 0x89, 0x87, 0x00, 0x12, 0x00, 0x00, 0x66, 0xBB, 0x00,
      0x8E, 0x89, 0x9F, 0x04, 0x12, 0x00, 0x00, 0x66, 0xC7, 0x87, 0x08, 0x01, 0x00, 0x00, 0xFF,
      0x07, 0x8D, 0x87, 0x00, 0x10, 0x00, 0x00, 0x89, 0x87, 0x0A, 0x01, 0x00, 0x00, 0x0F, 0x01,
      0x9F, 0x08, 0x01, 0x00, 0x00, 0xBC, 0x00, 0x00, 0x30, 0x00, 0xB9, 0x00, 0x00, 0xE0, 0xFE,
      0xC7, 0x81, 0xF0, 0x00, 0x00, 0x00, 0xFF, 0x01, 0x00, 0x00, 0xC7, 0x81, 0x20, 0x03, 0x00,
      0x00, 0x40, 0x00, 0x02, 0x00, 0xC7, 0x81, 0xE0, 0x03, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
      0xC7, 0x81, 0x80, 0x03, 0x00, 0x00, 0x10, 0x27, 0x00, 0x00, 0x31, 0xF6, 0xFB, 0xF4, 0xEB,
      0xFD,
    ]
    let (report, _) = try run(code)
    #expect(report.ending == .guestExit(value: 3))
    #expect(report.deliveredEvents == 3)
  }

  @Test("serial loop-back, the scratch register and absent ports answer a probe")
  func probes() throws {
    let code: [UInt8] = [
      // mov dx, 0x3FF; mov al, 0x5A; out dx, al; in al, dx; out 0xE9, al; mov dx, 0x3FC;
      // mov al, 0x1E; out dx, al; mov dx, 0x3F8; mov al, 0xAE; out dx, al; in al, dx;
      // sub al, 0x80; out 0xE9, al; mov dx, 0xCFC; in eax, dx; inc eax; out 0xF4, al; 1: jmp 1b
      0x66, 0xBA, 0xFF, 0x03, 0xB0, 0x5A, 0xEE, 0xEC, 0xE6, 0xE9, 0x66, 0xBA, 0xFC, 0x03, 0xB0,
      0x1E, 0xEE, 0x66, 0xBA, 0xF8, 0x03, 0xB0, 0xAE, 0xEE, 0xEC, 0x2C, 0x80, 0xE6, 0xE9, 0x66,
      0xBA, 0xFC, 0x0C, 0xED, 0x40, 0xE6, 0xF4, 0xEB, 0xFE,
    ]
    let (report, output) = try run(code)
    #expect(output == "Z.")
    #expect(report.ending == .guestExit(value: 0))
  }

  @Test("memory above 4 GiB is there when the guest has more than 3 GiB")
  func highMemory() throws {
    // Prints mem_upper's MiB count as an exit value: 3 GiB less 1 MiB is 3071 MiB.
    let code: [UInt8] = [
      // mov eax, [ebx + 8]; shr eax, 10; sub eax, 3000; out 0xF4, al; 1: jmp 1b
      0x8B, 0x43, 0x08, 0xC1, 0xE8, 0x0A, 0x2D, 0xB8, 0x0B, 0x00, 0x00, 0xE6, 0xF4, 0xEB, 0xFE,
    ]
    let (report, _) = try run(code) { $0.memoryBytes = 4 << 30 }
    #expect(report.ending == .guestExit(value: 71))
  }

  @Test("random bytes as a guest come to an end that is the guest's own", arguments: 0..<40)
  func randomGuests(seed: UInt64) throws {
    var chance = SeededNumbers(seed: seed)
    // Bytes that make sensitive instructions likely.
    let favoured: [UInt8] = [0x0F, 0x22, 0x30, 0x20, 0x01, 0xCD, 0xCF, 0x66, 0xC0, 0xE0, 0x8E]
    let code = (0..<2000).map { _ in
      Bool.random(using: &chance)
        ? favoured[Int.random(in: 0..<favoured.count, using: &chance)]
        : UInt8.random(in: 0...255, using: &chance)
    }
    let (report, _) = try run(code) { $0.timeout = 0.2 }
    if case .hostFailure(let what) = report.ending { Issue.record("\(what)") }
    #expect(!report.dump.isEmpty)
  }

  @Test("a bad image is refused with its place")
  func badImage() {
    #expect(throws: RunError.image(ImageError(offset: 0, reason: .noHeader))) {
      try GuestRun(
        RunConfiguration(image: [UInt8](repeating: 1, count: 64)), console: GuestConsole())
    }
  }

  @Test("two runs do exactly the same")
  func repeatable() throws {
    let first = try run(Self.greeting).0
    let second = try run(Self.greeting).0
    #expect(first.fills == second.fills)
    #expect(first.recentExits == second.recentExits)
    #expect(first.processorCounters.map(\.1) == second.processorCounters.map(\.1))
  }

  /// What of guest-physical memory is refused, as a line each.
  private func refusals(
    _ code: [UInt8], _ range: Range<UInt64>, _ action: MemoryProtection.Action = .report
  ) throws -> (lines: [String], status: Int32) {
    let (report, _) = try run(code) {
      $0.protected = [.bytes(range)]
      $0.protectAction = action
    }
    let lines = report.protection.refused.map { write in
      "\(String(write.address, radix: 16)): \(write.old) -> \(write.new)"
    }
    return (lines, report.status)
  }

  @Test("locked instructions' stores to protected bytes are refused like any other")
  func lockedStores() throws {
    // mov dword [0x110000], 5; lock inc dword [0x110000]; lock cmpxchg [0x110004], eax;
    // xchg [0x110008], eax; lock bts dword [0x11000c], 3; mov al, 0; out 0xF4, al; 1: jmp 1b
    let code: [UInt8] = [
      0xC7, 0x05, 0x00, 0x00, 0x11, 0x00, 0x05, 0x00, 0x00, 0x00, 0xF0, 0xFF, 0x05, 0x00, 0x00,
      0x11, 0x00, 0xF0, 0x0F, 0xB1, 0x05, 0x04, 0x00, 0x11, 0x00, 0x87, 0x05, 0x08, 0x00, 0x11,
      0x00, 0xF0, 0x0F, 0xBA, 0x2D, 0x0C, 0x00, 0x11, 0x00, 0x03, 0xB0, 0x00, 0xE6, 0xF4, 0xEB,
      0xFE,
    ]
    let (lines, status) = try refusals(code, 0x11_0000..<0x11_0040)
    #expect(lines.map { $0.prefix(6) } == ["110000", "110000", "110004", "110008", "11000c"])
    #expect(lines[1] == "110000: [5, 0, 0, 0] -> [6, 0, 0, 0]")
    #expect(lines[4] == "11000c: [0, 0, 0, 0] -> [8, 0, 0, 0]" && status == 1)
  }

  @Test("of a store over two pages each part is judged by its own page")
  func storesOverTwoPages() throws {
    // mov dword [0x10fffe], 0x11223344; mov dword [0x110ffe], 0x11223344;
    // mov dword [0x10fffe], 0x55667788; mov al, 0; out 0xF4, al; 1: jmp 1b
    let code: [UInt8] = [
      0xC7, 0x05, 0xFE, 0xFF, 0x10, 0x00, 0x44, 0x33, 0x22, 0x11, 0xC7, 0x05, 0xFE, 0x0F, 0x11,
      0x00, 0x44, 0x33, 0x22, 0x11, 0xC7, 0x05, 0xFE, 0xFF, 0x10, 0x00, 0x88, 0x77, 0x66, 0x55,
      0xB0, 0x00, 0xE6, 0xF4, 0xEB, 0xFE,
    ]
    let second = try refusals(code, 0x11_0000..<0x11_0008)
    #expect(second.lines == ["110000: [0, 0] -> [34, 17]", "110000: [34, 17] -> [102, 85]"])
    let first = try refusals(code, 0x10_F000..<0x11_0000)
    #expect(first.lines == ["10fffe: [0, 0] -> [68, 51]", "10fffe: [68, 51] -> [136, 119]"])
    let both = try refusals(code, 0x11_0F00..<0x11_1008)
    #expect(both.lines == ["110ffe: [0, 0] -> [68, 51]", "111000: [0, 0] -> [34, 17]"])
    for place in [0x10_FFFE, 0x11_0000] as [UInt64] {
      let stopped = try refusals(code, place..<place + 2, .stop)
      #expect(stopped.lines == ["\(String(place, radix: 16)): [0, 0] -> []"])
      #expect(stopped.status == 116)
    }
  }
}
