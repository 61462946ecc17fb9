import CUnicorn

/// Finds the layout of a saved context by comparing contexts around events that are known.
///
/// A few instructions run on private pages, before the guest's memory exists for the engine. Each
/// experiment changes one thing, and must change exactly one word in the expected way.
@safe final class Calibration {
  private let engine: Engine
  private let pages: UnsafeMutableRawPointer
  private let context: SavedContext
  private var layout = ContextLayout()

  /// Linear addresses from 0 on lie here for the engine, far above any arena.
  private static let physicalBase: UInt64 = 1 << 47
  private static let byteCount = 0x4000
  private static let gdt: UInt64 = 0x1000
  private static let code: UInt64 = 0x2000
  private static let magic: UInt64 = 0x5A17_C3E9_96D2_4B0F

  private enum Selector {
    static let code32: UInt8 = 0x08, data: UInt8 = 0x10, code64: UInt8 = 0x18
    static let based: UInt8 = 0x20, code16: UInt8 = 0x28, data16: UInt8 = 0x30
  }

  private static let descriptors: [UInt64] = [
    0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00AF_9B00_0000_FFFF,
    0x56CF_9334_1200_FFFF, 0x008F_9B00_0000_FFFF, 0x008F_9300_0000_FFFF,
  ]
  private static let descriptorBase: UInt64 = 0x5634_1200

  private init(_ engine: Engine) throws(UnicornError) {
    self.engine = engine
    context = try engine.allocateContext()
    // SAFETY: the pages are freed once, in `deinit`; every store is at a constant inside them.
    unsafe pages = .allocate(byteCount: Self.byteCount, alignment: 4096)
    unsafe pages.initializeMemory(as: UInt8.self, repeating: 0, count: Self.byteCount)
  }

  deinit { unsafe pages.deallocate() }

  /// Finds the layout and leaves the engine in flat 32-bit protected mode, paging off.
  static func run(on engine: Engine) throws(UnicornError) -> ContextLayout {
    let calibration = try Calibration(engine)
    // SAFETY: `calibration` outlives the hooks and the mapping, which `finish` removes.
    let opaque = unsafe Unmanaged.passUnretained(calibration).toOpaque()
    let onFill: cunicorn_on_tlb_fill = { _, page, kind, answer, _ in
      guard let answer = unsafe answer else { return false }
      // SAFETY: the library hands one entry to fill in.
      unsafe answer.pointee.physical = Calibration.physicalBase + (page & 0x3000)
      unsafe answer.pointee.permissions = 7
      return true
    }
    let onStop: cunicorn_on_interrupt = { _, _, context in
      guard let context = unsafe context else { return }
      // SAFETY: the context is the calibration that added the hook.
      unsafe Unmanaged<Calibration>.fromOpaque(context)._withUnsafeGuaranteedRef {
        $0.engine.stop()
      }
    }
    let hooks = unsafe [
      try engine.addHook(
        CUNICORN_HOOK_TLB_FILL, unsafeBitCast(onFill, to: UnsafeMutableRawPointer.self),
        context: opaque),
      try engine.addHook(
        CUNICORN_HOOK_INTERRUPT, unsafeBitCast(onStop, to: UnsafeMutableRawPointer.self),
        context: opaque),
    ]
    try engine.check(
      unsafe engine.map(
        calibration.pages, at: physicalBase, byteCount: UInt64(byteCount)), "calibration pages")
    try calibration.enterProtectedMode()
    try calibration.findRegistersAndSegments()
    try calibration.findFlags()
    try calibration.findExceptionWords()
    try calibration.findLongModeAndKeys()
    try calibration.finish(hooks)
    return calibration.layout
  }

  // MARK: Steps

  private func enterProtectedMode() throws(UnicornError) {
    for (index, descriptor) in Self.descriptors.enumerated() {
      store(descriptor, at: Int(Self.gdt) + 8 * index)
    }
    engine.setTable(
      .gdtr, base: Self.gdt, limit: UInt32(Self.descriptors.count * 8 - 1))
    // A 64-bit engine starts with EFER.LMA set; turning paging on and off clears it.
    engine[.cr0] = 0x8000_0011
    engine[.cr0] = 0x11
    engine[.cr4] = 0
    engine.setMSR(0xC000_0080, to: 0)
    engine[.rsp] = 0x3F00
    try loadFlatSegments()
    guard engine[.cs] == 8, engine[.ss] == 0x10 else {
      throw .refused(step: "32-bit protected mode", reason: "the selectors were not loaded")
    }
  }

