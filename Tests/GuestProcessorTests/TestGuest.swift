import GuestProcessor
import HostMemory
import PagingUnits
import SparseMemory

/// A guest over an identity mapping, whose pages can be refused or led to a device.
final class TestGuest {
  let buffer: SparseBuffer
  let memory: PhysicalMemory
  let port: TestPort
  let processor: Processor

  static let gdt: UInt64 = 0x1000
  static let idt: UInt64 = 0x2000
  static let task: UInt64 = 0x3000
  static let handler: UInt64 = 0x5000
  static let code: UInt64 = 0x8000
  static let stack: UInt64 = 0x1_0000
  static let innerStack: UInt64 = 0x2_0000
  static let alternateStack: UInt64 = 0x3_0000

  enum Selector {
    static let code32: UInt64 = 0x08, data: UInt64 = 0x10, code64: UInt64 = 0x18
    static let userCode32: UInt64 = 0x23, userData: UInt64 = 0x2B, userCode64: UInt64 = 0x33
    static let task: UInt64 = 0x38
  }

  init(features: ProcessorFeatures = ProcessorFeatures()) throws {
    buffer = try SparseBuffer(byteCount: 16 << 20)
    memory = buffer.memory
    port = TestPort(frameCount: buffer.memory.frameCount)
    processor = try Processor(
      memory: memory, port: port, features: features, library: UnicornLibrary())
    port.processor = processor
  }

  func store(_ bytes: [UInt8], at address: UInt64) {
    for (index, byte) in bytes.enumerated() {
      let place = address + UInt64(index)
      let shift = 8 * (place & 7)
      let old = memory.entry(at: HostPhysical(place & ~7))
      memory.setEntry(old & ~(0xFF << shift) | UInt64(byte) << shift, at: HostPhysical(place & ~7))
    }
  }

  func word(_ address: UInt64) -> UInt64 { memory.entry(at: HostPhysical(address)) }
  func word32(_ address: UInt64) -> UInt32 { memory.entry32(at: HostPhysical(address)) }
  func setWord(_ value: UInt64, at address: UInt64) {
    memory.setEntry(value, at: HostPhysical(address))
  }

  /// Lays out descriptor tables; every vector's 32-bit gate leads to a HLT of its own.
  func layTables32() {
    layDescriptors(taskType: 0x89)
    for vector in 0..<256 as Range<UInt64> {
      let target = Self.handler + 8 * vector
      store([0xF4], at: target)
      setGate32(vector, target)
    }
    // The 32-bit task segment: ESP0, SS0.
    memory.setEntry32(UInt32(Self.innerStack), at: HostPhysical(Self.task + 4))
    memory.setEntry32(UInt32(Selector.data), at: HostPhysical(Self.task + 8))
  }

  func setGate32(_ vector: UInt64, _ target: UInt64, type: UInt64 = 0x8E) {
    setWord(
      target & 0xFFFF | Selector.code32 << 16 | type << 40 | (target >> 16) << 48,
      at: Self.idt + 8 * vector)
  }

  /// The same in 64-bit form.
  func layTables64() {
    layDescriptors(taskType: 0x89)
    for vector in 0..<256 as Range<UInt64> {
      let target = Self.handler + 8 * vector
      store([0xF4], at: target)
      setGate64(vector, target)
    }
    memory.setEntry32(UInt32(Self.innerStack), at: HostPhysical(Self.task + 4))
    memory.setEntry32(UInt32(Self.alternateStack), at: HostPhysical(Self.task + 0x24))
  }

  func setGate64(_ vector: UInt64, _ target: UInt64, type: UInt64 = 0x8E, stack: UInt64 = 0) {
    setWord(
      target & 0xFFFF | Selector.code64 << 16 | stack << 32 | type << 40 | (target >> 16) << 48,
      at: Self.idt + 16 * vector)
    setWord(0, at: Self.idt + 16 * vector + 8)
  }

  private func layDescriptors(taskType: UInt64) {
    let descriptors: [UInt64] = [
      0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00AF_9B00_0000_FFFF,
      0x00CF_FB00_0000_FFFF, 0x00CF_F300_0000_FFFF, 0x00AF_FB00_0000_FFFF,
      0x67 | Self.task << 16 | taskType << 40, 0,
    ]
    for (index, descriptor) in descriptors.enumerated() {
      setWord(descriptor, at: Self.gdt + 8 * UInt64(index))
    }
    // Operands of LGDT at 0x1800 and LIDT at 0x1810.
    store([0x47, 0, 0, 0x10, 0, 0, 0, 0, 0, 0], at: 0x1800)
    store([0xFF, 0x0F, 0, 0x20, 0, 0, 0, 0, 0, 0], at: 0x1810)
  }

  /// Runs a prologue that loads the tables, then the program, in 32-bit mode.
  func run32(_ program: [UInt8]) -> ProcessorExit {
    layTables32()
    store(Self.prologue32 + program, at: Self.code)
    processor.enter(at: UInt32(Self.code), eax: 0, ebx: 0)
    return processor.run()
  }

  /// The first byte after the prologue of `run32`.
  static var program32: UInt64 { code + UInt64(prologue32.count) }

  static let prologue32: [UInt8] = [
    // lgdt [0x1800]; lidt [0x1810]; mov ax, 0x38; ltr ax; mov esp, 0x10000
    0x0F, 0x01, 0x15, 0x00, 0x18, 0x00, 0x00, 0x0F, 0x01, 0x1D, 0x10, 0x18, 0x00, 0x00, 0x66,
    0xB8, 0x38, 0x00, 0x0F, 0x00, 0xD8, 0xBC, 0x00, 0x00, 0x01, 0x00,
  ]

