public import PagingUnits

/// The guest-physical memory of a machine, as files hold it: which address stands where.
///
/// Pieces are sorted and disjoint; a look-up tries the piece of the last one first. The image is
/// never written.
public struct MemoryImage: Sendable {
  /// How many bytes are compared before overlapping pieces are refused: seconds of work.
  static let comparisonLimit: UInt64 = 16 << 30

  private let pieces: [ImagePiece]
  private var lastUsed = 0

  /// An image of `pieces` in any order.
  ///
  /// Pieces may overlap where they agree: cores of running kernels list the kernel's own text
  /// twice, and cores by virtual address list shared frames more than once. Throws where they
  /// disagree, or when finding that out would take far longer than reading the files.
  public init(_ pieces: [ImagePiece]) throws(ImageError) {
    let sorted = pieces.sorted { left, right in
      left.start != right.start ? left.start < right.start : left.last > right.last
    }
    var disjoint: [ImagePiece] = []
    disjoint.reserveCapacity(sorted.count)
    var budget = Self.comparisonLimit
    for piece in sorted {
      guard let covered = disjoint.last?.last, piece.start.raw <= covered else {
        disjoint.append(piece)
        continue
      }
      try Self.compare(piece, with: disjoint, upTo: covered, budget: &budget)
      if piece.last > covered { try disjoint.append(piece.from(covered + 1)) }
    }
    self.pieces = disjoint
  }

  /// Checks that `piece` says the same as the disjoint ones where they overlap, up to `covered`.
  private static func compare(
    _ piece: ImagePiece, with disjoint: [ImagePiece], upTo covered: UInt64, budget: inout UInt64
  ) throws(ImageError) {
    // The sorted order leaves no gap between the piece's start and `covered`.
    var index = Self.index(of: piece.start.raw, in: disjoint)
    while index < disjoint.count {
      let other = disjoint[index]
      let start = max(piece.start.raw, other.start.raw)
      let end = min(piece.last, other.last)
      guard start <= end else { return }
      let count = end - start + 1
      let mine = piece.bytes.slice(start - piece.start.raw, count: count)
      let theirs = other.bytes.slice(start - other.start.raw, count: count)
      // A look costs a unit, so that a crowd of aliases is bounded too.
      let isAlias = mine.isSame(as: theirs)
      let cost = isAlias ? 64 : count + 64
      guard cost <= budget else {
        throw ImageError(offset: piece.place, .tooMuchOverlap(GuestPhysical(start)))
      }
      budget -= cost
      if !isAlias, let offset = mine.firstDifference(from: theirs) {
        throw ImageError(offset: piece.place, .conflict(GuestPhysical(start + offset)))
      }
      index += 1
    }
  }

  /// The index of the last piece that starts at or below `address`; 0 when there is none.
  private static func index(of address: UInt64, in pieces: [ImagePiece]) -> Int {
    var low = 0
    var high = pieces.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if pieces[middle].start.raw <= address { low = middle } else { high = middle }
    }
    return low
  }

  /// The number of disjoint runs of memory.
  public var pieceCount: Int { pieces.count }

  /// The number of bytes in the image.
  public var byteCount: UInt64 { pieces.reduce(0) { $0 + $1.bytes.count } }

  /// The piece that holds `count` bytes at `address`, and where in it they stand.
  private mutating func find(
    _ address: GuestPhysical, count: UInt64
  ) -> (bytes: FileBytes, offset: UInt64)? {
    if lastUsed < pieces.count, pieces[lastUsed].holds(address.raw, count: count) {
      return (pieces[lastUsed].bytes, address.raw &- pieces[lastUsed].start.raw)
    }
    let index = Self.index(of: address.raw, in: pieces)
    guard index < pieces.count, pieces[index].holds(address.raw, count: count) else { return nil }
    lastUsed = index
    return (pieces[index].bytes, address.raw &- pieces[index].start.raw)
  }

  /// The byte at `address`; `nil` outside the image.
  public mutating func byte(at address: GuestPhysical) -> UInt8? {
    guard let (bytes, offset) = find(address, count: 1) else { return nil }
    return bytes.byte(at: offset)
  }

  /// The 8-byte number at `address`; `nil` when a byte of it lies outside the image.
  public mutating func word64(at address: GuestPhysical) -> UInt64? {
    if let (bytes, offset) = find(address, count: 8) { return bytes.word64(at: offset) }
    return straddling(address, count: 8)
  }

  /// The 4-byte number at `address`; `nil` when a byte of it lies outside the image.
  public mutating func word32(at address: GuestPhysical) -> UInt32? {
    if let (bytes, offset) = find(address, count: 4) { return bytes.word32(at: offset) }
    return straddling(address, count: 4).map { UInt32(truncatingIfNeeded: $0) }
  }

  /// A number whose bytes may lie in several pieces.
  private mutating func straddling(_ address: GuestPhysical, count: UInt64) -> UInt64? {
    var word: UInt64 = 0
    for index in 0..<count {
      guard let place = address.advanced(checking: index), let byte = byte(at: place) else {
        return nil
      }
      word |= UInt64(byte) << (index * 8)
    }
    return word
  }
}
