import HostMemory
import PagingUnits

/// The pages from which the guest executes: where each lies now, and a sum of its bytes.
///
/// Two things hang on a code page's bytes: hooks on the sensitive instructions in it, and blocks
/// that the engine translated from it. Writes by the guest reach the engine, which drops its
/// blocks; writes by the host (a page moved, copied or filled) do not. So each time a page is
/// granted for execution its sum is compared with the one of last time.
struct CodePageTable {
  private struct Entry {
    var page = UInt64.max
    var frame = HostFrame(0)
    var sum: UInt64 = 0
  }

  private static let size = 1024
  private var entries = [Entry](repeating: Entry(), count: size)
  /// The sum with which blocks may have been translated from a frame.
  private var sums: [HostFrame: UInt64] = [:]
  /// The addresses that have a hook.
  private var hooked: Set<UInt64> = []

  private static func index(_ page: UInt64) -> Int {
    let number = page >> 12
    return Int(truncatingIfNeeded: (number ^ number >> 10 ^ number >> 24) & UInt64(size - 1))
  }

  /// What has to happen before a page may be executed.
  enum Verdict {
    case known
    /// New here: its sensitive instructions must be hooked.
    case scan
    /// Blocks of other bytes may exist for the frame.
    case changed
  }

  /// Looks at a page that is about to be granted for execution.
  mutating func verdict(page: UInt64, frame: HostFrame, sum: UInt64) -> Verdict {
    let index = Self.index(page)
    if entries[index].page == page && entries[index].frame == frame && entries[index].sum == sum {
      return .known
    }
    if let old = sums[frame], old != sum { return .changed }
    sums[frame] = sum
    entries[index] = Entry(page: page, frame: frame, sum: sum)
    return .scan
  }

  /// The engine has no blocks of the frame any more.
  mutating func forget(_ frame: HostFrame) {
    sums[frame] = nil
    for index in entries.indices where entries[index].frame == frame { entries[index] = Entry() }
  }

  /// The frame of a linear page that was granted for execution, if it is remembered.
  func frame(of page: UInt64) -> HostFrame? {
    let entry = entries[Self.index(page)]
    return entry.page == page ? entry.frame : nil
  }

  /// Notes a hook; `false` when the address has one.
  mutating func noteHook(at address: UInt64) -> Bool { hooked.insert(address).inserted }
}

extension Processor {
  /// A sum of a frame's bytes that differs when they differ, but for accidents of 1 in 2^64.
  func sum(of frame: HostFrame) -> UInt64 {
    let start = frame.address
    var lanes: (UInt64, UInt64) = (0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F)
    var offset: UInt64 = 0
    while offset < 4096 {
      // Wrapping is the point of a hash.
      lanes.0 = (lanes.0 ^ memory.entry(at: start + offset)) &* 0x9FB2_1C65_1E98_DF25
      lanes.1 = (lanes.1 ^ memory.entry(at: start + (offset + 8))) &* 0xD6E8_FEB8_6659_FD93
      lanes.0 ^= lanes.0 >> 32
      lanes.1 ^= lanes.1 >> 29
      offset += 16
    }
    return lanes.0 ^ lanes.1 &* 0x9E37_79B9_7F4A_7C15
  }

  /// Prepares a page for execution; `false` when the engine must be stopped first.
  func prepareCode(page: UInt64, frame: HostFrame) -> Bool {
    switch codePages.verdict(page: page, frame: frame, sum: sum(of: frame)) {
    case .known: return true
    case .changed: return false
    case .scan:
      hookSensitiveInstructions(page: page, frame: frame)
      return true
    }
  }

  /// Hooks every place in a page where a sensitive instruction may begin.
  ///
  /// A hook on an address that is no instruction's first byte never fires, so a match in the middle
  /// of data or of another instruction costs nothing. Prefixes may stand before the opcode.
  private func hookSensitiveInstructions(page: UInt64, frame: HostFrame) {
    var bytes: InlineArray<4096, UInt8> = .init(repeating: 0)
    for index in 0..<512 {
      let word = memory.entry(at: frame.address + UInt64(8 * index))
      for part in 0..<8 {
        bytes[8 * index + part] = UInt8(truncatingIfNeeded: word >> UInt64(8 * part))
      }
    }
    for index in 0..<4096 where bytes[index] == 0x0F {
      let second: UInt8? = index + 1 < 4096 ? bytes[index + 1] : nil
      let third: UInt8? = index + 2 < 4096 ? bytes[index + 2] : nil
      if let second, !Instruction.maySense(second, third) { continue }
      hookSensitive(at: page + UInt64(index))
      var start = index
      while start > 0, index - start < 4, Self.isPrefix(bytes[start - 1]) {
        start -= 1
        hookSensitive(at: page + UInt64(start))
      }
    }
    // A block of the engine's may run on into the next page, and the engine looks for hooks on its
    // first instruction there before it fetches from it, that is before that page is scanned.
    hookSensitive(at: linear(page &+ 4096))
    // An instruction may begin with prefixes here and have its opcode in the next page.
    var tail = 4096
    while tail > 4092, Self.isPrefix(bytes[tail - 1]) {
      tail -= 1
      hookSensitive(at: page + UInt64(tail))
    }
  }

  private static func isPrefix(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x40...0x4F, 0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65: true
    default: false
    }
  }

  /// Drops the blocks that the engine translated from a frame.
  func forgetCode(in frame: HostFrame) {
    let alias = Self.aliasBit | frame.address.raw
    isForgettingCode = true
    engine.forgetBlocks(from: alias, to: alias + 4096)
    isForgettingCode = false
    engine.flushTLB()
    codePages.forget(frame)
  }

  /// The bytes at an instruction pointer, through the guest's translation.
  func instructionBytes(at address: UInt64) -> InstructionBytes {
    var bytes = InstructionBytes()
    var position = address
    for _ in 0..<15 {
      guard let byte = codeByte(at: position) else { break }
      bytes.append(byte)
      position = linear(position &+ 1)
    }
    return bytes
  }

  private func codeByte(at address: UInt64) -> UInt8? {
    let page = address & ~0xFFF
    let frame: HostFrame
    if let known = codePages.frame(of: page) {
      frame = known
    } else {
      let privilege: Privilege = engine.privilegeLevel == 3 ? .user : .supervisor
      let request = FillRequest(
        address: GuestVirtual(page), kind: .fetch, privilege: privilege, alignmentCheck: false)
      guard case .filled(let found, _) = port.fill(request) else { return nil }
      frame = found
    }
    let word = memory.entry(at: frame.address + (address & 0xFF8))
    return UInt8(truncatingIfNeeded: word >> (8 * (address & 7)))
  }

  /// A linear address as the current mode forms it.
  func linear(_ address: UInt64) -> UInt64 {
    controls.efer & ControlBits.lma != 0 ? address : address & 0xFFFF_FFFF
  }
}
