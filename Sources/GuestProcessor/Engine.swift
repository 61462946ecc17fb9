import CUnicorn

/// A register of the processor, by the number the library knows it by.
struct Register {
  let number: Int32
  private init(_ number: Int) { self.number = Int32(truncatingIfNeeded: number) }

  static let rip = Register(CUNICORN_RIP), flags = Register(CUNICORN_EFLAGS)
  static let rax = Register(CUNICORN_RAX), rbx = Register(CUNICORN_RBX)
  static let rcx = Register(CUNICORN_RCX), rdx = Register(CUNICORN_RDX)
  static let rsp = Register(CUNICORN_RSP), rbp = Register(CUNICORN_RBP)
  static let rsi = Register(CUNICORN_RSI), rdi = Register(CUNICORN_RDI)
  static let r11 = Register(CUNICORN_R11)
  static let cs = Register(CUNICORN_CS), ss = Register(CUNICORN_SS)
  static let ds = Register(CUNICORN_DS), es = Register(CUNICORN_ES)
  static let fs = Register(CUNICORN_FS), gs = Register(CUNICORN_GS)
  static let fsBase = Register(CUNICORN_FS_BASE), gsBase = Register(CUNICORN_GS_BASE)
  static let cr0 = Register(CUNICORN_CR0), cr2 = Register(CUNICORN_CR2)
  static let cr3 = Register(CUNICORN_CR3), cr4 = Register(CUNICORN_CR4)
  static let dr6 = Register(CUNICORN_DR6)
  static let gdtr = Register(CUNICORN_GDTR), idtr = Register(CUNICORN_IDTR)
  static let ldtr = Register(CUNICORN_LDTR), tr = Register(CUNICORN_TR)

  /// The general register with the number that instructions encode, 0…15.
  static func general(_ index: UInt8) -> Register {
    switch index {
    case 0: rax
    case 1: rcx
    case 2: rdx
    case 3: rbx
    case 4: rsp
    case 5: rbp
    case 6: rsi
    case 7: rdi
    default: Register(CUNICORN_R8 + Int(index) - 8)
    }
  }
}

/// One engine of the library: an x86 processor without an MMU of its own.
///
/// A thin layer that gives the C calls types; it knows nothing of paging or exceptions.
@safe final class Engine {
  private let library: UnicornLibrary
  private let functions: UnsafePointer<cunicorn_library>
  private let handle: UnsafeMutableRawPointer

  init(library: UnicornLibrary) throws(UnicornError) {
    var handle: UnsafeMutableRawPointer?
    // SAFETY: the table is complete and lives as long as `library`.
    let error = unsafe cunicorn_open(library.functions, &handle)
    guard error == CUNICORN_OK, let handle = unsafe handle else {
      throw .refused(step: "a processor with a virtual TLB", reason: library.describe(error))
    }
    self.library = library
    unsafe functions = UnsafePointer(library.functions)
    unsafe self.handle = handle
  }

  deinit {
    // SAFETY: the handle was opened by `init` and nothing uses it afterwards.
    unsafe _ = cunicorn_close(functions, handle)
  }

  /// What an error number means.
  func describe(_ error: Int32) -> String { library.describe(error) }

  /// Turns an error number into an error that names the step.
  func check(_ error: Int32, _ step: String) throws(UnicornError) {
    guard error == CUNICORN_OK else { throw .refused(step: step, reason: describe(error)) }
  }

  // MARK: Registers

  // SAFETY: the handle is open, and the function table complete, for the engine's life.

  /// A register's value.
  @inline(__always) subscript(register: Register) -> UInt64 {
    get { unsafe cunicorn_word(functions, handle, register.number) }
    set { unsafe cunicorn_set_word(functions, handle, register.number, newValue) }
  }

  /// A descriptor-table or task register.
  struct Table {
    var selector: UInt16
    var base: UInt64
    var limit: UInt32
    /// The descriptor's upper word, for LDTR and TR.
    var attributes: UInt32
  }

  /// Reads a descriptor-table or task register.
  func table(_ register: Register) -> Table {
    // SAFETY: the handle is open, and the function table complete, for the engine's life.
    let raw = unsafe cunicorn_table(functions, handle, register.number)
    return Table(
      selector: raw.selector, base: raw.base, limit: raw.limit, attributes: raw.flags)
  }

  /// Writes a descriptor-table or task register.
  func setTable(_ register: Register, base: UInt64, limit: UInt32) {
    let value = cunicorn_table_register(selector: 0, base: base, limit: limit, flags: 0)
    unsafe cunicorn_set_table(functions, handle, register.number, value)
  }

  /// A model-specific register.
  func msr(_ index: UInt32) -> UInt64 { unsafe cunicorn_msr_word(functions, handle, index) }

  /// Writes a model-specific register.
  func setMSR(_ index: UInt32, to value: UInt64) {
    unsafe cunicorn_set_msr_word(functions, handle, index, value)
  }