  /// Real loads, so that the hidden state is what the library makes of them.
  private func loadFlatSegments() throws(UnicornError) {
    // mov ax, 0x10; mov ss/ds/es/fs/gs, ax; ljmp 8:next; hlt
    try run([
      0x66, 0xB8, 0x10, 0, 0x8E, 0xD0, 0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xE0, 0x8E, 0xE8,
      0xEA, 0x15, 0x20, 0, 0, 0x08, 0, 0xF4,
    ])
  }

  private func findRegistersAndSegments() throws(UnicornError) {
    engine[.rax] = Self.magic
    engine.save(to: context)
    let registers = offsets { self.context[long: $0] == Self.magic }
    layout.registers = try only(registers, "RAX")
    layout.hiddenFlags = layout.registers + 176
    engine[.rax] = 0

    try run([0x66, 0xB8, Selector.based, 0, 0x8E, 0xD8, 0x8E, 0xC0, 0xF4])
    engine.save(to: context)
    let bases = offsets { self.context[long: $0] == Self.descriptorBase }
    // ES and DS, three segment registers apart.
    guard bases.count == 2, bases[1] - bases[0] == 3 * ContextLayout.segmentStride else {
      throw .calibration(of: "the segment registers", places: bases.count / 2)
    }
    layout.segments = bases[0] - 8
    try loadFlatSegments()
    engine.save(to: context)
    for (segment, selector, attributes) in [
      (ContextLayout.Segment.es, 0x10, 0xCF_9300), (.cs, 0x08, 0xCF_9B00),
      (.ss, 0x10, 0xCF_9300), (.ds, 0x10, 0xCF_9300), (.gs, 0x10, 0xCF_9300),
    ] as [(ContextLayout.Segment, UInt16, UInt32)] {
      let loaded = context.segment(segment, layout)
      let expected = LoadedSegment(
        selector: selector, base: 0, limit: .max, attributes: attributes)
      guard loaded == expected else { throw .calibration(of: "a segment register", places: 0) }
    }
  }

  private func findFlags() throws(UnicornError) {
    // mov ax, data16; mov ss, ax
    layout.stack32 = try flag(
      "the stack's size", [0x66, 0xB8, Selector.data16, 0, 0x8E, 0xD0, 0xF4])
    try loadFlatSegments()
    // mov ax, based; mov ds, ax
    layout.segmentBases = try flag(
      "the segment bases", [0x66, 0xB8, Selector.based, 0, 0x8E, 0xD8, 0xF4])
    try loadFlatSegments()
    // ljmp code16:next; hlt. 16-bit code also counts as code with segment bases.
    let code = try changedFlags([0xEA, 0x07, 0x20, 0, 0, Selector.code16, 0, 0xF4])
    layout.code32 = code & ~layout.segmentBases
    guard layout.code32.nonzeroBitCount == 1 else {
      throw .calibration(of: "the code's size", places: layout.code32.nonzeroBitCount)
    }
    // Back, from 16-bit code: ljmpl 8:next; hlt
    try run([0x66, 0xEA, 0x08, 0x20, 0, 0, Selector.code32, 0, 0xF4])
    // sti; nop, stopped between the two by an instruction limit.
    layout.shadow = try flag("the interrupt shadow", [0xFB, 0x90, 0xF4], count: 1)
    // nop; cli
    try run([0x90, 0xFA, 0xF4])
  }

  private func findExceptionWords() throws(UnicornError) {
    engine[.rcx] = 0x100
    // int 0x30
    let interrupted = try changes([0xCD, 0x30])
    layout.isSoftware = try only(
      interrupted.filter { $0.before == 0 && $0.after == 1 }.map(\.offset), "INT")
    // mov ds, ecx beyond the table: #GP(0x100)
    let faulted = try changes([0x8E, 0xD9])
    layout.errorCode = try only(
      faulted.filter { $0.after == 0x100 }.map(\.offset), "the error code")
    layout.remembered = try only(
      faulted.filter { $0.before == .max && $0.after == 13 }.map(\.offset),
      "the remembered exception")
    forgetException()
  }

