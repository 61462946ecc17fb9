/// Tables set aside before a fault, so that nothing is allocated under the MMU lock (KVM:
/// `kvm_mmu_memory_cache`).
///
/// Each virtual processor has one. A fault tops it up before it locks and may take one table a
/// level from it.
public struct TableCache: ~Copyable {
  /// How many tables a fault may need: one a level (KVM: `PT64_ROOT_MAX_LEVEL`).
  public static let minimum = 5
  /// How many tables a cache holds at most.
  public static let capacity = 16

  private var stock: InlineArray<16, ShadowPageID>
  /// How many tables it holds.
  public private(set) var count: Int

  /// An empty cache.
  public init() {
    stock = .init(repeating: .none)
    count = 0
  }

  /// The table in a place, 0..<count, for those who check that stock and rows agree.
  public subscript(position: Int) -> ShadowPageID {
    precondition(0 <= position && position < count, "a place in stock lies below the count")
    return stock[position]
  }

  /// Takes a table out; traps on an empty cache, which a fault that topped up cannot meet.
  mutating func take() -> ShadowPageID {
    precondition(count > 0, "a fault tops its cache up before it takes a table")
    count -= 1
    return stock[count]
  }

  /// Puts a table in; traps on a full cache.
  mutating func put(_ table: ShadowPageID) {
    precondition(count < Self.capacity, "a table cache holds at most 16 tables")
    stock[count] = table
    count += 1
  }

  deinit { precondition(count == 0, "a table cache is drained before it goes") }
}
