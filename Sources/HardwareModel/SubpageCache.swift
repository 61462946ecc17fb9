/// The vectors that a processor keeps, by guest-physical page and root.
///
/// A processor may keep them with its guest-physical mappings (SDM volume 3C, "Caching Translation
/// Information"): only what drops those drops them, INVEPT. This one keeps a vector until then or
/// until it refuses, for it asks the tables again before it refuses by something kept.
@safe struct SubpageCache: ~Copyable {
  private struct Vector {
    /// The guest-physical page number plus one; 0 for none.
    var key: UInt64 = 0
    var root: UInt64 = 0
    var bits: UInt64 = 0
  }

  static let count = 64
  private let vectors: UnsafeMutablePointer<Vector>
  /// Whether any was ever kept: what is empty need not be emptied.
  private var isUsed = false

  init() {
    // SAFETY: a fresh allocation, freed in `deinit`.
    unsafe vectors = .allocate(capacity: Self.count)
    // SAFETY: the allocation is exactly this large.
    unsafe vectors.initialize(repeating: Vector(), count: Self.count)
  }

  deinit { unsafe vectors.deallocate() }

  private static func slot(_ address: UInt64) -> Int {
    Int(truncatingIfNeeded: address >> 12 & UInt64(count - 1))
  }

  /// The vector that is kept for the page of an address.
  func vector(of address: UInt64, root: UInt64) -> UInt64? {
    // SAFETY: a slot is below the number of vectors.
    let one = unsafe vectors[Self.slot(address)]
    return one.key == address >> 12 + 1 && one.root == root ? one.bits : nil
  }

  /// What is kept at an index, for those who check.
  func vector(at index: Int) -> (address: UInt64, root: UInt64, bits: UInt64)? {
    precondition(0 <= index && index < Self.count, "a processor keeps this many vectors")
    // SAFETY: the index was checked.
    let one = unsafe vectors[index]
    return one.key != 0 ? ((one.key - 1) << 12, one.root, one.bits) : nil
  }

  /// Keeps the vector of the page of an address.
  mutating func keep(_ bits: UInt64, of address: UInt64, root: UInt64) {
    isUsed = true
    // SAFETY: a slot is below the number of vectors.
    unsafe vectors[Self.slot(address)] = Vector(key: address >> 12 + 1, root: root, bits: bits)
  }

  /// Forgets the vector of the page of an address, whatever root it came through.
  mutating func forget(_ address: UInt64) {
    // SAFETY: a slot is below the number of vectors.
    unsafe vectors[Self.slot(address)].key = 0
  }

  /// Forgets the vectors that came through a root; `nil` for any.
  mutating func forget(root: UInt64?) {
    guard isUsed else { return }
    for index in 0..<Self.count {
      // SAFETY: the index is below the number of vectors.
      if unsafe root == nil || vectors[index].root == root { unsafe vectors[index].key = 0 }
    }
  }
}
