public import PagingUnits
public import X86Paging

/// An image whose guest-physical addresses may be another guest's: tables and pages are reached
/// through EPT-shaped tables that lie in the same image.
public struct LayeredImage: GuestTableMemory, Sendable {
  /// Why the second dimension refused an address.
  public struct Refusal: Sendable {
    /// The inner guest's physical address that was asked for.
    public var address: GuestPhysical
    /// The walk of the second dimension, which ended without a page.
    public var walk: GuestWalk
  }

  /// The second dimension's root and rules.
  private struct SecondDimension: Sendable {
    let root: UInt64
    let rules: WalkRules
  }

  /// The memory that both dimensions' tables lie in.
  public private(set) var image: MemoryImage
  private let second: SecondDimension?
  /// Why the last walk was refused; `nil` when none was since `forgetRefusal`.
  public private(set) var refusal: Refusal?

  /// An image with one dimension: an address is where it says.
  public init(_ image: MemoryImage) {
    self.image = image
    second = nil
  }

  /// An image with a second dimension that starts at the EPT pointer `root`.
  public init(_ image: MemoryImage, eptPointer root: UInt64, features: PagingFeatures) {
    self.image = image
    second = SecondDimension(
      root: root, rules: WalkRules(eptPointer: root, features: features))
  }

  /// Whether there is a second dimension.
  public var isLayered: Bool { second != nil }

  /// The format of the second dimension's entries.
  public var secondFormat: EntryFormat? { second?.rules.format }

  /// Forgets why an earlier walk was refused.
  public mutating func forgetRefusal() { refusal = nil }

  /// The walk of the second dimension for the address of a table's entry; `nil` without one.
  public mutating func walkForEntry(_ address: GuestPhysical) -> GuestWalk? {
    guard let second else { return nil }
    return second.rules.walkSecondDimension(
      address, tableAccess(second), root: second.root, marking: .report, in: &image)
  }

  /// The walk of the second dimension for the address of a page's byte; `nil` without one.
  public mutating func walkForPage(_ address: GuestPhysical, _ kind: AccessKind) -> GuestWalk? {
    guard let second else { return nil }
    return second.rules.walkSecondDimension(
      address, kind, root: second.root, marking: .report, in: &image)
  }

  /// Walks the second dimension; `nil` notes why it refused.
  private mutating func descend(
    _ address: GuestPhysical, _ kind: AccessKind, _ second: SecondDimension
  ) -> GuestPhysical? {
    let walk = second.rules.walkSecondDimension(
      address, kind, root: second.root, marking: .report, in: &image)
    guard case .mapped(let mapping) = walk.outcome else {
      refusal = Refusal(address: address, walk: walk)
      return nil
    }
    return mapping.address
  }

  /// The access by which a processor reads tables: a write when it keeps accessed bits in the
  /// second dimension (SDM volume 3C, "Accessed and Dirty Flags for EPT").
  private func tableAccess(_ second: SecondDimension) -> AccessKind {
    second.rules.format.accessedBit != 0 ? .write : .read
  }

  /// Reads an 8-byte entry, through the second dimension if there is one.
  public mutating func entry(at address: GuestPhysical) -> EntryRead {
    guard let second else { return image.entry(at: address) }
    guard let place = descend(address, tableAccess(second), second) else { return .refused }
    return image.entry(at: place)
  }

  /// Reads a 4-byte entry, through the second dimension if there is one.
  public mutating func shortEntry(at address: GuestPhysical) -> EntryRead {
    guard let second else { return image.shortEntry(at: address) }
    guard let place = descend(address, tableAccess(second), second) else { return .refused }
    return image.shortEntry(at: place)
  }

  /// Refuses: an image is never written.
  public mutating func exchange(
    _ expected: UInt64, for desired: UInt64, at address: GuestPhysical
  ) -> EntryExchange { .readOnly }

  /// Refuses: an image is never written.
  public mutating func exchangeShort(
    _ expected: UInt32, for desired: UInt32, at address: GuestPhysical
  ) -> EntryExchange { .readOnly }

  /// Takes a page's address through the second dimension.
  public mutating func reach(
    _ address: GuestPhysical, for asked: PageFaultErrorCode
  ) -> PageReach {
    guard let second else { return .reached(address) }
    let kind: AccessKind =
      asked.contains(.write) ? .write : asked.contains(.fetch) ? .fetch : .read
    guard let place = descend(address, kind, second) else { return .refused }
    return .reached(place)
  }
}
