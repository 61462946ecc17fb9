import CBaselines
import PagingUnits
import ShadowMMU

/// Faults under tables that stand: each installs one 4 KiB leaf.
final class LeafFaulter {
  static let pages: UInt64 = 1 << 18
  private let guest = ShadowGuest(data: pages, tables: 1024)

  init() {
    for page in 0..<Self.pages { guest.map(page << 12, to: page) }
    guest.enter()
    // The tables stand before anything is timed.
    for page in stride(from: UInt64(0), to: Self.pages, by: 512) { _ = guest.fault(page << 12) }
    guest.emptyLeaves(of: Self.pages)
  }

  /// Pages in an order that no prefetcher guesses; each depends on the last answer.
  private func page(_ index: Int, after answer: UInt64) -> UInt64 {
    UInt64(index) &* 40_503 & (Self.pages - 1) ^ answer & 0xFFF
  }

  func faults(_ count: Int) -> UInt64 {
    let fixed = counted {
      var fixed: UInt64 = 0
      var answer: UInt64 = 0
      for index in 0..<count {
        let outcome = guest.fault(page(index, after: answer) << 12)
        if outcome == .fixed { fixed += 1 }
        answer = outcome == .retry ? 1 : 0
      }
      return fixed
    }
    precondition(fixed == UInt64(count), "each fault installs an entry")
    guest.emptyLeaves(of: Self.pages)
    return fixed
  }

  func baseline(_ count: Int) -> UInt64 {
    var world = guest.world
    let sum = counted {
      var sum: UInt64 = 0
      for index in 0..<count {
        sum = baseline_shadow_fault(&world, page(index, after: sum) << 12)
      }
      return sum
    }
    for page in 0..<Self.pages { baseline_shadow_empty(&world, page << 12) }
    return sum
  }
}

/// Faults that find nothing but the root: each makes three tables and installs a leaf.
final class PathFaulter {
  static let paths: UInt64 = 512
  private let guest = ShadowGuest(data: 4 * paths, tables: 4 * paths)
  /// The tables that the baseline links, three for each path: pages of the guest's that it does not
  /// use.
  private let handTables: [UInt64]

  init() {
    for path in 0..<Self.paths { guest.map(Self.linear(path), to: path) }
    handTables = (Self.paths..<4 * Self.paths).map { [guest] in guest.place($0 << 12).raw }
    guest.startAgain()
    for path in 0..<Self.paths { _ = guest.fault(Self.linear(path)) }
    guest.startAgain()
  }

  /// An address of its own under each entry of the root.
  private static func linear(_ path: UInt64) -> UInt64 {
    UInt64(bitPattern: Int64(bitPattern: path << 55) >> 16) | path << 30 & 0x7F_C000_0000
      | path << 21 & 0x3FE0_0000 | path << 12 & 0x1F_F000
  }

  private func path(_ index: Int, after answer: UInt64) -> UInt64 {
    UInt64(index) &* 199 & (Self.paths - 1) ^ answer & 0xFFF
  }

  func faults(_ count: Int) -> UInt64 {
    var fixed: UInt64 = 0
    for start in stride(from: 0, to: count, by: Int(Self.paths)) {
      fixed &+= counted {
        var fixed: UInt64 = 0
        var answer: UInt64 = 0
        for index in start..<min(count, start + Int(Self.paths)) {
          let outcome = guest.fault(Self.linear(path(index, after: answer)))
          if outcome == .fixed { fixed += 1 }
          answer = outcome == .retry ? 1 : 0
        }
        return fixed
      }
      guest.startAgain()
    }
    precondition(fixed == UInt64(count), "each fault installs an entry")
    return fixed
  }

  func baseline(_ count: Int) -> UInt64 {
    var sum: UInt64 = 0
    var world = guest.world
    for start in stride(from: 0, to: count, by: Int(Self.paths)) {
      sum &+= counted {
        var sum: UInt64 = 0
        for index in start..<min(count, start + Int(Self.paths)) {
          let path = path(index, after: sum)
          sum = handTables.withUnsafeBufferPointer { tables in
            guard let first = tables.baseAddress else { return 0 }
            return baseline_shadow_path(&world, Self.linear(path), first + Int(path) * 3)
          }
        }
        return sum
      }
      baseline_empty_table(&world, world.shadow_root)
    }
    return sum
  }
}
