public import PagingUnits

/// An exception or interrupt on its way to the guest (SDM volume 3A, "Interrupt and Exception
/// Handling").
public struct GuestEvent: Hashable, Sendable {
  /// What raised it.
  public enum Origin: Hashable, Sendable {
    /// An instruction that could not complete; RIP points at it.
    case fault
    /// An instruction that completed: RIP is past it.
    case trap
    /// INT n, INT3 or INTO: the gate's privilege counts.
    case software
    /// An interrupt from outside.
    case external
  }

  /// The vector, 0…255.
  public var vector: UInt8
  /// The error code that the handler finds on its stack.
  public var errorCode: UInt32?
  /// What raised it.
  public var origin: Origin
  /// For a page fault, the address that goes to CR2.
  public var address: GuestVirtual?

  /// An event.
  public init(
    vector: UInt8, errorCode: UInt32? = nil, origin: Origin = .fault,
    address: GuestVirtual? = nil
  ) {
    self.vector = vector
    self.errorCode = errorCode
    self.origin = origin
    self.address = address
  }

  /// A page fault.
  public static func pageFault(at address: GuestVirtual, errorCode: UInt32) -> GuestEvent {
    GuestEvent(vector: 14, errorCode: errorCode, address: address)
  }
  /// #GP with an error code, 0 or a selector.
  public static func generalProtection(_ code: UInt32 = 0) -> GuestEvent {
    GuestEvent(vector: 13, errorCode: code)
  }
  /// #UD.
  public static let invalidOpcode = GuestEvent(vector: 6)
  /// #DF.
  public static let doubleFault = GuestEvent(vector: 8, errorCode: 0)

  static func invalidTask(_ code: UInt32) -> GuestEvent { GuestEvent(vector: 10, errorCode: code) }
  static func notPresent(_ code: UInt32) -> GuestEvent { GuestEvent(vector: 11, errorCode: code) }
  static func stackFault(_ code: UInt32) -> GuestEvent { GuestEvent(vector: 12, errorCode: code) }

  /// Whether an exception with this vector pushes an error code.
  static func hasErrorCode(_ vector: UInt8) -> Bool {
    switch vector {
    case 8, 10, 11, 12, 13, 14, 17, 21: true
    default: false
    }
  }

  /// The classes that decide what two exceptions in a row make (SDM volume 3A, "Interrupt 8, Double
  /// Fault Exception").
  enum Class: Hashable {
    case benign, contributory, pageFault, doubleFault
  }

  var eventClass: Class {
    guard origin == .fault || origin == .trap else { return .benign }
    switch vector {
    case 0, 10, 11, 12, 13, 21: return .contributory
    case 14: return .pageFault
    case 8: return .doubleFault
    default: return .benign
    }
  }

  /// The event with its EXT bit set, when it comes of delivering something other than an INT
  /// instruction (SDM volume 3A, "Error Code").
  func marked(after first: GuestEvent) -> GuestEvent {
    guard vector != 14, first.origin != .software, let code = errorCode else { return self }
    var marked = self
    marked.errorCode = code | 1
    return marked
  }

  /// What is delivered when delivering this event raises `next`; `nil` for a triple fault.
  func combined(with next: GuestEvent) -> GuestEvent? {
    switch (eventClass, next.eventClass) {
    case (.doubleFault, _): nil
    case (.benign, _), (.contributory, .pageFault): next
    case (_, .benign): next
    case (.contributory, _), (.pageFault, _): .doubleFault
    }
  }
}