  private func findLongModeAndKeys() throws(UnicornError) {
    engine[.cr4] = 1 << 5
    engine.setMSR(0xC000_0080, to: 1 << 8)
    engine[.cr0] = 0x8000_0011
    layout.code64 = try flag("64-bit code", [0xEA, 0x07, 0x20, 0, 0, Selector.code64, 0, 0xF4])
    // CR4.PKE; wrpkru
    engine[.cr4] = 1 << 5 | 1 << 22
    engine[.rax] = 0x1B3C_5D7E
    engine[.rcx] = 0
    engine[.rdx] = 0
    let changed = try changes([0x0F, 0x01, 0xEF, 0xF4])
    layout.pkru = try only(changed.filter { $0.after == 0x1B3C_5D7E }.map(\.offset), "PKRU")
    engine[.rax] = 0
    try run([0x31, 0xC0, 0x0F, 0x01, 0xEF, 0xF4])
    // Back to compatibility mode through a far return, then out of long mode.
    engine[.rsp] = 0x3E00
    store(0x2100, at: 0x3E00)
    store(UInt64(Selector.code32), at: 0x3E08)
    store(0xF4, at: 0x2100)
    try run([0x48, 0xCB, 0xF4])
    engine[.cr0] = 0x11
    engine[.cr4] = 0
    engine.setMSR(0xC000_0080, to: 0)
    try loadFlatSegments()
  }

  private func finish(_ hooks: [Int]) throws(UnicornError) {
    for hook in hooks { engine.removeHook(hook) }
    engine.forgetBlocks()
    engine.flushTLB()
    try engine.check(
      engine.unmap(Self.physicalBase, byteCount: UInt64(Self.byteCount)), "calibration pages")
    engine.save(to: context)
    guard context.segment(.cs, layout).selector == 8, engine.msr(0xC000_0080) == 0 else {
      throw .refused(step: "a return to 32-bit protected mode", reason: "state left behind")
    }
    for index in 0..<16 { engine[.general(UInt8(index))] = 0 }
    engine[.flags] = 2
  }

  // MARK: Experiments

  private struct Change {
    var offset: Int
    var before: UInt32
    var after: UInt32
  }

  /// Runs the bytes at the code page's start, until they halt or raise an exception.
  private func run(_ bytes: [UInt8], count: Int = 0) throws(UnicornError) {
    for (index, byte) in bytes.enumerated() {
      // SAFETY: the few bytes lie inside the pages, at the start of the code page.
      unsafe pages.storeBytes(of: byte, toByteOffset: Int(Self.code) + index, as: UInt8.self)
    }
    // The bytes were written past the engine, which may know older ones.
    engine.forgetBlocks()
    engine.flushTLB()
    try engine.check(engine.start(at: Self.code, count: count), "an experiment")
  }

  private func store(_ value: UInt64, at offset: Int) {
    // SAFETY: every caller's offset is a constant inside the pages.
    unsafe pages.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
  }

  private func changes(_ bytes: [UInt8], count: Int = 0) throws(UnicornError) -> [Change] {
    engine.save(to: context)
    let before = context.words()
    try run(bytes, count: count)
    engine.save(to: context)
    let after = context.words()
    return before.indices.filter { before[$0] != after[$0] }
      .map { Change(offset: $0 * 4, before: before[$0], after: after[$0]) }
  }

  private func changedFlags(_ bytes: [UInt8], count: Int = 0) throws(UnicornError) -> UInt32 {
    let changed = try changes(bytes, count: count).filter { $0.offset == layout.hiddenFlags }
    guard let change = changed.first else { return 0 }
    return change.before ^ change.after
  }

  private func flag(
    _ name: String, _ bytes: [UInt8], count: Int = 0
  ) throws(UnicornError) -> UInt32 {
    let bits = try changedFlags(bytes, count: count)
    guard bits.nonzeroBitCount == 1 else {
      throw .calibration(of: name, places: bits.nonzeroBitCount)
    }
    return bits
  }

  private func offsets(where matches: (Int) -> Bool) -> [Int] {
    stride(from: 0, to: context.byteCount - 7, by: 4).filter(matches)
  }

  private func only(_ offsets: [Int], _ name: String) throws(UnicornError) -> Int {
    guard offsets.count == 1 else { throw .calibration(of: name, places: offsets.count) }
    return offsets[0]
  }

  private func forgetException() {
    engine.save(to: context)
    context[word: layout.remembered] = ContextLayout.nothingRemembered
    engine.restore(from: context)
  }
}