  /// The current privilege level: the low bits of CS, which delivery and the library keep right.
  @inline(__always) var privilegeLevel: UInt8 { UInt8(truncatingIfNeeded: self[.cs] & 3) }

  // MARK: Running

  // SAFETY: the handle is open, and the function table complete, for the engine's life.

  /// Runs from `address` until something stops it; `count` 0 means no limit of instructions.
  func start(at address: UInt64, count: Int = 0) -> Int32 {
    unsafe cunicorn_start(functions, handle, address, count)
  }

  /// Stops before the next instruction (from a hook on it), or at the end of the block.
  func stop() { unsafe _ = cunicorn_stop(functions, handle) }

  /// Forgets every translation the library caches.
  ///
  /// Writing CR3, even with its own value, flushes the TLB and keeps the translated blocks; the
  /// library's own flush operation would drop those too. With paging off it does nothing; there a
  /// CR0.WP that changes does.
  func flushTLB() {
    let cr0 = self[.cr0]
    if cr0 >> 31 & 1 == 0 {
      self[.cr0] = cr0 ^ 1 << 16
      self[.cr0] = cr0
      return
    }
    let cr3 = self[.cr3]
    self[.cr3] = cr3
  }

  // SAFETY: the handle is open, and the function table complete, for the engine's life.

  /// Forgets all translated blocks.
  func forgetBlocks() { unsafe _ = cunicorn_forget_blocks(functions, handle) }

  /// Forgets the translated blocks of linear addresses, for whose place the TLB hook is asked.
  func forgetBlocks(from start: UInt64, to end: UInt64) {
    unsafe _ = cunicorn_forget_blocks_in(functions, handle, start, end)
  }

  // MARK: Memory

  // SAFETY: the handle is open, and the function table complete, for the engine's life.

  @unsafe func map(_ memory: UnsafeMutableRawPointer, at address: UInt64, byteCount: UInt64)
    -> Int32
  {
    unsafe cunicorn_map(functions, handle, address, byteCount, memory)
  }

  func unmap(_ address: UInt64, byteCount: UInt64) -> Int32 {
    unsafe cunicorn_unmap(functions, handle, address, byteCount)
  }

  @unsafe func mapDevices(
    at address: UInt64, byteCount: UInt64, onRead: cunicorn_on_device_read,
    onWrite: cunicorn_on_device_write, context: UnsafeMutableRawPointer
  ) -> Int32 {
    unsafe cunicorn_map_device(functions, handle, address, byteCount, onRead, onWrite, context)
  }

  // MARK: Hooks

  // SAFETY: the handle is open, and the function table complete, for the engine's life.

  /// Adds a hook for `addresses`, or for all without; the callback is a C function of the type that
  /// the kind of hook wants.
  @unsafe func addHook(
    _ kind: Int, _ callback: UnsafeMutableRawPointer, context: UnsafeMutableRawPointer,
    addresses: ClosedRange<UInt64>? = nil
  ) throws(UnicornError) -> Int {
    var hook = 0
    let error = unsafe cunicorn_add_hook(
      functions, handle, &hook, Int32(truncatingIfNeeded: kind), callback, context,
      addresses?.lowerBound ?? 1, addresses?.upperBound ?? 0)
    try check(error, "a hook")
    return hook
  }

  /// Adds a hook on one kind of instruction.
  @unsafe func addInstructionHook(
    _ instruction: Int, _ callback: UnsafeMutableRawPointer, context: UnsafeMutableRawPointer
  ) throws(UnicornError) {
    var hook = 0
    // SAFETY: as above; the callback has the type that hooks on instructions want.
    let error = unsafe cunicorn_add_instruction_hook(
      functions, handle, &hook, Int32(truncatingIfNeeded: instruction), callback, context)
    try check(error, "a hook on an instruction")
  }

  func removeHook(_ hook: Int) { unsafe _ = cunicorn_remove_hook(functions, handle, hook) }

  // MARK: Contexts

  // SAFETY: the handle is open, and the function table complete, for the engine's life.

  /// A block that a context can be saved to, and its size.
  func allocateContext() throws(UnicornError) -> SavedContext {
    var block: UnsafeMutableRawPointer?
    try check(unsafe cunicorn_allocate_context(functions, handle, &block), "a saved context")
    guard let block = unsafe block else { throw .refused(step: "a saved context", reason: "null") }
    return unsafe SavedContext(
      block: block, byteCount: cunicorn_context_size(functions, handle), engine: self)
  }

  func save(to context: SavedContext) {
    unsafe _ = cunicorn_save_context(functions, handle, context.block)
  }

  func restore(from context: SavedContext) {
    unsafe _ = cunicorn_restore_context(functions, handle, context.block)
  }

  @unsafe func free(_ block: UnsafeMutableRawPointer) {
    unsafe _ = cunicorn_free_context(functions, block)
  }
}
