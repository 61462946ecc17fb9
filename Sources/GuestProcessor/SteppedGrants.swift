import PagingUnits

/// The accesses that the instruction about to be stepped may make although its pages are refused
/// in general; a single instruction touches few pages.
struct SteppedGrants {
  struct Grant: Hashable {
    /// The linear page.
    var page: UInt64
    /// The frame that one write may reach; `nil` when the access is an implicit supervisor one
    /// that is to be asked for as such.
    var frame: HostFrame?
  }

  private static let none = Grant(page: .max, frame: nil)
  private var grants: InlineArray<8, Grant> = .init(repeating: none)
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }
  subscript(index: Int) -> Grant { grants[index] }

  /// Adds a grant; `false` when there are too many for one instruction.
  mutating func add(_ grant: Grant) -> Bool {
    guard count < 8 else { return false }
    grants[count] = grant
    count += 1
    return true
  }

  /// The frame granted for a write to a page.
  func frame(for page: UInt64) -> HostFrame? {
    for index in 0..<count where grants[index].page == page {
      if let frame = grants[index].frame { return frame }
    }
    return nil
  }

  /// Whether accesses to the page are implicit supervisor ones.
  func isImplicit(_ page: UInt64) -> Bool {
    for index in 0..<count where grants[index].page == page && grants[index].frame == nil {
      return true
    }
    return false
  }
}

/// A second run of a refused instruction, to learn the exact address from its offset in the page.
struct Probe {
  /// The linear page that was refused.
  var page: UInt64
  /// The offset of the first access, once seen.
  var offset: UInt64?
}

/// A window of the engine's physical addresses that leads to devices, given out page by page.
struct DeviceWindow {
  static let base: UInt64 = 1 << 46
  static let pageCount = 256

  private var frames: InlineArray<256, GuestFrame> = .init(repeating: GuestFrame(.max))
  private var next = 0

  /// What handing out a page did.
  enum Slot: Hashable {
    case known(UInt64)
    /// An older device page lost its place, so translations to it must be forgotten.
    case recycled(UInt64)
  }

  /// The engine's physical address for a device's page.
  mutating func address(of frame: GuestFrame) -> Slot {
    for index in 0..<Self.pageCount where frames[index] == frame {
      return .known(Self.base + UInt64(index) << 12)
    }
    let index = next
    next = (next + 1) % Self.pageCount
    let isReused = frames[index].number != .max
    frames[index] = frame
    let address = Self.base + UInt64(index) << 12
    return isReused ? .recycled(address) : .known(address)
  }

  /// The device's address for an offset in the window.
  func device(at offset: UInt64) -> GuestPhysical {
    let index = Int(truncatingIfNeeded: offset >> 12) % Self.pageCount
    return frames[index].address + (offset & 0xFFF)
  }
}