  /// Switches to long mode as a kernel does, then runs the program in 64-bit mode.
  func run64(_ program: [UInt8]) -> ProcessorExit {
    layTables64()
    store(Self.prologue64, at: Self.code)
    store(program, at: Self.program64)
    processor.enter(at: UInt32(Self.code), eax: 0, ebx: 0)
    return processor.run()
  }

  static let program64: UInt64 = 0x9000
  static let prologue64: [UInt8] = [
    // lgdt [0x1800]; lidt [0x1810]; mov eax, 0x620; mov cr4, eax; mov eax, 0x100000;
    // mov cr3, eax; mov ecx, 0xC0000080; rdmsr; or eax, 0x901; wrmsr; mov eax, 0x80010011;
    // mov cr0, eax; mov ax, 0x38; ltr ax; mov esp, 0x10000; .byte 0xEA; .long 0x9000;
    // .word 0x18
    0x0F, 0x01, 0x15, 0x00, 0x18, 0x00, 0x00, 0x0F, 0x01, 0x1D, 0x10, 0x18, 0x00, 0x00, 0xB8,
    0x20, 0x06, 0x00, 0x00, 0x0F, 0x22, 0xE0, 0xB8, 0x00, 0x00, 0x10, 0x00, 0x0F, 0x22, 0xD8,
    0xB9, 0x80, 0x00, 0x00, 0xC0, 0x0F, 0x32, 0x0D, 0x01, 0x09, 0x00, 0x00, 0x0F, 0x30, 0xB8,
    0x11, 0x00, 0x01, 0x80, 0x0F, 0x22, 0xC0, 0x66, 0xB8, 0x38, 0x00, 0x0F, 0x00, 0xD8, 0xBC,
    0x00, 0x00, 0x01, 0x00, 0xEA, 0x00, 0x90, 0x00, 0x00, 0x18, 0x00,
  ]
}

/// Maps every linear page to the frame of the same number, except as told.
final class TestPort: GuestPort {
  var refusals: [UInt64: UInt32] = [:]
  var devices: Set<UInt64> = []
  var once: Set<UInt64> = []
  var supervisorOnly: Set<UInt64> = []
  var moved: [UInt64: UInt64] = [:]
  var requests: [FillRequest] = []
  var delivered: [GuestEvent] = []
  var invalidated: [UInt64] = []
  var contexts: [(InvalidationScope, UInt16, UInt64)] = []
  var completed: [UInt64] = []
  var output: [(port: UInt16, value: UInt32)] = []
  var deviceWrites: [(UInt64, Int, UInt64)] = []
  var controlChanges = 0
  var flushesAtEachFill = false
  var interrupt: UInt8?
  var onOutput: ((UInt16, UInt32) -> Void)?
  weak var processor: Processor?
  private let frameCount: UInt64

  init(frameCount: UInt64) { self.frameCount = frameCount }

  override func fill(_ request: FillRequest) -> FillAnswer {
    requests.append(request)
    if flushesAtEachFill { processor?.flushTranslations() }
    let page = request.address.raw & ~0xFFF
    if let code = refusals[page] {
      var full = code
      if request.kind == .write { full |= 2 }
      if request.privilege == .user { full |= 4 }
      if request.kind == .fetch { full |= 16 }
      return .pageFault(errorCode: full)
    }
    if request.privilege == .user && supervisorOnly.contains(page) {
      return .pageFault(errorCode: 5)
    }
    if devices.contains(page) { return .device(GuestFrame(page >> 12)) }
    let frame = HostFrame((moved[page] ?? page) >> 12 & 0xFFFFF)
    guard frame.number < frameCount else { return .pageFault(errorCode: 8) }
    if once.contains(page) {
      return request.kind == .write ? .filledOnce(frame) : .filled(frame, [.read, .execute])
    }
    return .filled(frame, [.read, .write, .execute])
  }

  override func storeCompleted(in page: GuestVirtual, frame: HostFrame) {
    completed.append(page.raw)
  }
  override func controlsWillChange(
    from old: ControlRegisters, to new: ControlRegisters, by instruction: ControlInstruction
  ) -> ControlVerdict {
    controlChanges += 1
    return .accepted
  }
  override func invalidate(_ address: GuestVirtual) { invalidated.append(address.raw) }
  override func invalidate(_ scope: InvalidationScope, pcid: UInt16, address: GuestVirtual) {
    contexts.append((scope, pcid, address.raw))
  }
  override func readPort(_ port: UInt16, byteCount: Int) -> UInt32 { UInt32(port) }
  override func writePort(_ port: UInt16, byteCount: Int, value: UInt32) {
    output.append((port, value))
    onOutput?(port, value)
  }
  override func readDevice(_ address: GuestPhysical, byteCount: Int) -> UInt64 {
    address.raw & 0xFFFF
  }
  override func writeDevice(_ address: GuestPhysical, byteCount: Int, value: UInt64) {
    deviceWrites.append((address.raw, byteCount, value))
  }
  override func acknowledgeInterrupt() -> UInt8? {
    defer { interrupt = nil }
    return interrupt
  }
  override func timerExpired() {
    interrupt = 0x40
    processor?.requestInterrupt()
  }
  override func willDeliver(_ event: GuestEvent) { delivered.append(event) }
}
